//! What a region says of itself and of others.

use reqwest::Method;

use super::answer::CallError;
use super::client::{Ask, Body, Repeat};
use super::operation::json;
use super::region::HttpRegion;
use crate::live::port::PortError;
use crate::model::region::RecordChange;
use crate::model::{OperationId, RegionId};
use crate::wire::call::ByHand;
use crate::wire::record::RecordChangeBody;
use crate::wire::region::{RegionHealth, RegionNumbers};

impl HttpRegion {
    /// What it says of itself, in short.
    ///
    /// # Errors
    /// [`PortError`].
    pub async fn numbers(&self) -> Result<RegionNumbers, PortError> {
        let ask = Ask {
            deadline: self.client.deadlines.glance,
            repeat: Repeat::Never,
            ..self.client.short(Method::GET, format!("regions/{}", self.client.region), Body::Nothing, "a region")
        };
        self.question(&ask).await.map_err(CallError::into_port)
    }

    /// Writes records there at a person's request; see
    /// [`LocalRegion::record_by_hand`](crate::region::LocalRegion::record_by_hand).
    ///
    /// # Errors
    /// [`PortError`].
    pub async fn record_by_hand(&self, operation: OperationId, changes: &[RecordChange]) -> Result<(), PortError> {
        let body = ByHand { operation, changes: changes.iter().map(RecordChangeBody::from).collect() };
        let ask = self.client.short(Method::POST, "records/by-hand", json(&body), "an answer");
        self.question(&ask).await.map_err(CallError::into_port)
    }

    /// How `region` looks from there, asked now.
    pub(super) async fn view_of(&self, region: &RegionId) -> Result<RegionHealth, PortError> {
        let ask = Ask {
            repeat: Repeat::Never,
            ..self.client.short(Method::POST, format!("regions/{region}/health"), Body::Nothing, "a region's health")
        };
        self.question(&ask).await.map_err(CallError::into_port)
    }
}
