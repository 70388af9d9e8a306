//! What works for an attempt on this machine: its journal, its hooks, its copies, and the judgement on fresh answers.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;

use super::copies::Copies;
use super::facts::Known;
use super::judgement::{Answered, Asked, Judgement};
use crate::execute::event::{Event, Outcome};
use crate::execute::failover::Crew;
use crate::execute::hook::HookOrder;
use crate::execute::journal::JournalError;
use crate::failover::{FRESH, Order, Progress, Step};
use crate::fleet::manager::MultiRegionManager;
use crate::fleet::options::Watch;
use crate::live::port::{Carried, RegionPort};
use crate::model::event::FailoverEvent;
use crate::model::failover::Hook;
use crate::model::region::{Authority, Epoch};
use crate::model::{Address, ByteCount, OperationId, RegionId, ResourceKey, Timestamp};
use crate::plan::document::{Action, Kind};
use crate::process::Occasion;
use crate::state::{FailoverLog, UnderWay};

/// The crew of one operation.
pub(super) struct Team<'a> {
    pub(super) manager: &'a MultiRegionManager,
    pub(super) ports: Arc<BTreeMap<RegionId, Arc<dyn RegionPort>>>,
    pub(super) log: FailoverLog,
    /// Tells other programs so.
    pub(super) _under_way: UnderWay,
    pub(super) watch: &'a Watch,
    pub(super) asked: Asked,
    /// What the last judgement went by; none: there was none yet.
    pub(super) judged: Option<Judgement>,
    pub(super) known: Known,
    pub(super) authority: Authority,
    /// The epochs that the resources had.
    pub(super) epochs: BTreeMap<ResourceKey, Epoch>,
    pub(super) event: FailoverEvent,
    /// What a target held and could not start, and why.
    pub(super) unstarted: BTreeMap<ResourceKey, String>,
    /// What a region said in this run that it did not start.
    pub(super) not_started: BTreeSet<ResourceKey>,
    /// Regions that did not hear of the end, and why.
    pub(super) unheard: BTreeMap<RegionId, String>,
    /// When the steps that are under way began, since boot.
    pub(super) began: Duration,
    /// What is lost of each resource, as far as that is known.
    pub(super) lost: BTreeMap<ResourceKey, Duration>,
    /// Of what is not copied once more, until when the point has all that its source wrote.
    pub(super) points: BTreeMap<ResourceKey, Timestamp>,
}

impl Team<'_> {
    /// Writes the event down as it stands.
    pub(super) fn keep(&mut self) -> Result<(), JournalError> {
        self.log.keep(&self.event).map_err(|error| JournalError(Box::new(error)))
    }

    /// The machines that a step starts or stops, and where; none of other steps.
    fn acts(step: &Step) -> Option<(&RegionId, &BTreeSet<ResourceKey>)> {
        match step {
            Step::Start(region, keys) | Step::Demote(region, keys) => Some((region, keys)),
            Step::Meet(_)
            | Step::Accept(_)
            | Step::Withdraw(..)
            | Step::Confirm(_)
            | Step::Judge
            | Step::Note(..)
            | Step::Run(_)
            | Step::Close(..) => None,
        }
    }

    /// Lets the regions hear that somebody carries the operation out. What they answer is asked for again before
    /// anything rests on it.
    fn stay_heard(&self, progress: &Progress) -> impl Future<Output = ()> + Send + use<> {
        let (operation, attempt) = (progress.bid.failover.id, progress.bid.attempt);
        let ports = progress.takers().filter_map(|region| self.ports.get(region));
        let asked = ports.map(|port| {
            let id = OperationId(self.manager.world.ids.ordered());
            let authority = Authority { operation: id, ..self.authority.clone() };
            let port = Arc::clone(port);
            async move { drop(port.order(&Order::Confirm { authority, operation, attempt }).await) }
        });
        let asked: Vec<_> = asked.collect();
        async move { drop(join_all(asked).await) }
    }

    fn argv(&self, hook: &Hook) -> &[String] {
        let hooks = &self.manager.desired.topology.policy.failover.hooks;
        match hook {
            Hook::Before(_) => &hooks.before,
            Hook::Fence(_) => &hooks.fence,
            Hook::After(_) => &hooks.after,
        }
    }

    fn tell(
        &self,
        step: &Step,
        key: Option<&ResourceKey>,
        region: &RegionId,
        ended: Option<(Outcome, Option<String>)>,
    ) {
        let at = self.manager.world.clock.now();
        let address = key.map_or_else(|| Address::Region(region.clone()), |key| Address::Resource(key.clone()));
        let (kind, action) = match step {
            Step::Run(_) => (Kind::Fence, Action::Fence),
            _ => (Kind::Failover, Action::Failover),
        };
        let verb = if matches!(step, Step::Demote(..)) { "stop" } else { "start" };
        let (id, regions) = (format!("{verb}:{address}:{region}"), vec![region.clone()]);
        let event = match ended {
            None => Event::ActionStarted { at, id, address, kind, action, regions },
            Some((outcome, message)) => Event::ActionFinished {
                at,
                id,
                address,
                kind,
                action,
                regions,
                outcome,
                bytes: ByteCount(0),
                duration: self.manager.world.clock.since_boot().saturating_sub(self.began),
                message,
            },
        };
        self.watch.events.emit(&event);
    }
}

