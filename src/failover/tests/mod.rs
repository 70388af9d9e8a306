//! Decisions as sentences: what is known goes in, what may be done comes out.

pub(crate) mod world;
mod verdicts;
mod proposals;
mod gates;
mod roles;
mod books;
mod starts;
mod taken_back;
mod attempts;
mod cut_off;
