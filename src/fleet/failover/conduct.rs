//! One failover from the request to the event in the history.
//!
//! | what | guarantee | a crash here leaves behind |
//! | --- | --- | --- |
//! | judge | nothing is changed | nothing |
//! | first copies of a graceful one | ordinary copies | what an interrupted sync leaves |
//! | a fresher point is pulled | see `pull` | as there |
//! | open | no region is asked before the operation stands in the state | an operation that some regions accepted: shown first, withdrawn or gone on with by `resume` and `abort` |
//! | carry out | see `execute::failover` | an open operation |
//! | end | regions close it, then the event has its end | an event without an end, which the next `resume` writes |

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::ask::{FailoverOptions, FailoverReport, FailoverReview};
use super::automatic::is_told;
use super::copies::{Copies, keepers};
use super::crew::Team;
use super::detect::evidence;
use super::facts::Known;
use super::judgement::{Answered, Asked};
use super::pull::elsewhere;
use crate::execute::failover::{Drive, End};
use crate::failover::{
    Asker, ChosenPoint, Ending, Gate as Judged, Impasse, OldSide, Outcome as Proposed, Progress, Proposal, Recourse,
    Refusal, Request, Wish,
};
use crate::fleet::error::{FleetError, Gate};
use crate::fleet::manager::MultiRegionManager;
use crate::fleet::options::Watch;
use crate::fleet::report::ExitClass;
use crate::fleet::road::{Road, Sight};
use crate::model::event::{FailoverEvent, FailoverOutcome, Seconds};
use crate::model::failover::{Attempt, Bid, Direction, Failover, Hook, PromotedPoint};
use crate::model::listed::listed;
use crate::model::region::{Authority, Epoch};
use crate::model::{Address, AttemptOwner, ByteCount, OperationId, RegionId, ResourceKey};
use crate::state::{FailoverLog, StateFile};

/// Attempts of one process at one operation.
const ATTEMPTS: u32 = 8;
/// What may still differ when a graceful failover stops its source: the last copy takes a moment then.
const SMALL: ByteCount = ByteCount(64 << 20);
/// Copies of a running source before it is stopped, whatever still differs.
const PASSES: usize = 4;

