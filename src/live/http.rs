//! A region that is served elsewhere.
//!
//! Owns the HTTP client of one region: built at the first question, one pool of connections for as long as the port
//! lives. Today it observes; orders are refused in one place at the end of this file, until regions are served.

use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::port::{ContentCheck, PointSelector, PortError, RegionPort};
use super::silence;
use crate::model::point::Point;
use crate::model::region::{Authority, Identity, RecordChange, RegionSnapshot, SyncOrder};
use crate::model::{RegionId, ResourceKey, Timestamp};
use crate::replica::port::{
    BlockAddress, Hash, Published, Reading, ReadingEnd, Receiving, SessionId, Source, Survey, Target, TransferError,
};
use crate::replica::transfer::{Progress, SyncFailure, SyncOptions, SyncReport};
use crate::wire::Envelope;

/// The largest snapshot that is read; a region with 100,000 resources stays well below.
const SNAPSHOT_BYTES: usize = 256 << 20;

/// A region by its origin.
#[derive(Debug)]
pub struct HttpRegion {
    region: RegionId,
    origin: String,
    deadline: Duration,
    client: OnceLock<Result<reqwest::Client, String>>,
}

impl HttpRegion {
    /// The region `region` at `origin`: scheme, host and port. Nothing is asked yet; each question may take as long
    /// as `deadline`.
    pub fn new(region: RegionId, origin: impl Into<String>, deadline: Duration) -> Self {
        let origin = origin.into().trim_end_matches('/').to_owned();
        Self { region, origin, deadline, client: OnceLock::new() }
    }

    fn client(&self) -> Result<&reqwest::Client, PortError> {
        let built = self.client.get_or_init(|| {
            reqwest::Client::builder()
                .timeout(self.deadline)
                .connect_timeout(self.deadline)
                // Neither a proxy's answer nor another host's may pass for the region's.
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
                .user_agent(concat!("debvisor-region/", env!("CARGO_PKG_VERSION")))
                .build()
                .map_err(|error| error.to_string())
        });
        built.as_ref().map_err(|error| silence::unknown(format!("no HTTP client: {error}"), None))
    }

    /// GETs `path` below `/api/v1` and gives its status and body.
    async fn get(&self, path: &str) -> Result<(reqwest::StatusCode, Vec<u8>), PortError> {
        let lost = |error: reqwest::Error| silence::no_answer(&self.origin, &error, self.deadline);
        let mut response = self.client()?.get(format!("{}/api/v1/{path}", self.origin)).send().await.map_err(lost)?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(lost)? {
            if body.len() + chunk.len() > SNAPSHOT_BYTES {
                return Err(silence::unknown(format!("{} answers without end", self.origin), None));
            }
            body.extend_from_slice(&chunk);
        }
        Ok((response.status(), body))
    }
}

/// What every order to a served region meets for now.
const NOT_BUILT: &str = "replication with served regions is not built yet";

fn not_built<T>() -> Result<T, PortError> {
    let help = Some("use a file: endpoint, such as the region's directory mounted here".to_owned());
    Err(PortError::Refused { reason: NOT_BUILT.to_owned(), help })
}

fn no_transfer<T>() -> Result<T, TransferError> {
    Err(TransferError::Region(NOT_BUILT.to_owned()))
}

#[async_trait]
impl RegionPort for HttpRegion {
    fn region(&self) -> &RegionId {
        &self.region
    }

    async fn snapshot(&self) -> Result<RegionSnapshot, PortError> {
        let (status, body) = self.get("snapshot").await?;
        if status.is_success()
            && let Ok(Envelope { data: Some(snapshot), .. }) = serde_json::from_slice::<Envelope<RegionSnapshot>>(&body)
        {
            return Ok(snapshot);
        }
        Err(silence::senseless(&self.origin, status, &body))
    }

    async fn found(&self, _: &Authority) -> Result<Identity, PortError> {
        not_built()
    }
    async fn take_control(&self, _: &Authority) -> Result<(), PortError> {
        not_built()
    }
    async fn record(&self, _: &Authority, _: &[RecordChange]) -> Result<(), PortError> {
        not_built()
    }
    async fn points(&self, _: &ResourceKey) -> Result<Vec<Point>, PortError> {
        not_built()
    }
    async fn verify(&self, _: &ResourceKey) -> Result<ContentCheck, PortError> {
        not_built()
    }
    async fn export(&self, _: &ResourceKey, _: &PointSelector, _: &Path) -> Result<Point, PortError> {
        not_built()
    }
    async fn replace_files(&self, _: &Authority, _: &ResourceKey, _: &Path) -> Result<Option<String>, PortError> {
        not_built()
    }
    async fn discard(&self, _: &Authority, _: &ResourceKey, _: &str) -> Result<(), PortError> {
        not_built()
    }
    fn is_served(&self) -> bool {
        true
    }
    async fn fetch(
        &self,
        _: &SyncOrder,
        _: &SyncOptions,
        _: Progress<'_>,
        _: &CancellationToken,
    ) -> Option<Result<SyncReport, SyncFailure>> {
        None
    }
    fn interrupt(&self) {}
}

#[async_trait]
impl Source for HttpRegion {
    async fn open_reading(&self, _: &SyncOrder, _: bool) -> Result<Reading, TransferError> {
        no_transfer()
    }
    async fn group_hashes(&self, _: SessionId, _: u32, _: u64, _: u64) -> Result<Vec<Hash>, TransferError> {
        no_transfer()
    }
    async fn block_hashes(&self, _: SessionId, _: u32, _: &[u64]) -> Result<Vec<Hash>, TransferError> {
        no_transfer()
    }
    async fn blocks(&self, _: SessionId, _: &[BlockAddress]) -> Result<Vec<Vec<u8>>, TransferError> {
        no_transfer()
    }
    async fn close_reading(&self, _: SessionId) -> Result<ReadingEnd, TransferError> {
        no_transfer()
    }
}

#[async_trait]
impl Target for HttpRegion {
    async fn open_receiving(&self, _: &SyncOrder, _: &Reading, _: bool) -> Result<Receiving, TransferError> {
        no_transfer()
    }
    async fn differing_groups(&self, _: SessionId, _: u32, _: u64, _: &[Hash]) -> Result<Vec<u64>, TransferError> {
        no_transfer()
    }
    async fn expect_blocks(&self, _: SessionId, _: u32, _: &[u64], _: &[Hash]) -> Result<(), TransferError> {
        no_transfer()
    }
    async fn end_survey(&self, _: SessionId) -> Result<Survey, TransferError> {
        no_transfer()
    }
    async fn next_wanted(&self, _: SessionId) -> Result<Vec<BlockAddress>, TransferError> {
        no_transfer()
    }
    async fn write_blocks(&self, _: SessionId, _: Vec<(BlockAddress, Vec<u8>)>) -> Result<(), TransferError> {
        no_transfer()
    }
    async fn checkpoint(&self, _: SessionId) -> Result<(), TransferError> {
        no_transfer()
    }
    async fn publish(&self, _: SessionId, _: Timestamp) -> Result<Published, TransferError> {
        no_transfer()
    }
    async fn close_receiving(&self, _: SessionId) -> Result<(), TransferError> {
        no_transfer()
    }
    async fn confirm_unchanged(&self, _: &SyncOrder, _: &ResourceKey, _: Timestamp) -> Result<(), TransferError> {
        no_transfer()
    }
}
