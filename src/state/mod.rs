//! The state file: what was applied, by whom, and all that was ever done.
//!
//! One SQLite file beside the topology. It remembers the managed objects as they were last applied, the stores that
//! were met and the topologies that were applied, and it keeps the history of runs and actions and what was observed
//! of the regions' health. It is the only memory of what is no longer declared, and of what changed live; what it
//! forgets, [`rebuild`] can learn again from the regions.
//!
//! Reading takes no lock and writes nothing. Writing takes the lock `<state>.lock`, which the operating system frees
//! whatever becomes of its holder. Every call that writes is one durable transaction: when it returned, it stands;
//! when it did not, nothing of it does.
//!
//! What the room leaves to others: what a change is (`plan`), when it is begun and ended (`execute`), who is told
//! (`render`). It asks no region and knows no network.

mod schema;
mod error;
mod column;
mod record;
mod file;
mod seat;
mod reader;
mod history;
mod memory;
mod journal;
mod failover;
mod retention;
pub mod rebuild;
#[cfg(test)]
mod tests;

pub use error::StateError;
pub use failover::{FailoverLog, UnderWay};
pub use file::{Locked, StateFile};
pub use history::HistoryFilter;
pub use journal::State;
pub use memory::Remember;
pub use reader::StateReader;
pub use rebuild::Rebuild;
pub use record::{
    ActionOutcome, ActionRecord, AppliedTopology, Conclusion, HealthObservation, HistoryEntry, Intent, KnownStore,
    ManagedObject, RunEnd, RunOutcome, RunRecord, RunStart,
};
pub use retention::{HistoryRetention, PastRun};
pub use seat::Seating;
