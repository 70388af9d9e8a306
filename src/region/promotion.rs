//! stub
use std::sync::Arc;

use super::local::{Inner, Writing};
use crate::live::port::PortError;
use crate::model::{OperationId, ResourceKey};

impl Inner {
    pub(super) async fn place(
        self: &Arc<Self>,
        _: &Writing,
        _: &ResourceKey,
        _: Option<u64>,
        _: OperationId,
    ) -> Result<(), PortError> {
        Ok(())
    }

    pub(super) async fn settle(self: &Arc<Self>, _: &Writing, _: &ResourceKey) -> Result<String, PortError> {
        Ok(String::new())
    }
}
