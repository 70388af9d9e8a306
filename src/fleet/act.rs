//! What changes live regions by plan: apply, a saved plan, a reconcile round, one copy by name.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::error::{FleetError, Gate};
use super::failover::ByItself;
use super::manager::MultiRegionManager;
use super::metrics::{Counted, metrics};
use super::options::{OnLocked, PlanOptions, ReconcileOptions, Review, SavedOptions, Watch};
use super::report::{Round, RunReport, Skipped, SyncReport};
use super::road::{Manner, Road, Sight};
use super::view::View;
use crate::execute::records;
use crate::model::event::FailoverTally;
use crate::model::{Address, RegionId, ResourceId, ResourceKey};
use crate::plan::document::{Action, BasePoint, Change, Holder, Kind, Mode, Plan, Precondition, Summary};
use crate::plan::{Allow, Standing, check, recheck};
use crate::state::{StateError, StateFile};

/// As long as it takes.
const FOREVER: Duration = Duration::from_secs(u32::MAX as u64);

impl MultiRegionManager {
    /// Plans under the state's lock, lets `review` see the plan, and carries it out.
    ///
    /// # Errors
    /// Where the run was refused, locked out, or could not begin.
    ///
    /// # Examples
    /// ```
    #[doc = include_str!("example.txt")]
    /// let again = manager.apply(&PlanOptions::default(), &mut Approved, &Watch::default()).await?;
    /// assert_eq!((again.class, again.outcomes.len()), (ExitClass::Done, 0));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn apply(
        &self,
        options: &PlanOptions,
        review: &mut dyn Review,
        watch: &Watch,
    ) -> Result<RunReport, FleetError> {
        let mut road = self.set_out_to_carry_out(self.settings.lock_timeout, watch).await?;
        let prepared = async {
            let sight = road.look_at_all(watch).await?;
            let plan = self.plan_of(&sight, &options.for_planner())?;
            if options.take_over {
                sight.gate_take_over(self, &BTreeMap::new(), None)?;
            } else {
                Road::expect_controller(&sight, &plan, &BTreeSet::new(), options.adopt)?;
            }
            road.await_review(&plan, review).await?;
            if options.take_over {
                road.state.write_notes()?;
                road.take_over(&sight, watch).await?;
            }
            Ok((sight, plan))
        };
        let (sight, plan) = match prepared.await {
            Ok(prepared) => prepared,
            Err(error) => return Err(road.turn_back(error)),
        };
        let manner = Manner { one_thing: !options.targets.is_empty(), ..Manner::default() };
        Ok(road.carry_out(plan, &sight, manner, watch).await?.0)
    }

    /// Carries a saved plan out, after looking again at everything that it touches: what is at its result already is
    /// skipped, what is as the plan saw it is done, and anything else refuses the whole plan before the first write.
    ///
    /// # Errors
    /// As above; a stale plan is [`FleetError::Refused`].
    pub async fn apply_saved(
        &self,
        plan: Plan,
        options: &SavedOptions,
        review: &mut dyn Review,
        watch: &Watch,
    ) -> Result<RunReport, FleetError> {
        let mut road = self.set_out_to_carry_out(self.settings.lock_timeout, watch).await?;
        let prepared = async {
            let sight = road.look_at_all(watch).await?;
            let (plan, settled) = self.look_again(plan, options, &sight)?;
            if options.take_over {
                sight.gate_take_over(self, &BTreeMap::new(), None)?;
            } else {
                Road::expect_controller(&sight, &plan, &settled, false)?;
            }
            road.await_review(&plan, review).await?;
            if options.take_over {
                road.state.write_notes()?;
                road.take_over(&sight, watch).await?;
            }
            Ok((sight, plan, settled))
        };
        let (sight, plan, settled) = match prepared.await {
            Ok(prepared) => prepared,
            Err(error) => return Err(road.turn_back(error)),
        };
        Ok(road.carry_out(plan, &sight, Manner { settled, ..Manner::default() }, watch).await?.0)
    }

    fn look_again(
        &self,
        mut plan: Plan,
        options: &SavedOptions,
        sight: &Sight,
    ) -> Result<(Plan, BTreeSet<String>), FleetError> {
        let findings = check(&plan);
        if let Some(first) = findings.first() {
            return Err(FleetError::Unfit {
                reason: format!("the plan does not hold together: {}: {}", first.at, first.message),
                help: Some("plan again; a saved plan is not for editing".to_owned()),
            });
        }
        let removed = plan.effects().filter(|change| change.action == Action::Delete).count();
        let most = options.max_prune.unwrap_or(crate::plan::PlanOptions::DEFAULT_MAX_PRUNE);
        if plan.mode == Mode::Normal && removed > most as usize {
            return Err(FleetError::Refused(vec![Gate {
                code: "max_prune".to_owned(),
                detail: format!("the plan removes {removed} objects, more than {most} at once"),
                help: Some(format!("if that is meant, raise the limit with --max-prune {removed}")),
                address: None,
            }]));
        }
        if plan.state.lineage.0.is_nil() {
            // Planned before there was a state: it is this one's, which was made just now, or by an apply of this plan
            // that was cut off. What the plan relies on is checked below like any other's.
            plan.state.lineage = sight.recorded.lineage;
        }
        let fresh = crate::plan::PlanOptions::default();
        let verdicts = recheck(&plan, &self.input(sight, &fresh))?;
        let settled = verdicts.into_iter().filter(|verdict| verdict.standing == Standing::AlreadyDone);
        Ok((plan, settled.map(|verdict| verdict.id).collect()))
    }

    /// One round: syncs what is due, and mends what it may. Never asks.
    ///
    /// # Errors
    /// As above. Being locked out is success where it is to be skipped.
    pub async fn reconcile(&self, options: &ReconcileOptions, watch: &Watch) -> Result<Round, FleetError> {
        let wait = match options.on_locked {
            OnLocked::Wait { at_most } => at_most.unwrap_or(FOREVER),
            OnLocked::Fail => self.settings.lock_timeout,
            OnLocked::Skip => Duration::ZERO,
        };
        // First, and without the lock: whoever has it may copy for hours.
        let by_itself =
            if options.allow.failover { self.fail_over_by_policy(watch).await? } else { ByItself::default() };
        let mut road = match self.set_out_to_carry_out(wait, watch).await {
            Ok(road) => road,
            Err(FleetError::State(StateError::Locked { holder, .. })) if options.on_locked == OnLocked::Skip => {
                let holder = holder.map(|holder| holder.to_string());
                return Ok(Round { report: Err(Skipped { holder }), metrics: None });
            }
            Err(error) => return Err(error),
        };
        let planner = crate::plan::PlanOptions {
            mode: Mode::Reconcile,
            allow: Allow { sync: options.allow.sync, drift: options.allow.drift },
            ..crate::plan::PlanOptions::default()
        };
        let prepared = async {
            let mut sight = road.look_at_all(watch).await?;
            if let Some(gate) = sight.nobody_controls() {
                return Err(FleetError::Refused(vec![gate]));
            }
            let mut plan = self.plan_of(&sight, &planner)?;
            sight.hold_back(&mut plan);
            Road::expect_controller(&sight, &plan, &BTreeSet::new(), false)?;
            let found = self.audit(&sight, watch).await;
            if !found.is_empty() {
                // What is damaged now is planned for.
                sight = road.look_at_all(watch).await?;
                plan = self.plan_of(&sight, &planner)?;
                sight.hold_back(&mut plan);
                Road::expect_controller(&sight, &plan, &BTreeSet::new(), false)?;
            }
            Ok((sight, plan, found))
        };
        let (sight, plan, found) = match prepared.await {
            Ok(prepared) => prepared,
            Err(error) => return Err(road.turn_back(error)),
        };
        let manner = Manner { repeated: options.repeated, found, ..Manner::default() };
        let (mut report, _) = road.carry_out(plan, &sight, manner, watch).await?;
        report.class = by_itself.class(report.class);
        let metrics = if options.unmeasured { None } else { Some(self.metrics_of(&report, sight).await?) };
        Ok(Round { report: Ok(report), metrics })
    }

    /// The metrics as text: what the regions say after the round, what an `apply` would still have to do, and how the
    /// round went. A round that did nothing left the regions as it saw them.
    async fn metrics_of(&self, report: &RunReport, before: Sight) -> Result<String, FleetError> {
        let sight = if report.outcomes.is_empty() {
            before
        } else {
            // Two of them need not be in memory at once.
            drop(before);
            self.look().await?
        };
        let view = View { topology: &self.desired.topology, observed: &sight.observed, now: self.world.clock.now() };
        // A refusal has no numbers; the round's own plan has those that matter then.
        let plan = self.plan_of(&sight, &PlanOptions::default().for_planner());
        let counted = match StateFile::new(&self.settings.state).read()? {
            Some(reader) => {
                Counted { syncs: reader.syncs()?, failovers: FailoverTally::of(&reader.failovers(None, None)?) }
            }
            None => Counted::default(),
        };
        Ok(metrics(view, plan.as_ref().unwrap_or(&report.plan), report, counted).to_text())
    }

    /// Copies one resource now, whatever its interval, also where nothing seems to have changed; `accept_change`
    /// takes a suspicious source for what it is.
    ///
    /// # Errors
    /// As above; ids that are not declared; a source that does not hold the resource.
    ///
    /// # Examples
    /// ```
    #[doc = include_str!("example.txt")]
    /// let (vm, east, west) = ("web-1".parse()?, "us-east-1".parse()?, "us-west-1".parse()?);
    /// std::fs::write(dir.path().join("us-east-1/resources/vm/web-1/disk.raw"), "A disk\n".repeat(1000))?;
    /// let copied = manager.sync_resource(&vm, &east, &west, false, &Watch::default()).await?;
    /// assert_eq!((copied.run.class, copied.published.unwrap().point.sequence), (ExitClass::Done, 2));
    /// // Copies are made from the holder.
    /// let error = manager.sync_resource(&vm, &west, &east, false, &Watch::default()).await.unwrap_err();
    /// assert!(error.to_string().contains("held by us-east-1"), "{error}");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn sync_resource(
        &self,
        resource: &ResourceId,
        source: &RegionId,
        target: &RegionId,
        accept_change: bool,
        watch: &Watch,
    ) -> Result<SyncReport, FleetError> {
        let (key, _) = self.declared_resource(resource)?;
        self.declared_region(source)?;
        self.declared_region(target)?;
        let mut road = self.set_out_to_carry_out(self.settings.lock_timeout, watch).await?;
        let prepared = async {
            let sight = road.look_at_all(watch).await?;
            let plan = self.plan_copy(&sight, &key, source, target, accept_change)?;
            Ok((sight, plan))
        };
        let (sight, plan) = match prepared.await {
            Ok(prepared) => prepared,
            Err(error) => return Err(road.turn_back(error)),
        };
        let manner = Manner { accept_change, one_thing: true, ..Manner::default() };
        let (run, mut executed) = road.carry_out(plan, &sight, manner, watch).await?;
        let published = executed.published.pop_first().map(|(_, published)| published);
        Ok(SyncReport { resource: key, run, published })
    }

    /// The plan of one copy: what the planner says of the resource, without all that is not this copy.
    fn plan_copy(
        &self,
        sight: &Sight,
        key: &ResourceKey,
        source: &RegionId,
        target: &RegionId,
        accept_change: bool,
    ) -> Result<Plan, FleetError> {
        let address = Address::Resource(key.clone());
        let options = crate::plan::PlanOptions {
            targets: vec![address.clone()],
            accept_change: if accept_change { BTreeSet::from([key.clone()]) } else { BTreeSet::new() },
            ..crate::plan::PlanOptions::default()
        };
        let mut plan = self.plan_of(sight, &options)?;
        let unfit = |reason: String, help: &str| FleetError::Unfit { reason, help: Some(help.to_owned()) };
        let Some(holder) = records::holder(&sight.observed, key) else {
            return Err(unfit(format!("{key} is not recorded at any region that answers"), "`apply` it first"));
        };
        expect_source(key, &holder.region, (source, target))?;
        let recorded = |region: &RegionId| {
            sight.observed.snapshot(region).is_some_and(|snapshot| snapshot.resources.contains_key(key))
        };
        let seen = |region: &RegionId| sight.observed.snapshot(region).is_some();
        if seen(target) && !recorded(target) {
            let reason = format!("{target} keeps no replica of {key}");
            return Err(unfit(reason, "declare it among the replicas and `apply`"));
        }
        // This copy and nothing else.
        let ours = |change: &Change| change.kind == Kind::Sync && change.regions.contains(target);
        plan.changes.retain(ours);
        plan.drift.clear();
        plan.moved.clear();
        plan.held.clear();
        plan.unmanaged.clear();
        plan.blocked.retain(|blocked| blocked.address == address && blocked.region_id.as_ref() == Some(target));
        for region in &mut plan.unobserved {
            let concerned = region.region_id == *source || region.region_id == *target;
            region.deferred.retain(|deferred| concerned && *deferred == address);
        }
        let deferred = plan.unobserved.iter().any(|region| !region.deferred.is_empty());
        if plan.changes.is_empty() && plan.blocked.is_empty() && plan.waiting.is_empty() && !deferred {
            plan.changes.push(asked_for(sight, key, source, target, holder));
        }
        for change in &mut plan.changes {
            change.depends_on.clear();
        }
        plan.summary = Summary::default();
        for change in &plan.changes {
            plan.summary.count(change.action);
        }
        Ok(plan)
    }
}

