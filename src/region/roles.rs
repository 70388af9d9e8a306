//! Roles: what this region is asked about them, and what it does by itself.
//!
//! Owns the agent (one life of it: from the opening of the region to the end of the program), which orders are under
//! way, and the acts that follow an order's writing. Leaves the rules to [`failover`](crate::failover), the data to
//! `promotion` and `returning`, the machines to `runner`.
//!
//! | order | acts, in this order | a crash after the first one leaves |
//! | --- | --- | --- |
//! | give up | the role is written, the machine stopped, the runner asked; without a runner nobody says that it stopped | a demoted region that starts nothing |
//! | hold | the role is written, the point put in its place, what could not be put there taken back, the machine started | a holder that starts nothing before the operation ended, or a new attempt orders it again |
//! | any other | what the book says of it is written | either side |

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::task::JoinHandle;

use super::heard::Heard;
use super::history::ended_since;
use super::local::{Inner, Writing, blocking};
use super::runner::Machines;
use crate::failover::{Agent, Book, Order, Refusal, Reply};
use crate::host::boot_id;
use crate::live::port::{Carried, PortError};
use crate::model::event::Seconds;
use crate::model::failover::{Attempt, Open};
use crate::model::region::{Epoch, Role};
use crate::model::running::RunState;
use crate::model::{Life, OperationId, ResourceKey, ResourceType};
use crate::process::Occasion;

/// Stands for the boot of the host in which a machine was started, as long as it was only ordered to be.
const ORDERED: &str = "ordered";
/// Machines that are asked, started or stopped at once.
pub(super) const AT_ONCE: usize = 32;

/// What a region's agent knows and does in one life.
#[derive(Debug)]
pub(super) struct Roles {
    agent: Mutex<Agent>,
    /// Orders that start or stop machines now.
    under_way: Mutex<Vec<UnderWay>>,
    /// What runs is looked at and judged in one turn: nothing is started in between.
    turn: tokio::sync::Mutex<()>,
    /// What makes replicas of what has another holder now.
    settling: tokio::sync::Mutex<Option<JoinHandle<Vec<String>>>>,
    /// Something was written that the agent follows.
    stirred: Notify,
    /// Another region was heard.
    heard: Notify,
    /// Whether an agent asks the other regions.
    attended: AtomicBool,
    /// When whoever carries an operation out was.
    owners: Heard,
}

/// An order that starts or stops machines.
#[derive(Debug, Clone, PartialEq, Eq)]
struct UnderWay {
    operation: OperationId,
    attempt: u32,
    /// What it may be starting.
    starts: BTreeSet<ResourceKey>,
}

/// Ends an order's being under way, whatever becomes of it.
struct Under<'a>(&'a Roles, UnderWay);

impl Drop for Under<'_> {
    fn drop(&mut self) {
        let mut under_way = self.0.under_way();
        if let Some(at) = under_way.iter().position(|order| *order == self.1) {
            under_way.remove(at);
        }
    }
}

impl Roles {
    /// A life that begins now.
    pub(super) const fn new(life: Life, since_boot: Duration) -> Self {
        Self {
            agent: Mutex::new(Agent::new(life)),
            under_way: Mutex::new(Vec::new()),
            turn: tokio::sync::Mutex::const_new(()),
            settling: tokio::sync::Mutex::const_new(None),
            stirred: Notify::const_new(),
            heard: Notify::const_new(),
            attended: AtomicBool::new(false),
            owners: Heard::since(since_boot),
        }
    }

    /// How long ago whoever carries each of these out was heard of; not at all, while a step of it is under way.
    pub(super) fn owners(&self, open: &BTreeMap<OperationId, Open>, now: Duration) -> BTreeMap<OperationId, Seconds> {
        self.under_way().iter().for_each(|order| self.owners.hear(order.operation, now));
        self.owners.ages(open.keys(), now)
    }

