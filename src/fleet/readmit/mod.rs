//! A region that takes part in nothing, and takes part again.
//!
//! Its store is new or went back to an earlier state, or a person declared it gone: what it remembers may be anything.
//! All others are asked what they know; from that the region learns which regions there are, who holds what and since
//! when, and never that it holds something itself. What lies there becomes a copy like what any former holder left.
//!
//! | step, each of them once more where it was cut off | a crash after it leaves |
//! | --- | --- |
//! | the region is founded, where its place is empty | a region that nobody relies on |
//! | it hears the others, where it has no agent that does | one that knows what it holds no more |
//! | it knows this state as its controller | the same |
//! | it knows that it was declared gone | one that takes part in nothing, and says so |
//! | the others forget that it was declared gone | operations need its agreement, which it does not give |
//! | it is readmitted, which its runner must agree to | one that takes part, though its store may still be called another one |
//! | the others, and the state, record its store | |

mod alone;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::execute::journal::{Journal, StateJournal};
use crate::failover::{Control, Known};
use crate::fleet::error::FleetError;
use crate::fleet::manager::MultiRegionManager;
use crate::fleet::options::Watch;
use crate::fleet::road::{Road, Sight, standings};
use crate::live::port::{PeerRecords, PortError, RegionPort};
use crate::model::failover::{Inert, Standings};
use crate::model::region::{Authority, Record, RecordChange, RecordWrite};
use crate::model::topology::Spec;
use crate::model::{Address, OperationId, RegionId, ResourceKey, StoreId};
use crate::state::{RunEnd, RunOutcome};

/// What readmitting is asked for.
#[derive(Debug, Clone)]
pub struct ReadmitOptions {
    /// The region.
    pub region: RegionId,
    /// Other regions that never come back as they were, in the words of whoever says so.
    pub gone: BTreeMap<RegionId, String>,
    /// Whether this state takes the controller's place first.
    pub take_over: bool,
    /// Why the fleet begins anew with this region alone, in the words of whoever says so: none takes part any more.
    pub alone: Option<String>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Readmitted {
    /// The region.
    pub region_id: RegionId,
    /// Why it took no part; none: it took part already.
    pub was: Option<String>,
    /// What it keeps copies of from now on.
    pub keeps: BTreeSet<ResourceKey>,
    /// What others know it to be the holder of: it starts none of that, and nobody else does before it is failed over.
    pub holds_no_more: BTreeSet<ResourceKey>,
    /// What it holds, where it began alone.
    pub holds: BTreeSet<ResourceKey>,
}

impl MultiRegionManager {
    /// Has a region take part again. See the module.
    ///
    /// # Errors
    /// [`FleetError::Refused`] where this state is not the controller, a region does not answer, or something runs, or
    /// may run, at the region, or where it is to begin alone and another one takes part; [`FleetError::Region`].
    pub async fn readmit(&self, options: &ReadmitOptions, watch: &Watch) -> Result<Readmitted, FleetError> {
        self.declared_region(&options.region)?;
        if options.take_over && options.alone.is_none() {
            self.take_control_but(&options.gone, Some(&options.region), watch).await?;
        }
        let mut road = self.set_out(self.settings.lock_timeout, watch).await?;
        let done = match &options.alone {
            None => road.readmit(options, watch).await,
            Some(_) => road.begin_alone(options, watch).await,
        };
        let done = match done {
            Ok(done) => done,
            Err(error) => return Err(road.turn_back(error)),
        };
        let alone = options.alone.iter().map(|how| format!("it begins alone: {how}"));
        let message: Vec<String> = done.was.iter().cloned().chain(alone).collect();
        let message = Some(message.join("; ")).filter(|message| !message.is_empty());
        let end = RunEnd { outcome: RunOutcome::Done, exit_code: 0, message };
        road.state.finish_run(road.run, &end)?;
        Ok(done)
    }
}

impl Road<'_> {
    async fn readmit(&mut self, options: &ReadmitOptions, watch: &Watch) -> Result<Readmitted, FleetError> {
        let region = &options.region;
        let sight = self.look().await?;
        let authority = match self.manager.speaker(&sight) {
            Ok(authority) => authority,
            Err(error) => return Err(alone::hint(region, &standings(sight.ports.iter()).await).unwrap_or(error)),
        };
        let failed = |source| failed(region, source);
        let port = port_of(&sight, region)?;
        let store = founded(port, &authority).await.map_err(failed)?;
        let told = standings(sight.ports.iter()).await;
        let others = others(region, &sight, &told, &options.gone)?;
        for told in others.values() {
            // One in a directory has heard nobody yet.
            port.learn(told).await.map_err(failed)?;
        }
        let own = port.standings(&BTreeSet::new()).await.map_err(failed)?;
        let was = doubt(&sight, &own, store, &others);
        if was.is_some() {
            self.order(port, Control::TakeOver { authority: authority.clone() }, &PeerRecords::default(), watch)
                .await?;
        }
        if own.inert.is_none() && others.values().any(|told| told.gone.contains_key(region)) {
            // Before anybody forgets it: from then on nobody else could tell the region.
            let control = Control::DeclaredGone { authority: authority.clone() };
            self.order(port, control, &PeerRecords::default(), watch).await?;
        }
        let gone = self.settle_gone(&sight, (region, &others), options, &authority, watch).await?;
        if was.is_none() && !gone {
            return Ok(Readmitted {
                region_id: region.clone(),
                was: None,
                keeps: BTreeSet::new(),
                holds_no_more: BTreeSet::new(),
                holds: BTreeSet::new(),
            });
        }
        // Anew: what the others say of who is gone has changed.
        let told = if gone { standings(sight.ports.iter()).await } else { told };
        let peers = peers(&sight, region, store);
        let takes_part: BTreeSet<ResourceKey> = own.resources.keys().chain(peers.resources.keys()).cloned().collect();
        let counts = |told: &&Standings| told.inert.is_some() || others.contains_key(&told.region);
        let heard: Vec<&Standings> = told.values().flatten().filter(counts).collect();
        let Some(mut known) = Known::of(region, &heard, &takes_part) else {
            let detail = format!("the other regions do not agree on which regions there are, {region} among them");
            let help = "`apply` the topology first; open operations are brought to their end first";
            return Err(FleetError::refused("readmit", detail, help));
        };
        known.serial = known.serial.max(sight.recorded.serials.get(region).map_or(0, |serial| serial + 1));
        let holds_no_more = known.parts.iter().filter(|(_, part)| part.holder == *region).map(|(key, _)| key.clone());
        let holds_no_more: BTreeSet<ResourceKey> = holds_no_more.collect();
        let keeps = known.parts.keys().filter(|key| !holds_no_more.contains(*key)).cloned().collect();
        self.order(port, Control::TakeOver { authority: authority.clone() }, &PeerRecords::default(), watch).await?;
        self.order(port, Control::Readmit { authority: authority.clone(), known }, &peers, watch).await?;
        self.record_store(&sight, (region, store), &authority).await?;
        Ok(Readmitted { region_id: region.clone(), was, keeps, holds_no_more, holds: BTreeSet::new() })
    }

