//! Failovers that no person asks for, stopped and let go on: each region keeps it, and one that does binds all.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::fleet::error::FleetError;
use crate::fleet::manager::MultiRegionManager;
use crate::fleet::report::ExitClass;
use crate::fleet::road::Sight;
use crate::model::RegionId;
use crate::model::region::Pause;

/// What became of a pause, or of its end.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct PauseReport {
    /// What the regions were to keep; none: nothing any more.
    pub pause: Option<Pause>,
    /// Those that do.
    pub stored: BTreeSet<RegionId>,
    /// Those that do not, and why.
    pub not_stored: BTreeMap<RegionId, String>,
    /// The exit code's class.
    #[serde(skip, default = "done")]
    #[schemars(skip)]
    pub class: ExitClass,
}

const fn done() -> ExitClass {
    ExitClass::Done
}

impl Sight {
    /// What regions keep that answer.
    pub(in crate::fleet) fn pauses(&self) -> BTreeMap<&RegionId, &Pause> {
        self.observed.answering().filter_map(|(region, seen)| Some((region, seen.paused.as_ref()?))).collect()
    }
}

impl MultiRegionManager {
    /// Stops all failovers that no person asks for, at every region that answers. Takes no lock: whoever has it may copy
    /// for hours.
    ///
    /// # Errors
    /// Where the state cannot be read.
    pub async fn pause_failovers(&self, reason: Option<String>) -> Result<PauseReport, FleetError> {
        let pause = Pause { by: self.settings.host.who(), at: self.world.clock.now(), reason };
        self.keep_pause(Some(pause)).await
    }

    /// Lets them happen again.
    ///
    /// # Errors
    /// Where the state cannot be read.
    pub async fn unpause_failovers(&self) -> Result<PauseReport, FleetError> {
        self.keep_pause(None).await
    }

    async fn keep_pause(&self, pause: Option<Pause>) -> Result<PauseReport, FleetError> {
        let (recorded, ..) = self.remembered()?;
        let asked = self.open_all(&recorded).into_iter().map(|(region, port)| {
            let pause = pause.as_ref();
            async move { (region, port.keep_pause(pause).await) }
        });
        let (mut stored, mut not_stored) = (BTreeSet::new(), BTreeMap::new());
        for (region, kept) in join_all(asked).await {
            match kept {
                Ok(()) => drop(stored.insert(region)),
                Err(error) => drop(not_stored.insert(region, error.to_string())),
            }
        }
        let class = match (stored.is_empty(), not_stored.is_empty()) {
            (_, true) => ExitClass::Done,
            (false, false) => ExitClass::Partial,
            (true, false) => ExitClass::Failed,
        };
        Ok(PauseReport { pause, stored, not_stored, class })
    }
}
