//! The road that everything takes that changes anything: lock, observe, plan and guards, journal, execute, history.
//!
//! A [`Road`] is a run that has the state's lock and is in the history before its first effect. Whatever becomes of it
//! is written there: what it did, that it was refused and by which gate, that it was stopped. A process that is
//! killed from then on leaves a run without an end, which the next one finds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use uuid::Uuid;

use super::apart::apart;
use super::audit::Found;
use super::error::{FleetError, Gate};
use super::manager::MultiRegionManager;
use super::options::{Review, Verdict, Watch};
use super::report::{Counts, ExitClass, RunReport};
use crate::execute::journal::{Journal, StateJournal};
use crate::execute::outcome::Executed;
use crate::execute::run::{Job, run};
use crate::host::lock::Holder;
use crate::live::Extent;
use crate::live::port::{PortError, RegionPort};
use crate::model::failover::Standings;
use crate::model::observed::{Observation, Observed, RegionStatus};
use crate::model::recorded::Recorded;
use crate::model::region::{Authority, Controller, RegionSnapshot};
use crate::model::topology::Endpoint;
use crate::model::{Address, Digest, Lineage, OperationId, RegionId, RunId, StoreId, Timestamp};
use crate::plan::document::{Mode, Plan};
use crate::plan::{PlanInput, PlanOptions, compute_plan, doubts};
use crate::state::{HealthObservation, RunEnd, RunOutcome, RunStart, Seating, State, StateFile, StateReader};

/// The ports of a look at the regions.
pub(super) type Ports = Arc<BTreeMap<RegionId, Arc<dyn RegionPort>>>;

/// The version that plans carry.
const TOOL_VERSION: &str = env!("CARGO_PKG_VERSION");

/// What planning knows.
#[derive(Debug)]
pub(super) struct Sight {
    pub(super) recorded: Recorded,
    pub(super) superseded: BTreeSet<Digest>,
    pub(super) observed: Arc<Observed>,
    /// When they were asked, before any of them answered.
    pub(super) looked_at: Timestamp,
    /// The place that the state holds as controller; none: it never took one, or lost it.
    pub(super) seating: Option<Seating>,
    pub(super) ports: Ports,
    /// The regions that left every question without an answer, for as long as the policy waits.
    pub(super) silent: BTreeSet<RegionId>,
    /// Whom each region obeys that answered, those too on which no plan relies.
    pub(super) obeyed: BTreeMap<RegionId, Controller>,
    /// Regions that answered, and were declared gone before: nothing they say counts.
    pub(super) returned: BTreeSet<RegionId>,
}

impl Sight {
    /// The regions that a person declares gone now, or did before as any region keeps; of the last ones not `region`: that
    /// it is stopped needs a word of its own.
    pub(super) fn gone_but(&self, region: &RegionId, now: &BTreeMap<RegionId, String>) -> BTreeMap<RegionId, String> {
        let before = self.observed.gone().into_iter().filter(|(gone, _)| *gone != region);
        let before = before.map(|(gone, words)| (gone.clone(), words.to_owned()));
        before.chain(now.iter().map(|(gone, words)| (gone.clone(), words.clone()))).collect()
    }

    /// Refuses to take for gone what has come back.
    pub(super) fn expect_gone(&self, gone: &BTreeMap<RegionId, String>) -> Result<(), FleetError> {
        let Some(region) = gone.keys().find(|region| self.returned.contains(*region)) else { return Ok(()) };
        Err(FleetError::refused(
            "agreement",
            format!("{region} was declared gone, and answers"),
            format!("`region readmit {region}` has it take part again"),
        ))
    }
}

/// What regions say of their roles, those too on which no plan relies. All are asked at once.
pub(super) async fn standings<'a>(
    ports: impl Iterator<Item = (&'a RegionId, &'a Arc<dyn RegionPort>)>,
) -> BTreeMap<RegionId, Result<Standings, PortError>> {
    let asked = ports.map(|(region, port)| async move { (region.clone(), port.standings(&BTreeSet::new()).await) });
    join_all(asked.collect::<Vec<_>>()).await.into_iter().collect()
}

