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
mod target;
mod promotion;
mod whole;
mod propose;
mod order;
mod book;
mod start;
mod duty;
mod progress;
mod next;

pub use book::{Book, Ended, Open};
#[cfg(test)]
mod tests;

pub use claim::Claim;
pub use duty::{Act, Duty};
pub use facts::{Asker, Facts, FenceHook, Overrides, Request};
pub use gate::{Gate, GateKind, Override};
pub use next::{FRESH, Impasse, Next, Step};
pub use order::{Acceptance, Mandate, Order, Refusal, Reply, Taken};
pub use progress::{Answer, Progress, Report};
pub use proposal::{
    ChosenPoint, ExpectedLoss, Feed, HeldBack, Move, OldSide, Outcome, PassedOver, PlannedHook, Proposal, Source,
    Unprotected,
};
pub use propose::{Unfit, propose};
pub use start::{Agent, Hold, may_run};
pub use verdict::{Finding, Rule, Ruling, Suspicion, Verdict, Witness, Word};