    /// Has the others forget that the region was declared gone, and know whom else a person declares gone now. Says
    /// whether there was something to change.
    async fn settle_gone(
        &mut self,
        sight: &Sight,
        (region, others): (&RegionId, &BTreeMap<RegionId, Standings>),
        options: &ReadmitOptions,
        authority: &Authority,
        watch: &Watch,
    ) -> Result<bool, FleetError> {
        let mut gone = options.gone.clone();
        gone.extend(others.values().flat_map(|told| told.gone.clone()));
        gone.remove(region);
        let mut changed = false;
        for (other, told) in others.iter().filter(|(_, told)| told.gone != gone) {
            let Some(port) = sight.ports.get(other) else { continue };
            let control = Control::Register {
                authority: authority.clone(),
                was: told.registry.clone(),
                now: told.registry.clone(),
                gone: gone.clone(),
                accepted: BTreeSet::new(),
            };
            self.order(port, control, &PeerRecords::default(), watch).await?;
            changed = true;
        }
        Ok(changed)
    }

    /// The others and the state record the region's store.
    async fn record_store(
        &mut self,
        sight: &Sight,
        (region, store): (&RegionId, StoreId),
        authority: &Authority,
    ) -> Result<(), FleetError> {
        for (other, port) in sight.ports.iter().filter(|(other, _)| *other != region) {
            let record = sight.observed.snapshot(other).and_then(|seen| seen.regions.get(region));
            let Some(record) = record.filter(|record| record.store != Some(store)) else { continue };
            let address = Address::Region(region.clone());
            let write = RecordWrite {
                spec: Spec::Region(Box::new(record.spec.clone())),
                managed_by: record.managed_by,
                store: Some(store),
                holder: None,
                former_id: None,
            };
            let expected = Some(Record::Region(Box::new(record.clone())).fingerprint());
            let change = RecordChange { address: address.clone(), expected, record: Some(write) };
            let authority = Authority { operation: OperationId(self.manager.world.ids.ordered()), ..authority.clone() };
            port.record(&authority, &[change]).await.map_err(|source| FleetError::Region {
                region: other.clone(),
                address,
                source: Box::new(source),
            })?;
        }
        let origins = self.manager.origins();
        let mut journal = StateJournal { state: &mut self.state, run: self.run, origins, under_way: None };
        Ok(journal.met(&[(region.clone(), store)])?)
    }
}

fn failed(region: &RegionId, source: PortError) -> FleetError {
    FleetError::Region { region: region.clone(), address: Address::Region(region.clone()), source: Box::new(source) }
}

fn port_of<'a>(sight: &'a Sight, region: &RegionId) -> Result<&'a Arc<dyn RegionPort>, FleetError> {
    let missing = || failed(region, PortError::NotFound("it has no endpoint".to_owned()));
    sight.ports.get(region).ok_or_else(missing)
}

