//! A served region as the end that is read from.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use reqwest::Method;
use serde::Serialize;

use super::answer::{CallError, blocks, bytes};
use super::client::{Ask, Counted};
use super::operation::{Work, json};
use super::region::{HttpRegion, Open};
use crate::model::region::SyncOrder;
use crate::replica::port::{BLOCK_BYTES, BlockAddress, Hash, Reading, ReadingEnd, SessionId, Source, TransferError};
use crate::wire::call::{GroupRun, Groups, OpenReading, WantedBlocks};

/// The most that hashes of one question can be: those of all blocks of some thousand groups.
const HASHES_BYTES: usize = 8 << 20;
/// What each block has beside its bytes.
const BLOCK_HEAD: usize = 64;

impl HttpRegion {
    /// A question for bytes of an open reading. Nothing changes by it, so one that is lost is asked again.
    fn reads<T: Serialize>(&self, open: Open, path: String, body: &T, most: usize, wanted: &'static str) -> Ask {
        let deadline = self.client.deadlines.bulk;
        let counted = Some(Counted::Received(open.bytes));
        Ask { deadline, most, counted, ..self.client.short(Method::POST, path, json(body), wanted) }
    }

    async fn read_hashes<T: Serialize + Sync>(
        &self,
        session: SessionId,
        path: String,
        body: &T,
    ) -> Result<Vec<Hash>, TransferError> {
        let ask = self.reads(self.opened(session), path, body, HASHES_BYTES, "hashes");
        let read = self.client.ask(&ask).await.and_then(|answer| bytes(&self.client, answer));
        self.hashes(&read.map_err(|error| self.transfer(error))?)
    }

    fn hashes(&self, bytes: &[u8]) -> Result<Vec<Hash>, TransferError> {
        let (hashes, rest) = bytes.as_chunks::<32>();
        if rest.is_empty() {
            return Ok(hashes.to_vec());
        }
        Err(TransferError::Corrupt(format!("{} gave hashes that end in the middle of one", self.client.region)))
    }

    pub(super) async fn work<T: serde::de::DeserializeOwned>(&self, work: &Work<'_>) -> Result<T, TransferError> {
        self.client.operate(work).await.map_err(|error: CallError| self.transfer(error))
    }
}

#[async_trait]
impl Source for HttpRegion {
    async fn open_reading(&self, order: &SyncOrder, full: bool) -> Result<Reading, TransferError> {
        let work = Work {
            path: "readings".to_owned(),
            body: json(&OpenReading { order: order.clone(), full }),
            wanted: "a reading",
            told: &|_| {},
            stop: Some(&self.client.interrupted),
        };
        let reading: Reading = self.work(&work).await?;
        self.remember(reading.session, order.compress);
        Ok(reading)
    }

    async fn group_hashes(
        &self,
        session: SessionId,
        file: u32,
        first: u64,
        count: u64,
    ) -> Result<Vec<Hash>, TransferError> {
        let path = format!("readings/{session}/group-hashes");
        let run = GroupRun { file, first, count };
        self.read_hashes(session, path, &run).await
    }

    async fn block_hashes(&self, session: SessionId, file: u32, groups: &[u64]) -> Result<Vec<Hash>, TransferError> {
        let path = format!("readings/{session}/block-hashes");
        let groups = Groups { file, groups: groups.to_vec() };
        self.read_hashes(session, path, &groups).await
    }

    async fn blocks(&self, session: SessionId, wanted: &[BlockAddress]) -> Result<Vec<Bytes>, TransferError> {
        let path = format!("readings/{session}/blocks");
        let open = self.opened(session);
        let packing = Arc::clone(&open.packing);
        let compress = packing.next();
        let body = WantedBlocks { wanted: wanted.to_vec(), compress };
        let most = wanted.len() * (BLOCK_BYTES as usize + BLOCK_HEAD);
        let ask = Ask { blocks: true, ..self.reads(open, path, &body, most, "blocks") };
        let packed = self.client.ask(&ask).await.and_then(|answer| blocks(&self.client, answer));
        let packed = packed.map_err(|error| self.transfer(error))?;
        let region = &self.client.region;
        let corrupt = |why: String| TransferError::Corrupt(format!("{region} gave blocks that cannot be: {why}"));
        // A core is busy for some milliseconds, and others' answers are coming in.
        let unpacked = tokio::task::spawn_blocking(move || packed.unpack()).await;
        let unpacked = unpacked.map_err(|error| TransferError::Region(error.to_string()))?;
        let unpacked = unpacked.map_err(|error| corrupt(error.to_string()))?;
        let bytes = unpacked.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        packing.ended(bytes, self.client.world.clock.since_boot());
        if !unpacked.iter().map(|(address, _)| address).eq(wanted) {
            return Err(corrupt("they are not those that were asked for".to_owned()));
        }
        Ok(unpacked.into_iter().map(|(_, bytes)| bytes).collect())
    }

    async fn close_reading(&self, session: SessionId) -> Result<ReadingEnd, TransferError> {
        self.forget(session);
        let work = Work {
            path: format!("readings/{session}/close"),
            body: super::client::Body::Nothing,
            wanted: "the end of a reading",
            told: &|_| {},
            // What was frozen must be thawed.
            stop: None,
        };
        self.work(&work).await
    }

    fn came(&self, session: SessionId) -> Option<u64> {
        Some(self.travelled(session))
    }
}
