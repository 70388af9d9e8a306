//! The server's own description, OpenAPI 3.1: `/openapi.json`, and `schemas/openapi.json`.
//!
//! Nothing of it is written twice. Which routes there are is the table that the router is made from
//! ([`routes`](super::routes)); what one of them reads and answers is told by the types of its handler's parts
//! ([`part`]); how bodies look, by the types that read and write them ([`forms`]); what may go wrong, by each part and
//! by the region's errors ([`refusal`]). Only names, sentences, and which of the region's errors a call may meet stand
//! in the table.

mod forms;
mod sheet;
mod refusal;
mod part;
mod document;

pub(super) use document::TEXT;
pub use document::openapi;
pub(super) use part::Described;
pub(super) use refusal::Refuses;
pub(super) use sheet::Sheet;
