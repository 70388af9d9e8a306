//! Drills: whether the newest copy of a resource that is kept here can be read, and whether a machine would start from it,
//! found out without touching either.
//!
//! Where the region has a `drill_start`, a VM's point is copied, every byte hashed on its way, to a directory of its own;
//! `drill_start` starts it under an id of its own, which `status` and `stop` are asked with as well; it is watched for a
//! while, stopped and removed. Anything else is read where it lies, every byte of it, as a verification does.
//!
//! | what | guarantee | a crash here leaves behind |
//! | --- | --- | --- |
//! | read | that of a verification | nothing |
//! | copy | that of an export | a part below `.debvisor/drills` |
//! | start, watch | no role, replica or machine is touched | a machine under the drill's id, and its files |
//! | stop, remove | files are removed only once the runner says `stopped`, and no start is under way | as before |
//!
//! What a crash leaves is ended by the next writer, a server beside what else it does, and by the next drill of the
//! resource. A failover of the resource ends a drill: whoever accepts an operation or promotes cancels it, and waits for it
//! no longer than a reader takes to notice. Assumption: `drill_start` keeps a drill's machine off the networks of those
//! that work.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use super::local::{Inner, LocalRegion, Writing, blocking};
use super::runner::Machines;
use crate::config::RegionConfig;
use crate::config::region::Runner;
use crate::host::remove_tree;
use crate::live::port::{ContentCheck, Drilled, FileCheck, FileVerdict, PointSelector, PortError, RegionPort};
use crate::model::point::{Point, PointState};
use crate::model::region::{Epoch, Role};
use crate::model::running::RunState;
use crate::model::units::brief;
use crate::model::{ResourceId, ResourceKey, ResourceType};

/// Between two looks at a machine that is to go on running.
const PACE: Duration = Duration::from_millis(250);

/// The drills that are under way, by the name that their machines have.
#[derive(Debug, Default)]
pub(super) struct Drills(Mutex<BTreeMap<String, CancellationToken>>);

/// One of them, until this is dropped.
struct UnderWay<'a>(&'a Drills, String);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.known().remove(&self.1);
    }
}

/// The name of a resource's drill, which is that of its machine and of its directory.
fn named(resource: &ResourceKey) -> String {
    format!("drill-{}", resource.id)
}

impl Drills {
    fn known(&self) -> MutexGuard<'_, BTreeMap<String, CancellationToken>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// None where it is under way.
    fn begin(&self, name: &str, end: &CancellationToken) -> Option<UnderWay<'_>> {
        let mut known = self.known();
        if known.contains_key(name) {
            return None;
        }
        known.insert(name.to_owned(), end.clone());
        Some(UnderWay(self, name.to_owned()))
    }

    /// Ends those of these resources.
    pub(super) fn end<'k>(&self, resources: impl IntoIterator<Item = &'k ResourceKey>) {
        let known = self.known();
        resources.into_iter().filter_map(|key| known.get(&named(key))).for_each(CancellationToken::cancel);
    }
}

/// A machine of a drill.
struct Machine {
    machines: Machines,
    id: ResourceKey,
    dir: PathBuf,
    epoch: Epoch,
}

impl Inner {
    pub(super) async fn drill(
        self: &Arc<Self>,
        resource: &ResourceKey,
        watched: Duration,
        cancel: &CancellationToken,
    ) -> Result<Drilled, PortError> {
        let writing = self.writing().await?;
        let ended = cancel.child_token();
        // Known before it is judged: a failover that comes in between ends it, or is seen.
        let _under_way = self.drills.begin(&named(resource), &ended).ok_or_else(|| {
            PortError::Busy(format!("a drill of {resource} is under way, or its leftovers are removed"))
        })?;
        let epoch = self.expect_copies(&writing, resource)?;
        let drilled = match self.drill_machine(&writing, resource, epoch)? {
            Some(machine) => self.drill_start(resource, &machine, watched, &ended).await,
            None => self.drill_read(resource, &ended).await,
        };
        match drilled {
            Err(_) if ended.is_cancelled() => Err(PortError::Refused {
                reason: format!("the drill of {resource} was ended before it found anything"),
                help: Some("drill again when nothing else goes on".to_owned()),
            }),
            drilled => drilled,
        }
    }

