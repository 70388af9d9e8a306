//! What a round of `reconcile` does by itself where it may fail over: it goes on with operations that nobody carries
//! out any more, and moves what a region holds that is down, by the policy.
//!
//! It asks nobody, takes no lock of the state, and waits for no copy: on the worst day of the year another round may
//! have both for hours. What holds it back is told in every round, and written into the history when it is new.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;

use super::ask::{FailoverOptions, FailoverReport, FailoverReview, ResumeOptions};
use super::judgement::For;
use super::pending::{PendingOperation, pending_at};
use crate::execute::event::Event;
use crate::failover::{Asker, Overrides, Proposal, Request, Wish};
use crate::fleet::error::{FleetError, Gate};
use crate::fleet::manager::MultiRegionManager;
use crate::fleet::options::{Verdict, Watch};
use crate::fleet::report::ExitClass;
use crate::fleet::road::Sight;
use crate::model::event::{FailoverEvent, FailoverOutcome, Seconds};
use crate::model::failover::Direction;
use crate::model::observed::Observation;
use crate::model::policy::Strategy;
use crate::model::topology::Endpoint;
use crate::model::{OperationId, RegionId, units};
use crate::state::{StateError, StateFile, StateReader};

/// What came of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::fleet) struct ByItself {
    /// Whether something was moved.
    pub(in crate::fleet) moved: bool,
    /// Whether something that the policy asks for was not carried out, or not whole.
    pub(in crate::fleet) held_back: bool,
}

impl ByItself {
    /// The class of a round whose other work ended with `class`.
    pub(in crate::fleet) fn class(self, class: ExitClass) -> ExitClass {
        let own = if self.held_back { ExitClass::Partial } else { ExitClass::Done };
        match class {
            ExitClass::Interrupted => class,
            ExitClass::Failed if self.moved => ExitClass::Partial,
            ExitClass::Failed | ExitClass::Partial | ExitClass::Done => class.max(own),
        }
    }

    pub(super) fn took(&mut self, report: &FailoverReport) {
        self.moved |= report.event.as_ref().is_some_and(|event| event.affected_resources > 0);
        self.held_back |= report.class != ExitClass::Done;
    }
}

/// Nobody is asked. Remembers where else it may lead.
#[derive(Default)]
pub(super) struct Unasked {
    next: Vec<RegionId>,
}

#[async_trait]
impl FailoverReview for Unasked {
    async fn review(&mut self, proposal: &Proposal) -> Verdict {
        self.next.clone_from(&proposal.next);
        Verdict::Proceed
    }
}

impl MultiRegionManager {
    /// Does what a round may do by itself. What is refused is told as an event, and is no error.
    ///
    /// # Errors
    /// [`FleetError::Interrupted`]; where the state cannot be read or written.
    pub(in crate::fleet) async fn fail_over_by_policy(&self, watch: &Watch) -> Result<ByItself, FleetError> {
        let mut done = ByItself::default();
        let sight = self.look().await?;
        if sight.nobody_controls().is_some() || sight.superseded.contains(&self.desired.topology.digest) {
            // The round is refused as a whole.
            return Ok(done);
        }
        let open = if sight.has_open() { pending_at(sight.ports.iter()).await.0 } else { BTreeMap::new() };
        let may = self.speaker(&sight).and_then(|_| self.expect_applied(&sight));
        let paused = !sight.pauses().is_empty();
        for (id, pending) in &open {
            let orphaned = self.is_orphaned(pending);
            let abort = self.leads_back(*id, pending, &sight)?;
            let waits = !abort && self.is_left_to_a_person(pending, &sight);
            self.tell_open(*id, pending, (orphaned, paused, waits), watch);
            if orphaned && may.is_ok() && !paused && !waits {
                self.adopt(*id, pending, abort, &mut done, watch).await?;
            } else {
                done.held_back |= orphaned;
            }
        }
        let from_here: BTreeSet<&RegionId> = open.values().map(|pending| &pending.bid.failover.from).collect();
        for (suspect, why) in self.suspects(&sight) {
            if from_here.contains(suspect) {
                continue;
            }
            match &may {
                Ok(()) => self.fail_over_from(suspect, why, &mut done, watch).await?,
                Err(FleetError::Refused(gates)) => self.hold_back(suspect, why, gates, &mut done, watch),
                Err(_) => {}
            }
        }
        if may.is_ok() && open.is_empty() && !paused {
            self.fail_back_by_policy(&sight, &mut done, watch).await?;
        }
        Ok(done)
    }

    /// Refuses a policy that the regions do not have: changes that were never applied are left to `apply`.
    pub(super) fn expect_applied(&self, sight: &Sight) -> Result<(), FleetError> {
        let declared = &self.desired.topology.policy.failover;
        let mut answering = sight.observed.answering();
        let other = answering.find(|(region, seen)| {
            seen.regions.get(*region).is_some_and(|record| record.spec.policy.failover != *declared)
        });
        let Some((region, _)) = other else { return Ok(()) };
        Err(FleetError::Refused(vec![Gate {
            code: "policy".to_owned(),
            detail: format!("the topology's [failover] is not the policy that was applied to {region}"),
            help: Some("`apply` it first".to_owned()),
            address: None,
        }]))
    }

