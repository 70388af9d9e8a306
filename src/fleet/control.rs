//! The controller: who may change roles and the registry, and how another state file takes its place.
//!
//! A state file controls where every region that it sees has recorded its lineage, term and seat. Regions check each
//! order for themselves; here the whole run is refused before its first write, with the way on.
//!
//! Taking over: all registered regions are asked first, then the new seat and term are durable in the state, then
//! each region accepts, in the order of ids. It counts only when all have accepted. A crash or a refusal in between
//! leaves regions with different controllers: then nobody controls, every gate says so, and anyone may take over above
//! the highest term.

use std::collections::{BTreeMap, BTreeSet};

use super::error::{FleetError, Gate};
use super::manager::MultiRegionManager;
use super::road::{Road, Sight};
use crate::execute::event::Outcome;
use crate::execute::journal::{Conclusion, Journal, Memory, StateJournal};
use crate::model::observed::Observation;
use crate::model::region::{Authority, Controller, RegionSnapshot};
use crate::model::{Address, ByteCount, OperationId, RegionId};
use crate::plan::document::{Action, Change, Kind, Mode, Plan, Precondition, Warning};

/// The flag that takes the controller's place.
const WAY: &str = "--take-over";

impl Sight {
    /// The regions that have recorded a controller, and which.
    fn controllers(&self) -> impl Iterator<Item = (&RegionId, &Controller)> {
        self.observed.regions.iter().filter_map(|(region, observation)| match observation {
            Observation::Answered { snapshot, .. } => snapshot.controller.as_ref().map(|known| (region, known)),
            Observation::Silent(_) => None,
        })
    }

    /// The highest term that any region answered.
    pub(super) fn highest_term(&self) -> u64 {
        self.controllers().map(|(_, controller)| controller.term).max().unwrap_or(0)
    }

    /// The regions whose controller is not this state file.
    pub(super) fn foreign(&self) -> Vec<(&RegionId, &Controller)> {
        let ours = |controller: &Controller| {
            let seated =
                self.seating.as_ref().is_some_and(|ours| (ours.term, ours.seat) == (controller.term, controller.seat));
            seated && controller.lineage == self.recorded.lineage
        };
        self.controllers().filter(|(_, controller)| !ours(controller)).collect()
    }

    /// Who controls, in words, where it is not this state file.
    fn control(&self) -> Option<String> {
        let foreign = self.foreign();
        let (_, first) = foreign.first()?;
        let named = |regions: &[&RegionId]| regions.iter().map(|id| id.as_str()).collect::<Vec<_>>().join(", ");
        let one = |controller: &Controller| {
            format!("{} (lineage {}, term {})", controller.place, controller.lineage, controller.term)
        };
        let mut all: Vec<(&Controller, Vec<&RegionId>)> = Vec::new();
        for (region, controller) in self.controllers() {
            match all.iter_mut().find(|(known, _)| *known == controller) {
                Some((_, regions)) => regions.push(region),
                None => all.push((controller, vec![region])),
            }
        }
        if all.len() == 1 {
            return Some(format!("the controller is {}, not this state", one(first)));
        }
        let parts = all.iter().map(|(controller, regions)| format!("{} by {}", named(regions), one(controller)));
        Some(format!(
            "nobody controls all regions (a take-over stopped halfway): {}",
            parts.collect::<Vec<_>>().join("; ")
        ))
    }

    /// The effects of a plan that regions take from their controller alone.
    fn controlled_effects(&self, plan: &Plan, settled: &BTreeSet<String>) -> Vec<String> {
        if plan.mode == Mode::RefreshOnly {
            return Vec::new();
        }
        let knows = |region: &RegionId, address: &Address| match (self.observed.snapshot(region), address) {
            (Some(snapshot), Address::Resource(key)) => snapshot.resources.contains_key(key),
            (Some(_) | None, _) => false,
        };
        let needs = |change: &Change| match (change.action, &change.address) {
            (Action::Sync | Action::Repair, _) | (_, Address::Replication(_)) => false,
            (Action::Failover | Action::Fence | Action::Delete, _) | (_, Address::Region(_)) => true,
            (Action::Create | Action::Update, address) => {
                change.regions.iter().any(|region| change.drops.contains(region) || !knows(region, address))
            }
        };
        let changes = plan.effects().filter(|change| !settled.contains(&change.id) && needs(change));
        let changes = changes.map(|change| format!("{} {}", change.action.as_str(), change.address));
        let renames = plan.moved.iter().filter(|planned| !planned.regions.is_empty());
        changes.chain(renames.map(|planned| format!("rename {}", planned.from))).collect()
    }