    /// Reads all of it where it lies.
    async fn drill_read(
        self: &Arc<Self>,
        resource: &ResourceKey,
        ended: &CancellationToken,
    ) -> Result<Drilled, PortError> {
        let reader = LocalRegion { inner: Arc::clone(self), cancel: ended.clone() };
        let began = self.world.clock.since_boot();
        let check = reader.verify(resource).await?;
        let read_in = self.world.clock.since_boot().saturating_sub(began);
        // A sync may have published another one meanwhile: what was read is the point of that content.
        let points: Vec<Point> =
            reader.points(resource).await?.into_iter().filter(|point| point.name.is_none()).collect();
        let read = points.iter().position(|point| Some(point.data_hash) == check.data_hash).unwrap_or(0);
        let nothing = || PortError::NotFound(format!("{} keeps no point of {resource}", self.region));
        let point = points.into_iter().nth(read).ok_or_else(nothing)?;
        let age = self.world.clock.now().since(point.verified_at);
        let failure = wrong(&point, &check);
        Ok(Drilled { started_as: None, point, age, read_in, ran_for: None, failure, left: None })
    }

    /// Copies it, and starts a machine from the copy.
    async fn drill_start(
        self: &Arc<Self>,
        resource: &ResourceKey,
        machine: &Machine,
        watched: Duration,
        ended: &CancellationToken,
    ) -> Result<Drilled, PortError> {
        self.end_drill(machine).await.map_err(PortError::Failed)?;
        let began = self.world.clock.since_boot();
        let reader = LocalRegion { inner: Arc::clone(self), cancel: ended.clone() };
        let copied = reader.export(resource, &PointSelector::Newest, &machine.dir).await;
        let read_in = self.world.clock.since_boot().saturating_sub(began);
        let point = match copied {
            Ok(point) => point,
            Err(error) => {
                // What is left is found by the next one.
                let _ = self.end_drill(machine).await;
                return Err(error);
            }
        };
        let age = self.world.clock.now().since(point.verified_at);
        let Machine { machines, id, dir, epoch } = machine;
        let (ran_for, failure) = if ended.is_cancelled() {
            (None, Some("the drill was ended".to_owned()))
        } else {
            match machines.start(id, dir, *epoch, None).await {
                Ok(()) => self.watch_drill(machine, watched, ended).await,
                Err(why) => (None, Some(why.to_string())),
            }
        };
        let left = self.end_drill(machine).await.err();
        Ok(Drilled { started_as: Some(id.id.clone()), point, age, read_in, ran_for, failure, left })
    }

    /// The epoch of a resource that this region keeps copies of, and that no operation is open on.
    fn expect_copies(&self, writing: &Writing, resource: &ResourceKey) -> Result<Epoch, PortError> {
        let region = &self.region;
        let refused = |reason: String, help: &str| PortError::Refused { reason, help: Some(help.to_owned()) };
        let kept = writing.resource(resource).map_err(|error| self.of(error))?;
        let kept = kept.ok_or_else(|| PortError::NotFound(format!("{region} has no record of {resource}")))?;
        if let Some(operation) = kept.record.operation {
            return Err(refused(format!("operation {operation} is open on {resource}"), "drill once it has ended"));
        }
        match kept.record.role {
            Role::Replica => Ok(kept.record.epoch),
            role @ (Role::Holder | Role::Demoted | Role::Fenced) => Err(refused(
                format!("{region} is {} of {resource}: a drill reads a copy that is kept", role.as_str()),
                "drill where copies of it are kept",
            )),
        }
    }

    /// What is started for a drill of the resource; none: it is no VM, or the region starts no drills.
    fn drill_machine(
        &self,
        writing: &Writing,
        resource: &ResourceKey,
        epoch: Epoch,
    ) -> Result<Option<Machine>, PortError> {
        let start = writing.config.runner.as_ref().and_then(|runner| runner.drill_start.clone());
        let Some(start) = start.filter(|_| resource.kind == ResourceType::Vm) else { return Ok(None) };
        let runner = writing.config.runner.as_ref().map(|runner| Runner { start, ..runner.clone() });
        let config = RegionConfig { runner, ..(*writing.config).clone() };
        let name = named(resource);
        let refused = |reason: String, help: &str| PortError::Refused { reason, help: Some(help.to_owned()) };
        let id: ResourceId = name.parse().map_err(|error| {
            refused(format!("a drill of {resource} would be called {name}: {error}"), "give it a shorter id")
        })?;
        let id = ResourceKey::new(ResourceType::Vm, id);
        match writing.resource(&id).map_err(|error| self.of(error))? {
            None => Ok(Some(Machine { machines: self.machines(&config, true), dir: self.drill_dir(&id), id, epoch })),
            Some(_) => {
                let reason = format!("a drill of {resource} would be called as {id}, which is one of its own");
                Err(refused(reason, "rename one of the two"))
            }
        }
    }

