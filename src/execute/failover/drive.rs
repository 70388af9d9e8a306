//! One attempt, from its first step to its end or to where it cannot go on.
//!
//! | effect | guarantee | a crash here leaves behind |
//! | --- | --- | --- |
//! | a step | its intention is in the journal before anybody is asked | a step without an end; what regions answer to the next attempt says what became of it |
//! | a hook | every region that takes part knows that it is about to run, and said so at most five seconds before; a fence of the source also goes by a judgement that still stands | a note at the regions; whoever goes on waits it out |
//! | the last copy | the source has stopped, and nothing starts before it is published | a stopped source; the next attempt copies again, or leads back |

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use super::step::{DONE, words};
use crate::execute::journal::JournalError;
use crate::failover::{Answer, Ending, Impasse, Mandate, Next, Order, Progress, Refusal, Reply, Report, Step};
use crate::live::port::{Carried, PortError, RegionPort};
use crate::model::failover::{Direction, Hook};
use crate::model::region::Authority;
use crate::model::{OperationId, RegionId, ResourceKey, World};

/// What works for an attempt beside the regions.
#[async_trait]
pub trait Crew: Send {
    /// Judges the gates once more, on what the regions answered to the bid: what they hold back, and why.
    ///
    /// # Errors
    /// Why nothing goes on for now, and nothing is taken back either.
    async fn judge(&mut self, progress: &Progress) -> Result<BTreeMap<ResourceKey, String>, String>;

    /// Whether what was judged still holds, so that the source may be cut off on it.
    fn stands(&self, progress: &Progress) -> bool;

    /// Runs a hook, unless `fresh_until` has passed by this machine's boot clock when it is about to start.
    ///
    /// # Errors
    /// Why it did not do its work.
    async fn run(&mut self, hook: &Hook, progress: &Progress, fresh_until: Duration) -> Result<(), String>;

    /// Brings the target up to date from the stopped source: the resources that could not be, and why.
    async fn bring_up_to_date(
        &mut self,
        progress: &Progress,
        resources: &BTreeSet<ResourceKey>,
    ) -> BTreeMap<ResourceKey, String>;

    /// Writes down that these steps are about to begin, durably.
    ///
    /// # Errors
    /// Where that cannot be written: none of them begins then.
    fn intend(&mut self, progress: &Progress, steps: &[String]) -> Result<Vec<i64>, JournalError>;

    /// Writes down what became of them.
    ///
    /// # Errors
    /// Where that cannot be written.
    fn conclude(&mut self, ended: &[(i64, String)]) -> Result<(), JournalError>;

    /// A step begins.
    fn begins(&mut self, step: &Step, progress: &Progress);

    /// A step ended; what a region did beyond its answer is in `carried`.
    fn ended(&mut self, step: &Step, carried: Option<&Carried>, failure: Option<&str>, progress: &Progress);
}

/// Where an attempt came to.
#[derive(Debug)]
pub enum End {
    /// Its end.
    Ended(Ending),
    /// Where it cannot go on.
    Stuck(Impasse),
    /// The source has stopped, and what it wrote last could not be brought to the target.
    Behind(BTreeMap<ResourceKey, String>),
    /// A signal came; no step is under way.
    Interrupted,
}

/// What drives an attempt.
pub struct Drive<'a> {
    /// The regions.
    pub ports: &'a BTreeMap<RegionId, Arc<dyn RegionPort>>,
    /// Who orders.
    pub authority: Authority,
    /// Time and ids.
    pub world: World,
    /// Whether the target is brought up to date from a source that gave up by order, before anything starts there.
    pub loses_nothing: bool,
    /// Stops it between two steps.
    pub cancel: CancellationToken,
}

/// A step's report, with what a region did beyond its answer.
struct Told {
    report: Report,
    carried: Option<Carried>,
    failure: Option<String>,
}