    /// Whether whoever carried it out asked nobody for anything for so long that they are taken for dead.
    fn is_orphaned(&self, pending: &PendingOperation) -> bool {
        let limit = self.desired.topology.policy.failover.hooks.timeout.max(pending.hook_limit);
        pending.heard_seconds.is_some_and(|Seconds(age)| age >= limit * 2)
    }

    fn tell_open(
        &self,
        operation: OperationId,
        pending: &PendingOperation,
        (orphaned, paused, waits): (bool, bool, bool),
        watch: &Watch,
    ) {
        let heard = pending.heard_seconds.map_or(Duration::ZERO, |Seconds(age)| Duration::from_secs(age.as_secs()));
        let ago = units::brief(heard);
        let detail = if orphaned && paused {
            format!("nobody has carried it on for {ago}, and failovers are paused: `failover resume {operation}`")
        } else if orphaned && waits {
            let from = &pending.bid.failover.from;
            format!(
                "nobody has carried it on for {ago}, {from} does not answer, and the policy leaves failovers to a person: \
                 `failover resume {operation}` or `failover abort {operation}`"
            )
        } else if orphaned {
            format!("nobody has carried it on for {ago}: it is gone on with")
        } else {
            format!("whoever carries it out was heard of {ago} ago: it is left to them")
        };
        watch.events.emit(&Event::OperationOpen {
            at: self.world.clock.now(),
            operation,
            from: pending.bid.failover.from.clone(),
            to: pending.bid.to.clone(),
            resources: u32::try_from(pending.bid.resources.len()).unwrap_or(u32::MAX),
            detail,
        });
    }

    /// Whether an operation that is gone on with leads back. One that the policy began leads on, where its source is dead
    /// and no person aborted it.
    fn leads_back(
        &self,
        operation: OperationId,
        pending: &PendingOperation,
        sight: &Sight,
    ) -> Result<bool, FleetError> {
        let from = &pending.bid.failover.from;
        let reader = StateFile::new(&self.settings.state).read()?;
        let event = reader.map(|reader| reader.failover(operation)).transpose()?.flatten();
        let onward = event.is_some_and(|event| event.automatic) && sight.observed.snapshot(from).is_none();
        Ok(pending.bid.direction == Direction::Abort && (pending.bid.by_person || !onward))
    }

    /// Whether nothing but a fence would lead an operation on, and the policy lets no round run it.
    fn is_left_to_a_person(&self, pending: &PendingOperation, sight: &Sight) -> bool {
        let from = &pending.bid.failover.from;
        let by_itself = match self.desired.topology.policy.failover.strategy {
            Strategy::Automatic | Strategy::Cascading => true,
            Strategy::Manual | Strategy::Graceful => false,
        };
        !by_itself && sight.observed.snapshot(from).is_none() && !pending.is_cut_off(from)
    }

    /// Goes on with an operation, or leads it back. What may live is cut off only where the policy would fail over from
    /// it by itself.
    async fn adopt(
        &self,
        operation: OperationId,
        pending: &PendingOperation,
        abort: bool,
        done: &mut ByItself,
        watch: &Watch,
    ) -> Result<(), FleetError> {
        let from = &pending.bid.failover.from;
        let overrides = Overrides::default();
        let options = ResumeOptions { operation: Some(operation), abort, to: None, overrides, take_over: false };
        match self.go_on(&options, For::Round, watch).await {
            Ok(report) => {
                done.took(&report);
                self.tell_end(report.event, watch);
                Ok(())
            }
            Err(error) => self.take_refusal(from, None, error, done, watch),
        }
    }