    pub(super) fn agent(&self) -> MutexGuard<'_, Agent> {
        self.agent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn under_way(&self) -> MutexGuard<'_, Vec<UnderWay>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody else looks at what runs, or has something started, meanwhile.
    pub(super) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    pub(super) async fn settling(&self) -> tokio::sync::MutexGuard<'_, Option<JoinHandle<Vec<String>>>> {
        self.settling.lock().await
    }

    /// The agent looks again at once.
    pub(super) fn stir(&self) {
        self.stirred.notify_one();
    }

    pub(super) async fn stirred(&self) {
        self.stirred.notified().await;
    }

    pub(super) fn attend(&self) {
        self.attended.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_attended(&self) -> bool {
        self.attended.load(Ordering::Relaxed)
    }

    /// Somebody was heard.
    pub(super) fn hears(&self) {
        self.heard.notify_waiters();
    }

    /// Comes back when somebody is heard after this was called.
    pub(super) fn heard(&self) -> Notified<'_> {
        self.heard.notified()
    }

    fn begin(&self, operation: OperationId, attempt: u32, starts: BTreeSet<ResourceKey>) -> Under<'_> {
        let order = UnderWay { operation, attempt, starts };
        self.under_way().push(order.clone());
        Under(self, order)
    }

    /// Whether a step of a lower attempt is still under way.
    fn is_busy(&self, operation: OperationId, attempt: u32) -> bool {
        self.under_way().iter().any(|order| order.operation == operation && order.attempt < attempt)
    }

    fn starting(&self) -> BTreeSet<ResourceKey> {
        self.under_way().iter().flat_map(|order| order.starts.iter().cloned()).collect()
    }
}

impl Inner {
    /// Of these resources, those that run here, or may. Where there is no runner, nobody here starts anything.
    pub(super) async fn running(
        self: &Arc<Self>,
        writing: &Writing,
        keys: &BTreeSet<ResourceKey>,
    ) -> BTreeSet<ResourceKey> {
        let mut running: BTreeSet<ResourceKey> = keys.intersection(&self.roles.starting()).cloned().collect();
        let states = self.states(writing, keys).await;
        running.extend(states.into_iter().filter(|(_, state)| *state != RunState::Stopped).map(|(key, _)| key));
        running
    }

    /// What the runner says of these machines; nothing where there is none.
    pub(super) async fn states(
        self: &Arc<Self>,
        writing: &Writing,
        keys: &BTreeSet<ResourceKey>,
    ) -> Vec<(ResourceKey, RunState)> {
        let asked: Vec<ResourceKey> = keys.iter().filter(|key| key.kind == ResourceType::Vm).cloned().collect();
        if !writing.machines.has_runner() {
            return Vec::new();
        }
        let mut states = Vec::new();
        let mut machines = Vec::new();
        for key in asked {
            match self.machine(writing, &key) {
                Ok(Some((_, dir, epoch))) => machines.push((key, dir, epoch)),
                Ok(None) => {}
                Err(why) => states.push((key, RunState::Unknown(why))),
            }
        }
        states.extend(writing.machines.running(machines).await.machines);
        states
    }

    /// Lets the book judge an order, and makes what it writes durable.
    async fn judge(
        self: &Arc<Self>,
        writing: &Arc<Writing>,
        order: &Order,
        running: BTreeSet<ResourceKey>,
    ) -> Result<Reply, PortError> {
        let (inner, writing, order) = (Arc::clone(self), Arc::clone(writing), order.clone());
        blocking(move || {
            let (operation, attempt) = order.attempt();
            let agent = inner.roles.agent().clone();
            inner.change(&writing, Some(operation), |book| {
                // Once the store is ours: whoever writes before us has begun before.
                let busy = inner.roles.is_busy(operation, attempt.number);
                book.take(&agent, &running, busy, &order)
            })
        })
        .await
    }

    pub(super) fn change<T>(
        &self,
        writing: &Writing,
        about: Option<OperationId>,
        act: impl FnOnce(&mut Book) -> Result<T, Refusal>,
    ) -> Result<T, PortError> {
        let mut over = Vec::new();
        let changed = writing.store.change_book(&writing.identity, about, |book| {
            let before = book.open.clone();
            let done = act(book)?;
            over = ended_since(&before, book, self.world.clock.now());
            Ok(done)
        });
        let done = changed.map_err(|error| self.of(error))?.map_err(|refusal| PortError::Role(Box::new(refusal)))?;
        // What counts is in the book; history may lack one.
        over.iter().for_each(|event| drop(writing.store.keep_failover(event)));
        Ok(done)
    }

