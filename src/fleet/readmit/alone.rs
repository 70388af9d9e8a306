//! A region with which the fleet begins anew: no other one takes part any more.
//!
//! It was declared gone, and those that took over what it held lost their stores; or each was declared gone while it was
//! away. Nobody is left whose word counts, so a person says whose memory it goes on with. Every other region is asked all
//! the same: one that takes part, that runs something, or that does not answer refuses this. What they remember of later
//! holders that are not gone still counts: what those wrote since is not given up. All else that the region held it holds
//! again, above every epoch that anybody saw, as after a failover: on that person's word no other region runs it.
//!
//! | step, each of them once more where it was cut off | a crash after it leaves |
//! | --- | --- |
//! | this state has the highest seat, where it had not | regions that take part in nothing |
//! | the region knows this state as its controller | the same |
//! | the region takes part: it holds what it held last, or before one that is gone | one that takes part, though its store may still be called another one |
//! | the state records its store | |

use std::collections::{BTreeMap, BTreeSet};

use super::{ReadmitOptions, Readmitted, Told, expect_gone, expect_nobody, failed, port_of};
use crate::failover::{Control, Known};
use crate::fleet::error::FleetError;
use crate::fleet::options::Watch;
use crate::fleet::road::{Road, Sight, standings};
use crate::live::port::PeerRecords;
use crate::model::failover::{Inert, Standings};
use crate::model::listed::listed;
use crate::model::region::Authority;
use crate::model::{RegionId, ResourceKey};

impl Road<'_> {
    /// Has a region take part again with what it remembers itself. See the module.
    pub(super) async fn begin_alone(
        &mut self,
        options: &ReadmitOptions,
        watch: &Watch,
    ) -> Result<Readmitted, FleetError> {
        let region = &options.region;
        let sight = self.look().await?;
        let port = port_of(&sight, region)?;
        let own = port.standings(&BTreeSet::new()).await.map_err(|source| failed(region, source))?;
        let told = standings(sight.ports.iter().filter(|(other, _)| *other != region)).await;
        let others: Vec<&Standings> = told.values().flatten().collect();
        if let Some(other) = others.iter().find(|told| takes_part(told)) {
            let detail = format!("{} takes part, so that {region} need not begin alone", other.region);
            return Err(FleetError::refused("alone", detail, "leave --alone out"));
        }
        if own.registry.len() < 2 {
            let detail = format!("{region} remembers no other region: {}", Inert::NewStore);
            return Err(FleetError::refused("alone", detail, "begin with one that remembers what there was"));
        }
        for other in &others {
            let machines: BTreeSet<ResourceKey> = other.resources.keys().cloned().collect();
            let asked = port_of(&sight, &other.region)?.standings(&machines).await;
            let asked = asked.map_err(|source| failed(&other.region, source))?;
            let running = asked.resources.iter().filter(|(_, standing)| standing.running).map(|(key, _)| key);
            let running: Vec<&ResourceKey> = running.collect();
            if !running.is_empty() {
                let detail = format!("{} runs at {}, or may", listed(running, 12), other.region);
                return Err(FleetError::refused("running", detail, "stop it there: nobody would know of it"));
            }
        }
        expect_nobody_else((&own, &others), &told, &options.gone)?;
        let mut known = Known::alone(&own, &others, &options.gone);
        known.serial = known.serial.max(sight.recorded.serials.get(region).map_or(0, |serial| serial + 1));
        let authority = self.highest_seat(&sight, options.take_over)?;
        let mut done = Readmitted {
            region_id: region.clone(),
            was: own.inert.map(|inert| inert.to_string()),
            keeps: BTreeSet::new(),
            holds_no_more: BTreeSet::new(),
            holds: BTreeSet::new(),
        };
        if done.was.is_some() {
            done.holds = known.holds.clone();
            done.keeps = known.parts.keys().filter(|key| !done.holds.contains(*key)).cloned().collect();
            let peers = PeerRecords::default();
            self.order(port, Control::TakeOver { authority: authority.clone() }, &peers, watch).await?;
            self.state.seat_counts(&known.registry.iter().filter(|other| *other != region).cloned().collect())?;
            self.order(port, Control::Readmit { authority: authority.clone(), known }, &peers, watch).await?;
        }
        // Also where a crash came right before it.
        self.record_store(&sight, (region, own.met.store), &authority).await?;
        Ok(done)
    }

    /// Who this state is, above everybody that any region obeys.
    fn highest_seat(&mut self, sight: &Sight, take_over: bool) -> Result<Authority, FleetError> {
        let seating = match sight.seating.filter(|_| !sight.is_outranked()) {
            Some(seating) => seating,
            None if take_over => self.state.take_seat(sight.highest_term() + 1)?,
            None => {
                let detail = "regions are changed by the controller alone, and this state is not".to_owned();
                return Err(FleetError::refused("not_controller", detail, "take its place with --take-over"));
            }
        };
        Ok(self.speaking(sight, seating))
    }
}

/// Whether anything counts that a region says: it knows others, and nothing speaks against its memory.
fn takes_part(told: &Standings) -> bool {
    told.inert.is_none() && told.registry.len() > 1
}

/// Refused where a registered region neither is `gone`, in the words of whoever says so now, nor says that it takes no
/// part; also where its place is empty: its disk may only be unmounted. What was said before is remembered by those alone
/// whose memory does not count.
fn expect_nobody_else(
    (own, others): (&Standings, &[&Standings]),
    told: &Told,
    gone: &BTreeMap<RegionId, String>,
) -> Result<(), FleetError> {
    expect_gone(told, gone)?;
    let all = || std::iter::once(own).chain(others.iter().copied());
    let registered: BTreeSet<&RegionId> = all().flat_map(|told| &told.registry).chain(told.keys()).collect();
    let answers = |other: &RegionId| *other == own.region || told.get(other).is_some_and(Result::is_ok);
    let silent = registered.into_iter().filter(|other| !answers(other) && !gone.contains_key(*other));
    expect_nobody(silent, told)
}

/// The refusal of a readmission where the region takes no part, and nobody else does either that answers.
pub(super) fn hint(region: &RegionId, told: &Told) -> Option<FleetError> {
    let own = told.get(region)?.as_ref().ok()?;
    let inert = own.inert?;
    if told.values().flatten().any(takes_part) {
        return None;
    }
    let detail = format!("{inert}, and no other region takes part that could say what has become of what it held");
    let help = format!(
        "bring the others back or, where none is left whose memory counts, begin anew with what {region} remembers: \
         `region readmit {region} --alone \"how you know\"`; the others are readmitted after it"
    );
    Some(FleetError::refused("readmit", detail, help))
}
