//! Servers on real sockets, asked as programs and as people who mean them ill ask. Every answer is held against the
//! server's description of itself.

mod access;
mod calls;
mod controlled;
mod description;
mod fetches;
mod failover;
mod fleet;
mod hostile;
mod limits;
mod orders;
mod paused;
mod watch;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::fetch::Peers;
use super::listen::{Means, Server};
use super::options::{Given, ServeOptions};
use super::peer::HttpPeers;
use super::session::Leases;
use crate::config::{Credentials, RegionConfig};
use crate::failover::Control;
use crate::host::{self, Holder, Host, HostDisk};
use crate::live::port::PeerRecords;
use crate::model::policy::Policy;
use crate::model::region::{Authority, Epoch, RecordChange, RecordWrite, SyncOrder};
use crate::model::topology::{RegionSpec, ResourceSpec, Spec};
use crate::model::{Lineage, OperationId, RegionId, Seat, Timestamp, World};
use crate::region::{LocalRegion, Opening};
use crate::wire::call::{Controlling, OpenReading, Ordered, Recording};
use crate::wire::record::RecordChangeBody;

fn id(text: &str) -> RegionId {
    text.parse().unwrap()
}

/// Directories of regions, and how their servers are made.
struct Lab {
    dir: tempfile::TempDir,
    world: World,
    leases: Leases,
    requests: usize,
    at_once: usize,
    credentials: Credentials,
}

/// A server that runs, and somebody who asks it.
struct Served {
    origin: String,
    client: reqwest::Client,
    drain: CancellationToken,
    running: JoinHandle<()>,
    checks: description::Checks,
}

/// What was answered.
#[derive(Debug, Clone)]
struct Answered {
    status: StatusCode,
    headers: reqwest::header::HeaderMap,
    body: Vec<u8>,
}

impl Answered {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The data of a success.
    fn data(&self) -> Value {
        assert!(self.status.is_success(), "{self:?}");
        self.json()["data"].clone()
    }

    /// The code of a failure, whose envelope is whole.
    fn code(&self) -> String {
        let json = self.json();
        assert_eq!(json["status"], "error", "{json}");
        assert!(json["message"].is_string() && json["timestamp"].is_string(), "{json}");
        assert!(self.headers.contains_key("x-request-id"), "{self:?}");
        json["data"]["code"].as_str().unwrap_or_else(|| panic!("{json}")).to_owned()
    }
}

impl Lab {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            world: host::world(),
            leases: Leases::default(),
            requests: 64,
            at_once: 8,
            credentials: Credentials::default(),
        }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn given(&self, name: &str) -> Given {
        Given {
            region: Some(id(name)),
            data_dir: Some(self.path(name)),
            listen: Some("127.0.0.1:0".to_owned()),
            ..Given::default()
        }
    }

    fn region(&self, name: &str) -> LocalRegion {
        let holder = Holder {
            who: "ops@host".to_owned(),
            pid: std::process::id(),
            command: "serve".to_owned(),
            since: Timestamp::from_micros(0),
        };
        let (world, disk) = (self.world.clone(), Arc::new(HostDisk));
        let opening = Opening { world, disk, holder, guard: None, exec_guard: None, config: None };
        LocalRegion::new(id(name), self.path(name), opening)
    }

    async fn serve(&self, name: &str) -> Served {
        self.serve_as(self.given(name), None).await
    }

    async fn serve_as(&self, given: Given, client: Option<reqwest::Client>) -> Served {
        let options = ServeOptions::new(given, RegionConfig::default()).unwrap();
        let drain = CancellationToken::new();
        let credentials = self.credentials.clone();
        let peers: Arc<dyn Peers> = Arc::new(HttpPeers::new(credentials, self.world.clone()));
        let means =
            Means { peers, leases: self.leases, fetches: self.at_once, requests: self.requests, host: Host::current() };
        let region = self.region(options.region.as_str());
        let server = Server::with(&options, region, self.world.clone(), drain.clone(), means).await.unwrap();
        let origin = server.origin().to_owned();
        let client = client.unwrap_or_default();
        Served { origin, client, drain, running: tokio::spawn(server.run()), checks: description::Checks::default() }
    }

    fn take_over(&self) -> Controlling {
        let control = Control::TakeOver { authority: self.authority() };
        Controlling { control, peers: PeerRecords::default() }
    }

    fn authority(&self) -> Authority {
        Authority {
            lineage: Lineage(Uuid::from_u128(1)),
            term: 1,
            seat: Seat(Uuid::from_u128(2)),
            place: "ops@host:/infra/state.db".to_owned(),
            operation: OperationId(self.world.ids.random()),
        }
    }

    fn order(&self) -> SyncOrder {
        SyncOrder {
            lineage: Lineage(Uuid::from_u128(1)),
            term: 1,
            resource: "vm.web".parse().unwrap(),
            source: id("east"),
            target: id("west"),
            epoch: Epoch(1),
            operation: OperationId(self.world.ids.random()),
            compress: true,
        }
    }

    /// Founds a region and has it record `vm.web`, held by `east`, and where `east` is.
    async fn born(&self, served: &Served, east: &str) {
        let ordered = Ordered { authority: self.authority() };
        served.post("region", &ordered).await.data();
        let changes = [region_record("east", east), resource_record()];
        let changes = changes.iter().map(RecordChangeBody::from).collect();
        served.post("records", &Recording { authority: self.authority(), changes }).await.data();
    }

    /// Two servers, each with its record of `vm.web`; `bytes` of a disk are at `east`.
    async fn pair(&self, bytes: &[u8]) -> (Served, Served) {
        self.write("east/resources/vm/web/web.xml", b"<domain/>");
        self.write("east/resources/vm/web/disk.raw", bytes);
        let (east, west) = (self.serve("east").await, self.serve("west").await);
        self.born(&east, &east.origin).await;
        self.born(&west, &east.origin).await;
        (east, west)
    }
}

