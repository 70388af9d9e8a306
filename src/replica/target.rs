//! The target's end: receivings of this machine's replicas.
//!
//! Owns open receivings. Leaves to the region who may write, the lock of the directory, epochs (its catalog checks
//! them in every commit), and at most one receiving of a resource at a time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::catalog::Catalog;
use super::fault::Stop;
use super::hashing::lock;
use super::place::ReplicaPlace;
use super::port::{BlockAddress, Hash, Published, Reading, Receiving, SessionId, Survey, TransferError};
use super::receive::{Receive, ReceiveRules};
use super::room::Room;
use crate::host::disk::Disk;
use crate::model::region::SyncOrder;
use crate::model::{Timestamp, World};

/// Receivings of this machine's replicas.
#[derive(Debug)]
pub struct LocalTarget {
    disk: Arc<dyn Disk>,
    world: World,
    stop: Stop,
    /// What open receivings were promised of the disk.
    room: Room,
    sessions: Mutex<BTreeMap<SessionId, Arc<Receive>>>,
}

impl LocalTarget {
    /// Writes through `disk`.
    pub fn new(disk: Arc<dyn Disk>, world: World) -> Self {
        Self { disk, world, stop: Stop::default(), room: Room::default(), sessions: Mutex::new(BTreeMap::new()) }
    }

    /// Opens a receiving: finishes what an earlier one left, refuses a source that looks lost, sets aside what was
    /// written at the replica, and says which files must be compared. `cancel` stops it, and the receiving.
    ///
    /// # Errors
    /// [`TransferError::Blocked`], and the refusal is recorded; [`TransferError::Corrupt`] for a list of files that
    /// leads outside; I/O errors by file.
    pub fn open_receiving(
        &self,
        catalog: Arc<dyn Catalog>,
        place: ReplicaPlace,
        order: &SyncOrder,
        reading: &Reading,
        rules: &ReceiveRules,
        cancel: &CancellationToken,
    ) -> Result<Receiving, TransferError> {
        let what = (place, order, reading, rules);
        let (receive, compare) = Receive::open(
            (Arc::clone(&self.disk), self.room.clone()),
            catalog,
            self.world.clone(),
            what,
            self.stop.check().until(cancel),
        )?;
        let session = self.world.ids.random();
        let resumed = receive.received();
        lock(&self.sessions).insert(session, Arc::new(receive));
        Ok(Receiving { session, compare, resumed, notes: Vec::new() })
    }

    fn session(&self, session: SessionId) -> Result<Arc<Receive>, TransferError> {
        let open = lock(&self.sessions).get(&session).cloned();
        open.ok_or_else(|| TransferError::Region("the receiving is not open any more".to_owned()))
    }

    /// Takes a run of group hashes of a file; answers with the groups that differ.
    ///
    /// # Errors
    /// Where the session is gone or the index cannot be read.
    pub fn differing_groups(
        &self,
        session: SessionId,
        file: u32,
        first: u64,
        hashes: &[Hash],
    ) -> Result<Vec<u64>, TransferError> {
        let receive = self.session(session)?;
        receive.told(receive.differing(file, first, hashes))
    }

    /// Takes the block hashes of differing groups.
    ///
    /// # Errors
    /// As above; [`TransferError::Corrupt`] where they don't hash to the group's hash.
    pub fn expect_blocks(
        &self,
        session: SessionId,
        file: u32,
        groups: &[u64],
        hashes: &[Hash],
    ) -> Result<(), TransferError> {
        let receive = self.session(session)?;
        receive.told(receive.expect(file, groups, hashes))
    }

    /// Ends the comparison.
    ///
    /// # Errors
    /// [`TransferError::Blocked`] for `suspicious` and `no_space`; [`TransferError::Corrupt`] for a lying source.
    pub fn end_survey(&self, session: SessionId) -> Result<Survey, TransferError> {
        let receive = self.session(session)?;
        receive.told(receive.end_survey())
    }

    /// The next blocks that are missing, at most 64; empty when none is.
    ///
    /// # Errors
    /// Where the session is gone.
    pub fn next_wanted(&self, session: SessionId) -> Result<Vec<BlockAddress>, TransferError> {
        let receive = self.session(session)?;
        receive.told(receive.next_wanted())
    }

    /// Takes blocks, hashes each one and keeps those that are what was expected.
    ///
    /// # Errors
    /// [`TransferError::Corrupt`] for one that is not; I/O errors.
    pub fn write_blocks(&self, session: SessionId, blocks: &[(BlockAddress, Bytes)]) -> Result<(), TransferError> {
        let receive = self.session(session)?;
        receive.told(receive.write(blocks))
    }

    /// Makes what was written durable. It may be called while blocks are written.
    ///
    /// # Errors
    /// I/O errors.
    pub fn checkpoint(&self, session: SessionId) -> Result<(), TransferError> {
        let receive = self.session(session)?;
        receive.told(receive.checkpoint())
    }

    /// Publishes what was received.
    ///
    /// # Errors
    /// I/O errors; the newest complete point is then as it was, or the new one.
    pub fn publish(&self, session: SessionId, verified_at: Timestamp) -> Result<Published, TransferError> {
        let receive = self.session(session)?;
        let published = receive.told(receive.publish(verified_at))?;
        lock(&self.sessions).remove(&session);
        Ok(published)
    }

    /// Ends a receiving without publishing; what was received stays for the next one. One that is not open any more
    /// is no error.
    ///
    /// # Errors
    /// I/O errors.
    pub fn close_receiving(&self, session: SessionId) -> Result<(), TransferError> {
        let open = lock(&self.sessions).remove(&session);
        match open {
            Some(receive) => receive.told(receive.checkpoint()),
            None => Ok(()),
        }
    }

    /// Stops what runs at the next durable place. A publishing that is stopped after its point was sealed goes on by
    /// itself with the next opening.
    pub fn interrupt(&self) {
        self.stop.now();
    }
}
