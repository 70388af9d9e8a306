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
use super::options::Watch;
use super::road::{Road, Sight};
use super::single::single;
use crate::model::observed::Observation;
use crate::model::point::BlockReason;
use crate::model::region::{Authority, Controller, RegionSnapshot};
use crate::model::{Address, ByteCount, OperationId, RegionId};
use crate::plan::document::{Action, Blocked, Change, Kind, Mode, Plan, Summary, Warning};
use crate::state::{RunEnd, RunOutcome};

/// The flag that takes the controller's place.
const WAY: &str = "--take-over";

/// Who controls the regions, in words, where it is not this state file.
enum Control {
    /// Another state file, all of them.
    Elsewhere(String),
    /// Several, so that nobody does.
    Nowhere(String),
}

impl std::fmt::Display for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Elsewhere(words) | Self::Nowhere(words) => f.write_str(words),
        }
    }
}

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

    /// Who controls, where it is not this state file.
    fn control(&self) -> Option<Control> {
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
            return Some(Control::Elsewhere(format!("the controller is {}, not this state", one(first))));
        }
        let parts = all.iter().map(|(controller, regions)| format!("{} by {}", named(regions), one(controller)));
        Some(Control::Nowhere(format!(
            "nobody controls all regions (a take-over stopped halfway): {}",
            parts.collect::<Vec<_>>().join("; ")
        )))
    }

    /// Whether a change is one that regions take from their controller alone.
    fn controlled(&self, change: &Change) -> bool {
        let knows = |region: &RegionId, address: &Address| match (self.observed.snapshot(region), address) {
            (Some(snapshot), Address::Resource(key)) => snapshot.resources.contains_key(key),
            (Some(_) | None, _) => false,
        };
        match (change.action, &change.address) {
            (Action::Sync | Action::Repair, _) | (_, Address::Replication(_)) => false,
            (Action::Failover | Action::Fence | Action::Delete, _) | (_, Address::Region(_)) => true,
            (Action::Create | Action::Update, address) => {
                change.regions.iter().any(|region| change.drops.contains(region) || !knows(region, address))
            }
        }
    }

    /// What of a plan regions take from their controller alone, in words.
    fn controlled_effects(&self, plan: &Plan, settled: &BTreeSet<String>) -> Vec<String> {
        if plan.mode == Mode::RefreshOnly {
            return Vec::new();
        }
        let changes = plan.effects().filter(|change| !settled.contains(&change.id) && self.controlled(change));
        let changes = changes.map(|change| format!("{} {}", change.action.as_str(), change.address));
        let renames = plan.moved.iter().filter(|planned| !planned.regions.is_empty());
        changes.chain(renames.map(|planned| format!("rename {}", planned.from))).collect()
    }

    /// Takes out of a round what only the controller may do, and all that waits for it, so that copies go on. Where
    /// nobody controls all regions nothing is taken out: that round is refused.
    pub(super) fn hold_back(&self, plan: &mut Plan) {
        let Some(Control::Elsewhere(control)) = self.control() else { return };
        let mut held: BTreeSet<String> = BTreeSet::new();
        loop {
            let waits = |change: &Change| change.depends_on.iter().any(|first| held.contains(first));
            let more = plan.effects().filter(|change| self.controlled(change) || waits(change));
            let more: BTreeSet<String> = more.map(|change| change.id.clone()).collect();
            if more == held {
                break;
            }
            held = more;
        }
        for change in plan
            .changes
            .extract_if(.., |change| held.contains(&change.id))
            .chain(plan.drift.extract_if(.., |change| held.contains(&change.id)))
        {
            plan.blocked.push(Blocked {
                region_id: if change.kind == Kind::Sync { change.regions.into_iter().next() } else { None },
                address: change.address,
                reason: BlockReason::NotController,
                detail: format!("registry and roles are changed by the controller alone; {control}"),
            });
        }
        plan.blocked.sort_by(|one, other| (&one.address, &one.region_id).cmp(&(&other.address, &other.region_id)));
        plan.summary = Summary::default();
        for action in plan.changes.iter().chain(&plan.drift).map(|change| change.action).collect::<Vec<_>>() {
            plan.summary.count(action);
        }
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

    /// Who controls, in words, where it is not this state file.
    pub(super) fn control_elsewhere(&self) -> Option<String> {
        self.control().map(|control| control.to_string())
    }

    /// What refuses a round: a take-over that stopped halfway leaves nobody whose word counts everywhere.
    pub(super) fn nobody_controls(&self) -> Option<Gate> {
        let Some(Control::Nowhere(detail)) = self.control() else { return None };
        Some(Gate {
            code: "not_controller".to_owned(),
            detail,
            help: Some("take over with `failover take-over`, from the state that is to control".to_owned()),
            address: None,
        })
    }

    /// Whether any region has recorded a controller.
    pub(super) fn is_controlled(&self) -> bool {
        self.controllers().next().is_some()
    }

    /// What forbids to take over: every region that anybody has registered must answer, but for those that a person
    /// declared gone.
    pub(super) fn gate_take_over(
        &self,
        manager: &MultiRegionManager,
        gone: &BTreeMap<RegionId, String>,
    ) -> Result<(), FleetError> {
        let answers = |region: &RegionId| self.observed.snapshot(region).is_some();
        let registries = self.observed.regions.values().filter_map(|observation| match observation {
            Observation::Answered { snapshot, .. } => Some(snapshot.regions.keys()),
            Observation::Silent(_) => None,
        });
        let declared = manager.desired.topology.regions.keys();
        let registered: BTreeSet<&RegionId> = declared.chain(registries.flatten()).collect();
        let missing: Vec<String> = (registered
            .into_iter()
            .filter(|region| !answers(region) && !gone.contains_key(*region)))
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
            help: Some(
                "bring them back first, or say with --gone REGION=\"how you know\" that one never comes back; until then \
                 syncs go on, and the controller stays who it is"
                    .to_owned(),
            ),
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

impl MultiRegionManager {
    /// Makes this state file the controller of every registered region, but for those that are `gone`.
    ///
    /// # Errors
    /// [`FleetError::Refused`] where a region does not answer; [`FleetError::TakeOver`] where one does not accept.
    pub async fn take_control(&self, gone: &BTreeMap<RegionId, String>, watch: &Watch) -> Result<u64, FleetError> {
        let mut road = self.set_out(self.settings.lock_timeout, watch).await?;
        let taken = async {
            let sight = road.look().await?;
            sight.gate_take_over(self, gone)?;
            road.take_over(&sight, watch).await?;
            Ok(road.state.seating()?.map(|seating| seating.term).unwrap_or_default())
        };
        let term = match taken.await {
            Ok(term) => term,
            Err(error) => return Err(road.turn_back(error)),
        };
        let end =
            RunEnd { outcome: RunOutcome::Done, exit_code: 0, message: Some(format!("controls with term {term}")) };
        road.state.finish_run(road.run, &end)?;
        Ok(term)
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
    pub(super) async fn take_over(&mut self, sight: &Sight, watch: &Watch) -> Result<(), FleetError> {
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
            let (id, reason) = (format!("take-over:{region}"), format!("taken over with term {}", seating.term));
            let change = single(id, Address::Region(region.clone()), Kind::Region, Action::Update, region, reason);
            let effect = async { port.take_control(&authority).await.map(|()| ((), ByteCount(0))) };
            let answer = self.journalled(&change, watch, effect).await?;
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
