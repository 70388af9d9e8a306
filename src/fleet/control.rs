//! The controller: who may change roles and the registry, and how another state file takes its place.
//!
//! A state file controls where every region that it sees has recorded its lineage, term and seat. Regions check each
//! order for themselves; here the whole run is refused before its first write, with the way on.
//!
//! Taking over: all registered regions are asked first, then the new seat and term are durable in the state, then
//! each region accepts, in the order of ids. It counts only when all have accepted. A crash or a refusal in between
//! leaves regions with different controllers: then nobody controls, every gate says so, and anyone may take over above
//! the highest term.
//!
//! Missing may be regions that a person declared gone, and one that is fenced by the policy's hook in the same run: after
//! the others have accepted, so that the former controller has nobody's ear any more. Where that fence fails, this
//! state gives its seat up again. Cut off just before it, the state controls regions one of which still knows another
//! controller; nothing starts anywhere without that one's acceptance or its fence. Once a take-over counts, the state
//! remembers whom it went without: such a region is bound by the next `apply` or `reconcile` that it answers, and stops
//! nothing but failovers until then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::error::{FleetError, Gate};
use super::manager::MultiRegionManager;
use super::options::Watch;
use super::road::{Road, Sight, standings};
use super::single::single;
use crate::execute::hook::HookOrder;
use crate::failover::{self, Refusal};
use crate::live::port::{PeerRecords, PortError, RegionPort};
use crate::model::listed::listed;
use crate::model::observed::Observation;
use crate::model::point::BlockReason;
use crate::model::region::{Controller, Epoch, RegionSnapshot};
use crate::model::{Address, ByteCount, OperationId, RegionId};
use crate::plan::document::{Action, Blocked, Change, Kind, Mode, Plan, Summary, Warning};
use crate::process::Occasion;
use crate::state::{RunEnd, RunOutcome};

/// The flag that takes the controller's place.
const WAY: &str = "--take-over";

