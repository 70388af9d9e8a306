//! Who may hold a resource, and how it passes from one region to another. Only computes: what is known goes in,
//! what may be done comes out.
//!
//! In one sentence: before a resource starts anywhere, every registered region has agreed to it, was fenced, or was
//! declared gone by a person who says how they know.

mod claim;
mod verdict;
mod facts;
mod gate;
mod proposal;
mod level;
mod target;
mod promotion;
mod whole;
mod propose;
mod runbook;
mod order;
mod book;
mod accept;
mod carry;
mod taken_back;
mod control;
mod cut_off;
mod start;
mod duty;
mod progress;
mod next;
mod recourse;

#[cfg(test)]
pub(crate) mod tests;

pub use book::Book;
pub use claim::Claim;
pub use control::{Control, Known};
pub use duty::{Act, Duty};
pub use facts::{Asker, Facts, FenceHook, Overrides, Request, Wish};
pub use gate::{Gate, GateKind, Override};
pub use next::{Ending, Next, Step};
pub use order::{Acceptance, Mandate, Order, Over, Refusal, Reply, Taken};
pub use progress::{Answer, FRESH, Progress, Report};
pub use proposal::{
    ChosenPoint, ExpectedLoss, Feed, HeldBack, Move, OldSide, Outcome, PassedOver, PlannedHook, Proposal, Source,
    Unprotected,
};
pub use propose::{Unfit, propose};
pub use recourse::{Impasse, Recourse};
pub use runbook::{Chapter, Instruction, Runbook, Unwritten};
pub use start::{Agent, Hold, may_run};
pub use verdict::{Finding, Rule, Ruling, Suspicion, Verdict, Witness, Word};