/// Refuses a copy that is not made from the resource's holder to somebody else.
pub(super) fn expect_source(
    key: &ResourceKey,
    holder: &RegionId,
    (source, target): (&RegionId, &RegionId),
) -> Result<(), FleetError> {
    let unfit = |reason: String, help: String| Err(FleetError::Unfit { reason, help: Some(help) });
    if holder != source {
        let reason = format!("{key} is held by {holder}, not by {source}: copies are made from there");
        return unfit(reason, format!("use {holder} as the source"));
    }
    if target == source {
        let help = "name a region that keeps a replica as the target".to_owned();
        return unfit(format!("{target} holds {key}, and keeps no copy of it"), help);
    }
    Ok(())
}

/// A copy for which the planner saw no need.
fn asked_for(sight: &Sight, key: &ResourceKey, source: &RegionId, target: &RegionId, holder: Holder) -> Change {
    let replica = sight.observed.snapshot(target).and_then(|snapshot| snapshot.replicas.get(key));
    let newest = replica.and_then(|replica| replica.newest.as_ref());
    Change {
        id: format!("sync:{key}:{target}"),
        address: Address::Resource(key.clone()),
        kind: Kind::Sync,
        action: Action::Sync,
        regions: vec![target.clone()],
        drops: Vec::new(),
        source: Some(source.clone()),
        before: None,
        after: None,
        reason: "asked for by name".to_owned(),
        depends_on: Vec::new(),
        precondition: Precondition {
            base: Some(BasePoint {
                sequence: newest.map(|newest| newest.point.sequence),
                data_hash: newest.map(|newest| newest.point.data_hash),
            }),
            holder: Some(holder),
            ..Precondition::default()
        },
    }
}
