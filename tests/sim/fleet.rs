//! The world: regions, orchestrators, and the order in which things happen to them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::fmt::Write;
use std::time::Duration;

use debvisor_region::failover::{Book, Control};
use debvisor_region::model::failover::{Attempt, Hook, Part};
use debvisor_region::model::region::{Authority, Controller, Epoch, Role};
use debvisor_region::model::{
    AttemptOwner, Life, Lineage, OperationId, RegionId, ResourceKey, Seat, StoreId, Timestamp,
};

use crate::actor::{Actor, Journal, Mind};
use crate::admin::TakeOver;
use crate::by_hand::Hand;
use crate::chance::Chance;
use crate::network::{Body, Letter, Node, Request, Response};
use crate::region::Region;
use crate::watch::{Watch, settled};
use crate::weather::Weather;

/// What becomes due at a moment.
#[derive(Debug)]
pub(crate) enum Event {
    Deliver(Letter),
    /// An orchestrator does what it can.
    Turn(usize),
    /// A region's agent works.
    Work(RegionId),
    /// A region asks the others what they know.
    Listen(RegionId),
    /// The program of a hook is about to run, unless the word that it runs on is too old by then.
    HookBegins(Run),
    /// It has done its work.
    HookEnds(Run),
    /// The program of a fence by hand is about to run.
    HandBegins(Hand),
    /// It has done its work, or not.
    HandEnds(Hand),
    /// An agent comes back, and its host with it.
    Boot(RegionId),
    /// Something goes wrong.
    Fault,
}

/// A hook that an attempt runs.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) actor: usize,
    pub(crate) owner: AttemptOwner,
    pub(crate) operation: OperationId,
    pub(crate) attempt: Attempt,
    pub(crate) hook: Hook,
    pub(crate) deadline: Duration,
}

