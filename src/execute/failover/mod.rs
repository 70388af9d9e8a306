//! Carries an attempt at a failover out: asks the regions what [`Progress`](crate::failover::Progress) says is next,
//! runs its hooks, and writes each step down before its effect and after it.
//!
//! Owns the order of these writes, and how long anybody is waited for. Leaves what comes next to `failover`, what a
//! region does about an order to the region, and who is asked and told to [`Crew`].

mod drive;
mod step;

pub use drive::{Crew, Drive, End};
pub use step::{changes, has_run};