    /// Carries an order out. See the module.
    pub(super) async fn order(self: &Arc<Self>, order: &Order) -> Result<Carried, PortError> {
        let writing = self.writing().await?;
        let (operation, attempt) = order.attempt();
        self.roles.owners.hear(operation, self.world.clock.since_boot());
        let carried = self.carry(&writing, order, operation, attempt).await;
        self.roles.owners.hear(operation, self.world.clock.since_boot());
        carried
    }

    async fn carry(
        self: &Arc<Self>,
        writing: &Arc<Writing>,
        order: &Order,
        operation: OperationId,
        attempt: Attempt,
    ) -> Result<Carried, PortError> {
        match order {
            Order::Accept { authority: _, bid } => {
                // Whoever drills gives way.
                self.drills.end(&bid.resources);
                let _turn = self.roles.turn.lock().await;
                let running = self.running(writing, &bid.resources).await;
                let mut reply = self.judge(writing, order, running).await?;
                if let Reply::Accepted(acceptance) = &mut reply {
                    let unwatched = bid.resources.iter().filter(|key| is_unwatched(writing, key));
                    acceptance.unwatched = unwatched.cloned().collect();
                }
                Ok(Carried::all(reply))
            }
            Order::Withdraw { .. } | Order::Confirm { .. } | Order::Note { .. } => {
                self.judge(writing, order, BTreeSet::new()).await.map(Carried::all)
            }
            Order::Close { .. } => {
                let carried = self.judge(writing, order, BTreeSet::new()).await.map(Carried::all);
                self.roles.stir();
                carried
            }
            Order::Demote { authority: _, operation: _, attempt: _, resources } => {
                let _under_way = self.roles.begin(operation, attempt.number, BTreeSet::new());
                self.judge(writing, order, BTreeSet::new()).await?;
                let occasion = self.occasion(writing, operation).await?;
                // None is to be started again, whatever becomes of its stop.
                self.remember(writing, resources.clone(), None).await.map_err(PortError::Failed)?;
                // Of what nobody here watches, nobody says that it stopped.
                let keys: Vec<ResourceKey> =
                    resources.iter().filter(|key| !is_unwatched(writing, key)).cloned().collect();
                let stops = stream::iter(keys).map(|key| async {
                    match self.stop_machine(writing, &key, Some(&occasion)).await {
                        Ok(()) => Acted::Done(key),
                        Err(why) => Acted::Failed(key, why),
                    }
                });
                Ok(gathered(stops.buffer_unordered(AT_ONCE).collect().await))
            }
            Order::Hold { authority: _, mandate: _, resources } => {
                // What leads back has ended here once it is judged: what it is about is asked before.
                let occasion = self.occasion(writing, operation).await;
                let under_way = {
                    let _turn = self.roles.turn.lock().await;
                    let under_way = self.roles.begin(operation, attempt.number, resources.clone());
                    self.judge(writing, order, BTreeSet::new()).await?;
                    under_way
                };
                let occasion = occasion?;
                // Should this program end before they run, its next life starts them, once they may.
                self.remember(writing, resources.clone(), Some(ORDERED.to_owned())).await.map_err(PortError::Failed)?;
                let (ready, mut acted) = self.place_all(writing, resources, &occasion).await;
                self.take_unplaced_back(writing, (operation, attempt), &acted).await;
                let starts = stream::iter(ready).map(|key| self.start_ordered(writing, key, &occasion));
                acted.extend(starts.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await);
                let run = acted.iter().filter_map(|acted| match acted {
                    Acted::Done(key) => Some(key.clone()),
                    Acted::Idle(..) | Acted::Failed(..) => None,
                });
                self.remember(writing, run.collect(), Some(boot_id())).await.map_err(PortError::Failed)?;
                drop(under_way);
                Ok(gathered(acted))
            }
        }
    }