#[async_trait]
impl Crew for Team<'_> {
    async fn judge(&mut self, progress: &Progress) -> Result<BTreeMap<ResourceKey, String>, String> {
        // Only those that answered the bid are asked: a dead one is not waited for again.
        let takers: BTreeSet<RegionId> = progress.takers().cloned().collect();
        self.manager.look_again_at(&mut self.known, &takers).await;
        match self.asked.clone() {
            Asked::Anew(request, then) => self.judge_request(progress, &request, then).await,
            Asked::GoneOn(request, whom) => self.judge_going_on(progress, &request, whom).await,
        }
    }

    fn stands(&self, progress: &Progress) -> bool {
        let source = Answered(progress.has_accepted(&progress.bid.failover.from));
        let now = self.manager.world.clock.since_boot();
        let stands =
            |judged: Judgement| judged.source == source && (!judged.by_policy || self.known.is_verdict_fresh(now));
        self.judged.is_some_and(stands)
    }

    async fn run(&mut self, hook: &Hook, progress: &Progress, fresh_until: Duration) -> Result<(), String> {
        let bid = &progress.bid;
        let from = if let Hook::Fence(region) = hook { region } else { &bid.failover.from };
        let occasion = Occasion {
            operation: bid.failover.id,
            epoch: bid.failover.epoch,
            attempt: bid.attempt.number,
            from: from.clone(),
            to: bid.to.clone(),
            resources: bid.resources.iter().cloned().collect(),
        };
        let hooks = self.manager.hooks();
        let order = HookOrder {
            argv: self.argv(hook),
            timeout: self.manager.desired.topology.policy.failover.hooks.timeout,
            occasion: &occasion,
            confirmed: fresh_until.saturating_sub(FRESH),
        };
        let ran = match hook {
            Hook::Fence(_) => hooks.fence(order, &self.watch.cancel).await,
            Hook::Before(_) | Hook::After(_) => hooks.run(order, &self.watch.cancel).await.map(drop),
        };
        ran.map_err(|error| error.to_string())
    }

    async fn bring_up_to_date(
        &mut self,
        progress: &Progress,
        resources: &BTreeSet<ResourceKey>,
    ) -> BTreeMap<ResourceKey, String> {
        let (from, to) = (&progress.bid.failover.from, &progress.bid.to);
        let all_fail = |why: String| resources.iter().map(|key| (key.clone(), why.clone())).collect();
        let (Some(source), Some(target)) = (self.ports.get(from), self.ports.get(to)) else {
            return all_fail(format!("{from} and {to} cannot both be reached from here"));
        };
        let copies = Copies {
            lineage: self.authority.lineage,
            term: self.authority.term,
            operation: progress.bid.failover.id,
            full: false,
            world: self.manager.world.clone(),
            cancel: self.watch.cancel.clone(),
        };
        let wanted = resources.iter().map(|key| (key.clone(), self.epochs.get(key).copied().unwrap_or_default()));
        let wanted = wanted.collect();
        let every = (progress.hook_limit / 2).max(Duration::from_secs(1));
        let failed = {
            let mut copied = pin!(copies.carry_out((source, target), &wanted));
            loop {
                tokio::select! {
                    (_, failed) = &mut copied => break failed,
                    // Copies take their time, and whoever asks for nothing so long counts as dead.
                    () = tokio::time::sleep(every) => self.stay_heard(progress).await,
                }
            }
        };
        let whole = resources.iter().filter(|key| !failed.contains_key(*key));
        self.loses(progress, whole.map(|key| (key.clone(), Duration::ZERO)));
        failed
    }

    fn intend(&mut self, progress: &Progress, steps: &[String]) -> Result<Vec<i64>, JournalError> {
        let at = self.manager.world.clock.now();
        let (id, attempt) = (progress.bid.failover.id, progress.bid.attempt.number);
        self.log.intend(id, attempt, steps, at).map_err(|error| JournalError(Box::new(error)))
    }

    fn conclude(&mut self, ended: &[(i64, String)]) -> Result<(), JournalError> {
        let at = self.manager.world.clock.now();
        self.log.conclude(ended, at).map_err(|error| JournalError(Box::new(error)))
    }

    fn begins(&mut self, step: &Step, _: &Progress) {
        self.began = self.manager.world.clock.since_boot();
        if let Step::Start(region, keys) = step {
            keys.iter().for_each(|key| self.tell(step, Some(key), region, None));
        }
        if let Step::Run(Hook::Fence(region)) = step {
            self.tell(step, None, region, None);
        }
    }

    fn ended(&mut self, step: &Step, carried: Option<&Carried>, failure: Option<&str>, progress: &Progress) {
        if let (Step::Demote(_, keys), Some(_)) = (step, carried) {
            // It wrote until now.
            let now = self.manager.world.clock.now();
            let lost = keys.iter().filter_map(|key| Some((key.clone(), now.since(*self.points.get(key)?))));
            let lost: Vec<_> = lost.collect();
            self.loses(progress, lost);
        }
        if let Some((region, keys)) = Self::acts(step) {
            for key in keys {
                let why =
                    carried.and_then(|carried| carried.failed.get(key).or_else(|| carried.idle.get(key)).cloned());
                let why = why.or_else(|| failure.filter(|_| carried.is_none()).map(ToOwned::to_owned));
                match (step, &why) {
                    (Step::Start(..), Some(why)) => {
                        if carried.is_some() {
                            self.not_started.insert(key.clone());
                        }
                        self.event.failed.insert(key.clone(), why.clone());
                    }
                    (Step::Start(..), None) => {
                        self.not_started.remove(key);
                        self.event.failed.remove(key);
                    }
                    _ => {}
                }
                // That the source stops is told where it does not.
                if why.is_some() || matches!(step, Step::Start(..)) {
                    let outcome = if why.is_some() { Outcome::Failed } else { Outcome::Done };
                    self.tell(step, Some(key), region, Some((outcome, why)));
                }
            }
        }
        match step {
            Step::Run(Hook::Fence(region)) => {
                let outcome = if failure.is_some() { Outcome::Failed } else { Outcome::Done };
                self.tell(step, None, region, Some((outcome, failure.map(ToOwned::to_owned))));
            }
            Step::Run(hook @ (Hook::Before(_) | Hook::After(_))) => {
                if let Some(why) = failure {
                    let which = if matches!(hook, Hook::Before(_)) { "before" } else { "after" };
                    self.event.notes.push(format!("the {which} hook failed: {why}"));
                }
            }
            Step::Close(region, _) | Step::Withdraw(region, _) => {
                if let Some(why) = failure {
                    self.unheard.insert(region.clone(), why.to_owned());
                }
            }
            _ => {}
        }
    }
}
