//! The forms of answers: data in the envelope, failures with their status, message and code.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody};
use axum::http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Response, StatusCode};
use axum::response::IntoResponse;
use hyper::body::{Frame, SizeHint};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::seal::Heads;
use crate::live::PortError;
use crate::model::Timestamp;
use crate::replica::port::TransferError;
use crate::wire::blocks::Packed;
use crate::wire::failover::FailoverRefused;
use crate::wire::{BYTES, Envelope, Fault, FaultCode, Operation, served};

/// What an answer is made of.
pub(super) type Answer = Response<Body>;

/// The content type of envelopes.
pub(super) const JSON: &str = "application/json";

/// Why something was not done, as the client is told.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    status: StatusCode,
    message: String,
    data: Value,
}

impl Failure {
    /// One of the server's own.
    pub(super) fn own(code: FaultCode, message: String) -> Self {
        Self::of(Fault { code, detail: message, field: None, help: None })
    }

    fn of(fault: Fault) -> Self {
        Self { status: status_of(fault.code), data: json!(fault), message: fault.detail }
    }

    /// A failover that is not begun.
    pub(super) fn of_failover(refused: FailoverRefused) -> Self {
        let status = StatusCode::from_u16(refused.code.status()).expect("every refusal has a status of HTTP");
        Self { status, data: json!(refused), message: refused.detail }
    }

    /// What was asked makes no sense; `field` is where.
    pub(super) fn bad_request(field: &str, message: String) -> Self {
        Self::of(Fault { code: FaultCode::BadRequest, detail: message, field: Some(field.to_owned()), help: None })
    }

    /// What `field` names is not there.
    pub(super) fn not_found(field: &str, message: String) -> Self {
        Self::of(Fault { code: FaultCode::NotFound, detail: message, field: Some(field.to_owned()), help: None })
    }

    /// Another than what is there under the same name.
    pub(super) fn conflict(message: String) -> Self {
        Self::own(FaultCode::Conflict, message)
    }

    /// More than the server takes now.
    pub(super) fn busy(message: &str) -> Self {
        Self::own(FaultCode::Busy, message.to_owned())
    }

    /// What an answer without words of its own says by its status.
    pub(super) fn of_status(status: StatusCode) -> Self {
        let (code, message) = match status {
            StatusCode::NOT_FOUND => (FaultCode::NotFound, "there is nothing at this path"),
            StatusCode::METHOD_NOT_ALLOWED => (FaultCode::MethodNotAllowed, "this path does not know that method"),
            other if other.is_client_error() => (FaultCode::BadRequest, "the request cannot be understood"),
            _ => return Self::bug(),
        };
        Self::own(code, message.to_owned())
    }

    /// A mistake of the program's own. What it was stays in the log.
    pub(super) fn bug() -> Self {
        Self::own(FaultCode::Bug, "the region's server met a mistake of its own; its log has more".to_owned())
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

    /// The same with what to do about it, where there is something.
    pub(super) fn helped(self, help: Option<String>) -> Self {
        match help {
            Some(help) => self.with("help", help),
            None => self,
        }
    }

    /// Whether it has this name, the server's own or an end's of the same name.
    pub(super) fn is(&self, code: FaultCode) -> bool {
        self.data.get("code").and_then(Value::as_str) == Some(code.as_str())
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

/// The status of one of the server's own.
pub(super) fn status_of(code: FaultCode) -> StatusCode {
    StatusCode::from_u16(code.status()).expect("every fault has a status of HTTP")
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
            PortError::Conflict { .. }
            | PortError::NotController { .. }
            | PortError::Refused { .. }
            | PortError::Role(_) => StatusCode::CONFLICT,
            PortError::NotFound(_) => StatusCode::NOT_FOUND,
        };
        let help = error.help();
        Self { status, message: error.to_string(), data: json!(error) }.helped(help)
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

/// 200 with data of the form `T` in the envelope.
#[derive(Debug)]
pub(super) struct Reply<T>(Answer, PhantomData<fn() -> T>);

impl<T> Reply<T> {
    /// Sends `data`.
    pub(super) fn new(at: Timestamp, data: &T) -> Self
    where
        T: Serialize,
    {
        Self(success(StatusCode::OK, at, data), PhantomData)
    }
}

impl<T> Reply<T> {
    /// Sends data of the form `T` as it was told before.
    pub(super) fn again(at: Timestamp, data: &RawValue) -> Self {
        Self(success(StatusCode::OK, at, &data), PhantomData)
    }
}

impl Reply<Operation<&RawValue>> {
    /// The same, of a result whose form nobody knows.
    pub(super) fn of_any(self) -> Reply<Operation> {
        Reply(self.0, PhantomData)
    }
}

/// 200 with the result of an operation, of the form `T`; or 202 with the operation and its place.
#[derive(Debug)]
pub(super) struct Begun<T>(pub(super) Answer, pub(super) PhantomData<fn() -> T>);

/// As [`Begun`], or 201 where something was made.
#[derive(Debug)]
pub(super) struct Created<T>(pub(super) Begun<T>);

/// 200 with bytes as they are.
#[derive(Debug)]
pub(super) struct Bytes(pub(super) Vec<u8>);

/// 200 with blocks. They are sent from where they lie.
#[derive(Debug)]
pub(super) struct Blocks(pub(super) Packed);

/// What is left of a body to be sent.
struct Pieces {
    pieces: VecDeque<bytes::Bytes>,
    length: u64,
}

impl HttpBody for Pieces {
    type Data = bytes::Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<bytes::Bytes>, Infallible>>> {
        let next = self.pieces.pop_front();
        self.length -= next.as_ref().map_or(0, |piece| piece.len() as u64);
        Poll::Ready(next.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length)
    }
}

/// 200 with the server's numbers.
#[derive(Debug)]
pub(super) struct Numbers(pub(super) String);

/// 200 with a document in JSON, without an envelope.
#[derive(Debug)]
pub(super) struct Document(pub(super) &'static str);

impl<T> IntoResponse for Reply<T> {
    fn into_response(self) -> Answer {
        self.0
    }
}

impl<T> IntoResponse for Begun<T> {
    fn into_response(self) -> Answer {
        self.0
    }
}

impl<T> IntoResponse for Created<T> {
    fn into_response(self) -> Answer {
        self.0.into_response()
    }
}

impl IntoResponse for Bytes {
    fn into_response(self) -> Answer {
        with_type(BYTES, self.0)
    }
}

impl IntoResponse for Blocks {
    fn into_response(self) -> Answer {
        let pieces = Pieces { pieces: self.0.pieces().collect(), length: self.0.length() as u64 };
        let mut answer = with_type(BYTES, Body::new(pieces));
        answer.extensions_mut().insert(Heads(self.0.into_heads()));
        answer
    }
}

impl IntoResponse for Numbers {
    fn into_response(self) -> Answer {
        with_type(served::CONTENT_TYPE, self.0)
    }
}

impl IntoResponse for Document {
    fn into_response(self) -> Answer {
        with_type(JSON, self.0)
    }
}

/// Data in the envelope.
pub(super) fn success<T: Serialize>(status: StatusCode, at: Timestamp, data: &T) -> Answer {
    json_answer(status, &Envelope::success(at, data))
}

fn json_answer<T: Serialize>(status: StatusCode, envelope: &Envelope<T>) -> Answer {
    let body = serde_json::to_vec(envelope).expect("plain data converts to JSON");
    let mut answer = with_type(JSON, body);
    *answer.status_mut() = status;
    answer
}

fn with_type(kind: &'static str, body: impl Into<Body>) -> Answer {
    let mut answer = Answer::new(body.into());
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}
