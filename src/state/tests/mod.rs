//! The state file as its users meet it.

mod file;
mod memory;
mod journal;
mod rebuild;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use uuid::Uuid;

use super::*;
use crate::host::{Holder, Host};
use crate::model::recorded::Applied;
use crate::model::topology::{PairSpec, ResourceSpec, Spec};
use crate::model::{
    Address, ByteCount, Clock, Digest, IdSource, Lineage, RegionId, ResourceType, RunId, Timestamp, World,
};
use crate::plan::document::{Action, Kind};

/// A clock that goes on by a second with each look at it.
#[derive(Debug, Default)]
struct Ticking(AtomicI64);

impl Clock for Ticking {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000 + self.0.fetch_add(1_000_000, Ordering::SeqCst))
    }
    fn since_boot(&self) -> Duration {
        Duration::ZERO
    }
}

#[derive(Debug, Default)]
struct Counting(AtomicU64);

impl IdSource for Counting {
    fn random(&self) -> Uuid {
        Uuid::from_u128(self.0.fetch_add(1, Ordering::SeqCst).into())
    }
    fn ordered(&self) -> Uuid {
        self.random()
    }
}

fn world() -> World {
    World { clock: Arc::new(Ticking::default()), ids: Arc::new(Counting(AtomicU64::new(100))) }
}

fn host() -> Host {
    Host {
        user: "ana".into(),
        name: "desk".into(),
        pid: 7,
        boot_id: "boot".into(),
        machine: "machine-1".into(),
        serves: None,
    }
}

fn holder(command: &str) -> Holder {
    Holder { who: "ana@desk".into(), pid: 7, command: command.into(), since: "2026-01-31T12:00:00Z".parse().unwrap() }
}

fn lineage(n: u128) -> Lineage {
    Lineage(Uuid::from_u128(n))
}

fn region(id: &str) -> RegionId {
    id.parse().unwrap()
}

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

fn vm(primary: &str) -> Spec {
    Spec::Resource(ResourceSpec {
        primary: region(primary),
        replicas: BTreeSet::from([region("b")]),
        depends_on: BTreeSet::new(),
        max_lag: Some(Duration::from_secs(900)),
        allowed_regions: BTreeMap::new(),
        labels: BTreeMap::from([("tier".into(), "web".into())]),
        max_change: ResourceSpec::DEFAULT_MAX_CHANGE,
    })
}

fn pair(priority: u32) -> Spec {
    Spec::Replication(PairSpec {
        resource_types: ResourceType::ALL.into(),
        sync_interval: PairSpec::DEFAULT_INTERVAL,
        batch_size: 100,
        priority,
        enabled: true,
        bidirectional: false,
        compression: true,
        bandwidth_limit: None,
        paused: false,
    })
}

fn applied(spec: Spec, regions: &[&str]) -> Applied {
    Applied { spec, regions: regions.iter().map(|id| region(id)).collect() }
}

fn in_dir(dir: &Path) -> StateFile {
    StateFile::new(dir.join(StateFile::NAME))
}

fn open(file: &StateFile) -> State {
    file.lock(&holder("apply")).unwrap().open(&world(), &host(), lineage(1)).unwrap()
}

fn start(command: &str) -> RunStart {
    RunStart { command: command.into(), who: "ana@desk".into(), host: "desk".into(), pid: 7, topology: None }
}

fn end(outcome: RunOutcome, exit_code: u8) -> RunEnd {
    RunEnd { outcome, exit_code, message: None }
}

fn intent(id: &str, of: &str, regions: &[&str]) -> Intent {
    Intent {
        id: id.into(),
        address: address(of),
        kind: Kind::Sync,
        action: Action::Sync,
        regions: regions.iter().map(|id| region(id)).collect(),
    }
}

fn conclusion(intent: Intent, outcome: ActionOutcome, at: Timestamp) -> Conclusion {
    Conclusion {
        intent,
        outcome,
        started_at: None,
        finished_at: at,
        duration: Duration::from_millis(1500),
        bytes: ByteCount(4096),
        message: None,
        remember: Remember::AsBefore,
    }
}

fn moment(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

fn digest(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

fn history(state: &State, filter: HistoryFilter) -> Vec<HistoryEntry> {
    state.reader().history(&filter).unwrap()
}

fn names(entries: &[HistoryEntry]) -> Vec<RunId> {
    entries.iter().map(|entry| entry.run.run).collect()
}
