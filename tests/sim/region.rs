//! A region: a durable book, an agent that dies, and machines that don't die with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use debvisor_region::failover::{Act, Agent, Book, Control, Duty, Order, Refusal, Reply, may_run};
use debvisor_region::model::failover::{Part, Standings};
use debvisor_region::model::region::Role;
use debvisor_region::model::{Life, OperationId, RegionId, ResourceKey};

use crate::chance::Chance;
use crate::network::{Node, Request, Response};

/// An order that is being carried out.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) asker: Node,
    pub(crate) question: u64,
    pub(crate) order: Order,
    pub(crate) operation: OperationId,
    pub(crate) attempt: u32,
    pub(crate) keys: BTreeSet<ResourceKey>,
    duty: Duty,
    at: usize,
    /// What could not be placed.
    unplaced: BTreeSet<ResourceKey>,
}

#[derive(Debug)]
pub(crate) struct Region {
    pub(crate) id: RegionId,
    pub(crate) book: Book,
    /// None: the agent does not run.
    pub(crate) agent: Option<Agent>,
    /// Machines that run, whatever anybody believes.
    pub(crate) running: BTreeSet<ResourceKey>,
    /// Machines that were started and not stopped since: they are to run again once they may.
    pub(crate) wanted: BTreeSet<ResourceKey>,
    pub(crate) jobs: Vec<Job>,
    /// What it asked other regions in this life of its agent.
    pub(crate) asked: BTreeSet<u64>,
    /// Whether it ever forgot what it had answered.
    pub(crate) forgot: bool,
    /// Whether its host stays off: a person said that it is gone.
    pub(crate) dead: bool,
    /// Machines that its hypervisor started by itself since its host was off, as long as nobody relies on having seen
    /// that.
    pub(crate) autostarted: Option<BTreeSet<ResourceKey>>,
    /// Whether its machines may hang when they are stopped.
    pub(crate) hangs: bool,
    /// Durable: for which operation files were put in place last.
    placed: BTreeMap<ResourceKey, OperationId>,
    /// Whether what was put in place before may be found unreadable.
    pub(crate) misreads: bool,
    /// Copies that cannot be put in place, mostly.
    pub(crate) damaged: BTreeSet<ResourceKey>,
    /// Earlier states of the store, for a restore: the book, and what was started.
    pub(crate) backups: Vec<(Book, BTreeSet<ResourceKey>)>,
}

/// What came of a request at once; none: it takes a while.
pub(crate) type Done = Option<Response>;

/// What an act of a job did.
pub(crate) struct Worked {
    pub(crate) job: Job,
    pub(crate) act: Act,
    pub(crate) reply: Option<Result<Reply, Refusal>>,
    /// Promotions that it took back.
    pub(crate) taken_back: BTreeSet<ResourceKey>,
}

impl Region {
    pub(crate) fn new(book: Book, life: Life, running: BTreeSet<ResourceKey>) -> Self {
        Self {
            id: book.region.clone(),
            backups: vec![(book.clone(), running.clone())],
            book,
            agent: Some(Agent::new(life)),
            wanted: running.clone(),
            running,
            jobs: Vec::new(),
            asked: BTreeSet::new(),
            forgot: false,
            dead: false,
            autostarted: None,
            hangs: false,
            placed: BTreeMap::new(),
            misreads: false,
            damaged: BTreeSet::new(),
        }
    }

    /// The agent dies; machines go on.
    pub(crate) fn kill(&mut self) {
        self.agent = None;
        self.jobs.clear();
        self.asked.clear();
    }

    /// The host dies, and all that runs on it.
    pub(crate) fn power_off(&mut self) {
        self.kill();
        self.running.clear();
        self.autostarted = None;
    }

    /// A fence takes the host with it: machines and agent.
    pub(crate) fn fence(&mut self) {
        self.running.clear();
        self.autostarted = None;
        self.kill();
    }

    pub(crate) fn start_agent(&mut self, life: Life) {
        self.agent = Some(Agent::new(life));
    }