/// Topologies that were applied before the last one.
fn superseded(reader: &StateReader) -> Result<BTreeSet<Digest>, FleetError> {
    Ok(reader.topologies()?.into_iter().skip(1).map(|applied| applied.digest).collect())
}

impl MultiRegionManager {
    /// What the state remembers, without its lock. Where there is none the lineage is the nil one: plans of the same
    /// inputs are the same, and whoever applies mints a lineage in its place.
    pub(super) fn remembered(&self) -> Result<(Recorded, BTreeSet<Digest>, Option<Seating>), FleetError> {
        match StateFile::new(&self.settings.state).read()? {
            Some(reader) => Ok((reader.recorded()?, superseded(&reader)?, reader.seating(&self.settings.host)?)),
            None => Ok((Recorded::new(Lineage(Uuid::nil())), BTreeSet::new(), None)),
        }
    }

    /// Looks at all regions without the state's lock.
    pub(super) async fn look(&self) -> Result<Sight, FleetError> {
        let (recorded, superseded, seating) = self.remembered()?;
        Ok(self.look_with(recorded, superseded, seating).await)
    }

    /// Looks at what all regions have recorded, and at no resource's files: no plan can be made of it. Which answers can be
    /// relied on is judged as for a plan.
    pub(super) async fn look_at_records(&self) -> Result<Observed, FleetError> {
        let (recorded, ..) = self.remembered()?;
        let seen = self.observe(&self.open_all(&recorded), Extent::Records).await;
        Ok(self.judge(&recorded, apart(&self.desired.topology.endpoints, seen)))
    }

    pub(super) async fn look_with(
        &self,
        recorded: Recorded,
        superseded: BTreeSet<Digest>,
        seating: Option<Seating>,
    ) -> Sight {
        let ports: Ports = Arc::new(self.open_all(&recorded));
        let looked_at = self.world.clock.now();
        let seen = apart(&self.desired.topology.endpoints, self.observe(&ports, Extent::Everything).await);
        let itself = |region: &RegionId, seen: &RegionSnapshot| {
            seen.identity.as_ref().is_some_and(|identity| identity.region_id == *region)
        };
        let is_silent = |seen: &Observation| match seen {
            Observation::Silent(silence) => silence.status == RegionStatus::Unreachable,
            Observation::Answered { .. } => false,
        };
        let silent =
            seen.regions.iter().filter(|(_, seen)| is_silent(seen)).map(|(region, _)| region.clone()).collect();
        let answered = seen.answering().filter(|(region, seen)| itself(region, seen));
        let answered: BTreeSet<RegionId> = answered.map(|(region, _)| region.clone()).collect();
        let obeyed = seen.answering().filter_map(|(region, seen)| Some((region.clone(), seen.controller.clone()?)));
        let obeyed = obeyed.collect();
        let observed = self.judge(&recorded, seen);
        let gone = observed.gone().into_keys().filter(|region| answered.contains(*region));
        let returned = gone.cloned().collect();
        Sight {
            recorded,
            superseded,
            observed: Arc::new(observed),
            looked_at,
            seating,
            ports,
            silent,
            obeyed,
            returned,
        }
    }

    /// Takes answers that cannot be relied on for silence, so that nothing beyond the planner is misled by them either.
    pub(super) fn judge(&self, recorded: &Recorded, mut observed: Observed) -> Observed {
        let doubts = doubts(&PlanInput {
            topology: &self.desired.topology,
            topology_path: &self.desired.path,
            observed: &observed,
            recorded,
            superseded: &BTreeSet::new(),
            now: self.world.clock.now(),
            tool_version: TOOL_VERSION,
            options: &PlanOptions::default(),
        });
        for (region, why) in doubts {
            if let Some(observation) = observed.regions.get_mut(&region) {
                *observation = Observation::Silent(why);
            }
        }
        observed
    }

    /// Makes a plan of what is known. Pure but for the time of day.
    pub(super) fn plan_of(&self, sight: &Sight, options: &PlanOptions) -> Result<Plan, FleetError> {
        compute_plan(&self.input(sight, options)).map_err(|refusal| sight.with_both_flags(refusal.into()))
    }

