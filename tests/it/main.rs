//! The integration tests: one program, so that it links once.
//!
//! Stories of several commands are scripts under `tests/scenarios`; the rest are modules here.

mod support;

mod tidy;