    /// Served regions that did not answer though somebody says that they hold something, and why; none where the policy
    /// leaves that to a person.
    fn suspects<'a>(&'a self, sight: &'a Sight) -> Vec<(&'a RegionId, &'a str)> {
        match self.desired.topology.policy.failover.strategy {
            Strategy::Automatic | Strategy::Cascading => {}
            Strategy::Manual | Strategy::Graceful => return Vec::new(),
        }
        let holders = sight.holders();
        let served = |region: &RegionId| {
            matches!(self.desired.topology.endpoints.get(region), Some(Endpoint::Http(_))) && holders.contains(region)
        };
        let silent = sight.observed.regions.iter().filter_map(|(region, observation)| match observation {
            Observation::Silent(silence) => Some((region, silence.reason.as_str())),
            Observation::Answered { .. } => None,
        });
        silent.filter(|(region, _)| served(region)).collect()
    }

    /// Moves what a region holds, where it is down and no gate holds that back; of a cascading policy, to one candidate
    /// after the other.
    async fn fail_over_from(
        &self,
        suspect: &RegionId,
        why: &str,
        done: &mut ByItself,
        watch: &Watch,
    ) -> Result<(), FleetError> {
        let cascades = self.desired.topology.policy.failover.strategy == Strategy::Cascading;
        let mut tried: BTreeSet<RegionId> = BTreeSet::new();
        let mut to = None;
        loop {
            let request = Request {
                asker: Asker::Policy,
                from: suspect.clone(),
                to: to.clone(),
                only: BTreeSet::new(),
                point: Wish::Newest,
                strategy: None,
                overrides: Overrides::default(),
                operation: None,
            };
            let options = FailoverOptions { request, reason: None, take_over: false, explain: false };
            let mut unasked = Unasked::default();
            let ended = self.perform_failover(&options, &mut unasked, watch).await;
            let ended = match ended {
                Ok(report) => {
                    done.took(&report);
                    let over = report.event.as_ref().is_none_or(|event| match event.outcome {
                        Some(FailoverOutcome::Completed) | None => true,
                        Some(FailoverOutcome::Aborted | FailoverOutcome::Withdrawn | FailoverOutcome::Refused) => false,
                    });
                    tried.extend(report.event.as_ref().map(|event| event.to_region_id.clone()));
                    self.tell_end(report.event, watch);
                    over
                }
                // What was taken back before it changed anything.
                Err(FleetError::Refused(gates)) => {
                    self.hold_back(suspect, why, &gates, done, watch);
                    gates.iter().all(|gate| gate.code != "withdrawn")
                }
                Err(error) => {
                    self.take_refusal(suspect, Some(why), error, done, watch)?;
                    true
                }
            };
            tried.extend(to.take());
            let next = unasked.next.into_iter().find(|region| !tried.contains(region));
            match next.filter(|_| cascades && !ended) {
                Some(region) => to = Some(region),
                None => return Ok(()),
            }
        }
    }

    pub(super) fn take_refusal(
        &self,
        region: &RegionId,
        why: Option<&str>,
        error: FleetError,
        done: &mut ByItself,
        watch: &Watch,
    ) -> Result<(), FleetError> {
        match error {
            FleetError::Refused(gates) => self.hold_back(region, why.unwrap_or_default(), &gates, done, watch),
            FleetError::Unfit { reason, help } => {
                let gate = Gate { code: "target".to_owned(), detail: reason, help, address: None };
                self.hold_back(region, why.unwrap_or_default(), &[gate], done, watch);
            }
            error => return Err(error),
        }
        Ok(())
    }

    fn hold_back(&self, region: &RegionId, why: &str, gates: &[Gate], done: &mut ByItself, watch: &Watch) {
        done.held_back = true;
        self.tell_held(region, why, gates, watch);
    }

    pub(super) fn tell_held(&self, region: &RegionId, why: &str, gates: &[Gate], watch: &Watch) {
        for (n, gate) in gates.iter().enumerate() {
            let about = gate.address.as_ref().map(|address| format!("{address}: ")).unwrap_or_default();
            // That it did not answer, and how, is told once.
            let silent = if n == 0 && !why.is_empty() { format!("; it did not answer: {why}") } else { String::new() };
            watch.events.emit(&Event::FailoverHeld {
                at: self.world.clock.now(),
                region_id: region.clone(),
                gate: gate.code.clone(),
                detail: format!("{about}{}{silent}", gate.detail),
                help: gate.help.clone(),
            });
        }
    }

    pub(super) fn tell_end(&self, event: Option<FailoverEvent>, watch: &Watch) {
        if let Some(event) = event {
            watch.events.emit(&Event::FailoverFinished { at: self.world.clock.now(), event: Box::new(event) });
        }
    }
}

impl Sight {
    /// Whether any region that answers has an operation open on a resource.
    fn has_open(&self) -> bool {
        self.observed.answering().flat_map(|(_, seen)| seen.resources.values()).any(|record| record.operation.is_some())
    }

    /// The regions that hold something, by the latest word on each resource.
    pub(super) fn holders(&self) -> BTreeSet<&RegionId> {
        self.observed.latest().into_values().map(|record| &record.holder).collect()
    }
}

/// Whether history has this refusal of the policy already, as the last that there is to tell of the region, which
/// nobody met since. Figures change with every round, and are no news.
pub(super) fn is_told(reader: &StateReader, refused: &FailoverEvent) -> Result<bool, StateError> {
    let from = &refused.from_region_id;
    let last = reader.failovers(Some(from), None)?.into_iter().find(|event| event.from_region_id == *from);
    let Some(last) = last else { return Ok(false) };
    let same = last.automatic
        && last.outcome == Some(FailoverOutcome::Refused)
        && last.to_region_id == refused.to_region_id
        && reasons(&last) == reasons(refused);
    let met_since = reader.last_met(from)?.is_some_and(|met| met > last.timestamp);
    Ok(same && !met_since)
}

/// Its reasons, without their figures.
fn reasons(event: &FailoverEvent) -> Vec<String> {
    let plain = |word: &&str| !word.contains(|c: char| c.is_ascii_digit());
    let gates = event.notes.iter().filter(|note| !note.starts_with(super::detect::EVIDENCE));
    gates.map(|note| note.split_whitespace().filter(plain).collect::<Vec<_>>().join(" ")).collect()
}