fn region_record(name: &str, endpoint: &str) -> RecordChange {
    let spec = RegionSpec {
        name: name.to_owned(),
        location: name.to_owned(),
        api_endpoint: endpoint.to_owned(),
        primary: false,
        capacity_vms: 1,
        labels: BTreeMap::new(),
        policy: Policy::default(),
    };
    record(&format!("region.{name}"), Spec::Region(Box::new(spec)))
}

fn resource_record() -> RecordChange {
    let spec = ResourceSpec {
        primary: id("east"),
        replicas: BTreeSet::from([id("west")]),
        depends_on: BTreeSet::new(),
        max_lag: None,
        allowed_regions: BTreeMap::new(),
        labels: BTreeMap::new(),
        max_change: ResourceSpec::DEFAULT_MAX_CHANGE,
    };
    record("vm.web", Spec::Resource(spec))
}

fn record(address: &str, spec: Spec) -> RecordChange {
    let managed_by = Some(Lineage(Uuid::from_u128(1)));
    let write = RecordWrite { spec, managed_by, store: None, holder: None, former_id: None };
    RecordChange { address: address.parse().unwrap(), expected: None, record: Some(write) }
}

/// Bytes that no packer makes smaller.
fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

impl Served {
    fn url(&self, path: &str) -> String {
        format!("{}/api/v1/{path}", self.origin)
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Answered {
        let (client, request) = request.build_split();
        let request = request.unwrap();
        let body = request.body().and_then(reqwest::Body::as_bytes).map(<[u8]>::to_vec);
        let question = description::Question { method: request.method().clone(), url: request.url().clone(), body };
        let answer = client.execute(request).await.unwrap();
        let (status, headers) = (answer.status(), answer.headers().clone());
        let answered = Answered { status, headers, body: answer.bytes().await.unwrap().to_vec() };
        self.checks.check(question, &answered);
        answered
    }

    async fn get(&self, path: &str) -> Answered {
        self.send(self.client.get(self.url(path))).await
    }

    async fn post(&self, path: &str, body: &impl Serialize) -> Answered {
        self.send(self.client.post(self.url(path)).json(body)).await
    }

    /// POSTs nothing.
    async fn step(&self, path: &str) -> Answered {
        self.send(self.client.post(self.url(path))).await
    }

    async fn bytes(&self, path: &str, body: Vec<u8>) -> Answered {
        let request = self.client.post(self.url(path)).header("content-type", "application/octet-stream");
        self.send(request.body(body)).await
    }

    /// POSTs under a key, and waits no longer than `wait` seconds.
    async fn begin(&self, path: &str, key: Uuid, wait: u64, body: &impl Serialize) -> Answered {
        let request = self.client.post(self.url(path)).json(body).header("idempotency-key", key.to_string());
        self.send(request.header("prefer", format!("respond-async, wait={wait}"))).await
    }

    /// An operation's state once it is as far as `done` wants it.
    async fn until(&self, key: Uuid, done: impl Fn(&Value) -> bool) -> Value {
        let mut version = 0;
        loop {
            let operation = self.get(&format!("operations/{key}?after={version}&wait=5")).await.data();
            if done(&operation) {
                return operation;
            }
            assert_eq!(operation["state"], "running", "{operation}");
            version = operation["version"].as_u64().unwrap();
        }
    }

    async fn open_reading(&self, lab: &Lab) -> Value {
        self.post("readings", &OpenReading { order: lab.order(), full: false }).await.data()
    }

    /// Ends the server, which must take no longer than a moment.
    async fn end(self) {
        self.drain.cancel();
        tokio::time::timeout(Duration::from_secs(10), self.running).await.unwrap().unwrap();
    }
}