    /// What the runner says runs, or may.
    fn seen_running(&self) -> BTreeSet<ResourceKey> {
        let starting = self.jobs.iter().filter(|job| job.duty == Duty::Hold).flat_map(|job| job.keys.iter());
        self.running.iter().chain(starting).cloned().collect()
    }

    /// Whether an operation has ended here for a resource that arrived somewhere.
    pub(crate) fn has_closed(&self, operation: OperationId, key: &ResourceKey) -> bool {
        let ended = self.book.ended.get(&operation).is_some_and(|ended| ended.closed.contains_key(key));
        ended || self.book.open.get(&operation).is_some_and(|open| open.closed.contains_key(key))
    }

    /// What it keeps copies of.
    pub(crate) fn copies(&self) -> impl Iterator<Item = ResourceKey> {
        let copy = |(_, part): &(_, &Part)| part.role != Role::Holder && part.holder != self.id;
        self.book.parts.iter().filter(copy).map(|(key, _)| key.clone())
    }

    /// Takes a request where the agent runs.
    pub(crate) fn handle(&mut self, asker: &Node, question: u64, request: &Request) -> Done {
        let running = self.seen_running();
        let agent = self.agent.as_ref()?;
        match request {
            Request::Standings => Some(Response::Standings(Box::new(self.book.standings(agent, &running)))),
            Request::Control(control) => Some(Response::Control(self.obey(control, &running))),
            Request::Order(order) => {
                let (operation, attempt) = order.attempt();
                let begins = match &**order {
                    Order::Demote { resources, .. } => Some((resources, Duty::GiveUp)),
                    Order::Hold { resources, .. } => Some((resources, Duty::Hold)),
                    Order::Accept { .. }
                    | Order::Withdraw { .. }
                    | Order::Confirm { .. }
                    | Order::Note { .. }
                    | Order::Close { .. } => None,
                };
                let Some((keys, duty)) = begins else {
                    return Some(Response::Order(self.take(order, &running)));
                };
                let (asker, order, keys, attempt) = (asker.clone(), (**order).clone(), keys.clone(), attempt.number);
                self.jobs.push(Job {
                    asker,
                    question,
                    order,
                    operation,
                    attempt,
                    keys,
                    duty,
                    at: 0,
                    unplaced: BTreeSet::new(),
                });
                None
            }
        }
    }

    fn obey(&mut self, control: &Control, running: &BTreeSet<ResourceKey>) -> Result<(), Refusal> {
        let before = self.book.clone();
        let done = self.book.obey(running, control);
        self.commit(&before);
        done
    }

    /// Lets the book judge an order. What holds of every order is checked here: one that is refused changes nothing,
    /// and a repeat does nothing twice.
    fn take(&mut self, order: &Order, running: &BTreeSet<ResourceKey>) -> Result<Reply, Refusal> {
        let (operation, attempt) = order.attempt();
        let busy = self.jobs.iter().any(|job| job.operation == operation && job.attempt < attempt.number);
        let agent = self.agent.as_ref().unwrap();
        let before = self.book.clone();
        let reply = self.book.take(agent, running, busy, order);
        match &reply {
            Err(refusal) => assert_eq!(self.book, before, "refused with {refusal}, and changed: {order:?}"),
            Ok(_) => {
                let mut again = self.book.clone();
                let _ = again.take(agent, running, busy, order);
                assert_eq!(again, self.book, "a repeat changes something: {order:?}");
            }
        }
        self.commit(&before);
        reply
    }

    fn commit(&mut self, before: &Book) {
        if self.book != *before && self.book.serial == before.serial {
            self.book.serial += 1;
        }
    }

    /// Hears what another region says of itself. Gives what this one lost.
    pub(crate) fn hear(&mut self, told: Standings) -> BTreeSet<ResourceKey> {
        let Some(mut agent) = self.agent.take() else { return BTreeSet::new() };
        let before = self.book.clone();
        let lost = self.book.learn(&told);
        self.commit(&before);
        agent.hear(&self.book, [(told.region.clone(), Arc::new(told))]);
        self.agent = Some(agent);
        lost
    }