    fn drill_dir(&self, id: &ResourceKey) -> PathBuf {
        let dir = self.layout.drills().join(id.id.as_str());
        std::path::absolute(&dir).unwrap_or(dir)
    }

    /// How long it ran, and why no longer.
    async fn watch_drill(
        &self,
        Machine { machines, id, dir, epoch }: &Machine,
        watched: Duration,
        ended: &CancellationToken,
    ) -> (Option<Duration>, Option<String>) {
        let began = self.world.clock.since_boot();
        loop {
            let state = machines.status(id, dir, *epoch).await;
            let ran = self.world.clock.since_boot().saturating_sub(began);
            let why = match state {
                RunState::Running if ended.is_cancelled() => Some("the drill was ended".to_owned()),
                RunState::Running if ran >= watched => return (Some(ran), None),
                RunState::Running => None,
                RunState::Stopped => Some(format!("it started, and had stopped after {}", brief(ran))),
                RunState::Unknown(why) => Some(why),
                RunState::NoRunner => Some("the region has no runner".to_owned()),
            };
            if why.is_some() {
                return (Some(ran), why);
            }
            tokio::select! {
                () = ended.cancelled() => {}
                () = tokio::time::sleep(PACE.min(watched.saturating_sub(ran))) => {}
            }
        }
    }

    /// Stops a drill's machine, and removes its files once it is stopped. Nothing there is fine.
    async fn end_drill(self: &Arc<Self>, machine: &Machine) -> Result<(), String> {
        let Machine { machines, id, dir, epoch } = machine;
        machines.stop(id, dir, *epoch, None).await.map_err(|error| format!("{id}: {error}"))?;
        let (inner, dir) = (Arc::clone(self), dir.clone());
        let removed = blocking(move || {
            let failed = |error| PortError::Failed(format!("cannot remove {}: {error}", dir.display()));
            remove_tree(&*inner.disk, &dir).map_err(failed)
        });
        removed.await.map_err(|error| error.to_string())
    }

    /// Ends what a killed program's drills left; what resists is told, and tried again by the next writer. A server does
    /// not wait for it: machines may take their time to stop.
    pub(super) async fn end_left_drills(self: &Arc<Self>, config: &RegionConfig) {
        let names = self.disk.read_dir(&self.layout.drills()).unwrap_or_default();
        let ids = names.iter().filter_map(|name| name.to_str()?.parse::<ResourceId>().ok());
        let left: Vec<Machine> = ids
            .map(|id| {
                let id = ResourceKey::new(ResourceType::Vm, id);
                Machine { machines: self.machines(config, true), dir: self.drill_dir(&id), id, epoch: Epoch::default() }
            })
            .collect();
        if left.is_empty() {
            return;
        }
        let inner = Arc::clone(self);
        let ending = async move {
            let never = CancellationToken::new();
            let ends = left.iter().map(|machine| async {
                let _under_way = inner.drills.begin(machine.id.id.as_str(), &never)?;
                inner.end_drill(machine).await.err()
            });
            let left: Vec<String> = join_all(ends).await.into_iter().flatten().collect();
            inner.remark(left.into_iter().map(|left| format!("{}: {left}; it is tried again later", inner.region)));
        };
        if self.is_held() {
            tokio::spawn(ending);
        } else {
            ending.await;
        }
    }
}

/// What is wrong with a copy as it was read.
fn wrong(point: &Point, check: &ContentCheck) -> Option<String> {
    let bad = |file: &&FileCheck| match file.verdict {
        FileVerdict::Identical => false,
        FileVerdict::Changed | FileVerdict::Mismatch | FileVerdict::Missing => true,
    };
    let bad: Vec<&FileCheck> = check.files.iter().filter(bad).collect();
    match bad.as_slice() {
        [] if point.state != PointState::Complete => Some(format!("point {} is not whole", point.sequence)),
        [] => None,
        [first, rest @ ..] => {
            let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
            Some(format!("{}{more} is not what point {} says; the next apply repairs it", first.path, point.sequence))
        }
    }
}
