//! The port of a region that is served elsewhere: each order as its call.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use reqwest::Method;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::answer::{CallError, data};
use super::client::{Ask, Body, Client, RECORDS, Repeat, SNAPSHOT};
use super::deadlines::Deadlines;
use super::operation::{Work, json};
use super::packing::Packing;
use crate::config::Credential;
use crate::failover::{Control, Order};
use crate::live::port::{Carried, ContentCheck, Drilled, PeerRecords, PointSelector, PortError, RegionPort, Replaced};
use crate::model::audit::Audited;
use crate::model::failover::Standings;
use crate::model::point::Point;
use crate::model::policy::HealthPolicy;
use crate::model::region::{Authority, Identity, Pause, RecordChange, RegionSnapshot, SyncOrder};
use crate::model::running::Running;
use crate::model::sighting::Probe;
use crate::model::{ByteCount, Digest, OperationId, RegionId, ResourceKey, World};
use crate::replica::port::{SessionId, TransferError};
use crate::replica::transfer::{Progress, SyncFailure, SyncOptions, SyncReport};
use crate::wire::Operation;
use crate::wire::call::{ByHand, Controlling, Drill, Fetch, Inquiry, Ordered, Pausing, Recording, Restore, Told};
use crate::wire::record::RecordChangeBody;
use crate::wire::region::RegionHealth;

/// The largest snapshot that is read; a region with 100,000 resources stays well below.
const SNAPSHOT_BYTES: usize = 256 << 20;

/// What is hoped for where nothing but a yes is.
pub(super) const ANSWER: &str = "a region's answer";

/// A region by its origin.
#[derive(Debug)]
pub struct HttpRegion {
    pub(super) client: Arc<Client>,
    open: Mutex<BTreeMap<SessionId, Open>>,
}

/// What is known here of an open reading or receiving.
#[derive(Debug, Clone, Default)]
pub(super) struct Open {
    /// Whether its blocks are packed; where its order forbids that, never.
    pub(super) packing: Arc<Packing>,
    /// Bytes that travelled for it.
    pub(super) bytes: Arc<AtomicU64>,
}

impl HttpRegion {
    /// The region `region` at `origin`: scheme, host and port. Nothing is asked yet. The credential must be that of
    /// the origin.
    pub fn new(
        region: RegionId,
        origin: impl Into<String>,
        deadlines: Deadlines,
        credential: Credential,
        world: World,
    ) -> Self {
        let origin = origin.into().trim_end_matches('/').to_owned();
        let client = Client::new(region, origin, deadlines, credential, world);
        Self { client: Arc::new(client), open: Mutex::default() }
    }

    /// The same, which looks its name up elsewhere.
    #[cfg(test)]
    pub(super) fn named_by(self, names: Arc<dyn super::lookup::Names>) -> Self {
        let client = Arc::into_inner(self.client).expect("nobody else has it yet").named_by(names);
        Self { client: Arc::new(client), open: Mutex::default() }
    }

    /// A short question that is safe to repeat.
    pub(super) async fn question<T: DeserializeOwned>(&self, ask: &Ask) -> Result<T, CallError> {
        data(&self.client, self.client.ask(ask).await?)
    }

    /// What [`RegionPort::standings`] asks, where the answer need not travel once more that has the digest `known`: regions
    /// at rest say the same all the time.
    ///
    /// # Errors
    /// [`PortError`].
    pub async fn standings_since(
        &self,
        machines: &BTreeSet<ResourceKey>,
        known: Option<Digest>,
    ) -> Result<Told, PortError> {
        let body = json(&Inquiry { machines: machines.clone(), known });
        let ask = self.client.short(Method::POST, "standings", body, "standings");
        self.question(&ask).await.map_err(CallError::into_port)
    }

    /// A short order: a repeat of it does nothing twice.
    async fn order<T: DeserializeOwned>(&self, path: &str, body: Body, wanted: &'static str) -> Result<T, PortError> {
        let key = Some(self.client.world.ids.ordered());
        let ask = Ask { key, ..self.client.short(Method::POST, path, body, wanted) };
        self.question(&ask).await.map_err(CallError::into_port)
    }

    pub(super) fn remember(&self, session: SessionId, compress: bool) {
        let open = Open { packing: Arc::new(Packing::new(compress)), bytes: Arc::default() };
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(session, open);
    }

