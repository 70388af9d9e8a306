//! Three regions in memory, `a` the holder of two machines, and an orderer that asks them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::failover::{Agent, Answer, Book, Mandate, Next, Order, Progress, Refusal, Reply, Report, Step};
use crate::model::failover::{Attempt, Bid, Direction, Failover, Hook, Part};
use crate::model::policy::Strategy;
use crate::model::region::{Authority, Controller, Epoch, Role};
use crate::model::{AttemptOwner, Life, Lineage, OperationId, RegionId, ResourceKey, Seat, StoreId, Timestamp};

pub(super) fn id(text: &str) -> RegionId {
    text.parse().unwrap()
}

pub(super) fn ids(texts: &[&str]) -> BTreeSet<RegionId> {
    texts.iter().map(|text| id(text)).collect()
}

pub(super) fn key(text: &str) -> ResourceKey {
    format!("vm.{text}").parse().unwrap()
}

pub(super) fn keys() -> BTreeSet<ResourceKey> {
    BTreeSet::from([key("db"), key("web")])
}

pub(super) fn authority(term: u64) -> Authority {
    Authority {
        lineage: Lineage(Uuid::from_u128(1)),
        term,
        seat: Seat(Uuid::from_u128(term.into())),
        place: "here".to_owned(),
        operation: OperationId(Uuid::nil()),
    }
}

pub(super) fn attempt(number: u32) -> Attempt {
    Attempt { number, owner: AttemptOwner(Uuid::from_u128(number.into())) }
}

/// From `a` to `b`, at epoch 2.
pub(super) fn bid(number: u32) -> Bid {
    Bid {
        failover: Failover {
            id: OperationId(Uuid::from_u128(7)),
            epoch: Epoch(2),
            from: id("a"),
            strategy: Strategy::Manual,
            reason: None,
            automatic: false,
            opened_at: Timestamp::from_micros(0),
        },
        attempt: attempt(number),
        direction: Direction::Forward,
        by_person: true,
        to: id("b"),
        resources: keys(),
        registry: ids(&["a", "b", "c"]),
        gone: BTreeMap::new(),
        points: BTreeMap::new(),
    }
}

pub(super) fn book(region: &str) -> Book {
    let Authority { lineage, term, seat, place, operation: _ } = authority(1);
    let role = if region == "a" { Role::Holder } else { Role::Replica };
    let part = Part { role, holder: id("a"), epoch: Epoch::BIRTH, attempt: 0 };
    Book {
        region: id(region),
        store: StoreId(Uuid::from_u128(u128::from(region.as_bytes()[0]))),
        serial: 1,
        inert: None,
        controller: Some(Controller { lineage, term, seat, place }),
        registry: ids(&["a", "b", "c"]),
        gone: BTreeMap::new(),
        cut_off: BTreeMap::new(),
        unproven: BTreeMap::new(),
        highest_epoch: Epoch::BIRTH,
        parts: keys().into_iter().map(|key| (key, part.clone())).collect(),
        open: BTreeMap::new(),
        ended: BTreeMap::new(),
    }
}

/// What regions are, and whether they answer.
pub(super) struct Regions {
    pub(super) books: BTreeMap<RegionId, Book>,
    pub(super) agents: BTreeMap<RegionId, Agent>,
    pub(super) running: BTreeMap<RegionId, BTreeSet<ResourceKey>>,
    pub(super) silent: BTreeSet<RegionId>,
    /// Those that have nothing that could tell what runs there.
    pub(super) unwatched: BTreeSet<RegionId>,
    /// Every step that was made, in order.
    pub(super) made: Vec<Step>,
    pub(super) now: Duration,
}

impl Regions {
    /// All of them have heard each other.
    pub(super) fn new() -> Self {
        let names = ["a", "b", "c"];
        let mut regions = Self {
            books: names.iter().map(|name| (id(name), book(name))).collect(),
            agents: (names.iter().zip(1..))
                .map(|(name, life)| (id(name), Agent::new(Life(Uuid::from_u128(life)))))
                .collect(),
            running: BTreeMap::from([(id("a"), keys())]),
            silent: BTreeSet::new(),
            unwatched: BTreeSet::new(),
            made: Vec::new(),
            now: Duration::from_secs(100),
        };
        regions.talk();
        regions
    }

    /// Everybody who answers hears everybody who answers.
    pub(super) fn talk(&mut self) {
        let heard: Vec<RegionId> = self.books.keys().filter(|region| !self.silent.contains(*region)).cloned().collect();
        for from in &heard {
            let told = Arc::new(self.books[from].standings(&self.agents[from], &self.runs(from)));
            for to in heard.iter().filter(|to| *to != from) {
                let book = self.books.get_mut(to).unwrap();
                book.learn(&told);
                self.agents.get_mut(to).unwrap().hear(book, [(from.clone(), Arc::clone(&told))]);
            }
        }
    }

    pub(super) fn runs(&self, region: &RegionId) -> BTreeSet<ResourceKey> {
        self.running.get(region).cloned().unwrap_or_default()
    }