    /// What a runner is told of the operation.
    async fn occasion(self: &Arc<Self>, writing: &Arc<Writing>, operation: OperationId) -> Result<Occasion, PortError> {
        let book = self.book(writing).await?;
        let open = book.open.get(&operation).ok_or_else(|| PortError::Role(Box::new(Refusal::NotOpen)))?;
        let bid = &open.bid;
        Ok(Occasion {
            operation,
            epoch: bid.failover.epoch,
            attempt: bid.attempt.number,
            from: bid.failover.from.clone(),
            to: bid.starter().clone(),
            resources: bid.resources.iter().cloned().collect(),
        })
    }

    pub(super) async fn book(self: &Arc<Self>, writing: &Arc<Writing>) -> Result<Arc<Book>, PortError> {
        let (inner, writing) = (Arc::clone(self), Arc::clone(writing));
        blocking(move || writing.store.book(&writing.identity).map_err(|error| inner.of(error))).await
    }

    /// Stops one machine, and asks whether it is.
    pub(super) async fn stop(
        self: &Arc<Self>,
        writing: &Arc<Writing>,
        key: &ResourceKey,
        occasion: Option<&Occasion>,
    ) -> Result<(), String> {
        // It is not to be started again, whatever becomes of the stop.
        self.remember(writing, BTreeSet::from([key.clone()]), None).await?;
        self.stop_machine(writing, key, occasion).await
    }

    async fn stop_machine(
        self: &Arc<Self>,
        writing: &Arc<Writing>,
        key: &ResourceKey,
        occasion: Option<&Occasion>,
    ) -> Result<(), String> {
        let Some((machines, dir, epoch)) = self.machine(writing, key)? else { return Ok(()) };
        machines.stop(key, &dir, epoch, occasion).await.map_err(|error| error.to_string())
    }

    /// Starts one machine, and asks whether it runs.
    pub(super) async fn start(
        self: &Arc<Self>,
        writing: &Arc<Writing>,
        key: &ResourceKey,
        occasion: Option<&Occasion>,
    ) -> Result<(), String> {
        self.start_machine(writing, key, occasion).await?;
        self.remember(writing, BTreeSet::from([key.clone()]), Some(boot_id())).await
    }

    async fn start_machine(
        self: &Arc<Self>,
        writing: &Arc<Writing>,
        key: &ResourceKey,
        occasion: Option<&Occasion>,
    ) -> Result<(), String> {
        let Some((machines, dir, epoch)) = self.machine(writing, key)? else { return Ok(()) };
        machines.start(key, &dir, epoch, occasion).await.map_err(|error| error.to_string())
    }

    /// What starts and stops it; none where nothing here does.
    fn machine(&self, writing: &Writing, key: &ResourceKey) -> Result<Option<(Machines, PathBuf, Epoch)>, String> {
        let machines = &writing.machines;
        if key.kind != ResourceType::Vm || !machines.has_runner() {
            return Ok(None);
        }
        let kept = writing.resource(key).map_err(|error| error.to_string())?;
        let dir = self.places(&writing.config).directory(key, kept.as_ref());
        let dir = std::path::absolute(&dir).unwrap_or(dir);
        Ok(Some((machines.clone(), dir, kept.map(|kept| kept.record.epoch).unwrap_or_default())))
    }

    async fn remember(
        self: &Arc<Self>,
        writing: &Arc<Writing>,
        keys: BTreeSet<ResourceKey>,
        boot: Option<String>,
    ) -> Result<(), String> {
        let (inner, writing) = (Arc::clone(self), Arc::clone(writing));
        let kept =
            blocking(move || writing.store.remember_started(&keys, boot.as_deref()).map_err(|error| inner.of(error)));
        kept.await.map_err(|error| error.to_string())
    }

