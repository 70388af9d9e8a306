//! Desired, observed and recorded become a plan. Synchronous and pure.

pub mod document;