impl Drive<'_> {
    /// Goes on with the attempt as far as it goes.
    ///
    /// # Errors
    /// Where the journal cannot be written; no step is under way then.
    pub async fn go_on(&self, progress: &mut Progress, crew: &mut dyn Crew) -> Result<End, JournalError> {
        let mut current: BTreeSet<ResourceKey> = BTreeSet::new();
        loop {
            let now = self.world.clock.since_boot();
            let steps = match progress.next(now) {
                Next::Ended(outcome) => return Ok(End::Ended(outcome)),
                Next::Stuck(impasse) => return Ok(End::Stuck(impasse)),
                Next::Wait(until) => {
                    tokio::select! {
                        () = self.cancel.cancelled() => return Ok(End::Interrupted),
                        () = tokio::time::sleep(until.saturating_sub(now)) => continue,
                    }
                }
                Next::Do(steps) => steps,
            };
            if self.cancel.is_cancelled() {
                return Ok(End::Interrupted);
            }
            let fence = Step::Run(Hook::Fence(progress.bid.failover.from.clone()));
            if steps.contains(&fence) && !crew.stands(progress) {
                progress.judged = false;
                continue;
            }
            let behind = self.behind(progress, &steps, &current);
            if !behind.is_empty() {
                let left = crew.bring_up_to_date(progress, &behind).await;
                if self.cancel.is_cancelled() {
                    return Ok(End::Interrupted);
                }
                if !left.is_empty() {
                    return Ok(End::Behind(left));
                }
                // It took its time: what the regions said before is asked anew.
                current.extend(behind);
                continue;
            }
            if let Some(impasse) = self.take(progress, crew, steps).await? {
                return Ok(End::Stuck(impasse));
            }
        }
    }

    /// What is about to start, and was not brought up to date since its source stopped.
    fn behind(&self, progress: &Progress, steps: &[Step], current: &BTreeSet<ResourceKey>) -> BTreeSet<ResourceKey> {
        let by_order = progress.has_accepted(&progress.bid.failover.from);
        if !self.loses_nothing || !by_order || progress.bid.direction == Direction::Abort {
            return BTreeSet::new();
        }
        let starts = steps.iter().any(|step| matches!(step, Step::Start(..)));
        if !starts {
            return BTreeSet::new();
        }
        // All levels at once: the source has given all of them up.
        let demoted = progress.demoted.iter().filter(|key| !progress.promoted.contains(*key));
        demoted.filter(|key| !current.contains(*key) && progress.going().contains(*key)).cloned().collect()
    }

    /// Takes steps, all at once, and has the attempt know what came of them.
    async fn take(
        &self,
        progress: &mut Progress,
        crew: &mut dyn Crew,
        steps: Vec<Step>,
    ) -> Result<Option<Impasse>, JournalError> {
        let texts: Vec<String> = steps.iter().map(words).collect();
        let places = crew.intend(progress, &texts)?;
        steps.iter().for_each(|step| crew.begins(step, progress));
        let began = self.world.clock.since_boot();
        let told: Vec<Told> = match steps.as_slice() {
            [Step::Judge] => match crew.judge(progress).await {
                Ok(held) => vec![Told::of(Report::Judged(held))],
                Err(why) => {
                    crew.conclude(&places.into_iter().map(|place| (place, why.clone())).collect::<Vec<_>>())?;
                    return Ok(Some(Impasse::Held(why)));
                }
            },
            [Step::Run(hook)] => {
                let ran = crew.run(hook, progress, progress.fresh_until(hook)).await;
                let failure = ran.as_ref().err().cloned();
                vec![Told { report: Report::Ran(ran), carried: None, failure }]
            }
            steps => {
                let asked = steps.iter().map(|step| self.ask(progress, step));
                join_all(asked.collect::<Vec<_>>()).await
            }
        };
        let now = self.world.clock.since_boot();
        let ended: Vec<(i64, String)> = (places.into_iter().zip(&told))
            .map(|(place, told)| (place, told.failure.clone().unwrap_or_else(|| DONE.to_owned())))
            .collect();
        crew.conclude(&ended)?;
        let mut impasse = None;
        for (step, told) in steps.iter().zip(told) {
            crew.ended(step, told.carried.as_ref(), told.failure.as_deref(), progress);
            if let Err(met) = progress.apply(step, told.report, began, now) {
                impasse.get_or_insert(met);
            }
        }
        Ok(impasse)
    }

    async fn ask(&self, progress: &Progress, step: &Step) -> Told {
        match step {
            Step::Meet(region) => {
                let answer = match self.port(region) {
                    Ok(port) => answered(port.standings(&BTreeSet::new()).await.map(|told| told.life)),
                    Err(why) => Answer::Silent(why),
                };
                let failure = failure(&answer);
                Told { report: Report::Met(answer), carried: None, failure }
            }
            Step::Accept(region) => {
                let carried = self.order(progress, region, step).await;
                let answer = carried.clone().map(|carried| match carried.reply {
                    Reply::Accepted(acceptance) => Ok(acceptance),
                    Reply::Done(_) => Err("it answered another question".to_owned()),
                });
                let answer = match answer {
                    Ok(Ok(acceptance)) => Answer::Done(acceptance),
                    Ok(Err(why)) => Answer::Silent(why),
                    Err(error) => refused(error),
                };
                let failure = failure(&answer);
                Told { report: Report::Bid(answer), carried: None, failure }
            }
            Step::Withdraw(region, _)
            | Step::Confirm(region)
            | Step::Note(region, _)
            | Step::Demote(region, _)
            | Step::Start(region, _)
            | Step::Close(region, _) => {
                let carried = self.order(progress, region, step).await;
                let (answer, carried) = match carried {
                    Ok(Carried { reply: Reply::Done(done), failed, idle }) => {
                        let answer = Answer::Done(done.clone());
                        (answer, Some(Carried { reply: Reply::Done(done), failed, idle }))
                    }
                    Ok(Carried { reply: Reply::Accepted(_), .. }) => {
                        (Answer::Silent("it answered another question".to_owned()), None)
                    }
                    Err(error) => (refused(error), None),
                };
                let failure = failure(&answer).or_else(|| carried.as_ref().and_then(failed));
                Told { report: Report::Did(answer), carried, failure }
            }
            Step::Judge | Step::Run(_) => unreachable!("{step:?} is no question to a region, and comes alone"),
        }
    }

    fn port(&self, region: &RegionId) -> Result<&Arc<dyn RegionPort>, String> {
        self.ports.get(region).ok_or_else(|| format!("{region} has no endpoint here"))
    }

    /// Has a region carry out the order that a step is.
    async fn order(&self, progress: &Progress, region: &RegionId, step: &Step) -> Result<Carried, PortError> {
        let port = self.port(region).map_err(PortError::NotFound)?;
        let authority = Authority { operation: OperationId(self.world.ids.ordered()), ..self.authority.clone() };
        let (operation, attempt) = (progress.bid.failover.id, progress.bid.attempt);
        let order = match step {
            Step::Accept(_) => Order::Accept { authority, bid: Box::new(progress.bid.clone()) },
            Step::Withdraw(_, resources) => {
                Order::Withdraw { authority, operation, attempt, resources: resources.clone() }
            }
            Step::Confirm(_) => Order::Confirm { authority, operation, attempt },
            Step::Note(_, note) => Order::Note { authority, operation, attempt, note: note.clone() },
            Step::Demote(_, resources) => Order::Demote { authority, operation, attempt, resources: resources.clone() },
            Step::Start(_, resources) => {
                let Some(life) = progress.life else {
                    return Err(PortError::Failed("the starter was not met".to_owned()));
                };
                let accepted = progress.takers().cloned().collect();
                let mandate = Mandate { operation, attempt, life, accepted };
                Order::Hold { authority, mandate, resources: resources.clone() }
            }
            Step::Close(_, resources) => Order::Close { authority, operation, attempt, resources: resources.clone() },
            Step::Meet(_) | Step::Judge | Step::Run(_) => unreachable!("{step:?} is no order"),
        };
        port.order(&order).await
    }
}

impl Told {
    const fn of(report: Report) -> Self {
        Self { report, carried: None, failure: None }
    }
}

fn answered<T>(result: Result<T, PortError>) -> Answer<T> {
    match result {
        Ok(done) => Answer::Done(done),
        Err(error) => refused(error),
    }
}

/// What an error says of whether the order was carried out: only a refusal says that it was not.
fn refused<T>(error: PortError) -> Answer<T> {
    match error {
        PortError::Role(refusal) => Answer::Refused(*refusal),
        PortError::NotController { .. } => Answer::Refused(Refusal::NotController(None)),
        error => Answer::Silent(error.to_string()),
    }
}

fn failure<T>(answer: &Answer<T>) -> Option<String> {
    match answer {
        Answer::Done(_) => None,
        Answer::Refused(refusal) => Some(format!("refused: {refusal}")),
        Answer::Silent(why) => Some(format!("no answer: {why}")),
    }
}

/// The first resource that an order could not be carried out for.
fn failed(carried: &Carried) -> Option<String> {
    let first = carried.failed.iter().chain(&carried.idle).next();
    first.map(|(key, why)| format!("{key}: {why}"))
}
