//! What a region says of itself and of others.

use reqwest::Method;

use super::answer::CallError;
use super::client::{Ask, Body, Repeat};
use super::region::HttpRegion;
use crate::live::port::PortError;
use crate::model::RegionId;
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

    /// How `region` looks from there, asked now.
    pub(super) async fn view_of(&self, region: &RegionId) -> Result<RegionHealth, PortError> {
        let ask = Ask {
            repeat: Repeat::Never,
            ..self.client.short(Method::POST, format!("regions/{region}/health"), Body::Nothing, "a region's health")
        };
        self.question(&ask).await.map_err(CallError::into_port)
    }
}
