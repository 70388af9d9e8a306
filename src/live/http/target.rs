//! A served region as the end that keeps the copy.

use async_trait::async_trait;
use bytes::Bytes;
use reqwest::Method;
use tokio_util::sync::CancellationToken;

use super::client::{Ask, Body, Counted};
use super::operation::{Work, json};
use super::region::{ANSWER, HttpRegion};
use crate::model::Timestamp;
use crate::model::region::SyncOrder;
use crate::replica::port::{
    BlockAddress, Confirmation, Confirmed, Hash, Published, Reading, Receiving, SessionId, Survey, Target,
    TransferError,
};
use crate::wire::blocks;
use crate::wire::call::{BlockHashes, Confirming, GroupHashes, HashList, OpenReceiving, Publish};

impl HttpRegion {
    /// Asks an open receiving, which goes on with it once, however often the question must be repeated.
    async fn give<T: serde::de::DeserializeOwned>(
        &self,
        session: SessionId,
        path: String,
        body: Body,
        wanted: &'static str,
    ) -> Result<T, TransferError> {
        let deadline = self.client.deadlines.bulk;
        let counted = Some(Counted::Sent(self.opened(session).bytes));
        let key = Some(self.client.world.ids.ordered());
        let ask = Ask { key, deadline, counted, ..self.client.short(Method::POST, path, body, wanted) };
        self.question(&ask).await.map_err(|error| self.transfer(error))
    }

    /// A step of an open receiving that may take long.
    async fn step<T: serde::de::DeserializeOwned>(
        &self,
        path: String,
        body: Body,
        wanted: &'static str,
        stop: Option<&CancellationToken>,
    ) -> Result<T, TransferError> {
        self.work(&Work { path, body, wanted, told: &|_| {}, stop }).await
    }
}

#[async_trait]
impl Target for HttpRegion {
    async fn open_receiving(
        &self,
        order: &SyncOrder,
        reading: &Reading,
        accept_change: bool,
    ) -> Result<Receiving, TransferError> {
        let body = json(&OpenReceiving { order: order.clone(), reading: reading.clone(), accept_change });
        let stop = Some(&self.client.interrupted);
        let receiving: Receiving = self.step("receivings".to_owned(), body, "a receiving", stop).await?;
        self.remember(receiving.session, order.compress);
        Ok(receiving)
    }

    async fn differing_groups(
        &self,
        session: SessionId,
        file: u32,
        first: u64,
        hashes: &[Hash],
    ) -> Result<Vec<u64>, TransferError> {
        let body = json(&GroupHashes { file, first, hashes: HashList(hashes.to_vec()) });
        self.give(session, format!("receivings/{session}/groups"), body, "the groups that differ").await
    }

    async fn expect_blocks(
        &self,
        session: SessionId,
        file: u32,
        groups: &[u64],
        hashes: &[Hash],
    ) -> Result<(), TransferError> {
        let body = json(&BlockHashes { file, groups: groups.to_vec(), hashes: HashList(hashes.to_vec()) });
        self.give(session, format!("receivings/{session}/expect"), body, ANSWER).await
    }

    async fn end_survey(&self, session: SessionId) -> Result<Survey, TransferError> {
        let stop = Some(&self.client.interrupted);
        self.step(format!("receivings/{session}/survey"), Body::Nothing, "a survey", stop).await
    }

    async fn next_wanted(&self, session: SessionId) -> Result<Vec<BlockAddress>, TransferError> {
        let path = format!("receivings/{session}/wanted");
        self.give(session, path, Body::Nothing, "the blocks that it wants").await
    }

    async fn write_blocks(&self, session: SessionId, blocks: Vec<(BlockAddress, Bytes)>) -> Result<(), TransferError> {
        let packing = self.opened(session).packing;
        let compress = packing.next();
        let bytes = blocks.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        let packed = tokio::task::spawn_blocking(move || blocks::pack(blocks, compress).map(Body::of_blocks));
        let packed = packed.await.map_err(std::io::Error::other).flatten();
        let packed = packed.map_err(|error| TransferError::Io {
            action: "cannot pack".to_owned(),
            path: "blocks".to_owned(),
            detail: error.to_string(),
            bad_file: false,
            no_space: false,
            not_permitted: false,
        })?;
        self.give::<()>(session, format!("receivings/{session}/blocks"), packed, ANSWER).await?;
        packing.ended(bytes, self.client.world.clock.since_boot());
        Ok(())
    }

    async fn checkpoint(&self, session: SessionId) -> Result<(), TransferError> {
        self.step(format!("receivings/{session}/checkpoint"), Body::Nothing, ANSWER, None).await
    }

    async fn publish(&self, session: SessionId, verified_at: Timestamp) -> Result<Published, TransferError> {
        let path = format!("receivings/{session}/publish");
        let published = self.step(path, json(&Publish { verified_at }), "the point", None).await;
        self.forget(session);
        published
    }

    async fn close_receiving(&self, session: SessionId) -> Result<(), TransferError> {
        self.forget(session);
        self.step(format!("receivings/{session}/close"), Body::Nothing, ANSWER, None).await
    }

    fn went(&self, session: SessionId) -> Option<u64> {
        Some(self.travelled(session))
    }

    async fn confirm_unchanged(&self, confirmed: &[Confirmed]) -> Result<Vec<Confirmation>, TransferError> {
        let body = json(&Confirming { confirmed: confirmed.to_vec() });
        let ask = self.client.short(Method::POST, "verified", body, "what became of each resource");
        let ask = Ask { deadline: self.client.deadlines.bulk, ..ask };
        let answers: Vec<Confirmation> = self.question(&ask).await.map_err(|error| self.transfer(error))?;
        if answers.len() == confirmed.len() {
            return Ok(answers);
        }
        Err(TransferError::Corrupt(format!("{} answered for another number of resources", self.client.region)))
    }
}