impl MultiRegionManager {
    /// Fails over. See the module.
    ///
    /// # Errors
    /// [`FleetError::Refused`] with the gates that do not hold, before the first change; [`FleetError::Unfit`].
    ///
    /// # Examples
    /// ```
    #[doc = include_str!("../example.txt")]
    /// let (east, west) = ("us-east-1".parse()?, "us-west-1".parse()?);
    /// let options = FailoverOptions::new(east, west).because("Scheduled maintenance");
    /// let report = manager.perform_failover(&options, &mut Approved, &Watch::default()).await?;
    /// let event = report.event.expect("something moved");
    /// assert!(event.success, "{:?}", event.notes);
    /// assert_eq!((event.affected_resources, event.from_region_id.as_str()), (1, "us-east-1"));
    /// let status = manager.get_replication_status(&"web-1".parse()?).await?;
    /// assert_eq!(status.primary_region.unwrap().as_str(), "us-west-1");
    ///
    /// // Nothing is left to move.
    /// let report = manager.perform_failover(&options, &mut Approved, &Watch::default()).await?;
    /// assert!(report.event.is_none());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn perform_failover(
        &self,
        options: &FailoverOptions,
        review: &mut dyn FailoverReview,
        watch: &Watch,
    ) -> Result<FailoverReport, FleetError> {
        self.perform_failover_as(OperationId(self.world.ids.ordered()), options, review, watch).await
    }

    /// The same under a name that no operation had before: regions take it once, for ever.
    ///
    /// # Errors
    /// As [`perform_failover`](Self::perform_failover).
    pub async fn perform_failover_as(
        &self,
        operation: OperationId,
        options: &FailoverOptions,
        review: &mut dyn FailoverReview,
        watch: &Watch,
    ) -> Result<FailoverReport, FleetError> {
        let at = self.world.clock.now();
        let mut known = self.know_whether_down(&options.request, options.explain, watch).await?;
        if self.have_hear(&known.sight).await {
            known = self.know_whether_down(&options.request, options.explain, watch).await?;
        }
        // Nobody is sent to the controller with a name that there is not.
        let mut proposal = self.proposal(&known, &options.request)?;
        if !options.take_over {
            self.speaker(&known.sight)?;
            self.end_events(&known.sight).await?;
        }
        match proposal.outcome {
            Proposed::Nothing => {
                return Ok(FailoverReport {
                    event: None,
                    proposal: Some(proposal),
                    unheard: BTreeMap::new(),
                    class: ExitClass::Done,
                });
            }
            Proposed::Refused => {
                review.refused(&proposal);
                return Err(self.refused(&proposal, options));
            }
            Proposed::Goes | Proposed::Partly => {}
        }
        self.expect_prepared()?;
        let gone = &options.request.overrides.gone;
        // It need not accept the take-over: the operation cuts it off.
        let cut_off = (proposal.source.stopped == OldSide::Fence).then_some(&proposal.from);
        if options.take_over {
            known.sight.gate_take_over(self, gone, cut_off)?;
        }
        Road::permitted(review.review(&proposal).await)?;
        if options.take_over {
            self.take_control_but(gone, cut_off, watch).await?;
            known.sight = self.look().await?;
        }
        let authority = self.speaker(&known.sight)?;
        if options.take_over {
            self.end_events(&known.sight).await?;
        }
        if proposal.loses_nothing {
            self.copy_first((&known, &authority), &proposal, watch).await?;
            // It took its time: what is opened is judged on what holds now.
            known = self.know(&options.request).await?;
            proposal = self.judged_again(&known, &proposal, options)?;
        }
        let mut pulled = Vec::new();
        if elsewhere(&proposal).next().is_some() {
            pulled = self.pull_first((&known, &authority), &proposal, watch).await?;
            // It took its time, too; the policy judges anew whether the source is down.
            known = self.know_whether_down(&options.request, options.explain, watch).await?;
            proposal = self.judged_again(&known, &proposal, options)?;
        }
        let began = self.world.clock.since_boot();
        let bid = self.first_bid(operation, &known.sight, &proposal, options);
        let mut event = self.event(&bid, &bid.failover.reason);
        event.notes.extend(proposal.verdict.iter().flat_map(evidence));
        event.notes.extend(pulled);
        let overridden = proposal.gates.iter().filter(|gate| gate.is_overridden());
        event.notes.extend(overridden.map(|gate| format!("overridden: {}: {}", gate.kind.as_str(), gate.figure)));
        let epochs: BTreeMap<ResourceKey, Epoch> =
            proposal.moves.iter().map(|one| (one.resource.clone(), one.epoch)).collect();
        let mut progress = Progress::new(bid);
        progress.depends_on = proposal.depends_on();
        self.arm(&mut progress, &proposal);
        let log = StateFile::new(&self.settings.state).failover_log()?;
        let mut team = Team {
            manager: self,
            ports: Arc::clone(&known.sight.ports),
            _under_way: log.under_way()?,
            log,
            watch,
            asked: Asked::Anew(options.request.clone(), Answered(proposal.source.answers)),
            judged: None,
            known,
            authority,
            epochs,
            event,
            unstarted: BTreeMap::new(),
            not_started: BTreeSet::new(),
            unheard: BTreeMap::new(),
            began,
            lost: BTreeMap::new(),
            points: BTreeMap::new(),
        };
        team.expects(&progress, &proposal);
        team.event.timestamp = at;
        team.keep()?;
        let next = proposal.next.clone();
        let ended = self.conduct(&mut progress, &mut team, proposal.loses_nothing, next, watch).await?;
        let asked = proposal.moves.len();
        let report = self.conclude(progress, team, ended, began, (asked, false)).await?;
        Ok(FailoverReport { proposal: Some(proposal), ..report })
    }

    /// A failover that this state knows.
    ///
    /// # Errors
    /// Where the state cannot be read.
    pub fn known_failover(&self, operation: OperationId) -> Result<Option<FailoverEvent>, FleetError> {
        let reader = StateFile::new(&self.settings.state).read()?;
        Ok(reader.map(|reader| reader.failover(operation)).transpose()?.flatten())
    }

    /// The failovers that this state knows, refused ones too, the newest first: those that a region takes part in, where
    /// one is named.
    ///
    /// # Errors
    /// Where the state cannot be read.
    ///
    /// # Examples
    /// ```
    #[doc = include_str!("../example.txt")]
    /// let options = FailoverOptions::new("us-east-1".parse()?, "us-west-1".parse()?);
    /// manager.perform_failover(&options, &mut Approved, &Watch::default()).await?;
    /// let recent = manager.get_failover_history(None, Some(10))?;
    /// assert!(recent[0].event_id.starts_with("evt-") && recent[0].success);
    /// assert_eq!(manager.get_failover_history(Some(&"us-west-1".parse()?), None)?.len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn get_failover_history(
        &self,
        region: Option<&RegionId>,
        limit: Option<usize>,
    ) -> Result<Vec<FailoverEvent>, FleetError> {
        let reader = StateFile::new(&self.settings.state).read()?;
        Ok(reader.map(|reader| reader.failovers(region, limit)).transpose()?.unwrap_or_default())
    }

    /// Who this state is to the regions; refused where it is not their controller.
    pub(in crate::fleet) fn speaker(&self, sight: &Sight) -> Result<Authority, FleetError> {
        if let Some(detail) = sight.control_elsewhere() {
            return Err(FleetError::Refused(vec![Gate {
                code: "not_controller".to_owned(),
                detail: format!("roles are changed by the controller alone; {detail}"),
                help: Some(
                    "run it from there, or take its place with --take-over (or `failover take-over`): the other then \
                     changes them no more"
                        .to_owned(),
                ),
                address: None,
            }]));
        }
        if let Some(gate) = sight.gate_not_bound() {
            return Err(FleetError::Refused(vec![gate]));
        }
        let Some(seating) = sight.seating.filter(|_| sight.is_controlled()) else {
            return Err(FleetError::Refused(vec![Gate {
                code: "not_controller".to_owned(),
                detail: "no region that answers has this state recorded as its controller".to_owned(),
                help: Some("apply the topology first, or take control with `failover take-over`".to_owned()),
                address: None,
            }]));
        };
        Ok(Authority {
            lineage: sight.recorded.lineage,
            term: seating.term,
            seat: seating.seat,
            place: self.settings.host.place(&self.settings.state),
            operation: OperationId(self.world.ids.ordered()),
        })
    }

    /// Refuses what could only be led back: the program that goes before the first change cannot be run here.
    fn expect_prepared(&self) -> Result<(), FleetError> {
        let before = &self.desired.topology.policy.failover.hooks.before;
        let runnable = if before.is_empty() { Ok(()) } else { self.hooks().expect_runnable(before) };
        runnable.map_err(|why| {
            FleetError::Refused(vec![Gate {
                code: "hook".to_owned(),
                detail: format!("the hook before cannot be run: {why}"),
                help: Some("run it where the program is there, and allowed".to_owned()),
                address: None,
            }])
        })
    }

    /// The refusal, told and kept in the history.
    fn refused(&self, proposal: &Proposal, options: &FailoverOptions) -> FleetError {
        let gates: Vec<Gate> = proposal.failed_gates().map(told).collect();
        let operation = OperationId(self.world.ids.ordered());
        let policy = options.request.asker != Asker::Person;
        let ends = (proposal.from.clone(), proposal.to.clone());
        let (at, by) = (self.world.clock.now(), self.settings.host.who());
        let event = FailoverEvent {
            reason: reason(proposal, options),
            automatic: policy,
            outcome: Some(FailoverOutcome::Refused),
            notes: (gates.iter().map(|gate| format!("{}: {}", gate.code, gate.detail)))
                .chain(proposal.verdict.iter().flat_map(evidence))
                .collect(),
            ..FailoverEvent::new(operation, ends, proposal.strategy, at, by)
        };
        // A region that answered this run gives the policy nothing to do.
        let alive = policy && proposal.verdict.as_ref().is_some_and(|verdict| !verdict.is_silent_here());
        let keep = |mut log: FailoverLog| match policy && is_told(log.reader(), &event)? {
            true => Ok(()),
            false => log.keep(&event),
        };
        if !alive {
            // That it is refused is what there is to say; a history that cannot be written says nothing about it.
            let _ = StateFile::new(&self.settings.state).failover_log().and_then(keep);
        }
        FleetError::Refused(gates)
    }

    fn first_bid(&self, id: OperationId, sight: &Sight, proposal: &Proposal, options: &FailoverOptions) -> Bid {
        let answering = || sight.observed.answering().map(|(_, seen)| seen);
        let highest = answering().map(|seen| seen.highest_epoch).max().unwrap_or_default();
        let mut registry: BTreeSet<RegionId> = answering().flat_map(|seen| seen.regions.keys().cloned()).collect();
        registry
            .extend(answering().filter_map(|seen| seen.identity.as_ref()).map(|identity| identity.region_id.clone()));
        Bid {
            failover: Failover {
                id,
                epoch: Epoch(highest.0 + 1),
                from: proposal.from.clone(),
                strategy: proposal.strategy,
                reason: reason(proposal, options),
                automatic: options.request.asker != Asker::Person,
                opened_at: self.world.clock.now(),
            },
            attempt: Attempt { number: 1, owner: AttemptOwner(self.world.ids.random()) },
            direction: Direction::Forward,
            by_person: options.request.asker == Asker::Person,
            to: proposal.to.clone(),
            resources: proposal.going().map(|one| one.resource.clone()).collect(),
            registry,
            gone: sight.gone_but(&proposal.from, &options.request.overrides.gone),
            points: points(&options.request, proposal),
        }
    }

    /// The event of an operation that begins, or is gone on with.
    pub(super) fn event(&self, bid: &Bid, reason: &Option<String>) -> FailoverEvent {
        FailoverEvent { reason: reason.clone(), ..FailoverEvent::of(bid, self.settings.host.who()) }
    }

    /// Gives an attempt its hooks, and what is known of its source.
    fn arm(&self, progress: &mut Progress, proposal: &Proposal) {
        let hooks = &self.desired.topology.policy.failover.hooks;
        progress.hook_limit = hooks.timeout;
        let named = [(&hooks.before, Hook::Before(0)), (&hooks.after, Hook::After(0))];
        progress.hooks = named.into_iter().filter(|(argv, _)| !argv.is_empty()).map(|(_, hook)| hook).collect();
        match &proposal.source.stopped {
            OldSide::Fence => progress.fence = true,
            OldSide::Word(words) => progress.vouch(proposal.from.clone(), words.clone()),
            // A region that accepts it says so.
            OldSide::CutOff => {}
            OldSide::Demotion | OldSide::Unwatched | OldSide::Gone(_) | OldSide::Unproven => {}
        }
    }

    /// Copies what a graceful failover moves, while its source runs, until the last copy will take a moment.
    async fn copy_first(
        &self,
        (known, authority): (&Known, &Authority),
        proposal: &Proposal,
        watch: &Watch,
    ) -> Result<(), FleetError> {
        let ports = &known.sight.ports;
        let (Some(source), Some(target)) = (ports.get(&proposal.from), ports.get(&proposal.to)) else {
            return Ok(());
        };
        let copies = Copies {
            lineage: authority.lineage,
            term: authority.term,
            operation: OperationId(self.world.ids.ordered()),
            full: false,
            world: self.world.clone(),
            cancel: watch.cancel.clone(),
        };
        let wanted = proposal.going().map(|one| (one.resource.clone(), one.epoch)).collect();
        for _ in 0..PASSES {
            let (bytes, failed) = copies.carry_out((source, target), &wanted).await;
            if watch.cancel.is_cancelled() {
                return Err(FleetError::Interrupted);
            }
            if let Some((key, why)) = failed.into_iter().next() {
                let now = self.look().await?;
                if let Some(open) = now.observed.answering().find_map(|(_, seen)| seen.resources.get(&key)?.operation) {
                    let detail = format!("operation {open} was opened on {key} meanwhile");
                    return Err(FleetError::refused("open_operation", detail, "`failover status` shows it"));
                }
                return Err(FleetError::Unfit {
                    reason: format!("{key} cannot be brought to {} while it runs: {why}", proposal.to),
                    help: Some("nothing was changed; mend that, or take less with --vm".to_owned()),
                });
            }
            if bytes <= SMALL {
                break;
            }
        }
        Ok(())
    }

    /// The proposal as it is after the first copies, or after points were brought: what was confirmed is still what it
    /// would do.
    fn judged_again(
        &self,
        known: &Known,
        confirmed: &Proposal,
        options: &FailoverOptions,
    ) -> Result<Proposal, FleetError> {
        let now = self.proposal_here(known, &options.request)?;
        if now.outcome == Proposed::Refused {
            return Err(self.refused(&now, options));
        }
        let going = |proposal: &Proposal| proposal.going().map(|one| one.resource.clone()).collect::<BTreeSet<_>>();
        let the_same =
            (&now.from, &now.to, now.loses_nothing) == (&confirmed.from, &confirmed.to, confirmed.loses_nothing);
        if the_same && going(&now) == going(confirmed) {
            return Ok(now);
        }
        Err(FleetError::Refused(vec![Gate {
            code: "changed".to_owned(),
            detail: format!("what {} holds, or whether it answers, changed while it was copied", confirmed.from),
            help: Some("nothing was moved; look at it anew with --dry-run, and ask again".to_owned()),
            address: None,
        }]))
    }

    /// Goes from attempt to attempt until the operation has ended, or stays open; says how it ended.
    pub(super) async fn conduct(
        &self,
        progress: &mut Progress,
        team: &mut Team<'_>,
        loses_nothing: bool,
        mut next: Vec<RegionId>,
        watch: &Watch,
    ) -> Result<Option<Ending>, FleetError> {
        let ports = Arc::clone(&team.ports);
        let drive = Drive {
            ports: &ports,
            authority: team.authority.clone(),
            world: self.world.clone(),
            loses_nothing,
            cancel: watch.cancel.clone(),
        };
        let mut attempts = 0;
        loop {
            attempts += 1;
            let again = |progress: &Progress, direction, to| {
                let Attempt { number, owner } = progress.bid.attempt;
                progress.again(Attempt { number: number + 1, owner }, direction, to)
            };
            let to = progress.bid.to.clone();
            let end = drive.go_on(progress, team).await?;
            let (mut blames_target, mut silent_target) = (false, None);
            let (why, recourse) = match end {
                End::Ended(outcome) => {
                    if outcome == Ending::Completed {
                        self.lead_back_rest(progress, team, &drive).await?;
                    }
                    return Ok(Some(outcome));
                }
                End::Interrupted => {
                    team.event.notes.push("interrupted; the operation is open".to_owned());
                    return Ok(None);
                }
                End::Behind(left) => {
                    let first = left.iter().next().map(|(key, why)| format!("{key}: {why}")).unwrap_or_default();
                    (format!("the last copy failed: {first}"), Recourse::Abort)
                }
                End::Stuck(impasse) => {
                    let recourse = progress.recourse(&impasse);
                    if recourse == Recourse::Leave
                        && let Some(error) = self.superseded(progress, &impasse).await
                    {
                        team.event.notes.push(words(&impasse));
                        team.keep()?;
                        return Err(error);
                    }
                    let forward = progress.bid.direction == Direction::Forward;
                    match &impasse {
                        Impasse::Missing(region, _) if *region == to => silent_target = Some(to.clone()),
                        Impasse::Refused(region, _) if *region == to => blames_target = forward,
                        Impasse::NothingLeft | Impasse::CutOff(_) => blames_target = forward,
                        Impasse::NotStarted(_, keys) if forward => {
                            blames_target = true;
                            let why = |key| team.event.failed.get(key).cloned().unwrap_or_else(|| words(&impasse));
                            let unstarted = keys.iter().map(|key| (key.clone(), why(key))).collect::<Vec<_>>();
                            team.unstarted.extend(unstarted);
                        }
                        _ => {}
                    }
                    blames_target |= forward && silent_target.is_some();
                    (words(&impasse), recourse)
                }
            };
            team.event.notes.push(why);
            if attempts == ATTEMPTS {
                return Ok(None);
            }
            match recourse {
                Recourse::Retreat => progress.retreat(),
                Recourse::Forward(region) => *progress = again(progress, Direction::Forward, region),
                // A candidate that refuses or fails before anything of it may run there is left for the next one.
                Recourse::Abort | Recourse::LeaveOut(_)
                    if blames_target && progress.started.is_empty() && !next.is_empty() =>
                {
                    let candidate = next.remove(0);
                    *progress = again(progress, Direction::Forward, candidate);
                    progress.cut.extend(silent_target);
                }
                Recourse::LeaveOut(keys) => {
                    let Attempt { number, owner } = progress.bid.attempt;
                    *progress = progress.without(Attempt { number: number + 1, owner }, &keys);
                }
                Recourse::Abort => *progress = again(progress, Direction::Abort, to),
                Recourse::PassOver(region) if !next.is_empty() => {
                    let candidate = next.remove(0);
                    *progress = again(progress, Direction::Forward, candidate);
                    progress.cut.insert(region);
                }
                Recourse::PassOver(_) | Recourse::Leave => return Ok(None),
            }
            team.event.attempt = progress.bid.attempt.number;
            team.event.to_region_id = progress.bid.to.clone();
            team.keep()?;
        }
    }

    /// The refusal of a program that slept, or lost its way, while somebody else took the operation over; none where that
    /// is not so, or where something runs by its orders.
    async fn superseded(&self, progress: &Progress, impasse: &Impasse) -> Option<FleetError> {
        let Impasse::Refused(region, Refusal::NotController(_) | Refusal::Attempt(_)) = impasse else { return None };
        if !progress.started.is_empty() {
            return None;
        }
        let control = self.look().await.ok().and_then(|sight| sight.control_elsewhere());
        let whose = control.unwrap_or_else(|| format!("{region} has accepted another attempt at it"));
        Some(superseded(progress, &whose))
    }

    /// Ends the event, has the new holder feed the others, and says what came of it all: of so many resources that were
    /// asked for, and whether it was asked to be led back.
    pub(super) async fn conclude(
        &self,
        progress: Progress,
        mut team: Team<'_>,
        ended: Option<Ending>,
        began: Duration,
        (asked, led_back): (usize, bool),
    ) -> Result<FailoverReport, FleetError> {
        let arrived: BTreeSet<ResourceKey> = match ended {
            Some(Ending::Completed) | None => {
                let there = progress.arrived.iter().filter(|(_, region)| **region == progress.bid.to);
                there.map(|(key, _)| key).chain(&progress.started).cloned().collect()
            }
            Some(Ending::Aborted | Ending::Withdrawn | Ending::Past) => BTreeSet::new(),
        };
        let forward = progress.bid.direction == Direction::Forward;
        let arrived: BTreeSet<ResourceKey> = arrived.into_iter().filter(|_| forward).collect();
        for (key, why) in &progress.left {
            team.event.failed.entry(key.clone()).or_insert_with(|| why.clone());
        }
        team.unstarted.retain(|key, _| !arrived.contains(key));
        // An order that nobody heard the answer of may have been carried out.
        let arrived_all_the_same = |key: &ResourceKey| arrived.contains(key) && !team.not_started.contains(key);
        team.event.failed.retain(|key, _| !arrived_all_the_same(key));
        let mut ways = self.other_ways(&progress, &mut team).await;
        ways.extend(self.way_back(&progress, &team, &arrived));
        let event = &mut team.event;
        event.failed.extend(team.unstarted.clone());
        event.outcome = ended.map(|outcome| match outcome {
            Ending::Completed => FailoverOutcome::Completed,
            Ending::Aborted => FailoverOutcome::Aborted,
            // It had ended before, at whoever knew: nothing of it was left to do.
            Ending::Withdrawn | Ending::Past => FailoverOutcome::Withdrawn,
        });
        event.attempt = progress.bid.attempt.number;
        event.affected_resources = arrived.len() as u64;
        event.resources = arrived.iter().cloned().collect();
        event.success = ended == Some(Ending::Completed) && event.failed.is_empty() && arrived.len() >= asked;
        event.duration_seconds = Seconds(self.world.clock.since_boot().saturating_sub(began));
        let class = match ended {
            None if team.watch.cancel.is_cancelled() => ExitClass::Interrupted,
            // Leading back is what was asked for.
            Some(Ending::Aborted | Ending::Withdrawn | Ending::Past) if led_back => ExitClass::Done,
            Some(Ending::Completed) if event.success => ExitClass::Done,
            Some(Ending::Completed) => ExitClass::Partial,
            None if !arrived.is_empty() => ExitClass::Partial,
            Some(Ending::Past) => ExitClass::Done,
            Some(Ending::Aborted | Ending::Withdrawn) | None => ExitClass::Failed,
        };
        // What nothing could be started of may have stopped its source first.
        if ended == Some(Ending::Withdrawn) && forward && team.unstarted.is_empty() {
            if let Some(control) = self.look().await.ok().and_then(|sight| sight.control_elsewhere()) {
                // Whoever took the place may have brought it to another end, which is read from the regions.
                team.event.outcome = None;
                team.keep()?;
                return Err(superseded(&progress, &control));
            }
            team.keep()?;
            return Err(withdrawn(&team.event));
        }
        team.event.notes.extend(ways);
        team.keep()?;
        if ended == Some(Ending::Completed) && !team.watch.cancel.is_cancelled() {
            self.feed_others(&progress, &mut team, &arrived).await?;
        }
        let Team { event, unheard, .. } = team;
        Ok(FailoverReport { event: Some(event), proposal: None, unheard, class })
    }

    /// Has the new holder feed the other regions at once: a copy of each resource wherever one is kept.
    async fn feed_others(
        &self,
        progress: &Progress,
        team: &mut Team<'_>,
        arrived: &BTreeSet<ResourceKey>,
    ) -> Result<(), FleetError> {
        let holder = &progress.bid.to;
        let topology = &self.desired.topology;
        let kept = arrived.iter().filter_map(|key| {
            let spec = topology.resources.get(key)?;
            let mut regions = spec.replicas.clone();
            regions.insert(spec.primary.clone());
            Some((key.clone(), regions))
        });
        let copies = Copies {
            lineage: team.authority.lineage,
            term: team.authority.term,
            operation: OperationId(self.world.ids.ordered()),
            full: false,
            world: self.world.clone(),
            cancel: team.watch.cancel.clone(),
        };
        for (region, keys) in keepers(holder, kept) {
            // Who took no part is not there now; the next reconcile feeds it.
            if !progress.has_accepted(&region) {
                continue;
            }
            let (Some(source), Some(target)) = (team.ports.get(holder), team.ports.get(&region)) else { continue };
            let epoch = progress.bid.failover.epoch;
            let wanted = keys.into_iter().map(|key| (key, epoch)).collect();
            let (_, failed) = copies.carry_out((source, target), &wanted).await;
            let notes = failed.into_iter().map(|(key, why)| format!("{key} has no new copy at {region} yet: {why}"));
            team.event.notes.extend(notes);
        }
        Ok(team.keep()?)
    }
}

