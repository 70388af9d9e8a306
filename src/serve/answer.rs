//! The forms of answers: data in the envelope, failures with their status, message and code.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Response, StatusCode};
use axum::response::IntoResponse;
use serde::Serialize;
use serde_json::{Value, json};

use crate::live::PortError;
use crate::model::Timestamp;
use crate::replica::port::TransferError;
use crate::wire::{BYTES, Envelope};

/// What an answer is made of.
pub(super) type Answer = Response<Body>;

const JSON: &str = "application/json";

/// Why something was not done, as the client is told.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    status: StatusCode,
    message: String,
    data: Value,
}

impl Failure {
    /// One of the server's own, such as `unauthorized`.
    pub(super) fn own(status: StatusCode, code: &str, message: String) -> Self {
        Self { status, data: json!({ "code": code, "detail": message }), message }
    }

    /// What was asked makes no sense; `field` is where.
    pub(super) fn bad_request(field: &str, message: String) -> Self {
        let data = json!({ "code": "bad_request", "field": field, "detail": message });
        Self { status: StatusCode::BAD_REQUEST, data, message }
    }

    /// Another than what is there under the same name.
    pub(super) fn conflict(message: String) -> Self {
        Self::own(StatusCode::CONFLICT, "conflict", message)
    }

    /// More than the server takes now.
    pub(super) fn busy(message: &str) -> Self {
        Self::own(StatusCode::SERVICE_UNAVAILABLE, "busy", message.to_owned())
    }

    /// What an answer without words of its own says by its status.
    pub(super) fn of_status(status: StatusCode) -> Self {
        let (code, message) = match status {
            StatusCode::NOT_FOUND => ("not_found", "there is nothing at this path"),
            StatusCode::METHOD_NOT_ALLOWED => ("method_not_allowed", "this path does not know that method"),
            StatusCode::BAD_REQUEST => ("bad_request", "the request cannot be understood"),
            other => ("failed", other.canonical_reason().unwrap_or("the request failed")),
        };
        Self::own(status, code, message.to_owned())
    }

    /// A mistake of the program's own. What it was stays in the log.
    pub(super) fn bug() -> Self {
        let message = "the region's server met a mistake of its own; its log has more".to_owned();
        Self::own(StatusCode::INTERNAL_SERVER_ERROR, "bug", message)
    }

    pub(super) const fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// `code` and `detail`.
    pub(super) const fn data(&self) -> &Value {
        &self.data
    }

    /// The same with more said in its data.
    pub(super) fn with(mut self, field: &str, value: impl Serialize) -> Self {
        if let Value::Object(data) = &mut self.data {
            data.insert(field.to_owned(), json!(value));
        }
        self
    }

    /// As it is sent.
    pub(super) fn answer(&self, at: Timestamp) -> Answer {
        let mut answer = json_answer(self.status, &Envelope::error(at, self.message.clone(), Some(&self.data)));
        if self.status == StatusCode::UNAUTHORIZED {
            answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        answer
    }
}

/// Sent by the router, which knows the time.
impl IntoResponse for Failure {
    fn into_response(self) -> Answer {
        let mut answer = self.status.into_response();
        answer.extensions_mut().insert(self);
        answer
    }
}

impl From<PortError> for Failure {
    fn from(error: PortError) -> Self {
        let status = match &error {
            PortError::Unreachable { .. } | PortError::Busy(_) | PortError::Failed(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            PortError::Conflict { .. } | PortError::NotController { .. } | PortError::Refused { .. } => {
                StatusCode::CONFLICT
            }
            PortError::NotFound(_) => StatusCode::NOT_FOUND,
        };
        Self { status, message: error.to_string(), data: json!(error) }
    }
}

impl From<TransferError> for Failure {
    fn from(error: TransferError) -> Self {
        let status = match &error {
            TransferError::Blocked(_) | TransferError::Stale { .. } | TransferError::Region(_) => StatusCode::CONFLICT,
            TransferError::Interrupted | TransferError::Busy(_) | TransferError::Io { .. } => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            TransferError::Corrupt(_) => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self { status, message: error.to_string(), data: json!(error) }
    }
}

/// A session that is not open: never was, was closed, or ran out.
pub(super) fn no_session(what: &str) -> Failure {
    let error = TransferError::Region(format!("the {what} is not open any more"));
    Failure { status: StatusCode::NOT_FOUND, ..Failure::from(error) }
}

/// Data in the envelope.
pub(super) fn success<T: Serialize>(status: StatusCode, at: Timestamp, data: &T) -> Answer {
    json_answer(status, &Envelope::success(at, data))
}

/// Bytes as they are.
pub(super) fn bytes(body: Vec<u8>) -> Answer {
    with_type(StatusCode::OK, BYTES, body)
}

/// Text of the type `kind`.
pub(super) fn text(kind: &'static str, body: String) -> Answer {
    with_type(StatusCode::OK, kind, body.into_bytes())
}

fn json_answer<T: Serialize>(status: StatusCode, envelope: &Envelope<T>) -> Answer {
    let body = serde_json::to_vec(envelope).expect("plain data converts to JSON");
    with_type(status, JSON, body)
}

fn with_type(status: StatusCode, kind: &'static str, body: Vec<u8>) -> Answer {
    let mut answer = Answer::new(Body::from(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}