    pub(super) fn input<'a>(&'a self, sight: &'a Sight, options: &'a PlanOptions) -> PlanInput<'a> {
        PlanInput {
            topology: &self.desired.topology,
            topology_path: &self.desired.path,
            observed: &sight.observed,
            recorded: &sight.recorded,
            superseded: &sight.superseded,
            now: self.world.clock.now(),
            tool_version: TOOL_VERSION,
            options,
        }
    }

    /// Takes the state's lock and begins a run.
    ///
    /// Guarantee: from now on the run is in the history, and nobody else changes anything under this state. Where
    /// there was no state file, one is made with a new lineage; while nothing else stands in it, it counts as new.
    pub(super) async fn set_out(&self, wait: Duration, watch: &Watch) -> Result<Road<'_>, FleetError> {
        self.begin(self.open_state(wait, watch).await?)
    }

    /// The same for a run that carries a plan out and does nothing else: it is in the history from its first intent on,
    /// from when somebody is asked about it, or from its end. One that was killed before did nothing.
    pub(super) async fn set_out_to_carry_out(&self, wait: Duration, watch: &Watch) -> Result<Road<'_>, FleetError> {
        let mut state = self.open_state(wait, watch).await?;
        state.gather_notes();
        self.begin(state)
    }

    async fn open_state(&self, wait: Duration, watch: &Watch) -> Result<State, FleetError> {
        let host = &self.settings.host;
        let holder = Holder {
            who: host.who(),
            pid: host.pid,
            command: self.settings.command.clone(),
            since: self.world.clock.now(),
        };
        let file = StateFile::new(&self.settings.state);
        let locked = tokio::select! {
            locked = file.lock_within(&holder, wait) => locked?,
            () = watch.cancel.cancelled() => return Err(FleetError::Interrupted),
        };
        Ok(locked.open(&self.world, host, Lineage(self.world.ids.random()))?)
    }

    /// Begins a run in a state that is open.
    pub(super) fn begin(&self, mut state: State) -> Result<Road<'_>, FleetError> {
        let host = &self.settings.host;
        let run = state.begin_run(&RunStart {
            command: self.settings.command.clone(),
            who: host.who(),
            host: host.name.clone(),
            pid: host.pid,
            topology: Some(self.desired.topology.digest),
        })?;
        Ok(Road { manager: self, state, run })
    }
}

/// How a plan is carried out.
#[derive(Debug, Default)]
pub(super) struct Manner {
    /// Changes that are at their result already.
    pub(super) settled: BTreeSet<String>,
    /// Whether suspicious sources are taken for what they are.
    pub(super) accept_change: bool,
    /// Whether particular objects were asked for.
    pub(super) one_thing: bool,
    /// Whether it is left out of the history where it does nothing and ends like the last one.
    pub(super) repeated: bool,
    /// What was found when replicas were read back.
    pub(super) found: Found,
}

/// A run that has the state.
#[derive(Debug)]
pub(super) struct Road<'a> {
    pub(super) manager: &'a MultiRegionManager,
    pub(super) state: State,
    pub(super) run: RunId,
}