    /// What forbids the plan to a state file that is not the controller.
    fn gate(&self, plan: &Plan, settled: &BTreeSet<String>, adopt: bool) -> Option<Gate> {
        let control = self.control()?;
        let effects = self.controlled_effects(plan, settled);
        let first = effects.first()?;
        let more = match effects.len() - 1 {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let way = if adopt { format!("`--adopt {WAY}`") } else { format!("`{WAY}`") };
        Some(Gate {
            code: "not_controller".to_owned(),
            detail: format!("{first}{more}: registry and roles are changed by the controller alone; {control}"),
            help: Some(format!(
                "apply from there, or take its place with `apply` and {way}: the other then changes them no more; \
                 `reconcile` goes on with syncs"
            )),
            address: None,
        })
    }

    /// What forbids to take over: every region that anybody has registered must answer.
    pub(super) fn gate_take_over(&self, manager: &MultiRegionManager) -> Result<(), FleetError> {
        let answers = |region: &RegionId| self.observed.snapshot(region).is_some();
        let registries = self.observed.regions.values().filter_map(|observation| match observation {
            Observation::Answered { snapshot, .. } => Some(snapshot.regions.keys()),
            Observation::Silent(_) => None,
        });
        let declared = manager.desired.topology.regions.keys();
        let registered: BTreeSet<&RegionId> = declared.chain(registries.flatten()).collect();
        let missing: Vec<String> = (registered.into_iter().filter(|region| !answers(region)))
            .map(|region| match self.observed.regions.get(region) {
                Some(Observation::Silent(silence)) => format!("{region} ({})", silence.reason),
                Some(Observation::Answered { .. }) | None => format!("{region} (registered, but not declared here)"),
            })
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(FleetError::Refused(vec![Gate {
            code: "take_over".to_owned(),
            detail: format!("to take over, every registered region must answer; {} did not", missing.join(", ")),
            help: Some("bring them back first; until then syncs go on, and the controller stays who it is".to_owned()),
            address: None,
        }]))
    }

    /// Says at planning time what `apply` will refuse.
    pub(super) fn warn(&self, plan: &mut Plan, adopt: bool) {
        if let Some(Gate { detail, .. }) = self.gate(plan, &BTreeSet::new(), adopt) {
            let way = if adopt { format!("--adopt {WAY}") } else { WAY.to_owned() };
            let message = format!("{detail}; it needs `apply {way}`");
            plan.warnings.push(Warning { address: None, message });
        }
    }

    /// A refusal of another lineage's objects names both flags where both are needed.
    pub(super) fn with_both_flags(&self, error: FleetError) -> FleetError {
        let FleetError::Refused(mut gates) = error else { return error };
        if let Some(control) = self.control() {
            for gate in gates.iter_mut().filter(|gate| matches!(gate.code.as_str(), "new_state" | "lineage")) {
                let help = gate.help.take().unwrap_or_default();
                gate.help = Some(format!("{help}; {control}, so that `apply` needs `--adopt {WAY}`"));
            }
        }
        FleetError::Refused(gates)
    }
}

impl Road<'_> {
    /// Refuses a plan that needs the controller, where this state file is not.
    pub(super) fn expect_controller(
        sight: &Sight,
        plan: &Plan,
        settled: &BTreeSet<String>,
        adopt: bool,
    ) -> Result<(), FleetError> {
        sight.gate(plan, settled, adopt).map_or(Ok(()), |gate| Err(FleetError::Refused(vec![gate])))
    }

    /// Makes this state file the controller of every registered region. See the module.
    ///
    /// Assumes that [`Sight::gate_take_over`] let it pass. A repeat of one that succeeded asks for nothing.
    pub(super) async fn take_over(&mut self, sight: &Sight) -> Result<(), FleetError> {
        let founded = |snapshot: &RegionSnapshot| snapshot.identity.is_some();
        let regions: Vec<&RegionId> = (sight.observed.regions.keys())
            .filter(|region| sight.observed.snapshot(region).is_some_and(founded))
            .collect();
        let unbound = sight.controllers().count() < regions.len();
        if regions.is_empty() || (sight.foreign().is_empty() && !unbound) {
            return Ok(());
        }
        // Durable before the first region is asked: what a region accepts is this file's.
        let seating = self.state.take_seat(sight.highest_term() + 1)?;
        let mut accepted: Vec<RegionId> = Vec::new();
        for region in regions {
            let authority = Authority {
                lineage: sight.recorded.lineage,
                term: seating.term,
                seat: seating.seat,
                place: self.state.place(),
                operation: OperationId(self.manager.world.ids.ordered()),
            };
            let Some(port) = sight.ports.get(region) else { continue };
            let change = taking(region, seating.term);
            let clock = &self.manager.world.clock;
            let (started, began) = (clock.now(), clock.since_boot());
            let mut journal = StateJournal { state: &mut self.state, run: self.run, origins: BTreeMap::new() };
            journal.intend(&[&change], started)?;
            let answer = port.take_control(&authority).await;
            let conclusion = Conclusion {
                change: &change,
                outcome: if answer.is_ok() { Outcome::Done } else { Outcome::Failed },
                started: Some(started),
                ended: clock.now(),
                duration: clock.since_boot().saturating_sub(began),
                bytes: ByteCount(0),
                message: Some(answer.as_ref().map_or_else(ToString::to_string, |()| change.reason.clone())),
                memory: Memory::Kept,
            };
            journal.conclude(&[conclusion])?;
            match answer {
                Ok(()) => accepted.push(region.clone()),
                Err(source) => {
                    return Err(FleetError::TakeOver { region: region.clone(), accepted, source: Box::new(source) });
                }
            }
        }
        Ok(())
    }
}

/// A region's change of controller, as journal and history know it.
fn taking(region: &RegionId, term: u64) -> Change {
    Change {
        id: format!("take-over:{region}"),
        address: Address::Region(region.clone()),
        kind: Kind::Region,
        action: Action::Update,
        regions: vec![region.clone()],
        drops: Vec::new(),
        source: None,
        before: None,
        after: None,
        reason: format!("taken over with term {term}"),
        depends_on: Vec::new(),
        precondition: Precondition::default(),
    }
}
