//! What became of work that nobody need wait for.

use serde::Serialize;
use serde_json::value::RawValue;
use tokio::task::JoinHandle;

use super::answer::Failure;
use crate::model::OperationId;

/// A result in JSON, or why there is none.
pub(super) type Outcome = Result<Box<RawValue>, Failure>;

/// Waits for the end of `work`, which the log knows by its kind and id.
pub(super) async fn outcome<T: Serialize>(
    work: JoinHandle<Result<T, Failure>>,
    kind: &'static str,
    id: OperationId,
) -> Outcome {
    match work.await {
        Ok(Ok(value)) => serde_json::value::to_raw_value(&value).map_err(|error| {
            tracing::error!(%error, "a result has no form in JSON");
            Failure::bug()
        }),
        Ok(Err(failure)) => Err(failure),
        Err(error) => {
            tracing::error!(%error, %id, kind, "work met a mistake of the program");
            Err(Failure::bug())
        }
    }
}
