//! Operations that are open: found at the regions, gone on with, or led back. The regions' own journal is all that this
//! needs, so it goes from an empty state file too.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ask::{FailoverReport, ResumeOptions};
use super::conduct::told;
use super::crew::Team;
use super::facts::{HOLDS, Known};
use super::judgement::{Asked, For};
use crate::execute::failover::{changes, has_run};
use crate::failover::{Asker, Outcome as Proposed, Overrides, Progress, Request};
use crate::fleet::error::FleetError;
use crate::fleet::manager::MultiRegionManager;
use crate::fleet::options::Watch;
use crate::fleet::road::{Sight, standings};
use crate::live::RegionPort;
use crate::model::event::{FailoverOutcome, Seconds, StepRecord};
use crate::model::failover::{Attempt, Bid, Direction, Hook, Note, Open, Proof};
use crate::model::region::{Epoch, ResourceRecord};
use crate::model::{AttemptOwner, OperationId, RegionId, ResourceKey};
use crate::state::StateFile;

/// An operation that is open somewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PendingOperation {
    /// The highest attempt at it that any region accepted.
    pub bid: Bid,
    /// The regions at which it is open, and on what.
    pub open_at: BTreeMap<RegionId, BTreeSet<ResourceKey>>,
    /// What was promoted, and where.
    pub promoted: BTreeMap<RegionId, BTreeSet<ResourceKey>>,
    /// The regions that the fence hook has stopped.
    #[serde(default)]
    pub cut_off: BTreeSet<RegionId>,
    /// How long ago any of those regions heard of whoever carries it out.
    pub heard_seconds: Option<Seconds>,
    /// How long any hook that it ran may take.
    #[serde(skip)]
    #[schemars(skip)]
    pub(super) hook_limit: Duration,
    /// The regions that a person has cut off by hand, and did not let in since.
    #[serde(skip)]
    #[schemars(skip)]
    by_hand: BTreeSet<RegionId>,
    /// The highest attempt at it that any region accepted, or heard of from one that may not answer now.
    #[serde(skip)]
    #[schemars(skip)]
    highest_attempt: u32,
}

impl PendingOperation {
    fn new(bid: Bid) -> Self {
        let (open_at, promoted) = (BTreeMap::new(), BTreeMap::new());
        let (cut_off, by_hand, hook_limit) = (BTreeSet::new(), BTreeSet::new(), Duration::ZERO);
        Self { bid, open_at, promoted, cut_off, heard_seconds: None, hook_limit, by_hand, highest_attempt: 0 }
    }

    /// Whether a region still counts as stopped: by hand, or by the hook as long as somebody carries the operation on. What
    /// was left alone longer than a judgement holds may have seen it come back.
    pub(super) fn is_cut_off(&self, region: &RegionId) -> bool {
        self.by_hand.contains(region) || (self.cut_off.contains(region) && self.is_fresh())
    }

    /// Whether somebody carried it on lately.
    fn is_fresh(&self) -> bool {
        self.heard_seconds.is_some_and(|Seconds(age)| age <= HOLDS)
    }

    fn add(&mut self, region: &RegionId, open: Open, heard: Option<Seconds>) {
        let Open { bid, resources, promoted, notes, replaced: _, closed: _, declared_gone: _ } = open;
        self.cut_off.extend(notes.iter().filter_map(Note::cut_off).cloned());
        for note in notes {
            match note {
                Note::HookIntended { attempt: _, hook: _, limit } => self.hook_limit = self.hook_limit.max(limit),
                Note::Fenced { region, proof: Proof::Hand(_) } => drop(self.by_hand.insert(region)),
                Note::Fenced { .. } | Note::HookDone { .. } | Note::Unproven { .. } => {}
            }
        }
        let latest = self.heard_seconds.into_iter().chain(heard).map(|Seconds(age)| age).min();
        self.heard_seconds = latest.map(Seconds);
        if bid.attempt.number > self.bid.attempt.number {
            self.bid = bid;
        }
        self.open_at.insert(region.clone(), resources);
        if !promoted.is_empty() {
            self.promoted.insert(region.clone(), promoted.into_keys().collect());
        }
    }
}

impl MultiRegionManager {
    /// Goes on with an open operation, or leads it back.
    ///
    /// # Errors
    /// [`FleetError::Refused`] where this state may not; [`FleetError::Unfit`] where nothing, or more than one
    /// operation, is open.
    pub async fn resume_failover(&self, options: &ResumeOptions, watch: &Watch) -> Result<FailoverReport, FleetError> {
        self.go_on(options, For::Person, watch).await
    }

