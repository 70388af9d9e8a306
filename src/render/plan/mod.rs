//! A plan, drawn: for people at a terminal and for the reviewers of a pull request. JSON and YAML are
//! [`super::document`]'s, because the plan is its own document.
//!
//! What differs is computed by `plan::delta`; here it is only shown.

mod words;
mod value;
pub(super) mod rows;
mod people;
mod markdown;

#[cfg(test)]
mod tests;

pub use markdown::{LIMIT as MARKDOWN_LIMIT, markdown};
pub use people::people;
pub use words::{counts, held, verdict};