    pub(super) fn forget(&self, session: SessionId) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&session);
    }

    /// One that is not open any more, or never was, is asked nothing that matters.
    pub(super) fn opened(&self, session: SessionId) -> Open {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).get(&session).cloned().unwrap_or_default()
    }

    pub(super) fn travelled(&self, session: SessionId) -> u64 {
        self.opened(session).bytes.load(Ordering::Relaxed)
    }

    pub(super) fn transfer(&self, error: CallError) -> TransferError {
        error.into_transfer(&self.client.region)
    }

    /// A snapshot as `path` asks for it.
    async fn observed(&self, path: String) -> Result<RegionSnapshot, PortError> {
        let ask = Ask {
            deadline: self.client.deadlines.snapshot,
            most: SNAPSHOT_BYTES,
            // Whoever observes counts silences.
            repeat: Repeat::Never,
            ..self.client.short(Method::GET, path, Body::Nothing, "a region's snapshot")
        };
        let answer = self.client.ask(&ask).await.map_err(CallError::into_port)?;
        // Of a large region it takes a while, in which others' answers come in.
        let client = Arc::clone(&self.client);
        let read = tokio::task::spawn_blocking(move || data(&client, answer));
        read.await.map_err(|error| PortError::Failed(error.to_string()))?.map_err(CallError::into_port)
    }
}

/// A resource's place below the API.
pub(super) fn of(resource: &ResourceKey) -> String {
    // Neither has a character that means something in a path.
    format!("resources/{}/{}", resource.kind.as_str(), resource.id)
}

/// A name as one part of a path.
fn part(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    let written = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    name.bytes().map(written).collect()
}

#[async_trait]
impl RegionPort for HttpRegion {
    fn region(&self) -> &RegionId {
        &self.client.region
    }

    async fn snapshot(&self) -> Result<RegionSnapshot, PortError> {
        self.observed(SNAPSHOT.to_owned()).await
    }

    async fn snapshot_of(&self, resource: &ResourceKey) -> Result<RegionSnapshot, PortError> {
        self.observed(format!("snapshot?resource={resource}")).await
    }

    async fn snapshot_of_records(&self) -> Result<RegionSnapshot, PortError> {
        self.observed(RECORDS.to_owned()).await
    }

    async fn probe(&self, policy: &HealthPolicy) -> Probe {
        let probe = self.probe_for(policy, policy.timeout).await;
        self.client.met(&probe);
        probe
    }

    async fn running(&self) -> Result<Running, PortError> {
        // A runner may take its time with each machine.
        let ask = Ask {
            deadline: self.client.deadlines.snapshot,
            most: SNAPSHOT_BYTES,
            repeat: Repeat::Never,
            ..self.client.short(Method::GET, "running", Body::Nothing, "what a region is running")
        };
        self.question(&ask).await.map_err(CallError::into_port)
    }

    async fn look_at(&self, region: &RegionId) -> Result<Option<RegionHealth>, PortError> {
        self.view_of(region).await.map(Some)
    }

    async fn found(&self, authority: &Authority) -> Result<Identity, PortError> {
        self.order("region", json(&Ordered { authority: authority.clone() }), "a region's identity").await
    }

    async fn control(&self, control: &Control, peers: &PeerRecords) -> Result<(), PortError> {
        let body = Controlling { control: control.clone(), peers: peers.clone() };
        // Its runner may be asked about all of its machines.
        let ask = Ask {
            key: Some(self.client.world.ids.ordered()),
            deadline: self.client.deadlines.snapshot,
            ..self.client.short(Method::POST, "control", json(&body), ANSWER)
        };
        self.question(&ask).await.map_err(CallError::into_port)
    }

    async fn standings(&self, machines: &BTreeSet<ResourceKey>) -> Result<Standings, PortError> {
        let Told { digest: _, standings } = self.standings_since(machines, None).await?;
        standings.ok_or_else(|| PortError::Failed("it says that its standings are known, and they are not".to_owned()))
    }

    async fn keep_pause(&self, pause: Option<&Pause>) -> Result<(), PortError> {
        self.order("failover/pause", json(&Pausing { pause: pause.cloned() }), ANSWER).await
    }

    async fn order(&self, order: &Order) -> Result<Carried, PortError> {
        let work = Work {
            path: "orders".to_owned(),
            body: json(order),
            wanted: "an order's answer",
            told: &|_| {},
            stop: None,
        };
        self.client.operate(&work).await.map_err(CallError::into_port)
    }

    async fn record(&self, authority: &Authority, changes: &[RecordChange]) -> Result<(), PortError> {
        let changes = changes.iter().map(RecordChangeBody::from).collect();
        self.order("records", json(&Recording { authority: authority.clone(), changes }), ANSWER).await
    }

    async fn record_by_hand(&self, operation: OperationId, changes: &[RecordChange]) -> Result<(), PortError> {
        let body = ByHand { operation, changes: changes.iter().map(RecordChangeBody::from).collect() };
        let ask = self.client.short(Method::POST, "records/by-hand", json(&body), ANSWER);
        self.question(&ask).await.map_err(CallError::into_port)
    }

