//! Orders to a fleet that has no files: what one of its regions has recorded stands for them.
//!
//! Owns the order of the steps: every region concerned is looked at first, and only when nothing stands in the way is
//! anything written, in the order of their ids. A repeat finishes what an interruption left, and changes nothing that
//! is there.
//!
//! # Who may
//! What is ordered here belongs to nobody (`managed_by` is none), until a topology is applied that declares it. Where no
//! region has a controller, none gets one by it. Where one has, the registry and the birth of resources are that one's
//! alone: refused with its name and place. A region whose own state is the controller, since it failed over, registers and
//! gives births under its seat. Pairs and copies touch neither, and are taken either way.
//!
//! | what | guarantee | a crash here leaves behind |
//! | --- | --- | --- |
//! | a registration, a birth, a pair, a pause | each region's records all or none | regions that have it and regions that have it not: a repeat tells the others |
//! | a region that does not answer | under a seat: left out of a registration, and named | one that the next repeat tells |

mod order;
mod region;
mod pair;
mod machine;
mod copy;

pub use copy::OrderedCopy;
pub use order::Made;
pub use region::Registered;