/// Why, in the words of whoever asked; the policy's words are what was found.
fn reason(proposal: &Proposal, options: &FailoverOptions) -> Option<String> {
    let found = proposal.verdict.as_ref().filter(|verdict| verdict.is_down());
    let found = found.map(|verdict| format!("{} is down: {}", verdict.suspect, verdict.reason()));
    options.reason.clone().or_else(|| found.filter(|_| options.request.asker == Asker::Policy))
}

/// What is promoted in place of the newest points.
fn points(request: &Request, proposal: &Proposal) -> BTreeMap<ResourceKey, PromotedPoint> {
    if request.point == Wish::Newest {
        return BTreeMap::new();
    }
    let chosen = proposal.going().filter_map(|one| Some((one.resource.clone(), one.point.as_ref()?)));
    let named = |(key, point): (ResourceKey, &ChosenPoint)| {
        (key, PromotedPoint { region: point.region.clone(), sequence: point.sequence })
    };
    chosen.map(named).collect()
}

/// A gate as a refusal tells it.
pub(super) fn told(gate: &Judged) -> Gate {
    let way = gate.way_past.as_ref().filter(|way| !way.given);
    let way = way.map(|way| format!("{} lets it pass; {}", way.option, way.price));
    let help: Vec<String> = gate.safer.iter().cloned().chain(way).collect();
    Gate {
        code: gate.kind.as_str().to_owned(),
        detail: gate.figure.clone(),
        help: (!help.is_empty()).then(|| help.join("; ")),
        address: gate.subject.as_ref().map(|key| Address::Resource(key.clone())),
    }
}