/// The region's store; where nothing was founded in its place, it is now.
async fn founded(port: &Arc<dyn RegionPort>, authority: &Authority) -> Result<StoreId, PortError> {
    let identity = match port.snapshot().await?.identity {
        Some(identity) => identity,
        None => port.found(authority).await?,
    };
    if identity.region_id != *port.region() {
        return Err(PortError::Refused {
            reason: format!("another region answers there: {}", identity.region_id),
            help: Some("correct its api_endpoint, or mount its own disk there".to_owned()),
        });
    }
    Ok(identity.store)
}

/// What the others say that take part, who must all have answered but for those that are gone.
fn others(
    region: &RegionId,
    sight: &Sight,
    told: &Told,
    gone: &BTreeMap<RegionId, String>,
) -> Result<BTreeMap<RegionId, Standings>, FleetError> {
    let answers = |other: &&RegionId| told.get(*other).is_some_and(Result::is_ok);
    expect_gone(told, gone)?;
    let answered: BTreeMap<RegionId, Standings> = (told.iter())
        .filter(|(other, _)| *other != region)
        .filter_map(|(other, told)| Some((other.clone(), told.as_ref().ok()?.clone())))
        .filter(|(other, told)| told.inert.is_none() && !sight.returned.contains(other))
        .collect();
    let lost =
        |other: &&RegionId| gone.contains_key(*other) || answered.values().any(|told| told.gone.contains_key(*other));
    let registered: BTreeSet<&RegionId> = answered.values().flat_map(|told| &told.registry).collect();
    if !registered.contains(region) {
        let detail = format!("no other region that answers knows {region}");
        return Err(FleetError::refused("readmit", detail, "declare it, and `apply` the topology"));
    }
    // One that takes part in nothing knows nothing that counts, and is readmitted in its turn.
    let silent = registered.into_iter().filter(|other| *other != region && !answers(other) && !lost(other));
    expect_nobody(silent, told)?;
    Ok(answered)
}

/// What each region answered.
type Told = BTreeMap<RegionId, Result<Standings, PortError>>;

/// Refuses to take for gone what answers.
fn expect_gone(told: &Told, gone: &BTreeMap<RegionId, String>) -> Result<(), FleetError> {
    let answers = |other: &&RegionId| told.get(*other).is_some_and(Result::is_ok);
    let Some(other) = gone.keys().find(answers) else { return Ok(()) };
    let detail = format!("{other} was declared gone, and answers");
    let help = format!("leave --gone out; where it takes part in nothing, `region readmit {other}` comes next");
    Err(FleetError::refused("agreement", detail, help))
}

/// Refuses to go on without the word of these.
fn expect_nobody<'a>(silent: impl Iterator<Item = &'a RegionId>, told: &Told) -> Result<(), FleetError> {
    let silent: Vec<String> = silent
        .map(|other| match told.get(other) {
            Some(Err(error)) => format!("{other} ({error})"),
            Some(Ok(_)) => other.to_string(),
            None => format!("{other} (registered, but not declared here)"),
        })
        .collect();
    if silent.is_empty() {
        return Ok(());
    }
    let detail = format!("every other region must say what it knows; {} did not", silent.join(", "));
    let help = "bring them back first, or say with --gone REGION=\"how you know\" that one never comes back";
    Err(FleetError::refused("readmit", detail, help))
}

/// Why nobody relies on what the region remembers; none: it takes part.
fn doubt(sight: &Sight, own: &Standings, store: StoreId, others: &BTreeMap<RegionId, Standings>) -> Option<String> {
    let region = &own.region;
    if let Some(inert) = own.inert {
        return Some(inert.to_string());
    }
    let recorded = sight.recorded.stores.get(region).copied();
    let registered = sight.observed.answering().filter_map(|(_, seen)| seen.regions.get(region)?.store);
    let met = others.values().filter_map(|told| told.others.get(region));
    let later = met.clone().any(|met| met.store == store && met.serial > own.met.serial);
    let mut stores = recorded.into_iter().chain(registered).chain(met.map(|met| met.store));
    if own.registry.len() < 2 || stores.any(|other| other != store) {
        return Some(Inert::NewStore.to_string());
    }
    let behind = sight.recorded.serials.get(region).is_some_and(|serial| own.met.serial < *serial);
    if behind || later {
        return Some(Inert::WentBack.to_string());
    }
    let gone = others.values().find_map(|told| told.gone.get(region));
    gone.map(|_| Inert::DeclaredGone.to_string())
}

/// What the others have recorded of regions, and of the resources that the region takes part in.
fn peers(sight: &Sight, region: &RegionId, store: StoreId) -> PeerRecords {
    let seen = || sight.observed.answering().filter(|(other, _)| *other != region).map(|(_, seen)| seen);
    let mut peers = PeerRecords::default();
    for seen in seen() {
        for (other, record) in &seen.regions {
            peers.regions.entry(other.clone()).or_insert_with(|| record.clone());
        }
        for (key, record) in &seen.resources {
            let concerns =
                record.holder == *region || record.spec.primary == *region || record.spec.replicas.contains(region);
            if concerns {
                peers.resources.entry(key.clone()).or_insert_with(|| record.clone());
            }
        }
    }
    if let Some(own) = peers.regions.get_mut(region) {
        own.store = Some(store);
    }
    peers
}
