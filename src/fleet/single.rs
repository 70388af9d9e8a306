//! One action outside a plan: journalled before its effect and after it, and told while it runs.

use std::collections::BTreeMap;

use super::error::FleetError;
use super::options::Watch;
use super::road::Road;
use crate::execute::event::{Event, Outcome};
use crate::execute::journal::{Conclusion, Journal, Memory, StateJournal};
use crate::live::port::PortError;
use crate::model::{Address, ByteCount, RegionId};
use crate::plan::document::{Action, Change, Kind, Precondition};

/// The action as journal and history know it.
pub(super) fn single(
    id: String,
    address: Address,
    kind: Kind,
    action: Action,
    region: &RegionId,
    reason: String,
) -> Change {
    Change {
        id,
        address,
        kind,
        action,
        regions: vec![region.clone()],
        drops: Vec::new(),
        source: None,
        before: None,
        after: None,
        reason,
        depends_on: Vec::new(),
        precondition: Precondition::default(),
    }
}

impl Road<'_> {
    /// Carries out one action: its intention is durable before the effect begins, and how it ended before this
    /// returns. A crash in between leaves an action in the history whose end nobody knows.
    ///
    /// # Errors
    /// Where the journal could not be written. What the effect itself met is inside.
    pub(super) async fn journalled<T>(
        &mut self,
        change: &Change,
        watch: &Watch,
        effect: impl Future<Output = Result<(T, ByteCount), PortError>>,
    ) -> Result<Result<T, PortError>, FleetError> {
        let clock = &self.manager.world.clock;
        let (started, began) = (clock.now(), clock.since_boot());
        let mut journal =
            StateJournal { state: &mut self.state, run: self.run, origins: BTreeMap::new(), under_way: None };
        journal.intend(&[change], started)?;
        let Change { id, address, kind, action, regions, reason, .. } = change.clone();
        let (told, named, places) = (id.clone(), address.clone(), regions.clone());
        watch.events.emit(&Event::ActionStarted {
            at: started,
            id: told,
            address: named,
            kind,
            action,
            regions: places,
        });
        let ended = effect.await;
        let (outcome, bytes, message) = match &ended {
            Ok((_, bytes)) => (Outcome::Done, *bytes, reason),
            Err(error) => (Outcome::Failed, ByteCount(0), error.to_string()),
        };
        let (now, duration) = (clock.now(), clock.since_boot().saturating_sub(began));
        let message = Some(message);
        journal.conclude(&[Conclusion {
            change,
            outcome,
            started: Some(started),
            ended: now,
            duration,
            bytes,
            message: message.clone(),
            memory: Memory::Kept,
        }])?;
        let at = now;
        watch.events.emit(&Event::ActionFinished {
            at,
            id,
            address,
            kind,
            action,
            regions,
            outcome,
            bytes,
            duration,
            message,
        });
        Ok(ended.map(|(done, _)| done))
    }
}
