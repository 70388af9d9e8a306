//! What live regions declare among themselves, as a topology: each region keeps what concerns it, so all of them
//! together know all of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use futures_util::future::join_all;

use super::error::FleetError;
use super::manager::MultiRegionManager;
use crate::config::resolve_endpoint;
use crate::failover::Claim;
use crate::model::region::RegionSnapshot;
use crate::model::topology::{Endpoint, Spec, Topology};
use crate::model::{Address, RegionId};

/// A topology that regions have told.
#[derive(Debug, Clone)]
pub struct Imported {
    /// What they record. Its digest is none, and endpoints are as they are written.
    pub topology: Topology,
    /// What is doubtful about it, line by line.
    pub notes: Vec<String>,
}

impl MultiRegionManager {
    /// Asks the regions at these endpoints, and all that they know of, what they record; without endpoints, those that
    /// the state remembers. Writes nothing.
    ///
    /// # Errors
    /// An endpoint that is none, where no region is, or that does not answer; nothing to ask.
    pub async fn import(&self, endpoints: &[String]) -> Result<Imported, FleetError> {
        let base = &self.desired.base;
        let mut found: BTreeMap<RegionId, RegionSnapshot> = BTreeMap::new();
        for text in endpoints {
            let id = RegionId::new("unknown").expect("letters are an id");
            let endpoint = resolve(text, base)?;
            let help = "name a region's directory as `file:DIR`, or its origin, such as `http://127.0.0.1:5000`";
            let unfit = |reason: String| FleetError::Unfit { reason, help: Some(help.to_owned()) };
            let told = self.open(&id, &endpoint).snapshot().await.map_err(|error| unfit(format!("{text}: {error}")))?;
            let Some(identity) = told.identity.clone() else {
                return Err(unfit(format!("{text}: no region is there")));
            };
            found.insert(identity.region_id, told);
        }
        let (recorded, ..) = self.remembered()?;
        let mut known: BTreeMap<RegionId, String> = BTreeMap::new();
        if endpoints.is_empty() {
            known.extend(recorded.objects.iter().filter_map(|(address, applied)| match (address, &applied.spec) {
                (Address::Region(id), Spec::Region(spec)) => Some((id.clone(), spec.api_endpoint.clone())),
                _ => None,
            }));
            if known.is_empty() {
                return Err(FleetError::Unfit {
                    reason: "no region is known here".to_owned(),
                    help: Some("name one by its endpoint: it knows the others".to_owned()),
                });
            }
        }
        let mut notes = Vec::new();
        let mut silent: BTreeSet<RegionId> = BTreeSet::new();
        loop {
            let told = found.values().flat_map(|snapshot| &snapshot.regions);
            known.extend(told.map(|(id, record)| (id.clone(), record.spec.api_endpoint.clone())));
            let next: Vec<(&RegionId, &String)> =
                known.iter().filter(|(id, _)| !found.contains_key(*id) && !silent.contains(*id)).collect();
            if next.is_empty() {
                break;
            }
            let asked = next.into_iter().map(|(id, text)| async move {
                let told = match resolve(text, base) {
                    Ok(endpoint) => self.open(id, &endpoint).snapshot().await.map_err(|error| error.to_string()),
                    Err(error) => Err(error.to_string()),
                };
                let told = told.and_then(|told| match &told.identity {
                    Some(identity) if identity.region_id == *id => Ok(told),
                    Some(identity) => Err(format!("another region is there: {}", identity.region_id)),
                    None => Err("no region is there".to_owned()),
                });
                (id.clone(), told)
            });
            for (id, told) in join_all(asked).await {
                match told {
                    Ok(told) => drop(found.insert(id, told)),
                    Err(reason) => {
                        notes.push(format!("{id} was not asked, what only it knows is missing: {reason}"));
                        silent.insert(id);
                    }
                }
            }
        }
        if found.is_empty() {
            return Err(FleetError::Unfit { reason: format!("no region answered: {}", notes.join("; ")), help: None });
        }
        Ok(merged(&found, notes))
    }
}

fn resolve(text: &str, base: &Path) -> Result<Endpoint, FleetError> {
    resolve_endpoint(text, base).ok_or_else(|| FleetError::Unfit {
        reason: format!("`{text}` is no endpoint"),
        help: Some("write `https://host[:port]` or `file:directory`".to_owned()),
    })
}

/// What the regions record, together. Of two that say otherwise, the one counts that has most to do with it: a region
/// with itself, a pair's source, a resource's holder.
fn merged(found: &BTreeMap<RegionId, RegionSnapshot>, mut notes: Vec<String>) -> Imported {
    let mut told: BTreeMap<Address, Vec<(&RegionId, Spec)>> = BTreeMap::new();
    for (region, snapshot) in found {
        for (id, record) in &snapshot.regions {
            let spec = Spec::Region(Box::new(record.spec.clone()));
            told.entry(Address::Region(id.clone())).or_default().push((region, spec));
        }
        for (id, record) in &snapshot.pairs {
            told.entry(Address::Replication(id.clone()))
                .or_default()
                .push((region, Spec::Replication(record.spec.clone())));
        }
        for (key, record) in &snapshot.resources {
            told.entry(key.clone().into()).or_default().push((region, Spec::Resource(record.spec.clone())));
        }
    }
    let mut topology = Topology::empty();
    for (address, said) in told {
        let first = match &address {
            Address::Region(id) => Some(id.clone()),
            Address::Replication(pair) => Some(pair.source.clone()),
            Address::Resource(key) => {
                let records = found.iter().filter_map(|(region, seen)| Some((region, seen.resources.get(key)?)));
                Claim::of(records, |region| found.contains_key(region)).map(|claim| claim.region)
            }
        };
        let chosen = said.iter().find(|(region, _)| Some(*region) == first.as_ref()).or(said.first());
        let Some((region, spec)) = chosen.cloned() else { continue };
        if let Some((other, _)) = said.iter().find(|(_, other)| *other != spec) {
            notes.push(format!("{address}: {region} and {other} record it otherwise; it is taken from {region}"));
        }
        match (address, spec) {
            (Address::Region(id), Spec::Region(spec)) => drop(topology.regions.insert(id, *spec)),
            (Address::Replication(id), Spec::Replication(spec)) => drop(topology.pairs.insert(id, spec)),
            (Address::Resource(key), Spec::Resource(spec)) => drop(topology.resources.insert(key, spec)),
            (Address::Region(_) | Address::Replication(_) | Address::Resource(_), _) => {}
        }
    }
    let mut policies = topology.regions.values().map(|spec| &spec.policy);
    if let Some(policy) = policies.next().cloned() {
        if policies.any(|other| *other != policy) {
            notes.push("the regions keep different policies; that of the first one by name is taken".to_owned());
        }
        topology.regions.values_mut().for_each(|spec| spec.policy = policy.clone());
        topology.policy = policy;
    }
    Imported { topology, notes }
}
