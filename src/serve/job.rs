//! What operations there are, which of them can be stopped, and which are taken up again.

/// The work of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Job {
    Sync,
    SyncElsewhere,
    Restore,
    Verify,
    Audit,
    Reading,
    CloseReading,
    Receiving,
    Survey,
    Checkpoint,
    Publish,
    CloseReceiving,
    RegisterRegion,
    SetUpReplication,
    PauseReplication,
    ResumeReplication,
    ReplicateVm,
    Order,
    Failover,
    Drill,
}

impl Job {
    /// The name in answers and logs.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::SyncElsewhere => "sync_elsewhere",
            Self::Restore => "restore",
            Self::Verify => "verify",
            Self::Audit => "audit",
            Self::Reading => "reading",
            Self::CloseReading => "close_reading",
            Self::Receiving => "receiving",
            Self::Survey => "survey",
            Self::Checkpoint => "checkpoint",
            Self::Publish => "publish",
            Self::CloseReceiving => "close_receiving",
            Self::RegisterRegion => "register_region",
            Self::SetUpReplication => "setup_replication",
            Self::PauseReplication => "pause_replication",
            Self::ResumeReplication => "resume_replication",
            Self::ReplicateVm => "replicate_vm",
            Self::Order => "order",
            Self::Failover => "failover",
            Self::Drill => "drill",
        }
    }

    /// Why it cannot be stopped; none: it stops at the next place where that is safe.
    pub(super) const fn unstoppable(self) -> Option<&'static str> {
        match self {
            // It stays open, and is resumed or led back.
            Self::Failover => None,
            Self::Drill => None,
            Self::Sync | Self::SyncElsewhere => None,
            Self::Restore | Self::Verify | Self::Audit | Self::Reading | Self::Receiving => None,
            Self::CloseReading => Some("whatever holds still for the reading is being let go, and nothing stops that"),
            Self::Survey => Some("a survey takes a moment; close the receiving to end it"),
            Self::Checkpoint | Self::Publish | Self::CloseReceiving => {
                Some("what was received is being made durable and whole; stopped, it would only have to be done again")
            }
            Self::RegisterRegion
            | Self::SetUpReplication
            | Self::PauseReplication
            | Self::ResumeReplication
            | Self::ReplicateVm => {
                Some("records are being written at several regions, which would differ if it stopped between two")
            }
            Self::Order => Some("what an order has begun is finished; another one may lead back"),
        }
    }

    /// Whether a repeat under the same key goes on with what failed for want of a region or a machine. An order's
    /// writes are at several regions, and each of them is there or is not; other work begins anew under a key of its
    /// own.
    pub(super) const fn is_taken_up_again(self) -> bool {
        match self {
            Self::RegisterRegion
            | Self::SetUpReplication
            | Self::PauseReplication
            | Self::ResumeReplication
            | Self::ReplicateVm => true,
            Self::Sync
            | Self::SyncElsewhere
            | Self::Restore
            | Self::Verify
            | Self::Audit
            | Self::Reading
            | Self::CloseReading
            | Self::Receiving
            | Self::Survey
            | Self::Checkpoint
            | Self::Publish
            | Self::CloseReceiving
            | Self::Order
            | Self::Failover
            | Self::Drill => false,
        }
    }
}
