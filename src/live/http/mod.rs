//! A region that is served elsewhere.
//!
//! Owns the client side of the calls of [`wire::call`](crate::wire::call): one pool of connections for as long as the
//! port lives, built at the first question; deadlines, repeats, and what an answer is worth. Leaves the words for
//! silence to [`silence`](super::silence).
//!
//! # What holds
//! Every request has a deadline for the whole of it, from the first byte sent to the last one read: a region that
//! trickles is as silent as one that stalls. No answer is read beyond what its call can need. No redirect is followed,
//! so a credential is shown to its origin only.
//!
//! A question that was lost is asked again, a few times and later each time, where asking twice is the same as asking
//! once: reads, writes of blocks, and whatever carries an `Idempotency-Key`. The next blocks that a receiving wants
//! are handed out once, so that question is not repeated.
//!
//! Long work is an operation of the region's: it is begun, and asked after. A lost question costs nothing of it. Where
//! the region forgot it, because it was started anew, it is begun again under the same key.

mod deadlines;
mod lookup;
mod client;
mod answer;
mod neighbour;
mod operation;
mod probe;
mod packing;
mod region;
mod source;
mod target;
mod export;

pub use deadlines::{Deadlines, OBSERVE_DEADLINE};
pub use region::HttpRegion;
#[cfg(test)]
mod tests;