    /// Does one act of one job.
    pub(crate) fn work(&mut self, chance: &mut Chance) -> Option<Worked> {
        if self.jobs.is_empty() || self.agent.is_none() {
            return None;
        }
        let at = chance.below(self.jobs.len());
        let job = self.jobs[at].clone();
        let act = job.duty.acts()[job.at];
        let (mut result, mut taken_back) = (None, BTreeSet::new());
        match act {
            Act::Write => {
                // What is looked at here is what others start.
                let mine = self.jobs.remove(at);
                let running = self.seen_running();
                self.jobs.insert(at, mine);
                result = self.take(&job.order, &running).err().map(Err);
                if result.is_none() && job.duty == Duty::Hold {
                    self.wanted.extend(job.keys.iter().cloned());
                }
            }
            // What is led back lies where it was.
            Act::Place if self.book.open.get(&job.operation).is_some_and(|open| open.bid.to == self.id) => {
                for key in &job.keys {
                    let again = self.placed.get(key) == Some(&job.operation);
                    let fails = match again {
                        true => self.misreads && chance.percent(60),
                        false => self.damaged.contains(key) && chance.percent(90),
                    };
                    if fails {
                        self.jobs[at].unplaced.insert(key.clone());
                    } else {
                        self.placed.insert(key.clone(), job.operation);
                    }
                }
            }
            Act::Place => {}
            Act::TakeBack => {
                let placed = self.placed.iter().filter(|(_, id)| **id == job.operation).map(|(key, _)| key.clone());
                let before = self.book.clone();
                let (_, attempt) = job.order.attempt();
                taken_back = self.book.take_back(job.operation, attempt, &job.unplaced, &placed.collect());
                self.commit(&before);
                self.wanted.retain(|key| !taken_back.contains(key));
                self.jobs[at].keys.retain(|key| !job.unplaced.contains(key));
            }
            Act::Start => {
                // The runner's own guard: a role that was lost meanwhile starts nothing.
                let held = |key: &&ResourceKey| self.book.parts.get(*key).is_some_and(|part| part.role == Role::Holder);
                let started: BTreeSet<ResourceKey> = job.keys.iter().filter(held).cloned().collect();
                self.running.extend(started.clone());
                result = Some(Ok(Reply::Done(started)));
            }
            // A machine that hangs is not stopped.
            Act::Stop => {
                self.wanted.retain(|key| !job.keys.contains(key));
                self.running.retain(|key| !job.keys.contains(key) || (self.hangs && chance.percent(30)));
            }
            Act::Check => {
                let stopped: BTreeSet<ResourceKey> = job.keys.difference(&self.running).cloned().collect();
                result = Some(Ok(Reply::Done(stopped)));
            }
        }
        self.jobs[at].at += 1;
        if self.jobs[at].at == job.duty.acts().len() && result.is_none() {
            result = Some(Ok(Reply::Done(job.keys.clone())));
        }
        if result.is_some() {
            self.jobs.remove(at);
        }
        Some(Worked { job, act, reply: result, taken_back })
    }

    /// What the agent does by itself: it starts what it holds and may run, and stops what it does not hold.
    pub(crate) fn look_after(&mut self, chance: &mut Chance) {
        let Some(agent) = &self.agent else { return };
        let busy = self.jobs.iter().flat_map(|job| job.keys.iter()).cloned().collect::<BTreeSet<_>>();
        let foreign = |key: &ResourceKey| self.book.parts.get(key).is_none_or(|part| part.role != Role::Holder);
        let hangs = self.hangs && chance.percent(90);
        self.running.retain(|key| !foreign(key) || busy.contains(key) || hangs);
        for key in self.wanted.difference(&busy) {
            if !self.running.contains(key) && may_run(&self.book, agent, key, None).is_ok() {
                self.running.insert(key.clone());
            }
        }
    }
}
