//! What orchestrators do when they are scheduled, and what comes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use debvisor_region::failover::{Answer, Control, Ending, Impasse, Next, Recourse, Refusal, Reply, Report, Step};
use debvisor_region::model::failover::{Hook, Note, Standings};
use debvisor_region::model::{OperationId, RegionId};

use crate::actor::{Actor, Asked, HOOK, Mind, Plan, View, Waiting, words};
use crate::admin::obeys;
use crate::fleet::{Event, Fleet, Run, key};
use crate::network::{Body, Letter, Node, Request, Response};

const PATIENCE: Duration = Duration::from_secs(6);

fn answer<T>(result: Result<T, Refusal>) -> Answer<T> {
    match result {
        Ok(done) => Answer::Done(done),
        Err(refusal) => Answer::Refused(refusal),
    }
}

impl Fleet {
    pub(crate) fn ask(&mut self, at: usize, region: &RegionId, request: Request, asked: Asked) {
        self.count += 1;
        let question = self.count;
        let waiting = Waiting { asked, began: self.now, until: self.now + PATIENCE };
        self.actors[at].waiting.insert(question, waiting);
        let (from, to) = (Node::Actor(at), Node::Region(region.clone()));
        self.send(Letter { from, to, question, body: Body::Request(request) });
    }

    /// An orchestrator is scheduled: what took too long is silence, and what may be done is done.
    pub(crate) fn turn(&mut self, at: usize) {
        if !self.actors[at].alive {
            return;
        }
        let pause = self.chance.between(Duration::from_millis(20), Duration::from_millis(400));
        self.at(self.now + pause, Event::Turn(at));
        if self.actors[at].asleep > self.now {
            return;
        }
        self.silence(at);
        if !self.actors[at].waiting.is_empty() {
            return;
        }
        match &self.actors[at].mind {
            Mind::Idle => {
                if self.chance.percent(if self.calm { 30 } else { 4 }) {
                    self.actors[at].mind = Mind::Reading(BTreeMap::new());
                    for region in self.all.clone() {
                        self.ask(at, &region, Request::Standings, Asked::Read(region.clone()));
                    }
                }
            }
            Mind::Reading(told) => {
                let told = told.clone();
                self.decide(at, &told);
            }
            Mind::TakingOver(take_over) => {
                let (missing, counts) = (take_over.missing(), take_over.counts());
                let authority = take_over.authority.clone();
                if counts {
                    self.tally.took_over += 1;
                    self.actors[at].mind = Mind::Idle;
                    let all = |id: &RegionId| {
                        self.regions[id].book.controller.as_ref().is_some_and(|it| it.term >= authority.term)
                    };
                    if self.all.iter().all(all) {
                        self.ruled = self.ruled.max(authority.term);
                    }
                    return;
                }
                for region in missing {
                    let control = Control::TakeOver { authority: authority.clone() };
                    self.ask(at, &region, Request::Control(Box::new(control)), Asked::Control(region.clone()));
                }
            }
            Mind::Registering => self.actors[at].mind = Mind::Idle,
            Mind::Cutting(_) => self.cut(at),
            Mind::Working(_) => self.drive(at),
        }
    }

    /// What was waited for long enough.
    fn silence(&mut self, at: usize) {
        let now = self.now;
        let hook = |waiting: &Waiting| matches!(waiting.asked, Asked::Step(Step::Run(_)));
        let late = self.actors[at].waiting.iter().filter(|(_, waiting)| waiting.until < now && !hook(waiting));
        let late: Vec<u64> = late.map(|(question, _)| *question).collect();
        for question in late {
            let Some(Waiting { asked, began, until: _ }) = self.actors[at].waiting.remove(&question) else { continue };
            let silent = "no answer".to_owned();
            match asked {
                Asked::Step(step) => {
                    let report = match &step {
                        Step::Meet(_) => Report::Met(Answer::Silent(silent)),
                        Step::Accept(_) => Report::Bid(Answer::Silent(silent)),
                        _ => Report::Did(Answer::Silent(silent)),
                    };
                    self.report(at, &step, report, began);
                }
                Asked::Read(_) => {}
                Asked::Control(_) => self.actors[at].mind = Mind::Idle,
            }
        }
    }