    /// Puts the points where machines are started from: which can be, and of the others why not.
    async fn place_all(
        self: &Arc<Self>,
        writing: &Arc<Writing>,
        resources: &BTreeSet<ResourceKey>,
        occasion: &Occasion,
    ) -> (Vec<ResourceKey>, Vec<Acted>) {
        // What is led back lies where it was, and may still run: nothing is put in its place.
        if occasion.to == occasion.from {
            return (resources.iter().cloned().collect(), Vec::new());
        }
        let (mut ready, mut failed) = (Vec::new(), Vec::new());
        let points = match self.book(writing).await {
            Ok(book) => book.open.get(&occasion.operation).map(|open| open.bid.points.clone()).unwrap_or_default(),
            Err(error) => {
                let why = error.to_string();
                return (ready, resources.iter().map(|key| Acted::Failed(key.clone(), why.clone())).collect());
            }
        };
        let mut wanted = BTreeMap::new();
        for key in resources {
            match points.get(key) {
                Some(point) if point.region != self.region => {
                    let why = format!("a point was chosen that {} keeps, and not {}", point.region, self.region);
                    failed.push(Acted::Failed(key.clone(), why));
                }
                point => drop(wanted.insert(key.clone(), point.map(|point| point.sequence))),
            }
        }
        for (key, placed) in self.place(writing, wanted, occasion.operation).await {
            match placed {
                Ok(_) => ready.push(key),
                Err(error) => failed.push(Acted::Failed(key, error.to_string())),
            }
        }
        (ready, failed)
    }

    /// Takes the promotion of what could not be placed back. Where that cannot be written it stands, and nothing runs.
    async fn take_unplaced_back(
        self: &Arc<Self>,
        writing: &Arc<Writing>,
        (operation, attempt): (OperationId, Attempt),
        acted: &[Acted],
    ) {
        let unplaced: BTreeSet<ResourceKey> = (acted.iter())
            .filter_map(|acted| match acted {
                Acted::Failed(key, _) => Some(key.clone()),
                Acted::Done(_) | Acted::Idle(..) => None,
            })
            .collect();
        if unplaced.is_empty() {
            return;
        }
        let (inner, open) = (Arc::clone(self), Arc::clone(writing));
        let taken = blocking(move || {
            let taken = open.store.take_back(&open.identity, (operation, attempt), &unplaced);
            taken.map_err(|error| inner.of(error))
        })
        .await;
        if let Ok(taken) = taken {
            // Without the role it starts nothing, remembered or not.
            let _ = self.remember(writing, taken, None).await;
        }
    }

    /// Starts a machine that this region holds under the order's operation.
    async fn start_ordered(self: &Arc<Self>, writing: &Arc<Writing>, key: ResourceKey, occasion: &Occasion) -> Acted {
        // Placing takes its time, in which another attempt may have been accepted.
        let (is_role, is_epoch) = match writing.resource(&key) {
            Ok(kept) => kept
                .map_or((false, false), |kept| (kept.record.role == Role::Holder, kept.record.epoch == occasion.epoch)),
            Err(error) => return Acted::Failed(key, error.to_string()),
        };
        if !is_role || !is_epoch {
            return Acted::Failed(key, "another operation came between".to_owned());
        }
        match self.start_machine(writing, &key, Some(occasion)).await {
            Ok(()) => Acted::Done(key),
            Err(why) => Acted::Idle(key, why),
        }
    }
}

/// Whether nothing here starts, stops or asks after it, though it is a machine.
fn is_unwatched(writing: &Writing, key: &ResourceKey) -> bool {
    key.kind == ResourceType::Vm && !writing.machines.has_runner()
}

/// What came of an order for one resource.
pub(super) enum Acted {
    /// All of it.
    Done(ResourceKey),
    /// It is held, but does not run.
    Idle(ResourceKey, String),
    /// Nothing.
    Failed(ResourceKey, String),
}

fn gathered(acted: Vec<Acted>) -> Carried {
    let (mut done, mut failed, mut idle) = (BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
    for acted in acted {
        match acted {
            Acted::Done(key) => drop(done.insert(key)),
            Acted::Idle(key, why) => {
                done.insert(key.clone());
                idle.insert(key, why);
            }
            Acted::Failed(key, why) => drop(failed.insert(key, why)),
        }
    }
    Carried { reply: Reply::Done(done), failed, idle }
}
