//! Who may hold a resource, and how it passes from one region to another. Only computes: what is known goes in,
//! what may be done comes out.
//!
//! In one sentence: before a resource starts anywhere, every registered region has agreed to it, was fenced, or was
//! declared gone by a person who says how they know.

mod book;
mod start;
mod duty;
mod progress;
mod next;

pub use book::{Acceptance, Book, Ended, Open, Refusal, Taken};
pub use duty::{Act, Duty};
pub use next::{FRESH, Impasse, Next, Step};
pub use progress::{Answer, Progress, Report};
pub use start::{Agent, Hold, Order, may_run};
