//! What a region does about an order that starts or stops machines, in which order.
//!
//! | order | acts | a crash after the first act leaves |
//! | --- | --- | --- |
//! | give up | write the role, stop, ask the runner, answer | a demoted region that starts nothing |
//! | hold | write the role, bring the point to its place, take back what could not be brought there, start, answer | a holder that starts nothing before the operation ended or a new attempt orders it again |

/// An order that starts or stops machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duty {
    /// Give up the holder's role.
    GiveUp,
    /// Hold the resource.
    Hold,
}

/// One thing that a region does about an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Let the book judge the order, and make what it writes durable.
    Write,
    /// Make the chosen point's files the machine's own.
    Place,
    /// Take the promotion back of what could not be placed: see [`Book::take_back`](super::Book::take_back).
    TakeBack,
    /// Have the runner start the machine.
    Start,
    /// Have the runner stop the machine.
    Stop,
    /// Ask the runner: only what it says is stopped counts as stopped.
    Check,
}

impl Duty {
    /// What is done, in this order, before the order is answered.
    pub const fn acts(self) -> &'static [Act] {
        match self {
            Self::GiveUp => &[Act::Write, Act::Stop, Act::Check],
            Self::Hold => &[Act::Write, Act::Place, Act::TakeBack, Act::Start],
        }
    }
}
