//! Machines that run here though this region does not hold them, and could not be stopped: what is remembered of them
//! in this life of the agent, for whoever looks.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::model::running::{ForeignStart, RunState};
use crate::model::{ResourceKey, Timestamp};

/// What the last look found.
#[derive(Debug, Default)]
pub(super) struct Foreign(Mutex<BTreeMap<ResourceKey, ForeignStart>>);

impl Foreign {
    /// Takes what a look found: the state of each machine that is not held here after it was told to stop, and why that
    /// failed. One of which nothing is known any more is remembered as it was; one that was not asked after is forgotten.
    pub(super) fn looked(&self, found: Vec<(ResourceKey, RunState, Option<String>)>, now: Timestamp) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::take(&mut *known);
        known.extend(found.into_iter().filter_map(|(key, state, why)| {
            let before = before.get(&key);
            match (state, why) {
                (RunState::Running, Some(reason)) => {
                    Some((key, ForeignStart { since: before.map_or(now, |before| before.since), reason }))
                }
                (RunState::Running | RunState::Stopped, _) => None,
                (RunState::Unknown(_) | RunState::NoRunner, _) => before.map(|before| (key, before.clone())),
            }
        }));
    }

    /// All of them.
    pub(super) fn all(&self) -> BTreeMap<ResourceKey, ForeignStart> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_start_is_remembered_until_it_is_known_to_be_over() {
        let web: ResourceKey = "vm.web".parse().unwrap();
        let foreign = Foreign::default();
        let look = |state: RunState, why: Option<&str>, at| {
            let found = vec![(web.clone(), state, why.map(str::to_owned))];
            foreign.looked(found, Timestamp::from_micros(at));
            foreign.all().remove(&web).map(|known| (known.since.as_micros(), known.reason))
        };
        let known = |since, reason: &str| Some((since, reason.to_owned()));
        assert_eq!(look(RunState::Running, Some("no"), 1), known(1, "no"));
        assert_eq!(look(RunState::Running, Some("still no"), 2), known(1, "still no"));
        assert_eq!(look(RunState::Unknown("off".to_owned()), None, 3), known(1, "still no"));
        assert_eq!(look(RunState::Stopped, None, 4), None);
        assert_eq!(look(RunState::Unknown("off".to_owned()), None, 5), None);
        // It was stopped.
        assert_eq!(look(RunState::Running, Some("no"), 6), known(6, "no"));
        assert_eq!(look(RunState::Running, None, 7), None);
    }
}