macro_rules! tally {
    ($($name:ident),* $(,)?) => {
        /// What happened in all.
        #[derive(Debug, Default, Clone)]
        pub(crate) struct Tally {
            $(pub(crate) $name: u64,)*
        }

        impl Tally {
            pub(crate) fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

tally! {
    stories, events, opened, adopted, completed, aborted, withdrawn, past, stuck, fenced, late_hooks, passed_over, took_over,
    readmitted, registered, damaged, taken_back, agent_deaths, host_deaths, lost, autostarted, restored, new_stores,
    orchestrator_deaths, cut, by_hand,
}

const STORM: Duration = Duration::from_secs(300);
const CALM: Duration = Duration::from_secs(600);

pub(crate) struct Fleet {
    pub(crate) chance: Chance,
    pub(crate) weather: Weather,
    pub(crate) now: Duration,
    pub(crate) regions: BTreeMap<RegionId, Region>,
    pub(crate) all: BTreeSet<RegionId>,
    pub(crate) actors: Vec<Actor>,
    pub(crate) depends: BTreeMap<ResourceKey, BTreeSet<ResourceKey>>,
    /// What each region keeps copies of.
    pub(crate) takes_part: BTreeMap<RegionId, BTreeSet<ResourceKey>>,
    queue: BinaryHeap<Reverse<(Duration, u64)>>,
    events: BTreeMap<u64, Event>,
    pub(crate) count: u64,
    /// Links that are cut, from the first to the second.
    pub(crate) cut: BTreeSet<(Node, Node)>,
    /// The highest term that every region had accepted at some moment.
    pub(crate) ruled: u64,
    pub(crate) calm: bool,
    pub(crate) wall: i64,
    /// The one region whose store may go back or get lost: of several at once nobody would know what is true.
    pub(crate) forgetful: RegionId,
    /// The one region whose copies may be damaged: what is moved away from a region that is gone must have one.
    pub(crate) frail: RegionId,
    pub(crate) watch: Watch,
    /// What was found broken while it happened.
    pub(crate) broken: Option<String>,
    story: String,
    pub(crate) tally: Tally,
}

pub(crate) fn key(id: &str) -> ResourceKey {
    format!("vm.{id}").parse().unwrap()
}

impl Fleet {
    /// A story with some faults.
    pub(crate) fn storm(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let mut weather = Weather::storm(&mut chance);
        // Where one region lost its memory and another one is gone, nobody may be left who knows a resource.
        let forgets = weather.restores || weather.new_stores;
        weather.gone &= !forgets;
        // Nor where one is removed meanwhile.
        weather.by_hand = Chance::new(!seed).percent(30) && !(forgets && weather.registry);
        weather.losses = Chance::new(seed.rotate_left(16)).percent(25) && !(forgets || weather.registry);
        weather.returns = weather.gone && Chance::new(seed.rotate_left(24)).percent(60);
        // Who is lost for ever brings nobody back who was declared gone.
        weather.losses &= !weather.returns;
        weather.autostarts = weather.by_hand && Chance::new(seed.rotate_left(40)).percent(50);
        // Nor where the last copy is worth nothing.
        weather.damage = Chance::new(seed.rotate_left(32)).percent(30) && !(forgets || weather.gone || weather.losses);
        weather.misreads = Chance::new(seed.rotate_left(48)).percent(60);
        Self::new(chance, weather)
    }

    /// A story without any.
    pub(crate) fn calm(seed: u64) -> Self {
        Self::new(Chance::new(seed), Weather::default())
    }

    fn new(mut chance: Chance, weather: Weather) -> Self {
        let count = if chance.percent(15) { 2 } else { 3 };
        let ids: Vec<RegionId> = ["a", "b", "c"][..count].iter().map(|id| id.parse().unwrap()).collect();
        let authority = Authority {
            lineage: Lineage(chance.uuid()),
            term: 1,
            seat: Seat(chance.uuid()),
            place: "one".to_owned(),
            operation: OperationId(chance.uuid()),
        };
        let keys = BTreeSet::from([key("db"), key("web")]);
        let controller =
            Controller { lineage: authority.lineage, term: 1, seat: authority.seat, place: authority.place.clone() };
        let home = chance.one(&ids).clone();
        // One region may have no part in one of them.
        let apart = ids.iter().find(|id| **id != home && count > 2).filter(|_| chance.percent(30)).cloned();
        let takes_part = ids.iter().map(|id| {
            let part = |key: &&ResourceKey| Some(id) != apart.as_ref() || key.id.as_str() == "db";
            (id.clone(), keys.iter().filter(part).cloned().collect())
        });
        let takes_part: BTreeMap<RegionId, BTreeSet<ResourceKey>> = takes_part.collect();
        let regions = ids.iter().map(|id| {
            let first = *id == home;
            let part = Part {
                role: if first { Role::Holder } else { Role::Replica },
                holder: home.clone(),
                epoch: Epoch::BIRTH,
                attempt: 0,
            };
            let book = Book {
                region: id.clone(),
                store: StoreId(chance.uuid()),
                serial: 1,
                inert: None,
                controller: Some(controller.clone()),
                registry: ids.iter().cloned().collect(),
                gone: BTreeMap::new(),
                cut_off: BTreeMap::new(),
                unproven: BTreeMap::new(),
                highest_epoch: Epoch::BIRTH,
                parts: takes_part[id].iter().map(|key| (key.clone(), part.clone())).collect(),
                open: BTreeMap::new(),
                ended: BTreeMap::new(),
            };
            let running = if first { keys.clone() } else { BTreeSet::new() };
            let mut region = Region::new(book, Life(chance.uuid()), running);
            region.hangs = weather.hangs;
            region.misreads = weather.misreads;
            (id.clone(), region)
        });
        let regions: BTreeMap<RegionId, Region> = regions.collect();
        let mut fleet = Self {
            now: Duration::from_secs(10),
            actors: Vec::new(),
            depends: BTreeMap::from([(key("web"), BTreeSet::from([key("db")]))]),
            all: ids.iter().cloned().collect(),
            takes_part,
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            count: 0,
            cut: BTreeSet::new(),
            ruled: 1,
            calm: false,
            wall: 0,
            forgetful: chance.one(&ids).clone(),
            frail: chance.clone().one(&ids).clone(),
            watch: Watch::default(),
            broken: None,
            story: String::new(),
            tally: Tally { stories: 1, ..Tally::default() },
            regions,
            weather,
            chance,
        };
        // The second one is another process with the same state file, the third one has a state file of its own.
        let other = Authority { lineage: Lineage(fleet.chance.uuid()), place: "other".to_owned(), ..authority.clone() };
        let mut actors = vec![authority.clone()];
        if fleet.weather.twins {
            actors.push(authority);
        }
        if fleet.weather.take_overs {
            actors.push(other);
        }
        for authority in actors {
            let actor = Actor::new(authority, Journal::new(), &mut fleet.chance);
            fleet.actors.push(actor);
        }
        for region in ids {
            fleet.soon(Event::Work(region.clone()), 1);
            fleet.soon(Event::Listen(region.clone()), 2);
            fleet.soon(Event::Boot(region), 30);
        }
        for actor in 0..fleet.actors.len() {
            fleet.soon(Event::Turn(actor), 3);
        }
        fleet.soon(Event::Fault, 5);
        fleet.tell(format!("faults: {}", fleet.weather.names().join(", ")));
        fleet
    }

    pub(crate) fn at(&mut self, when: Duration, event: Event) {
        self.count += 1;
        self.queue.push(Reverse((when, self.count)));
        self.events.insert(self.count, event);
    }

    pub(crate) fn soon(&mut self, event: Event, seconds: u64) {
        let when = self.now + self.chance.between(Duration::from_millis(1), Duration::from_secs(seconds));
        self.at(when, event);
    }

    pub(crate) fn tell(&mut self, words: impl AsRef<str>) {
        let _ = writeln!(self.story, "{:>9.3} {}", self.now.as_secs_f64(), words.as_ref());
    }

    pub(crate) fn region(&mut self, id: &RegionId) -> &mut Region {
        self.regions.get_mut(id).unwrap()
    }

    pub(crate) fn wall_clock(&self) -> Timestamp {
        Timestamp::from_micros(self.wall + i64::try_from(self.now.as_micros()).unwrap())
    }

    /// Runs a storm of faults, then calm weather in which everything must come to its end.
    pub(crate) fn run(mut self) -> Result<Tally, String> {
        let end = self.now + STORM;
        while let Some(Reverse((when, id))) = self.queue.pop() {
            if when > end && !self.calm {
                self.settle();
            }
            if when > end + CALM {
                break;
            }
            self.now = when;
            let Some(event) = self.events.remove(&id) else { continue };
            self.tally.events += 1;
            self.happen(event);
            self.overlook();
            let broken = self.broken.take().map_or_else(|| self.watch.look(&self.regions), Err);
            if let Err(broken) = broken {
                return Err(format!("{}{:>9.3} {broken}", self.story, self.now.as_secs_f64()));
            }
            if self.calm && self.tally.events.is_multiple_of(64) && settled(&self.regions).is_ok() && self.is_quiet() {
                break;
            }
        }
        assert!(self.tally.events >= 200, "too short a story: {}", self.tally.events);
        if std::env::var("STORY").is_ok() {
            println!("{}", self.story);
        }
        settled(&self.regions).map_err(|wrong| format!("{}AFTER CALM WEATHER:\n{wrong}", self.story))?;
        Ok(self.tally)
    }

    /// Whether nothing is under way any more that could change anything.
    fn is_quiet(&self) -> bool {
        let idle = |actor: &Actor| !actor.alive || matches!(actor.mind, Mind::Idle | Mind::Reading(_));
        let under_way = |event: &Event| {
            matches!(event, Event::HookBegins(_) | Event::HookEnds(_) | Event::HandBegins(_) | Event::HandEnds(_))
        };
        self.actors.iter().all(idle) && !self.events.values().any(under_way)
    }

    /// Faults end; whoever was down comes back; an orchestrator takes over and brings all to an end.
    fn settle(&mut self) {
        self.calm = true;
        self.cut.clear();
        self.tell("calm");
        if self.weather.names().is_empty() {
            return;
        }
        if self.weather.losses && self.all.len() > 2 {
            self.lose();
        }
        let losses = self.weather.losses;
        for region in self.regions.values_mut() {
            region.dead &= losses;
            region.hangs = false;
            region.misreads = false;
            if region.dead {
                continue;
            }
            if region.agent.is_none() {
                region.start_agent(Life(self.chance.uuid()));
            }
        }
        for actor in &mut self.actors {
            actor.alive = false;
        }
        let (authority, journal) = (self.actors[0].authority.clone(), self.actors[0].journal.clone());
        let actor = Actor::new(authority, journal, &mut self.chance);
        self.actors.push(actor);
        self.soon(Event::Turn(self.actors.len() - 1), 1);
    }

    /// One region never comes back, and people know.
    fn lose(&mut self) {
        let ids: Vec<RegionId> = self.all.iter().cloned().collect();
        let dead = ids.iter().find(|id| self.regions[*id].dead).cloned();
        let lost = dead.unwrap_or_else(|| self.chance.one(&ids).clone());
        let region = self.region(&lost);
        region.power_off();
        region.dead = true;
        self.watch.forget(&lost);
        self.tally.lost += 1;
        self.tell(format!("{lost} is lost for ever"));
    }

    /// A new seat, with a term above all that were read.
    pub(crate) fn take_over(&mut self, at: usize) {
        let Mind::Reading(told) = &self.actors[at].mind else { return };
        let told: Vec<_> = told.values().collect();
        let authority = Authority { seat: Seat(self.chance.uuid()), ..self.actors[at].authority.clone() };
        let mut take_over = TakeOver::new(authority, &told);
        let lost = self.regions.iter().find(|(_, region)| self.calm && region.dead);
        take_over.fenced = lost.map(|(id, _)| id.clone());
        self.actors[at].authority = take_over.authority.clone();
        self.tell(format!("orchestrator {at} takes over with term {}", take_over.authority.term));
        self.actors[at].mind = Mind::TakingOver(Box::new(take_over));
    }

    pub(crate) fn send(&mut self, letter: Letter) {
        if self.cut.contains(&(letter.from.clone(), letter.to.clone())) {
            return;
        }
        let (calm, weather) = (self.calm, self.weather.clone());
        let copies = if !calm && weather.duplicates && self.chance.percent(8) { 2 } else { 1 };
        for _ in 0..copies {
            let slow = !calm && weather.slow && self.chance.percent(10);
            let most = if slow { Duration::from_secs(20) } else { Duration::from_millis(40) };
            let when = self.now + self.chance.between(Duration::from_millis(1), most);
            if calm || !weather.loss || !self.chance.percent(4) {
                self.at(when, Event::Deliver(letter.clone()));
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Deliver(letter) => self.deliver(letter),
            Event::Turn(actor) => self.turn(actor),
            Event::Work(id) => self.work(&id),
            Event::Listen(id) => {
                let others: Vec<RegionId> = self.regions.keys().filter(|other| **other != id).cloned().collect();
                if self.regions[&id].agent.is_some() {
                    for other in others {
                        self.count += 1;
                        let question = self.count;
                        self.region(&id).asked.insert(question);
                        let (from, to) = (Node::Region(id.clone()), Node::Region(other));
                        self.send(Letter { from, to, question, body: Body::Request(Request::Standings) });
                    }
                }
                self.soon(Event::Listen(id), 8);
            }
            Event::HookBegins(run) => self.hook_begins(run),
            Event::HookEnds(run) => self.hook_ends(run),
            Event::HandBegins(hand) => self.hand_begins(hand),
            Event::HandEnds(hand) => self.hand_ends(hand),
            Event::Boot(id) => {
                let life = Life(self.chance.uuid());
                if self.regions[&id].dead && self.weather.returns && !self.calm {
                    self.region(&id).dead = false;
                    self.tell(format!("{id} was declared gone, and is back"));
                }
                let region = self.region(&id);
                if region.agent.is_none() && !region.dead {
                    region.start_agent(life);
                    self.tell(format!("{id}'s agent starts"));
                    self.autostart(&id);
                }
                self.soon(Event::Boot(id), 60);
            }
            Event::Fault => {
                if !self.calm {
                    self.fault();
                    self.soon(Event::Fault, 20);
                }
            }
        }
    }

    /// The hypervisor of a region that was cut off by hand starts what it finds: nobody has promised that it does not,
    /// and nobody knows before the region says so.
    fn autostart(&mut self, id: &RegionId) {
        if self.calm || !self.weather.autostarts || !self.watch.is_cut_off(id) || self.chance.percent(20) {
            return;
        }
        let elsewhere = |key: &ResourceKey| self.regions.values().any(|other| other.running.contains(key));
        let found: BTreeSet<ResourceKey> =
            self.regions[id].wanted.iter().filter(|key| !elsewhere(key)).cloned().collect();
        if found.is_empty() {
            return;
        }
        self.tally.autostarted += 1;
        self.tell(format!("{id}'s hypervisor starts {found:?} by itself"));
        let region = self.region(id);
        region.running.extend(found.clone());
        region.autostarted = Some(found);
        self.watch.autostarted(id, &self.regions[id].running);
    }

    /// What a hypervisor started, and nobody knew of when it was started elsewhere, is nobody's fault here.
    fn overlook(&mut self) {
        let ids: Vec<RegionId> = self.regions.keys().cloned().collect();
        for id in ids {
            let Some(found) = self.regions[&id].autostarted.clone() else { continue };
            let others = || self.regions.iter().filter(|(other, _)| **other != id);
            let twice = |key: &&ResourceKey| others().any(|(_, other)| other.running.contains(*key));
            let twice: BTreeSet<ResourceKey> = found.iter().filter(twice).cloned().collect();
            self.region(&id).running.retain(|key| !twice.contains(key));
        }
    }

    fn work(&mut self, id: &RegionId) {
        let region = self.regions.get_mut(id).unwrap();
        let before = region.book.clone();
        if let Some(worked) = region.work(&mut self.chance) {
            self.tally.taken_back += worked.taken_back.len() as u64;
            if let Err(broken) = self.watch.worked(region, &worked) {
                self.broken = Some(broken);
            }
            let changed = region.book != before;
            let (job, reply) = (worked.job, worked.reply);
            if !self.crash_at_commit(id, changed, before) {
                if changed {
                    let order = Request::Order(Box::new(job.order.clone()));
                    self.tell(format!("{id} does {:?} for {}", worked.act, order.words()));
                }
                if let Some(reply) = reply {
                    let (from, body) = (Node::Region(id.clone()), Body::Response(Response::Order(reply)));
                    self.send(Letter { from, to: job.asker, question: job.question, body });
                }
                self.untimely(id);
            }
        }
        self.regions.get_mut(id).unwrap().look_after(&mut self.chance);
        let busy = !self.regions[id].jobs.is_empty();
        let pause = if busy { Duration::from_millis(300) } else { Duration::from_secs(2) };
        let when = self.now + self.chance.between(Duration::from_millis(1), pause);
        self.at(when, Event::Work(id.clone()));
    }

    /// The agent may die at a commit; what it did not answer may be lost then, but only before it is durable.
    fn crash_at_commit(&mut self, id: &RegionId, changed: bool, before: Book) -> bool {
        if !changed || self.calm || !self.weather.commit_crashes || !self.chance.percent(4) {
            return false;
        }
        let lost = self.chance.percent(50);
        let region = self.region(id);
        if lost {
            region.book = before;
        }
        region.kill();
        self.tally.agent_deaths += 1;
        self.tell(format!("{id}'s agent dies at a commit{}", if lost { ", which is lost" } else { "" }));
        true
    }

    /// A host may die right after it did as it was asked, and be back soon.
    fn untimely(&mut self, id: &RegionId) {
        if !self.calm && self.weather.untimely_boots && self.chance.percent(4) {
            self.region(id).power_off();
            self.tally.host_deaths += 1;
            self.tell(format!("{id}'s host dies between two steps"));
            self.soon(Event::Boot(id.clone()), 5);
        }
    }

    /// What a region durably did about regions that are cut off by hand.
    fn obeyed(&mut self, id: &RegionId, control: &Control) {
        match control {
            Control::LetIn { region, .. } => self.watch.let_in(region, id),
            // It knows no fences any more.
            Control::Readmit { .. } => self.watch.forget(id),
            Control::TakeOver { .. } | Control::CutOff { .. } | Control::DeclaredGone { .. } => {}
            Control::Register { now, .. } => {
                for left in self.all.difference(now) {
                    self.watch.let_in(left, id);
                    self.watch.forget(left);
                }
            }
        }
    }

    fn deliver(&mut self, letter: Letter) {
        let Letter { from, to, question, body } = letter;
        match (to, body) {
            (Node::Region(id), Body::Request(request)) => {
                let before = self.regions[&id].book.clone();
                let response = self.region(&id).handle(&from, question, &request);
                let changed = self.regions[&id].book != before;
                let crashed = self.crash_at_commit(&id, changed, before.clone());
                if let (Request::Control(control), true) = (&request, self.regions[&id].book != before) {
                    self.obeyed(&id, control);
                }
                if crashed {
                    return;
                }
                if let (true, Node::Actor(actor)) = (changed, &from) {
                    self.tell(format!("{id} takes {} of orchestrator {actor}", request.words()));
                    let asked = match &request {
                        Request::Order(order) => order.authority().term,
                        Request::Control(_) | Request::Standings => self.ruled,
                    };
                    if asked < self.ruled && !self.regions[&id].forgot {
                        self.broken = Some(format!("{id} obeys term {asked}, which {} has ended", self.ruled));
                    }
                }
                if let Some(response) = response {
                    let body = Body::Response(response);
                    self.send(Letter { from: Node::Region(id.clone()), to: from, question, body });
                }
                if changed {
                    self.untimely(&id);
                }
            }
            (Node::Region(id), Body::Response(Response::Standings(told))) => {
                // An answer to an earlier life's question says nothing in this one.
                if self.region(&id).asked.remove(&question) {
                    let other = told.region.clone();
                    let before = self.regions[&id].book.clone();
                    let lost = self.region(&id).hear(*told);
                    let changed = self.regions[&id].book != before;
                    if changed {
                        self.tell(format!("{id} learns from {other}; it holds {lost:?} no more"));
                    }
                    self.crash_at_commit(&id, changed, before);
                }
            }
            (Node::Region(_), Body::Response(_)) => {}
            (Node::Actor(actor), Body::Response(response)) => self.hear(actor, question, response),
            (Node::Actor(_), Body::Request(_)) => unreachable!("nobody asks an orchestrator"),
        }
    }
}