    /// What it does about what it read.
    fn decide(&mut self, at: usize, told: &BTreeMap<RegionId, Standings>) {
        // Two may have been accepted in half under the same term: above it there is one again.
        let authority = self.actors[at].authority.clone();
        let rival = |told: &Standings| {
            told.controller.as_ref().is_some_and(|it| it.term >= authority.term) && !obeys(told, &authority)
        };
        if self.calm && told.values().any(rival) {
            self.take_over(at);
            return;
        }
        if self.by_hand(at, told) || self.administer(at, told) {
            return;
        }
        let dead = self.regions.iter().filter(|(_, region)| region.dead).map(|(id, _)| id.clone()).collect();
        let (weather, depends) = (self.weather.clone(), self.depends.clone());
        let view = View { calm: self.calm, weather: &weather, depends: &depends, dead };
        let now = self.wall_clock();
        let plan = self.actors[at].plan(told, &view, &mut self.chance, now);
        match plan {
            Plan::Nothing => self.actors[at].mind = Mind::Idle,
            Plan::TakeOver => self.take_over(at),
            Plan::Drive(progress) => {
                let bid = &progress.bid;
                let (attempt, failover, way) = (bid.attempt, &bid.failover, bid.direction.as_str());
                let words = format!(
                    "orchestrator {at}: {attempt} of {} (epoch {}) from {} to {}, {way}",
                    failover.id, failover.epoch, failover.from, bid.to
                );
                if bid.attempt.number == 1 {
                    self.tally.opened += 1;
                } else {
                    self.tally.adopted += 1;
                }
                self.tell(words);
                self.actors[at].mind = Mind::Working(progress);
            }
        }
    }

    fn drive(&mut self, at: usize) {
        let Mind::Working(progress) = &self.actors[at].mind else { return };
        match progress.next(self.now) {
            Next::Do(steps) => {
                for step in steps {
                    // It has the source's own word on what runs there.
                    if let Step::Demote(region, _) = &step {
                        self.region(region).autostarted = None;
                    }
                    let Mind::Working(progress) = &self.actors[at].mind else { return };
                    match self.actors[at].request(progress, &step) {
                        Some((region, request)) => self.ask(at, &region, request, Asked::Step(step)),
                        None => self.own(at, &step),
                    }
                }
            }
            Next::Wait(_) => {}
            Next::Ended(ending) => {
                let progress = progress.clone();
                let id = progress.bid.failover.id;
                self.tell(format!("orchestrator {at} ends {id}: {}", words(ending)));
                match ending {
                    Ending::Completed => self.tally.completed += 1,
                    Ending::Aborted => self.tally.aborted += 1,
                    Ending::Withdrawn => self.tally.withdrawn += 1,
                    Ending::Past => self.tally.past += 1,
                }
                // What a region that was declared gone had reached is given up.
                if progress.bid.gone.is_empty()
                    && let Err(broken) = self.watch.ended(&progress, ending, &self.regions)
                {
                    self.broken = Some(broken);
                }
                self.actors[at].mind = Mind::Idle;
            }
            Next::Stuck(why) => self.give_up(at, &why),
        }
    }

    fn give_up(&mut self, at: usize, why: &Impasse) {
        let Mind::Working(progress) = &self.actors[at].mind else { return };
        let (progress, recourse) = (progress.clone(), progress.recourse(why));
        self.tell(format!("orchestrator {at} is stuck: {why:?}, and does {recourse:?}"));
        self.tally.stuck += 1;
        let dead = BTreeSet::new();
        let (weather, depends) = (self.weather.clone(), self.depends.clone());
        let view = View { calm: self.calm, weather: &weather, depends: &depends, dead };
        let next = self.actors[at].despair(&progress, &recourse, &view, &mut self.chance);
        if matches!(recourse, Recourse::PassOver(_)) && next.is_some() {
            self.tally.passed_over += 1;
        }
        self.actors[at].waiting.clear();
        self.actors[at].mind = next.map_or(Mind::Idle, |progress| Mind::Working(Box::new(progress)));
    }

