//! Work that outlasts a request: begun with one, asked after with others.
//!
//! `POST` with `Prefer: respond-async` answers 202 and `Location: /api/v1/operations/{id}`, or at once with the
//! result where the work was short. `GET` of that place answers with an [`Operation`]; with `?wait=SECONDS` it waits
//! until something is new, at most so long. The `Idempotency-Key` of the `POST` is the operation's id: a repeat finds
//! the same operation. `DELETE` stops it at the next durable place.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{ByteCount, OperationId};
use crate::replica::transfer::Stage;

/// How far an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OperationState {
    /// Under way.
    Running,
    /// It ended well; `result` is what it gave.
    Done,
    /// It ended badly; `error` says why.
    Failed,
}

/// How far a sync is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Progressed {
    /// In what stage.
    pub stage: Stage,
    /// Bytes done.
    pub bytes_done: ByteCount,
    /// Bytes in all, where known.
    pub bytes_total: Option<ByteCount>,
}

/// An operation as it is asked after; `R` is the form of its result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Operation<R = serde_json::Value> {
    /// Its name: the `Idempotency-Key` that it was begun with.
    pub id: OperationId,
    /// Of what kind, such as `sync` or `reading`.
    pub kind: String,
    /// How far it is.
    pub state: OperationState,
    /// Grows with everything new: `?after=` this waits for more.
    pub version: u64,
    /// How far a sync is.
    pub progress: Option<Progressed>,
    /// What it gave.
    pub result: Option<R>,
    /// Why it failed: `code` and `detail`; of a sync also the `bytes` that travelled, and `notes`.
    pub error: Option<serde_json::Value>,
    /// Why it failed, in words.
    pub message: Option<String>,
}
