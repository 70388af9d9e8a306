//! The one ordered stream of what happens in a run. The human view, the JSON lines, the progress bars and the history
//! are equal readers of it.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::event::FailoverEvent;
use crate::model::point::BlockReason;
use crate::model::{Address, ByteCount, OperationId, RegionId, Timestamp, units};
use crate::plan::document::{Action, Kind};
pub use crate::replica::transfer::Stage;

/// How an action ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Carried out.
    Done,
    /// Was at its result already.
    Unchanged,
    /// Tried and failed.
    Failed,
    /// Stopped by safety.
    Blocked,
    /// Not tried: something that it depends on did not succeed.
    Skipped,
    /// Stopped by a signal; what was received is kept.
    Interrupted,
}

/// Why something waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeferReason {
    /// Nothing can be said of the region.
    Unobserved,
}

impl DeferReason {
    /// The name in every format.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unobserved => "unobserved",
        }
    }
}

/// What happens.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// An action begins.
    ActionStarted {
        /// When.
        at: Timestamp,
        /// The change's id in the plan.
        id: String,
        /// Its object.
        address: Address,
        /// Of what kind.
        kind: Kind,
        /// What is done.
        action: Action,
        /// Where.
        regions: Vec<RegionId>,
    },
    /// A sync goes on.
    Progress {
        /// When.
        at: Timestamp,
        /// The change's id in the plan.
        id: String,
        /// Its object.
        address: Address,
        /// In what stage: `reading`, `comparing`, `copying` or `publishing`.
        stage: Stage,
        /// Bytes done.
        bytes_done: ByteCount,
        /// Bytes in all, where known.
        bytes_total: Option<ByteCount>,
    },
    /// An action ended.
    ActionFinished {
        /// When.
        at: Timestamp,
        /// The change's id in the plan.
        id: String,
        /// Its object.
        address: Address,
        /// Of what kind.
        kind: Kind,
        /// What was done.
        action: Action,
        /// Where.
        regions: Vec<RegionId>,
        /// How it ended.
        outcome: Outcome,
        /// Bytes that travelled.
        bytes: ByteCount,
        /// How long it took.
        #[serde(with = "units::duration")]
        #[schemars(with = "units::DurationText")]
        duration: Duration,
        /// In words: the error, the refusal, or what was noticed.
        message: Option<String>,
    },
    /// Safety stops this; the plan said so, and nothing was tried.
    Blocked {
        /// When.
        at: Timestamp,
        /// The object.
        address: Address,
        /// The region where it would have been done.
        region_id: Option<RegionId>,
        /// Why.
        reason: BlockReason,
        /// In words, with the figure, and what to do.
        detail: String,
    },
    /// Work that waits for a region.
    Deferred {
        /// When.
        at: Timestamp,
        /// The object.
        address: Address,
        /// The region.
        region_id: RegionId,
        /// Why.
        reason: DeferReason,
        /// In words: what is known of the region.
        detail: String,
    },
    /// A replica's bytes were read back, and are not what was copied. They are offered for no promotion until they are
    /// mended; where that can be, the run goes on to do it.
    DamageFound {
        /// When.
        at: Timestamp,
        /// The resource.
        address: Address,
        /// The region that keeps the copy.
        region_id: RegionId,
        /// The newest point that needs these bytes.
        point: u64,
        /// The file, below the resource's directory.
        path: String,
        /// In words.
        detail: String,
    },
    /// A region read back a part of what its replicas hold, or could not.
    Audited {
        /// When.
        at: Timestamp,
        /// The region.
        region_id: RegionId,
        /// Bytes read.
        bytes: ByteCount,
        /// How long it took.
        #[serde(with = "units::duration")]
        #[schemars(with = "units::DurationText")]
        duration: Duration,
        /// Why it could not.
        failure: Option<String>,
    },
    /// An operation that moves resources is open.
    OperationOpen {
        /// When.
        at: Timestamp,
        /// The operation.
        operation: OperationId,
        /// From where it leads.
        from: RegionId,
        /// To where.
        to: RegionId,
        /// Of how many resources.
        resources: u32,
        /// In words: what becomes of it.
        detail: String,
    },
    /// A failover that the policy asks for, and that one of its gates holds back.
    FailoverHeld {
        /// When.
        at: Timestamp,
        /// The region that holds what it would move.
        region_id: RegionId,
        /// The gate.
        gate: String,
        /// In words, with the figure.
        detail: String,
        /// What to do.
        help: Option<String>,
    },
    /// A failover ended, or was left open.
    FailoverFinished {
        /// When.
        at: Timestamp,
        /// As history has it.
        event: Box<FailoverEvent>,
    },
    /// The run ended.
    Summary {
        /// When.
        at: Timestamp,
        /// Actions carried out.
        done: u32,
        /// Objects renamed.
        renamed: u32,
        /// Actions that were at their result already.
        unchanged: u32,
        /// Actions that failed.
        failed: u32,
        /// What safety stopped, in the plan or while it ran.
        blocked: u32,
        /// Objects with work that waits for a region that does not answer.
        deferred: u32,
        /// Actions not tried.
        skipped: u32,
        /// Actions stopped by a signal.
        interrupted: u32,
        /// Bytes that travelled.
        bytes: ByteCount,
        /// How long the run took.
        #[serde(with = "units::duration")]
        #[schemars(with = "units::DurationText")]
        duration: Duration,
    },
}

/// Takes events. Implementations must not block: the run waits for them.
pub trait EventSink: Send + Sync {
    /// Takes one event, in order.
    fn emit(&self, event: &Event);
}