    /// A step that is the orchestrator's own.
    fn own(&mut self, at: usize, step: &Step) {
        let Mind::Working(progress) = &self.actors[at].mind else { return };
        match step {
            Step::Judge => {
                let mut held = BTreeMap::new();
                let early = progress.demoted.is_empty() && progress.promoted_at().is_none();
                if early && !self.calm && self.weather.gates && self.chance.percent(30) {
                    held.insert(key(if self.chance.percent(50) { "db" } else { "web" }), "a gate".to_owned());
                }
                self.report(at, step, Report::Judged(held), self.now);
            }
            Step::Run(hook) => {
                let (id, attempt) = (progress.bid.failover.id, progress.bid.attempt);
                let deadline = progress.fresh_until(hook);
                let done = Note::HookDone { hook: hook.clone() };
                let knows = |region: &RegionId| {
                    self.regions[region].book.open.get(&id).is_some_and(|open| open.notes.contains(&done))
                };
                let known = progress.takers().any(knows);
                let journaled = self.actors[at].journal.get(&id).is_some_and(|notes| notes.contains(&done));
                if (known || journaled) && !matches!(hook, Hook::Fence(_)) {
                    self.broken = Some(format!("{hook:?} runs, and is known to have run"));
                }
                let intent = Note::HookIntended { attempt, hook: hook.clone(), limit: HOOK };
                if !self.journal(at, id, intent) {
                    return;
                }
                self.count += 1;
                let asked = Asked::Step(step.clone());
                let waiting = Waiting { asked, began: self.now, until: Duration::MAX };
                self.actors[at].waiting.insert(self.count, waiting);
                let late = if self.weather.suspensions { Duration::from_secs(9) } else { Duration::from_secs(1) };
                let begins = self.chance.between(Duration::ZERO, late);
                let (owner, hook) = (self.actors[at].owner, hook.clone());
                let run = Run { actor: at, owner, operation: id, attempt, hook, deadline };
                self.at(self.now + begins, Event::HookBegins(run));
            }
            other => unreachable!("{other:?} is a region's"),
        }
    }

    /// Writes a line of the journal; the orchestrator may die there, before or after it is durable.
    fn journal(&mut self, at: usize, operation: OperationId, note: Note) -> bool {
        let dies = !self.calm && self.weather.journal_crashes && self.chance.percent(10);
        if !dies || self.chance.percent(50) {
            self.actors[at].journal.entry(operation).or_default().push(note);
        }
        if dies {
            self.replace(at, "dies as it writes its journal");
        }
        !dies
    }

    /// Another process goes on with the state file.
    pub(crate) fn replace(&mut self, at: usize, how: &str) {
        let (authority, journal) = (self.actors[at].authority.clone(), self.actors[at].journal.clone());
        let asleep = self.actors[at].asleep;
        self.actors[at] = Actor { asleep, ..Actor::new(authority, journal, &mut self.chance) };
        self.tally.orchestrator_deaths += 1;
        self.tell(format!("orchestrator {at} {how}, and another process with its state file takes its place"));
    }

    /// The child that is to run a hook looks at the clock right before it does.
    pub(crate) fn hook_begins(&mut self, run: Run) {
        if self.now > run.deadline {
            self.tally.late_hooks += 1;
            let why = "the word that it ran on was too old".to_owned();
            self.hook_reports(&run, Err(why));
            return;
        }
        let most = if self.weather.long_hooks { HOOK } else { Duration::from_millis(500) };
        let takes = self.chance.between(Duration::from_millis(10), most);
        self.at(self.now + takes, Event::HookEnds(run));
    }