    /// The agent of a region starts anew.
    pub(super) fn restart(&mut self, region: &str) {
        self.agents.insert(id(region), Agent::new(Life(Uuid::from_u128(99))));
    }

    pub(super) fn ask(&mut self, region: &RegionId, order: &Order) -> Result<Reply, Refusal> {
        let unwatched = self.unwatched.contains(region);
        let running = if unwatched { BTreeSet::new() } else { self.runs(region) };
        let mut reply = self.books.get_mut(region).unwrap().take(&self.agents[region], &running, false, order)?;
        match order {
            Order::Accept { bid, .. } if unwatched => {
                if let Reply::Accepted(acceptance) = &mut reply {
                    acceptance.unwatched = bid.resources.clone();
                }
            }
            Order::Demote { .. } if unwatched => return Ok(Reply::Done(BTreeSet::new())),
            Order::Hold { .. } if unwatched => {}
            Order::Demote { resources, .. } => {
                self.running.entry(region.clone()).or_default().retain(|key| !resources.contains(key));
            }
            Order::Hold { resources, .. } => {
                self.running.entry(region.clone()).or_default().extend(resources.iter().cloned());
            }
            _ => {}
        }
        Ok(reply)
    }

    /// Carries out what is to be done next, until nothing is.
    pub(super) fn drive(&mut self, progress: &mut Progress) -> Next {
        for _ in 0..100 {
            if let Some(end) = self.drive_once(progress) {
                return end;
            }
        }
        panic!("it never ends: {:?}", self.made)
    }

    pub(super) fn drive_once(&mut self, progress: &mut Progress) -> Option<Next> {
        match progress.next(self.now) {
            Next::Do(steps) => {
                for step in steps {
                    let report = self.report(progress, &step);
                    self.made.push(step.clone());
                    if let Err(why) = progress.apply(&step, report, self.now, self.now) {
                        return Some(Next::Stuck(why));
                    }
                }
            }
            Next::Wait(until) => self.now = until,
            end => return Some(end),
        }
        None
    }

    fn report(&mut self, progress: &Progress, step: &Step) -> Report {
        let (authority, bid) = (authority(1), &progress.bid);
        let (operation, attempt) = (bid.failover.id, bid.attempt);
        let (region, order) = match step {
            Step::Judge => return Report::Judged(BTreeMap::new()),
            Step::Run(hook) => {
                if let Hook::Fence(region) = hook {
                    self.running.remove(region);
                }
                return Report::Ran(Ok(()));
            }
            Step::Meet(region) if self.silent.contains(region) => return Report::Met(Answer::Silent(String::new())),
            Step::Meet(region) => return Report::Met(Answer::Done(self.agents[region].life)),
            Step::Accept(region) => (region, Order::Accept { authority, bid: Box::new(bid.clone()) }),
            Step::Withdraw(region, keys) => {
                (region, Order::Withdraw { authority, operation, attempt, resources: keys.clone() })
            }
            Step::Confirm(region) => (region, Order::Confirm { authority, operation, attempt }),
            Step::Note(region, note) => (region, Order::Note { authority, operation, attempt, note: note.clone() }),
            Step::Demote(region, keys) => {
                (region, Order::Demote { authority, operation, attempt, resources: keys.clone() })
            }
            Step::Start(region, keys) => {
                let accepted = progress.takers().cloned().collect();
                let mandate = Mandate { operation, attempt, life: progress.life.unwrap(), accepted };
                (region, Order::Hold { authority, mandate, resources: keys.clone() })
            }
            Step::Close(region, keys) => {
                (region, Order::Close { authority, operation, attempt, resources: keys.clone() })
            }
        };
        let answer = match self.silent.contains(region) {
            true => Answer::Silent(String::new()),
            false => match self.ask(region, &order) {
                Ok(reply) => Answer::Done(reply),
                Err(refusal) => Answer::Refused(refusal),
            },
        };
        match (step, answer) {
            (_, Answer::Done(Reply::Accepted(acceptance))) => Report::Bid(Answer::Done(acceptance)),
            (_, Answer::Done(Reply::Done(keys))) => Report::Did(Answer::Done(keys)),
            (Step::Accept(_), Answer::Refused(refusal)) => Report::Bid(Answer::Refused(refusal)),
            (Step::Accept(_), Answer::Silent(why)) => Report::Bid(Answer::Silent(why)),
            (_, Answer::Refused(refusal)) => Report::Did(Answer::Refused(refusal)),
            (_, Answer::Silent(why)) => Report::Did(Answer::Silent(why)),
        }
    }
}

/// The source has given up, and the orderer dies.
pub(super) fn left_half_done(regions: &mut Regions) {
    for region in ["a", "b", "c"] {
        regions.ask(&id(region), &Order::Accept { authority: authority(1), bid: Box::new(bid(1)) }).unwrap();
    }
    let (operation, attempt) = (bid(1).failover.id, attempt(1));
    let demote = Order::Demote { authority: authority(1), operation, attempt, resources: keys() };
    regions.ask(&id("a"), &demote).unwrap();
}