impl Road<'_> {
    /// Looks at all regions, and notes what their health is and how far their memory goes.
    pub(super) async fn look(&mut self) -> Result<Sight, FleetError> {
        let superseded = superseded(self.state.reader())?;
        let sight = self.manager.look_with(self.state.recorded()?, superseded, self.state.seating()?).await;
        let at = self.manager.world.clock.now();
        let policy = &self.manager.desired.topology.policy.health;
        let seen = sight.observed.regions.iter().map(|(region, observation)| {
            let (status, latency, detail) = match observation {
                Observation::Answered { latency, .. } => {
                    (crate::plan::health_of(*latency, policy), Some(*latency), None)
                }
                Observation::Silent(silence) => (silence.status, None, Some(silence.reason.clone())),
            };
            HealthObservation { region_id: region.clone(), at, status, latency, detail }
        });
        self.state.observe_health(&seen.collect::<Vec<_>>())?;
        let met = |(region, seen): (&RegionId, &RegionSnapshot)| {
            Some((region.clone(), seen.identity.as_ref()?.store, seen.serial))
        };
        let serials = sight.observed.answering().filter_map(met);
        self.state.record_serials(&serials.collect::<Vec<_>>())?;
        Ok(sight)
    }

    /// Ends the run early, where it failed: the history says why.
    pub(super) fn turn_back(mut self, error: FleetError) -> FleetError {
        let outcome = match &error {
            FleetError::Refused(_) => RunOutcome::Refused,
            FleetError::Interrupted => RunOutcome::Interrupted,
            FleetError::State(_)
            | FleetError::Journal(_)
            | FleetError::Topology(_)
            | FleetError::Request(_)
            | FleetError::UnknownRegion { .. }
            | FleetError::UnknownResource { .. }
            | FleetError::UnknownPair { .. }
            | FleetError::Argument { .. }
            | FleetError::Conflict { .. }
            | FleetError::Unfit { .. }
            | FleetError::TakeOver { .. }
            | FleetError::Io { .. }
            | FleetError::Region { .. } => RunOutcome::Failed,
        };
        let end = RunEnd { outcome, exit_code: error.code(), message: Some(error.to_string()) };
        // The error at hand says more than a history that could not be written either.
        let _ = self.state.finish_run(self.run, &end);
        error
    }

    /// Has a plan reviewed, which may take a person's time: what there is to tell of the run is in the history before.
    pub(super) async fn await_review(&mut self, plan: &Plan, review: &mut dyn Review) -> Result<(), FleetError> {
        if !is_idle(plan) {
            self.state.write_notes()?;
        }
        Self::permitted(review.review(plan).await)
    }

    /// Turns a verdict that is no permission into its error.
    pub(super) fn permitted(verdict: Verdict) -> Result<(), FleetError> {
        match verdict {
            Verdict::Proceed => Ok(()),
            Verdict::Interrupt => Err(FleetError::Interrupted),
            Verdict::Decline => Err(FleetError::Refused(vec![Gate {
                code: "declined".to_owned(),
                detail: "the plan was not confirmed; nothing was changed".to_owned(),
                help: Some("answer `yes`, or give --auto-approve where nobody can be asked".to_owned()),
                address: None,
            }])),
        }
    }

    /// Under whose authority this run writes. A state that holds no seat takes one where nobody controls yet; else it
    /// is a guest, whose orders touch neither roles nor the registry.
    pub(super) fn authority(&mut self, sight: &Sight) -> Result<Authority, FleetError> {
        let seating = match self.state.seating()? {
            Some(seating) => seating,
            None if sight.foreign().is_empty() => self.state.take_seat(1)?,
            None => Seating { seat: crate::model::Seat(Uuid::nil()), term: sight.highest_term() },
        };
        Ok(self.speaking(sight, seating))
    }

    /// Who this run is to regions with this seat, for one order.
    pub(super) fn speaking(&self, sight: &Sight, seating: Seating) -> Authority {
        Authority {
            lineage: sight.recorded.lineage,
            term: seating.term,
            seat: seating.seat,
            place: self.state.place(),
            operation: OperationId(self.manager.world.ids.ordered()),
        }
    }

    /// Carries a plan out and ends the run.
    pub(super) async fn carry_out(
        mut self,
        plan: Plan,
        sight: &Sight,
        manner: Manner,
        watch: &Watch,
    ) -> Result<(RunReport, Executed), FleetError> {
        let executed = match self.execute(&plan, sight, &manner, watch).await {
            Ok(executed) => executed,
            Err(error) => return Err(self.turn_back(error)),
        };
        let counts = Counts::of(&plan, &executed);
        let class = manner.found.class(counts.class(manner.one_thing), &executed.outcomes);
        if plan.mode == Mode::Normal && !manner.one_thing && class != ExitClass::Failed {
            self.state.record_topology(&plan.topology.digest, self.run)?;
        }
        let outcome = match class {
            ExitClass::Done => RunOutcome::Done,
            ExitClass::Partial => RunOutcome::Partial,
            ExitClass::Failed => RunOutcome::Failed,
            ExitClass::Interrupted => RunOutcome::Interrupted,
        };
        let message = executed.outcomes.iter().find(|ended| ended.region.is_some());
        let message = message
            .and_then(|ended| Some(format!("{}: {}", ended.address, ended.message.as_ref()?)))
            .or_else(|| stopped(&plan));
        let message = manner.found.words().into_iter().chain(message).reduce(|found, rest| format!("{found}; {rest}"));
        let end = RunEnd { outcome, exit_code: class.code(), message };
        let quiet = executed.outcomes.is_empty() && manner.found.is_empty();
        if !(manner.repeated && quiet && self.state.withdraw_repeat(self.run, &end)?) {
            self.state.finish_run(self.run, &end)?;
        }
        let report = RunReport {
            run: self.run,
            outcomes: executed.outcomes.clone(),
            counts,
            class,
            bytes: executed.bytes(),
            duration: executed.duration,
            serial: self.state.reader().serial()?,
            plan,
        };
        Ok((report, executed))
    }

    async fn execute(
        &mut self,
        plan: &Plan,
        sight: &Sight,
        manner: &Manner,
        watch: &Watch,
    ) -> Result<Executed, FleetError> {
        let idle = is_idle(plan);
        let authority = if idle {
            // Nothing is written anywhere, so nobody's place is taken for it.
            let seat = crate::model::Seat(Uuid::nil());
            let operation = OperationId(Uuid::nil());
            Authority { lineage: sight.recorded.lineage, term: 0, seat, place: String::new(), operation }
        } else {
            self.authority(sight)?
        };
        let job = Job {
            plan,
            topology: &self.manager.desired.topology,
            observed: Arc::clone(&sight.observed),
            looked_at: sight.looked_at,
            recorded: &sight.recorded,
            ports: Arc::clone(&sight.ports),
            authority,
            limits: self.manager.limits(),
            settled: manner.settled.clone(),
            accept_change: manner.accept_change,
            world: self.manager.world.clone(),
        };
        let origins = self.manager.origins();
        let mut journal = StateJournal { state: &mut self.state, run: self.run, origins, under_way: Some(0) };
        if !idle {
            journal.met(&met(plan, sight))?;
        }
        Ok(run(&job, &mut journal, watch.events.as_ref(), &watch.cancel).await?)
    }
}