/// What taking over does without.
#[derive(Debug, Clone, Default)]
pub struct TakeOverOptions {
    /// Regions that never come back as they were, in the words of whoever says so.
    pub gone: BTreeMap<RegionId, String>,
    /// A region that does not answer, and that the policy's hook cuts off in the same run.
    pub fence: Option<RegionId>,
}

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
        self.observed.answering().filter_map(|(region, seen)| Some((region, seen.controller.as_ref()?)))
    }

    /// The highest term that any region answered, one too that takes part in nothing.
    pub(super) fn highest_term(&self) -> u64 {
        self.obeyed.values().map(|controller| controller.term).max().unwrap_or(0)
    }

    fn is_ours(&self, controller: &Controller) -> bool {
        let seated =
            self.seating.as_ref().is_some_and(|ours| (ours.term, ours.seat) == (controller.term, controller.seat));
        seated && controller.lineage == self.recorded.lineage
    }

    /// The regions whose controller is not this state file.
    pub(super) fn foreign(&self) -> Vec<(&RegionId, &Controller)> {
        self.controllers().filter(|(_, controller)| !self.is_ours(controller)).collect()
    }

    /// Whether a region obeys another one that this state does not stand above: it never obeys this one before another
    /// take-over, though it may take part in nothing.
    pub(super) fn is_outranked(&self) -> bool {
        let term = self.seating.map_or(0, |ours| ours.term);
        self.obeyed.values().any(|controller| controller.term >= term && !self.is_ours(controller))
    }

    /// The regions that obey an earlier controller, because this state took its place without them: they are bound when
    /// something is applied.
    pub(super) fn not_bound(&self) -> Vec<(&RegionId, &Controller)> {
        let term = self.seating.map_or(0, |ours| ours.term);
        let left_out = |region: &RegionId| self.recorded.left_out.contains(region);
        self.foreign().into_iter().filter(|(region, known)| left_out(region) && known.term < term).collect()
    }

    /// What holds roles back as long as such a region is not bound.
    pub(super) fn gate_not_bound(&self) -> Option<Gate> {
        let not_bound = self.not_bound();
        let (region, controller) = not_bound.first()?;
        Some(Gate {
            code: "not_controller".to_owned(),
            detail: format!(
                "{region} still obeys {} (term {}): this state took control without it",
                controller.place, controller.term
            ),
            help: Some("`apply` binds it, and so does the next `reconcile`".to_owned()),
            address: None,
        })
    }

    /// Who controls, where it is not this state file.
    fn control(&self) -> Option<Control> {
        let not_bound: BTreeSet<&RegionId> = self.not_bound().into_iter().map(|(region, _)| region).collect();
        let foreign: Vec<_> = self.foreign().into_iter().filter(|(region, _)| !not_bound.contains(region)).collect();
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
        may_miss: Option<&RegionId>,
    ) -> Result<(), FleetError> {
        self.expect_gone(gone)?;
        let (answers, before) = (|region: &RegionId| self.observed.snapshot(region).is_some(), self.observed.gone());
        let registries = self.observed.answering().flat_map(|(_, seen)| seen.regions.keys());
        let declared = manager.desired.topology.regions.keys();
        let registered: BTreeSet<&RegionId> = declared.chain(registries).collect();
        let missing: Vec<String> = (registered.into_iter().filter(|region| {
            !answers(region) && !gone.contains_key(*region) && !before.contains_key(region) && may_miss != Some(*region)
        }))
        .map(|region| match self.observed.regions.get(region) {
            Some(Observation::Silent(silence)) => format!("{region} ({})", silence.reason),
            Some(Observation::Answered { .. }) | None => format!("{region} (registered, but not declared here)"),
        })
        .collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(FleetError::refused(
            "take_over",
            format!("to take over, every registered region must answer; {} did not", missing.join(", ")),
            "bring them back first; have one cut off by the fence hook, with `failover take-over --fence REGION`; or say \
             with --gone REGION=\"how you know\" that one never comes back. Until then syncs go on, and the controller \
             stays who it is",
        ))
    }

    /// Says at planning time what `apply` will refuse.
    pub(super) fn warn(&self, plan: &mut Plan, adopt: bool) {
        if let Some(Gate { detail, .. }) = self.gate(plan, &BTreeSet::new(), adopt) {
            let way = if adopt { format!("--adopt {WAY}") } else { WAY.to_owned() };
            let message = format!("{detail}; it needs `apply {way}`");
            plan.warnings.push(Warning { address: None, message });
        }
        if let Some(Gate { detail, help: Some(help), .. }) = self.gate_not_bound() {
            plan.warnings.push(Warning { address: None, message: format!("{detail}; {help}") });
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
    /// Makes this state file the controller of every registered region, but for those that are gone. See the module.
    ///
    /// # Errors
    /// [`FleetError::Refused`] where a region does not answer; [`FleetError::TakeOver`] where one does not accept, or is
    /// not cut off.
    pub async fn take_control(&self, options: &TakeOverOptions, watch: &Watch) -> Result<u64, FleetError> {
        let TakeOverOptions { gone, fence } = options;
        let fence = fence.as_ref();
        if let Some(region) = fence {
            self.declared_region(region)?;
        }
        self.take_control_with(gone, fence, fence, watch).await
    }

    /// Takes control without a region that the operation at hand cuts off, or has cut off.
    pub(super) async fn take_control_but(
        &self,
        gone: &BTreeMap<RegionId, String>,
        may_miss: Option<&RegionId>,
        watch: &Watch,
    ) -> Result<u64, FleetError> {
        self.take_control_with(gone, may_miss, None, watch).await
    }

    async fn take_control_with(
        &self,
        gone: &BTreeMap<RegionId, String>,
        may_miss: Option<&RegionId>,
        fence: Option<&RegionId>,
        watch: &Watch,
    ) -> Result<u64, FleetError> {
        let mut road = self.set_out(self.settings.lock_timeout, watch).await?;
        let taken = async {
            let sight = road.look().await?;
            fence.map_or(Ok(()), |region| self.expect_fence(&sight, region))?;
            sight.gate_take_over(self, gone, may_miss)?;
            road.take_over(&sight, watch).await?;
            if let Some(region) = fence {
                road.cut_off(&sight, region, watch).await?;
            }
            road.counts(&sight)?;
            Ok(road.state.seating()?.map(|seating| seating.term).unwrap_or_default())
        };
        let term = match taken.await {
            Ok(term) => term,
            Err(error) => return Err(road.turn_back(error)),
        };
        let message = Some(format!("controls with term {term}"));
        road.state.finish_run(road.run, &RunEnd { outcome: RunOutcome::Done, exit_code: 0, message })?;
        Ok(term)
    }

    /// Refuses to cut a region off that answers, or without a hook that could be run here.
    fn expect_fence(&self, sight: &Sight, region: &RegionId) -> Result<(), FleetError> {
        if sight.observed.snapshot(region).is_some() {
            let detail = format!("{region} answers, and can accept");
            return Err(FleetError::refused("fence", detail, "leave --fence out"));
        }
        self.expect_fence_hook("or say with --gone how you know that the region is lost")
    }

    /// Refuses to cut anything off without a hook that could be run here. `otherwise`: what else there is to do.
    pub(super) fn expect_fence_hook(&self, otherwise: &str) -> Result<(), FleetError> {
        let hook = &self.desired.topology.policy.failover.hooks.fence;
        if hook.is_empty() {
            let help = format!("name a program in `hooks.fence` of [failover], {otherwise}");
            return Err(FleetError::refused("fence", "no fence hook is declared".to_owned(), help));
        }
        self.hooks().expect_runnable(hook).map_err(|why| {
            FleetError::refused("fence", why.to_string(), "run it where the hook is, or put the hook here")
        })
    }
}

impl Road<'_> {
    /// Cuts a region off that could not be asked to accept. All others have just said that this state controls them.
    async fn cut_off(&mut self, sight: &Sight, region: &RegionId, watch: &Watch) -> Result<(), FleetError> {
        let Some(seating) = self.state.seating()? else { return Ok(()) };
        let lineage = sight.recorded.lineage;
        let ports: Vec<_> = sight.ports.iter().filter(|(other, _)| sight.observed.snapshot(other).is_some()).collect();
        // They are asked at once: their word must not be old when the hook begins.
        let confirmed = self.manager.world.clock.since_boot();
        let told = standings(ports.iter().copied()).await;
        for (other, told) in &told {
            let obeys =
                |known: &Controller| (known.lineage, known.term, known.seat) == (lineage, seating.term, seating.seat);
            if !told.as_ref().is_ok_and(|told| told.controller.as_ref().is_some_and(obeys)) {
                let why = PortError::Failed("it does not confirm that this state controls it".to_owned());
                return Err(self.give_up(other, &ports, why)?);
            }
        }
        let snapshots = || ports.iter().filter_map(|(other, _)| sight.observed.snapshot(other));
        let epoch = Epoch(snapshots().map(|seen| seen.highest_epoch.0).max().unwrap_or_default() + 1);
        let records = snapshots().flat_map(|seen| &seen.resources);
        let held = records.filter(|(_, record)| record.holder == *region).map(|(key, _)| key.clone());
        let occasion = Occasion {
            operation: OperationId(self.manager.world.ids.ordered()),
            epoch,
            attempt: 1,
            from: region.clone(),
            to: region.clone(),
            resources: held.collect::<BTreeSet<_>>().into_iter().collect(),
        };
        let policy = &self.manager.desired.topology.policy.failover.hooks;
        let order = HookOrder { argv: &policy.fence, timeout: policy.timeout, occasion: &occasion, confirmed };
        let (id, reason) = (format!("fence:{region}"), "cut off, so that it need not accept".to_owned());
        let change = single(id, Address::Region(region.clone()), Kind::Fence, Action::Fence, region, reason);
        let hooks = self.manager.hooks();
        let effect = async {
            let fenced = hooks.fence(order, &watch.cancel).await;
            fenced.map(|()| ((), ByteCount(0))).map_err(|why| PortError::Failed(why.to_string()))
        };
        match self.journalled(&change, watch, effect).await? {
            Ok(()) => Ok(()),
            Err(why) => Err(self.give_up(region, &ports, why)?),
        }
    }

    /// The error of a take-over that does not count, once this state has given its seat up.
    fn give_up(
        &mut self,
        region: &RegionId,
        asked: &[(&RegionId, &Arc<dyn RegionPort>)],
        why: PortError,
    ) -> Result<FleetError, FleetError> {
        self.state.leave_seat()?;
        let accepted = asked.iter().map(|(other, _)| (*other).clone()).collect();
        Ok(FleetError::TakeOver { region: region.clone(), accepted, source: Box::new(why) })
    }

    /// Remembers that the take-over counts, and which regions it went without.
    fn counts(&mut self, sight: &Sight) -> Result<(), FleetError> {
        let registered = sight.observed.answering().flat_map(|(_, seen)| seen.regions.keys());
        let declared = self.manager.desired.topology.regions.keys();
        let all: BTreeSet<&RegionId> = declared.chain(registered).collect();
        let missing = all.into_iter().filter(|region| sight.observed.snapshot(region).is_none());
        let without: BTreeSet<RegionId> = missing.cloned().collect();
        Ok(self.state.seat_counts(&without)?)
    }

    /// Refuses a plan that needs the controller, where this state file is not.
    pub(super) fn expect_controller(
        sight: &Sight,
        plan: &Plan,
        settled: &BTreeSet<String>,
        adopt: bool,
    ) -> Result<(), FleetError> {
        sight.gate(plan, settled, adopt).map_or(Ok(()), |gate| Err(FleetError::Refused(vec![gate])))
    }

    /// One order about authority or the registry, in the history. What the region answered.
    pub(super) async fn tell_control(
        &mut self,
        port: &Arc<dyn RegionPort>,
        control: &failover::Control,
        peers: &PeerRecords,
        watch: &Watch,
    ) -> Result<Result<(), PortError>, FleetError> {
        use failover::Control;
        let region = port.region();
        let (verb, reason) = match control {
            Control::TakeOver { authority } => ("take-over", format!("taken over with term {}", authority.term)),
            Control::Register { gone, .. } => ("register", format!("{} regions are gone", gone.len())),
            Control::DeclaredGone { .. } => ("declared-gone", "learns that it was declared gone".to_owned()),
            Control::Readmit { .. } => ("readmit", "takes part again".to_owned()),
            Control::CutOff { region, .. } => ("cut-off", format!("{region} is cut off by hand")),
            Control::LetIn { region, .. } => ("let-in", format!("{region} is let in again")),
        };
        let (id, address) = (format!("{verb}:{region}"), Address::Region(region.clone()));
        let change = single(id, address, Kind::Region, Action::Update, region, reason);
        let effect = async { port.control(control, peers).await.map(|()| ((), ByteCount(0))) };
        self.journalled(&change, watch, effect).await
    }

    /// The same, where a region that does not obey ends the run.
    ///
    /// # Errors
    /// [`FleetError::Refused`] where something runs, or may run, at the region, or an operation is open there;
    /// [`FleetError::Region`] for the rest.
    pub(super) async fn order(
        &mut self,
        port: &Arc<dyn RegionPort>,
        control: failover::Control,
        peers: &PeerRecords,
        watch: &Watch,
    ) -> Result<(), FleetError> {
        let takes_over = matches!(control, failover::Control::TakeOver { .. });
        let Err(error) = self.tell_control(port, &control, peers, watch).await? else { return Ok(()) };
        let region = port.region().clone();
        if let PortError::NotController { place, term, .. } = &error
            && takes_over
        {
            let detail = format!("{region} obeys {place}, with term {term}");
            let help = format!("go above that: `region readmit {region} --take-over`");
            return Err(FleetError::refused("not_controller", detail, help));
        }
        if let PortError::Role(refusal) = &error {
            match &**refusal {
                Refusal::Running(machines) => {
                    let detail = format!("{} runs at {region}, or may", listed(machines, 12));
                    let help = format!("stop it there: {region} holds nothing once it is readmitted");
                    return Err(FleetError::refused("running", detail, help));
                }
                Refusal::Open(id) => {
                    let detail = format!("operation {id} is open at {region}");
                    let help = "bring it to its end first: `failover resume` or `failover abort`";
                    return Err(FleetError::refused("open_operation", detail, help));
                }
                _ => {}
            }
        }
        Err(FleetError::Region { address: Address::Region(region.clone()), region, source: Box::new(error) })
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
        if regions.is_empty() || (sight.foreign().is_empty() && !unbound && !sight.is_outranked()) {
            return Ok(());
        }
        // Durable before the first region is asked: what a region accepts is this file's.
        let seating = self.state.take_seat(sight.highest_term() + 1)?;
        let mut accepted: Vec<RegionId> = Vec::new();
        for region in regions {
            let authority = self.speaking(sight, seating);
            let Some(port) = sight.ports.get(region) else { continue };
            let control = failover::Control::TakeOver { authority };
            let answer = self.tell_control(port, &control, &PeerRecords::default(), watch).await?;
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