    pub(crate) fn hook_ends(&mut self, run: Run) {
        self.tell(format!("orchestrator {} ran {:?} for {}", run.actor, run.hook, run.attempt));
        // Where a store went back, nobody may know of the later attempt.
        let forgot = self.regions.values().any(|region| region.forgot);
        if let Err(broken) = self.watch.hook(run.operation, run.attempt.number, &run.hook)
            && !forgot
        {
            self.broken = Some(broken);
        }
        if let Hook::Fence(region) = &run.hook {
            self.tally.fenced += 1;
            self.region(region).fence();
            self.watch.fenced(region);
        }
        self.hook_reports(&run, Ok(()));
    }

    fn hook_reports(&mut self, run: &Run, ended: Result<(), String>) {
        let actor = &self.actors[run.actor];
        if !actor.alive || actor.owner != run.owner {
            return;
        }
        let waits = actor.waiting.iter().find_map(|(question, waiting)| match &waiting.asked {
            Asked::Step(Step::Run(hook)) if *hook == run.hook => Some((*question, waiting.began)),
            Asked::Step(_) | Asked::Read(_) | Asked::Control(_) => None,
        });
        let Some((question, began)) = waits else { return };
        self.actors[run.actor].waiting.remove(&question);
        if ended.is_ok() && !self.journal(run.actor, run.operation, Note::HookDone { hook: run.hook.clone() }) {
            return;
        }
        self.report(run.actor, &Step::Run(run.hook.clone()), Report::Ran(ended), began);
    }

    fn report(&mut self, at: usize, step: &Step, report: Report, began: Duration) {
        let now = self.now;
        if let Mind::Working(progress) = &mut self.actors[at].mind
            && let Err(why) = progress.apply(step, report, began, now)
        {
            self.give_up(at, &why);
        }
    }

    pub(crate) fn hear(&mut self, at: usize, question: u64, response: Response) {
        if !self.actors[at].alive || self.actors[at].asleep > self.now {
            return;
        }
        let Some(Waiting { asked, began, until: _ }) = self.actors[at].waiting.remove(&question) else { return };
        match (asked, response) {
            (Asked::Step(Step::Meet(region)), Response::Standings(told)) => {
                let met = match told.inert {
                    Some(inert) => Answer::Refused(Refusal::Inert(inert)),
                    None => Answer::Done(told.life),
                };
                self.report(at, &Step::Meet(region), Report::Met(met), began);
            }
            (Asked::Step(step), Response::Order(reply)) => {
                let report = match reply {
                    Ok(Reply::Accepted(acceptance)) => Report::Bid(Answer::Done(acceptance)),
                    Ok(Reply::Done(keys)) => Report::Did(Answer::Done(keys)),
                    Err(refusal) if matches!(step, Step::Accept(_)) => Report::Bid(answer(Err(refusal))),
                    Err(refusal) => Report::Did(answer(Err(refusal))),
                };
                self.report(at, &step, report, began);
            }
            (Asked::Read(region), Response::Standings(standings)) => {
                if let Mind::Reading(told) = &mut self.actors[at].mind {
                    told.insert(region, *standings);
                }
            }
            (Asked::Control(region), Response::Control(answered)) => {
                if answered.is_ok() {
                    match &mut self.actors[at].mind {
                        Mind::TakingOver(take_over) => drop(take_over.accepted.insert(region)),
                        Mind::Registering => self.tally.registered += 1,
                        Mind::Cutting(cutting) => drop(cutting.kept.insert(region)),
                        Mind::Idle | Mind::Reading(_) | Mind::Working(_) => {}
                    }
                } else {
                    self.tell(format!("orchestrator {at} is refused: {answered:?}"));
                    self.actors[at].mind = Mind::Idle;
                }
            }
            (Asked::Step(_) | Asked::Read(_) | Asked::Control(_), _) => {}
        }
    }
}
