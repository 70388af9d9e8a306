//! `MultiRegionManager`, the front door of the library: every command that reads or changes live regions goes through
//! one of its methods. What carries out a plan takes the same road: lock, observe, plan and guards, journal, execute,
//! history. Failovers, fences and pauses do without the state's lock, which a copy may hold for hours: the regions' own
//! conditions keep them apart.
//!
//! It owns the order of those steps and what is reported at the end. What is different is `plan`'s to say, how an
//! effect is carried out is `execute`'s, and a region's own business is its port's.

mod options;
mod report;
mod status;
mod error;
mod remedy;
mod view;
mod registry;
mod witness;
mod whereabouts;
mod audit;
mod compare;
mod metrics;
mod apart;
mod open;
mod manager;
mod road;
mod single;
mod failover;
mod control;
mod missed;
mod readmit;
mod cut_off;
mod act;
mod mend;
mod drill;
mod accept;
mod declare;
mod register;
mod by_hand;
pub mod guide;
mod import;
#[cfg(test)]
mod tests;

pub use accept::{Elsewhere, HeldElsewhere, LeftOut, accepting};
pub use by_hand::{Made, OrderedCopy, Registered};
pub use control::TakeOverOptions;
pub use cut_off::{FenceOptions, Fenced, Fencing, LetIn};
pub use declare::{Declaration, Declared, Ground, write_edited};
pub use drill::{DrillOptions, DrillReport, ResourceDrill};
pub use error::{FleetError, Gate};
pub use failover::{
    Automation, Back, BackOptions, FailoverOptions, FailoverReport, FailoverReview, FailoverStatus, HeldBack, Obstacle,
    PauseReport, PendingOperation, ResumeOptions, Suspect,
};
pub use import::Imported;
pub use manager::MultiRegionManager;
pub use options::{
    Allowed, Approved, Desired, OnLocked, PlanOptions, ReconcileOptions, Review, SavedOptions, Settings, Verdict, Watch,
};
pub use readmit::{ReadmitOptions, Readmitted};
pub use registry::{KnownFleet, known_failovers, topology_of};
pub use report::{
    ChangeOutcome, Counts, ExitClass, FileComparison, Planned, PointsAt, Rebuilt, ReplicaVerification, Restored, Round,
    RunReport, Side, Skipped, SyncReport, Verification,
};
pub use status::{
    GlobalStatistics, LastRun, RegionState, RegionStatistics, RegionWork, ReplicaHealth, ReplicaState,
    ReplicationStatus, StateView, StatusReport, SyncStatus, Trouble, TroubleKind,
};
pub use whereabouts::{MachineAt, MachineWhere, RunnerAt, Told, Whereabout, Whereabouts};
pub use witness::Witness;