    /// The same for a person, or for a round, which cuts nothing off that may live but by the policy.
    pub(super) async fn go_on(
        &self,
        options: &ResumeOptions,
        whom: For,
        watch: &Watch,
    ) -> Result<FailoverReport, FleetError> {
        let began = self.world.clock.since_boot();
        let mut sight = self.look().await?;
        if options.take_over {
            let pending = self.the_pending(&sight, options.operation).await?;
            let from = &pending.bid.failover.from;
            // It need not accept the take-over: the operation has cut it off by hook, or does it now.
            let hook = self.hooks().expect_runnable(&self.desired.topology.policy.failover.hooks.fence).is_ok();
            let cut_off = pending.cut_off.contains(from) || (hook && !options.abort && pending.promoted.is_empty());
            self.take_control_but(&options.overrides.gone, cut_off.then_some(from), watch).await?;
            sight = self.look().await?;
        }
        let authority = self.speaker(&sight)?;
        self.end_events(&sight).await?;
        let mut pending = self.the_pending(&sight, options.operation).await?;
        if let Some(to) = &options.to {
            self.lead_elsewhere(&mut pending, to)?;
        }
        let request = self.request_of(&pending, options);
        let from = &pending.bid.failover.from;
        let by_policy = whom == For::Round
            && !options.abort
            && sight.observed.snapshot(from).is_none()
            && !pending.is_cut_off(from);
        let asker = if by_policy { Asker::Policy } else { Asker::Person };
        let known = self.know_whether_down(&Request { asker, ..request.clone() }, false, watch).await?;
        self.expect_fit(&known, &pending, options, asker)?;
        let bid = self.next_bid(&known.sight, &pending, options, whom);
        let reason = bid.failover.reason.clone();
        let log = StateFile::new(&self.settings.state).failover_log()?;
        let mut event = match log.reader().failover(bid.failover.id)? {
            Some(event) => event,
            None => self.event(&bid, &reason),
        };
        event.attempt = bid.attempt.number;
        event.to_region_id = bid.to.clone();
        let records = known.sight.observed.snapshot(&bid.failover.from).map(|seen| &seen.resources);
        let epoch = |key: &ResourceKey| records.and_then(|records| records.get(key)).map(|record| record.epoch);
        let epochs: BTreeMap<ResourceKey, Epoch> =
            bid.resources.iter().filter_map(|key| Some((key.clone(), epoch(key)?))).collect();
        let asked = bid.resources.len();
        let mut progress = Progress::new(bid);
        self.arm_again(&mut progress, options);
        progress.proof_is_old = progress.fence && !pending.is_fresh();
        progress.remember(&ran(&progress.hooks, &log.reader().failover_steps(progress.bid.failover.id)?));
        let under_way = log.under_way()?;
        let mut team = Team {
            manager: self,
            ports: Arc::clone(&known.sight.ports),
            log,
            _under_way: under_way,
            watch,
            asked: Asked::GoneOn(request, whom),
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
        team.keep()?;
        // A source that gives up by order is copied once more after it has stopped, however the operation began.
        let ended = self.conduct(&mut progress, &mut team, true, Vec::new(), watch).await?;
        self.conclude(progress, team, ended, began, (asked, options.abort)).await
    }

    /// Has an operation lead to another region than before. Where it led needs to agree all the same, or to be declared
    /// gone: it may have started something.
    fn lead_elsewhere(&self, pending: &mut PendingOperation, to: &RegionId) -> Result<(), FleetError> {
        self.declared_region(to)?;
        let from = &pending.bid.failover.from;
        let reason = match pending.promoted.keys().find(|region| *region != to) {
            Some(region) => format!("it was promoted at {region}: it leads nowhere else"),
            None if to == from => format!("it leads away from {from}"),
            None => {
                pending.bid.to = to.clone();
                return Ok(());
            }
        };
        Err(FleetError::Unfit { reason, help: Some("leave --to out, or `failover abort`".to_owned()) })
    }

    /// Gives events an end whose operation is open nowhere any more: whoever carried it out was killed before the regions
    /// had accepted it, or after they had closed it. Only where no program carries one out, and where every region that is
    /// not gone says what is open there.
    pub(super) async fn end_events(&self, sight: &Sight) -> Result<(), FleetError> {
        let mut log = StateFile::new(&self.settings.state).failover_log()?;
        let left: Vec<_> =
            log.reader().failovers(None, None)?.into_iter().filter(|event| event.outcome.is_none()).collect();
        let gone = sight.observed.gone();
        let answers = |region: &RegionId| sight.observed.snapshot(region).is_some() || gone.contains_key(region);
        let all_answer = sight.ports.keys().all(answers);
        if left.is_empty() || !all_answer {
            return Ok(());
        }
        let Some(_at_rest) = log.at_rest()? else { return Ok(()) };
        let (pending, unheard) = pending_at(sight.ports.iter()).await;
        if unheard.iter().any(|region| !gone.contains_key(region)) {
            return Ok(());
        }
        for mut event in left.into_iter().filter(|event| !pending.contains_key(&event.operation)) {
            let there = sight.observed.snapshot(&event.to_region_id).into_iter().flat_map(|seen| &seen.resources);
            let came =
                |record: &ResourceRecord| record.holder == event.to_region_id && Some(record.epoch) == event.epoch;
            let arrived: Vec<ResourceKey> =
                there.filter(|(_, record)| came(record)).map(|(key, _)| key.clone()).collect();
            let is_cut_off = |region: &RegionId| {
                let kept = sight.observed.snapshot(region).and_then(|seen| seen.cut_off.get(&event.from_region_id));
                kept.is_some_and(|kept| kept.stopped && Some(kept.epoch) == event.epoch)
            };
            let cut_off = event.is_fence() && sight.ports.keys().any(is_cut_off);
            let outcome = match arrived.is_empty() && !cut_off {
                false => FailoverOutcome::Completed,
                true if has_stopped_something(&log.reader().failover_steps(event.operation)?) => {
                    FailoverOutcome::Aborted
                }
                true => FailoverOutcome::Withdrawn,
            };
            event.success = outcome == FailoverOutcome::Completed && event.failed.is_empty();
            event.affected_resources = arrived.len() as u64;
            event.resources = arrived;
            event.outcome = Some(outcome);
            event.notes.push("whoever carried it out was killed; its end was read from the regions".to_owned());
            log.keep(&event)?;
        }
        Ok(())
    }

    /// What must hold before anything of an operation is gone on with.
    fn expect_fit(
        &self,
        known: &Known,
        pending: &PendingOperation,
        options: &ResumeOptions,
        asker: Asker,
    ) -> Result<(), FleetError> {
        let observed = &known.sight.observed;
        if let Some(region) = options.overrides.gone.keys().find(|region| observed.snapshot(region).is_some()) {
            let detail = format!("{region} was declared gone, and answers");
            let help = "leave --gone out: it can agree, and gives up what it holds";
            return Err(FleetError::refused("agreement", detail, help));
        }
        known.sight.expect_gone(&options.overrides.gone)?;
        let (from, to) = (&pending.bid.failover.from, &pending.bid.to);
        if options.abort || (asker == Asker::Person && !pending.promoted.is_empty()) {
            return Ok(());
        }
        self.expect_stoppable(known, (from, to), &options.overrides)?;
        if observed.snapshot(from).is_some() {
            return Ok(());
        }
        // What was begun while the source answered may now lose something, or need a fence.
        let request = Request { asker, ..self.request_of(pending, options) };
        let proposal = self.proposal_here(known, &request)?;
        if proposal.outcome == Proposed::Refused {
            return Err(FleetError::Refused(proposal.failed_gates().map(told).collect()));
        }
        Ok(())
    }

    /// Refuses a source that answers and has nothing that could stop its machines, where the target has something that
    /// would start them.
    pub(super) fn expect_stoppable(
        &self,
        known: &Known,
        (from, to): (&RegionId, &RegionId),
        overrides: &Overrides,
    ) -> Result<(), FleetError> {
        let runner = |region: &RegionId| known.sight.observed.snapshot(region).map(|seen| seen.runner);
        let stopped = overrides.fenced.is_some() || overrides.gone.contains_key(from);
        if runner(from) != Some(false) || runner(to) == Some(false) || stopped {
            return Ok(());
        }
        Err(FleetError::refused(
            "fence",
            format!("{from} answers, and has no runner that could stop its machines, while {to} would start them"),
            "stop them there, and say with --fenced \"how you know\" that they are; or give the region a runner",
        ))
    }

    async fn the_pending(&self, sight: &Sight, operation: Option<OperationId>) -> Result<PendingOperation, FleetError> {
        let (mut pending, _) = pending_at(sight.ports.iter()).await;
        let unfit = |reason: String, help: &str| FleetError::Unfit { reason, help: Some(help.to_owned()) };
        match operation {
            Some(id) => pending.remove(&id).ok_or_else(|| {
                unfit(format!("no region that answers has operation {id} open"), "`failover status` lists what is open")
            }),
            None if pending.len() > 1 => {
                let ids: Vec<String> = pending.keys().map(ToString::to_string).collect();
                Err(unfit(format!("{} operations are open: {}", ids.len(), ids.join(", ")), "name one of them"))
            }
            None => pending.into_values().next().ok_or_else(|| {
                unfit(
                    "no operation is open at any region that answers".to_owned(),
                    "`failover history` lists what was done",
                )
            }),
        }
    }

    fn request_of(&self, pending: &PendingOperation, options: &ResumeOptions) -> Request {
        let mut request = Request::new(pending.bid.failover.from.clone(), pending.bid.to.clone());
        request.only = pending.bid.resources.iter().map(|key| key.id.clone()).collect();
        request.overrides = options.overrides.clone();
        request.operation = Some(pending.bid.failover.id);
        request
    }

    fn next_bid(&self, sight: &Sight, pending: &PendingOperation, options: &ResumeOptions, whom: For) -> Bid {
        let mut bid = pending.bid.clone();
        let owner = AttemptOwner(self.world.ids.random());
        bid.attempt = Attempt { number: pending.highest_attempt + 1, owner };
        bid.direction = if options.abort { Direction::Abort } else { Direction::Forward };
        // A round goes on with what a person asked for.
        bid.by_person = whom == For::Person || (bid.by_person && bid.direction == pending.bid.direction);
        bid.gone.extend(sight.gone_but(&bid.failover.from, &options.overrides.gone));
        if let (false, Some(region)) = (options.abort, pending.promoted.keys().next()) {
            bid.to = region.clone();
        }
        bid
    }

    fn arm_again(&self, progress: &mut Progress, options: &ResumeOptions) {
        let hooks = &self.desired.topology.policy.failover.hooks;
        progress.hook_limit = hooks.timeout;
        progress.fence = !hooks.fence.is_empty() && self.hooks().expect_runnable(&hooks.fence).is_ok();
        if progress.bid.direction == Direction::Forward {
            let named = [(&hooks.before, Hook::Before(0)), (&hooks.after, Hook::After(0))];
            progress.hooks = named.into_iter().filter(|(argv, _)| !argv.is_empty()).map(|(_, hook)| hook).collect();
        }
        if let Some(words) = &options.overrides.fenced {
            progress.vouch(progress.bid.failover.from.clone(), words.clone());
        }
        let topology = &self.desired.topology;
        let moved = &progress.bid.resources;
        let first = |key: &ResourceKey| {
            let spec = topology.resources.get(key)?;
            let first = moved.iter().filter(|other| spec.depends_on.contains(&other.id)).cloned().collect();
            Some((key.clone(), first))
        };
        progress.depends_on = moved.iter().filter_map(first).collect();
    }
}

/// Whether anything was stopped, or a program run, for an operation.
fn has_stopped_something(journal: &[StepRecord]) -> bool {
    journal.iter().any(|record| changes(&record.step))
}

/// The hooks that the journal says have run to their end.
fn ran(hooks: &BTreeSet<Hook>, journal: &[StepRecord]) -> Vec<Note> {
    let ran = |hook: &&Hook| journal.iter().any(|record| has_run(hook, record));
    hooks.iter().filter(ran).map(|hook| Note::HookDone { hook: hook.clone() }).collect()
}

/// What is open at those of these regions that answer, and those that do not.
pub(super) async fn pending_at<'a>(
    ports: impl Iterator<Item = (&'a RegionId, &'a Arc<dyn RegionPort>)>,
) -> (BTreeMap<OperationId, PendingOperation>, BTreeSet<RegionId>) {
    let (mut pending, mut unheard, mut all) = (BTreeMap::new(), BTreeSet::new(), Vec::new());
    for (region, told) in standings(ports).await {
        let Ok(told) = told else {
            unheard.insert(region);
            continue;
        };
        for (id, open) in &told.open {
            let known = pending.entry(*id).or_insert_with(|| PendingOperation::new(open.bid.clone()));
            known.add(&region, open.clone(), told.heard.get(id).copied());
        }
        all.push(told);
    }
    for (id, known) in &mut pending {
        known.highest_attempt = all.iter().filter_map(|told| told.highest_attempt(*id)).max().unwrap_or_default();
    }
    (pending, unheard)
}