    async fn points(&self, resource: &ResourceKey) -> Result<Vec<Point>, PortError> {
        let path = format!("{}/points", of(resource));
        let ask = self.client.short(Method::GET, path, Body::Nothing, "a list of points");
        self.question(&ask).await.map_err(CallError::into_port)
    }

    async fn verify(&self, resource: &ResourceKey) -> Result<ContentCheck, PortError> {
        let work = Work {
            path: format!("{}/verify", of(resource)),
            body: Body::Nothing,
            wanted: "a verification",
            told: &|_| {},
            stop: Some(&self.client.interrupted),
        };
        self.client.operate(&work).await.map_err(CallError::into_port)
    }

    async fn audit(&self, cancel: &CancellationToken) -> Result<Audited, PortError> {
        let work = Work {
            path: "audit".to_owned(),
            body: Body::Nothing,
            wanted: "what was read back",
            told: &|_| {},
            stop: Some(cancel),
        };
        self.client.operate(&work).await.map_err(CallError::into_port)
    }

    async fn drill(
        &self,
        resource: &ResourceKey,
        watched: Duration,
        cancel: &CancellationToken,
    ) -> Result<Drilled, PortError> {
        let work = Work {
            path: format!("{}/drill", of(resource)),
            body: json(&Drill { watched }),
            wanted: "what a drill found",
            told: &|_| {},
            stop: Some(cancel),
        };
        self.client.operate(&work).await.map_err(CallError::into_port)
    }

    async fn export(&self, resource: &ResourceKey, point: &PointSelector, into: &Path) -> Result<Point, PortError> {
        self.export_until(resource, point, into, &self.client.interrupted).await
    }

    async fn replace_files(&self, _: &Authority, _: &ResourceKey, _: &Path) -> Result<Option<String>, PortError> {
        Err(PortError::Refused {
            reason: format!(
                "{} is served elsewhere: files of this machine cannot be put in place there",
                self.client.region
            ),
            help: Some("have it fetch the point from a region that is served, too".to_owned()),
        })
    }

    async fn restore(
        &self,
        authority: &Authority,
        resource: &ResourceKey,
        (from, point): (&RegionId, &PointSelector),
        cancel: &CancellationToken,
    ) -> Option<Result<Replaced, PortError>> {
        let body = Restore { authority: authority.clone(), from: from.clone(), point: point.clone() };
        let work = Work {
            path: format!("{}/restore", of(resource)),
            body: json(&body),
            wanted: "what was restored",
            told: &|_| {},
            stop: Some(cancel),
        };
        Some(self.client.operate(&work).await.map_err(CallError::into_port))
    }

    async fn discard(&self, authority: &Authority, resource: &ResourceKey, name: &str) -> Result<(), PortError> {
        let path = format!("{}/set-aside/{}", of(resource), part(name));
        let body = json(&Ordered { authority: authority.clone() });
        // What was discarded already is not found.
        let ask = Ask { repeat: Repeat::Never, ..self.client.short(Method::DELETE, path, body, ANSWER) };
        self.question(&ask).await.map_err(CallError::into_port)
    }

    fn is_served(&self) -> bool {
        true
    }

    async fn fetch(
        &self,
        order: &SyncOrder,
        options: &SyncOptions,
        progress: Progress<'_>,
        cancel: &CancellationToken,
    ) -> Option<Result<SyncReport, SyncFailure>> {
        let told = |operation: &Operation| {
            if let Some(now) = operation.progress {
                progress(now.stage, now.bytes_done, now.bytes_total);
            }
        };
        let work = Work {
            path: "syncs".to_owned(),
            body: json(&Fetch { order: order.clone(), options: *options }),
            wanted: "a sync's report",
            told: &told,
            stop: Some(cancel),
        };
        Some(self.client.operate(&work).await.map_err(|error| self.failure(error)))
    }

    fn interrupt(&self) {
        self.client.interrupted.cancel();
    }
}

impl HttpRegion {
    /// How a sync failed there: with what travelled all the same, and what is to be told.
    fn failure(&self, error: CallError) -> SyncFailure {
        let (bytes, notes) = match &error {
            CallError::Said(said) => {
                let known = |key: &str| said.data.get(key).cloned().unwrap_or(Value::Null);
                let bytes = serde_json::from_value(known("bytes")).unwrap_or(ByteCount(0));
                (bytes, serde_json::from_value(known("notes")).unwrap_or_default())
            }
            CallError::Unclear { .. } | CallError::Interrupted => (ByteCount(0), Vec::new()),
        };
        SyncFailure { error: self.transfer(error), bytes, notes }
    }
}