/// Whether a plan changes nothing.
fn is_idle(plan: &Plan) -> bool {
    plan.effects().next().is_none() && plan.moved.is_empty()
}

/// What the plan could not even try, for the history: `blocked: vm.a, vm.b and 3 more; deferred: vm.c`.
fn stopped(plan: &Plan) -> Option<String> {
    const NAMED: usize = 3;
    let told = |what: &str, objects: BTreeSet<&Address>| {
        let names = objects.iter().take(NAMED).map(ToString::to_string).collect::<Vec<_>>().join(", ");
        match objects.len() {
            0 => None,
            few if few <= NAMED => Some(format!("{what}: {names}")),
            many => Some(format!("{what}: {names} and {} more", many - NAMED)),
        }
    };
    let blocked = told("blocked", plan.blocked.iter().map(|blocked| &blocked.address).collect());
    let parts: Vec<String> = blocked.into_iter().chain(told("deferred", plan.deferred())).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// The stores of the regions that the plan could rely on.
fn met(plan: &Plan, sight: &Sight) -> Vec<(RegionId, StoreId)> {
    let unseen: BTreeSet<&RegionId> = plan.unobserved.iter().map(|region| &region.region_id).collect();
    let declared = plan.regions.iter().map(|region| &region.region_id).filter(|region| !unseen.contains(region));
    let store = |region: &RegionId| sight.observed.snapshot(region)?.identity.as_ref().map(|identity| identity.store);
    declared.filter_map(|region| store(region).map(|store| (region.clone(), store))).collect()
}

impl MultiRegionManager {
    /// Where regions are reached on the network.
    pub(super) fn origins(&self) -> BTreeMap<RegionId, String> {
        let endpoints = self.desired.topology.endpoints.iter();
        let origin = |(region, endpoint): (&RegionId, &Endpoint)| match endpoint {
            Endpoint::Http(origin) => Some((region.clone(), origin.clone())),
            Endpoint::Directory(_) => None,
        };
        endpoints.filter_map(origin).collect()
    }
}
