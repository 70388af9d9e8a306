//! Failovers: what would be done, carried out, gone on with or led back, and told.
//!
//! Owns what is gathered for the judgement in `failover`, whom a person is asked, the loop over attempts, and the event
//! in the history. It takes no lock of the state: open operations at the regions exclude each other.

mod ask;
mod crew;
mod judgement;
mod facts;
mod detect;
mod conduct;
mod unstarted;
mod pending;
mod copies;
mod pull;
mod automatic;
mod automation;
mod home;
mod pause;

pub use ask::{FailoverOptions, FailoverReport, FailoverReview, ResumeOptions};
pub(super) use automatic::ByItself;
pub use automation::{Automation, FailoverStatus, Obstacle, Suspect};
pub use home::{Back, BackOptions, HeldBack};
pub use pause::PauseReport;
pub use pending::PendingOperation;
