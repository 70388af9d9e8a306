//! Authority and the registry: what this region is asked about them, and its taking part again.
//!
//! Owns that nothing runs here when a region is readmitted, as its runner says, and nothing is started meanwhile.
//! Leaves the rules to [`failover`](crate::failover).
//!
//! Guarantee: durable when it returns, all of it or nothing. A crash leaves the region as it was or as it became.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::local::{Inner, blocking};
use super::store::StoreError;
use crate::failover::{Control, Refusal};
use crate::live::port::{PeerRecords, PortError};
use crate::model::ResourceKey;

impl Inner {
    pub(super) async fn obey(self: &Arc<Self>, control: &Control, peers: &PeerRecords) -> Result<(), PortError> {
        let writing = self.writing().await?;
        let _turn = self.roles.turn().await;
        let running = match control {
            Control::Readmit { authority: _, known } => {
                let book = self.book(&writing).await?;
                let keys: BTreeSet<ResourceKey> = book.parts.keys().chain(known.parts.keys()).cloned().collect();
                self.running(&writing, &keys).await
            }
            Control::TakeOver { .. }
            | Control::Register { .. }
            | Control::CutOff { .. }
            | Control::LetIn { .. }
            | Control::DeclaredGone { .. } => BTreeSet::new(),
        };
        let (inner, control, peers) = (Arc::clone(self), control.clone(), peers.clone());
        blocking(move || {
            let done = writing.store.obey(&writing.identity, &control, &peers, &running);
            done.map_err(|error| inner.of(error))?.map_err(|refusal| match refusal {
                Refusal::NotController(Some(controller)) => inner.of(StoreError::NotController(Box::new(controller))),
                refusal => PortError::Role(Box::new(refusal)),
            })?;
            inner.roles.stir();
            Ok(())
        })
        .await
    }
}
