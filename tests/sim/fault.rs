//! What goes wrong.

use debvisor_region::failover::Book;
use debvisor_region::model::{RegionId, StoreId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::actor::Actor;
use crate::fleet::Fleet;
use crate::network::Node;
use debvisor_region::model::region::Epoch;

/// What may happen out of the blue.
#[derive(Debug, Clone, Copy)]
enum Fault {
    HostDies,
    AgentDies,
    Backup,
    Restore,
    NewStore,
    Cut,
    OneWayCut,
    Heal,
    OrchestratorDies,
    Suspend,
    CopyState,
    DeclareGone,
    ClockJumps,
    CopyDamaged,
}

impl Fleet {
    pub(crate) fn fault(&mut self) {
        let weather = &self.weather;
        let faults = [
            (weather.host_deaths, Fault::HostDies, 2),
            (weather.agent_deaths, Fault::AgentDies, 2),
            (weather.restores, Fault::Backup, 1),
            (weather.restores, Fault::Restore, 1),
            (weather.new_stores, Fault::NewStore, 1),
            (weather.cuts, Fault::Cut, 3),
            (weather.one_way_cuts, Fault::OneWayCut, 3),
            (weather.cuts || weather.one_way_cuts, Fault::Heal, 3),
            (weather.orchestrator_deaths, Fault::OrchestratorDies, 3),
            (weather.suspensions, Fault::Suspend, 2),
            (weather.copies, Fault::CopyState, 1),
            (weather.gone, Fault::DeclareGone, 1),
            (weather.clock_jumps, Fault::ClockJumps, 1),
            (weather.damage, Fault::CopyDamaged, 4),
        ];
        let possible: Vec<Fault> =
            faults.iter().filter(|(on, ..)| *on).flat_map(|(_, fault, weight)| vec![*fault; *weight]).collect();
        if possible.is_empty() {
            return;
        }
        let fault = *self.chance.one(&possible);
        let ids: Vec<RegionId> = self.regions.keys().cloned().collect();
        let id = match fault {
            Fault::Backup | Fault::Restore | Fault::NewStore => self.forgetful.clone(),
            Fault::CopyDamaged => self.frail.clone(),
            _ => self.chance.one(&ids).clone(),
        };
        let down = self.regions[&id].agent.is_none();
        let at = self.chance.below(self.actors.len());
        match fault {
            Fault::HostDies => {
                self.region(&id).power_off();
                self.tally.host_deaths += 1;
                self.tell(format!("{id}'s host dies"));
            }
            Fault::AgentDies if down => {}
            Fault::AgentDies => {
                self.region(&id).kill();
                self.tally.agent_deaths += 1;
                self.tell(format!("{id}'s agent dies"));
            }
            Fault::Backup => {
                let region = self.region(&id);
                let backup = (region.book.clone(), region.wanted.clone());
                region.backups.push(backup);
            }
            Fault::Restore => {
                let backup = self.chance.below(self.regions[&id].backups.len());
                let region = self.region(&id);
                // The machines go on.
                (region.book, region.wanted) = region.backups[backup].clone();
                region.forgot = true;
                region.kill();
                self.watch.forget(&id);
                self.tally.restored += 1;
                self.tell(format!("{id}'s store goes back to backup {backup}"));
            }
            Fault::NewStore => self.new_store(&id),
            Fault::Cut | Fault::OneWayCut => {
                let mut nodes: Vec<Node> = ids.iter().cloned().map(Node::Region).collect();
                nodes.extend((0..self.actors.len()).map(Node::Actor));
                let (one, other) = (self.chance.one(&nodes).clone(), Node::Region(id.clone()));
                self.tell(format!("{fault:?}: from {one:?} to {other:?}"));
                if matches!(fault, Fault::Cut) {
                    self.cut.insert((other.clone(), one.clone()));
                    self.cut.insert((one, other));
                } else if self.chance.percent(50) {
                    self.cut.insert((other, one));
                } else {
                    self.cut.insert((one, other));
                }
                self.tally.cut += 1;
            }
            Fault::Heal => {
                self.cut.clear();
                self.tell("all ways are open");
            }
            Fault::OrchestratorDies => self.replace(at, "dies"),
            Fault::Suspend => {
                self.actors[at].asleep =
                    self.now + self.chance.between(Duration::from_secs(1), Duration::from_secs(40));
                self.tell(format!("orchestrator {at} is suspended"));
            }
            Fault::CopyState => {
                let to = self.chance.below(self.actors.len());
                let (authority, journal) = (self.actors[at].authority.clone(), self.actors[at].journal.clone());
                self.actors[to] = Actor::new(authority, journal, &mut self.chance);
                self.tell(format!("orchestrator {to} works with a copy of {at}'s state file"));
            }
            // Its plug is pulled: it stays off until whoever said so has it readmitted.
            Fault::DeclareGone if self.regions.values().any(|region| region.dead) => {}
            Fault::DeclareGone => {
                let region = self.region(&id);
                region.power_off();
                region.dead = true;
                self.watch.forget(&id);
                self.tally.host_deaths += 1;
                self.tell(format!("{id} burns, and people say so"));
            }
            Fault::CopyDamaged => {
                let copies: Vec<_> = self.regions[&id].copies().collect();
                if !copies.is_empty() {
                    let key = self.chance.one(&copies).clone();
                    self.tell(format!("{id}'s copy of {key} is damaged"));
                    self.region(&id).damaged.insert(key);
                    self.tally.damaged += 1;
                }
            }
            Fault::ClockJumps => {
                let far = self.chance.below(7200);
                self.wall += (i64::try_from(far).unwrap() - 3600) * 1_000_000;
                self.tell("the wall clock jumps");
            }
        }
    }

    fn new_store(&mut self, id: &RegionId) {
        let store = StoreId(self.chance.uuid());
        let region = self.region(id);
        region.power_off();
        region.wanted.clear();
        region.book = Book {
            region: id.clone(),
            store,
            serial: 0,
            inert: None,
            controller: None,
            registry: BTreeSet::from([id.clone()]),
            gone: BTreeMap::new(),
            cut_off: BTreeMap::new(),
            unproven: BTreeMap::new(),
            highest_epoch: Epoch::default(),
            parts: BTreeMap::new(),
            open: BTreeMap::new(),
            ended: BTreeMap::new(),
        };
        region.backups = vec![(region.book.clone(), BTreeSet::new())];
        region.forgot = true;
        self.watch.forget(id);
        self.tally.new_stores += 1;
        self.tell(format!("{id} has lost its store, and begins with a new one"));
    }
}