/// The refusal of a program whose operation is somebody else's now.
fn superseded(progress: &Progress, whose: &str) -> FleetError {
    let id = progress.bid.failover.id;
    FleetError::Refused(vec![Gate {
        code: "superseded".to_owned(),
        detail: format!("operation {id} is somebody else's now, and this program does nothing more for it: {whose}"),
        help: Some("look at `failover status` and `vm where` before anything else".to_owned()),
        address: None,
    }])
}

/// The refusal of what was taken back before it had any effect.
fn withdrawn(event: &FailoverEvent) -> FleetError {
    let held = event.failed.iter().map(|(key, why)| format!("{key}: {why}"));
    let detail: Vec<String> = event.notes.iter().cloned().chain(held).collect();
    FleetError::Refused(vec![Gate {
        code: "withdrawn".to_owned(),
        detail: format!("it was taken back before it changed anything: {}", detail.join("; ")),
        help: Some("mend that, and ask again".to_owned()),
        address: None,
    }])
}

/// Why an attempt could not go on.
pub(super) fn words(impasse: &Impasse) -> String {
    match impasse {
        Impasse::Missing(region, why) => format!("{region} is needed and does not answer: {why}"),
        Impasse::Refused(region, refusal) => format!("{region} refused: {refusal}"),
        Impasse::Over(region) => {
            format!("{region} takes no part in the operation any more: another one came before it, or has ended it")
        }
        Impasse::StarterSilent(region, why) => {
            format!("{region} did not answer an order to start machines, which may run there: {why}")
        }
        Impasse::NotStarted(region, keys) => format!("{region} did not start {}", listed(keys, 4)),
        Impasse::NewAttempt(region) | Impasse::Promoted(region) => format!("{region} was promoted before"),
        Impasse::HookFailed(hook, why) => match hook {
            Hook::Fence(region) => format!("the fence of {region} failed: {why}"),
            Hook::Before(_) => format!("the hook before failed: {why}"),
            Hook::After(_) => format!("the hook after failed: {why}"),
        },
        Impasse::NotStopped(region, keys) => format!("{region} did not stop {}", listed(keys, 4)),
        Impasse::Unwatched(region, keys) => format!(
            "{region} answers, and has no runner that could stop {}, while the target would start what moves: stop it \
             there, and say with --fenced \"how you know\" that it is",
            listed(keys, 4)
        ),
        Impasse::Held(why) => why.clone(),
        Impasse::NotFenced(region) => format!("{region} is not proven stopped, and no fence hook is there to do it"),
        Impasse::NotClosed(region) => {
            format!("everything runs at {region}, and no region has said that it closed the operation")
        }
        Impasse::CutOff(region) => {
            format!("{region} was cut off by hand, and not let in since: `failover unfence {region}` lets it in")
        }
        Impasse::NothingLeft => "nothing of it may go on".to_owned(),
    }
}
