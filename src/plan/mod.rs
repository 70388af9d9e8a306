//! Desired, observed and recorded become a plan. Synchronous and pure: the same inputs give the same bytes.
//!
//! [`compute_plan`] runs the steps that `planner` lists over a draft. Before the first of them everything that none
//! may change is settled: which regions were seen (`sight`), what was renamed (`moves`), who records and holds what
//! (`live`). `check` is the plan's own linter; `saved` and `recheck` are for plans that are carried out later.

pub mod document;
pub mod input;
pub mod refusal;
pub mod delta;
pub mod remedy;
mod compare;
mod sight;
mod moves;
mod live;
mod draft;
mod recording;
mod nearest;
mod step;
pub mod planner;
pub mod check;
pub mod saved;
pub mod recheck;
mod schema;

#[cfg(test)]
mod tests;

pub use check::{Finding, check};
pub use input::{Allow, PlanInput, PlanOptions};
pub use planner::compute_plan;
pub use recheck::{RecheckRefusal, Standing, Verdict, recheck};
pub use refusal::{PlanRefusal, RefusalKind};
pub use schema::schema;
pub use sight::{doubts, health_of};
pub(crate) use step::syncs::{deadline, feeding, in_step};
