//! What an answer is worth: the envelope's data, or the error that the region said, or that somebody else answered.

use bytes::Bytes;
use reqwest::StatusCode;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::client::{Answer, Asked, Client};
use crate::live::port::PortError;
use crate::live::silence;
use crate::model::RegionId;
use crate::model::observed::RegionStatus;
use crate::replica::port::TransferError;
use crate::wire::blocks::Packed;
use crate::wire::{Envelope, EnvelopeStatus, Fault, FaultCode, Operation};

/// Where every error of a region's has its name.
const CODE: &str = "code";

/// Why a call brought nothing.
#[derive(Debug)]
pub(super) enum CallError {
    /// No answer, or none of a region's.
    Unclear {
        /// What is known of the region, what was asked told with it.
        error: PortError,
        /// Whether the question or its answer was lost on the way, so that it may be asked again.
        lost: bool,
    },
    /// The region answered with an error of its own.
    Said(Box<Said>),
    /// It was stopped on request.
    Interrupted,
}

/// An error in a region's own words.
#[derive(Debug)]
pub(super) struct Said {
    status: Option<StatusCode>,
    /// The error's form: `code`, `detail` and what else is known.
    pub(super) data: Value,
    message: String,
    asked: Asked,
    origin: String,
}

/// Adds what was asked to what is known of the region.
fn with(error: PortError, told: &str) -> PortError {
    match error {
        PortError::Unreachable { status, reason, help } if !told.is_empty() => {
            PortError::Unreachable { status, reason: format!("{reason} ({told})"), help }
        }
        other => other,
    }
}

impl CallError {
    /// No answer came.
    pub(super) fn lost(error: PortError, asked: &Asked) -> Self {
        // Without a name that resolves or TLS that holds, asking again gives the same.
        let lost = matches!(error, PortError::Unreachable { status: RegionStatus::Unreachable, .. });
        let told = if asked.observes() { String::new() } else { asked.what.clone() };
        Self::Unclear { error: with(error, &told), lost }
    }

    /// An answer came that says nothing, or nothing could be asked.
    pub(super) fn unclear(error: PortError, asked: Option<&Asked>) -> Self {
        let told = match asked {
            Some(asked) if asked.observes() => String::new(),
            Some(Asked { what, wanted: _, request }) => format!("{what}, request {request}"),
            None => String::new(),
        };
        Self::Unclear { error: with(error, &told), lost: false }
    }

    /// The question that the region got, or the answer that came, is not the one that was sent.
    pub(super) fn changed(origin: &str, asked: &Asked) -> Self {
        let reason = format!("what {origin} was asked, or its answer, was changed on the way");
        let help = "something between the two damages what passes through it; TLS would not let it pass";
        match Self::unclear(silence::unknown(reason, Some(help)), Some(asked)) {
            Self::Unclear { error, lost: _ } => Self::Unclear { error, lost: true },
            other @ (Self::Said(_) | Self::Interrupted) => other,
        }
    }

    /// Whether the same question may get an answer later.
    pub(super) fn was_lost(&self) -> bool {
        match self {
            Self::Unclear { lost, .. } => *lost,
            Self::Said(said) => said.is_busy() || said.is(FaultCode::Changed),
            Self::Interrupted => false,
        }
    }

    /// Whether the region knows no such thing, such as an operation of before its start.
    pub(super) fn is_not_found(&self) -> bool {
        match self {
            Self::Said(said) => said.is(FaultCode::NotFound),
            Self::Unclear { .. } | Self::Interrupted => false,
        }
    }

    /// As the port says it.
    pub(super) fn into_port(self) -> PortError {
        match self {
            Self::Unclear { error, lost: _ } => error,
            Self::Said(said) => said.into_port(),
            Self::Interrupted => PortError::Failed("interrupted".to_owned()),
        }
    }

    /// As one end of a transfer says it. Here the region is named: whoever asked knows two.
    pub(super) fn into_transfer(self, region: &RegionId) -> TransferError {
        match self {
            Self::Unclear { error: PortError::Unreachable { status: _, reason, help: Some(help) }, lost: _ } => {
                TransferError::Region(format!("{region}: {reason}; {help}"))
            }
            Self::Unclear { error, lost: _ } => TransferError::Region(format!("{region}: {error}")),
            Self::Said(said) => said.into_transfer(region),
            Self::Interrupted => TransferError::Interrupted,
        }
    }
}

impl Said {
    /// Whether it has this name, the server's own or the region's of the same name.
    fn is(&self, code: FaultCode) -> bool {
        self.data.get(CODE).and_then(Value::as_str) == Some(code.as_str())
    }

    /// Too much at once, which passes.
    fn is_busy(&self) -> bool {
        self.is(FaultCode::Busy) && self.status == Some(StatusCode::SERVICE_UNAVAILABLE)
    }

    fn request(&self) -> String {
        format!("(request {})", self.asked.request)
    }

    fn into_port(self) -> PortError {
        let request = self.request();
        match serde_json::from_value::<PortError>(self.data.clone()) {
            // What its own log explains.
            Ok(PortError::Failed(words)) => PortError::Failed(format!("{words} {request}")),
            Ok(PortError::Busy(words)) => PortError::Busy(format!("{words} {request}")),
            Ok(error) => error,
            Err(_) => match serde_json::from_value::<TransferError>(self.data.clone()) {
                Ok(error) => PortError::Failed(format!("{error} {request}")),
                Err(_) => self.by_code(),
            },
        }
    }

    fn into_transfer(self, region: &RegionId) -> TransferError {
        let request = self.request();
        match serde_json::from_value::<TransferError>(self.data.clone()) {
            Ok(TransferError::Region(words)) => TransferError::Region(format!("{words} {request}")),
            Ok(error) => error,
            Err(_) => match self.into_port() {
                // It has the request already.
                error @ (PortError::Failed(_) | PortError::Busy(_) | PortError::Unreachable { .. }) => {
                    TransferError::Region(format!("{region}: {error}"))
                }
                error => TransferError::Region(format!("{region}: {error} {request}")),
            },
        }
    }

    /// An error of the server's own, which no port has.
    fn by_code(self) -> PortError {
        let Self { status, data, message, asked, origin } = self;
        let Asked { what, wanted: _, request } = &asked;
        let what = format!("{what}, request {request}");
        let told = format!("({what})");
        let newer = "the region may run another version of this program";
        let fault = serde_json::from_value::<Fault>(data).ok();
        match fault.as_ref().map(|fault| fault.code) {
            Some(FaultCode::NotFound) => PortError::NotFound(format!("{message} {told}")),
            Some(FaultCode::Busy) => PortError::Busy(format!("{message} {told}")),
            Some(FaultCode::BadRequest | FaultCode::TooLarge | FaultCode::Conflict) => {
                let field = fault.and_then(|fault| fault.field);
                let field = field.map(|field| format!(" in `{field}`")).unwrap_or_default();
                let reason = format!("{origin} did not take the request{field}: {message} {told}");
                PortError::Refused { reason, help: Some(newer.to_owned()) }
            }
            Some(
                FaultCode::Changed
                | FaultCode::Unauthorized
                | FaultCode::CertificateRequired
                | FaultCode::MethodNotAllowed
                | FaultCode::BodyTimeout
                | FaultCode::Unstoppable
                | FaultCode::UnsupportedMediaType
                | FaultCode::Bug
                | FaultCode::Timeout,
            )
            | None => match status {
                Some(status) => with(silence::senseless(&origin, status, message.as_bytes(), asked.wanted), &what),
                None => PortError::Failed(format!("{message} {told}")),
            },
        }
    }
}

/// An answer that is no success: the region's own error, or what somebody else said.
pub(super) fn said(client: &Client, status: StatusCode, body: &[u8], asked: Asked) -> CallError {
    let envelope = serde_json::from_slice::<Envelope<Value>>(body).ok();
    if let Some(Envelope { status: EnvelopeStatus::Error, timestamp: _, data, message }) = envelope {
        let data = data.unwrap_or(Value::Null);
        let locked_out = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        if data.get(CODE).is_some_and(Value::is_string) && !locked_out {
            let message = message.unwrap_or_default();
            let origin = client.origin.clone();
            return CallError::Said(Box::new(Said { status: Some(status), data, message, asked, origin }));
        }
        return unclear(client, status, message.unwrap_or_default().as_bytes(), asked);
    }
    unclear(client, status, body, asked)
}

fn unclear(client: &Client, status: StatusCode, body: &[u8], asked: Asked) -> CallError {
    let mut error = silence::senseless(&client.origin, status, body, asked.wanted);
    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
        && let PortError::Unreachable { help, .. } = &mut error
    {
        match (&client.credential.withheld, &client.credential.token) {
            (Some(why), _) => *help = Some(why.clone()),
            (None, Some(_)) => {
                let refused = format!("the token given for {} is not accepted", client.origin);
                *help = Some(format!("{refused}; give one that the region's token file has"));
            }
            (None, None) => {}
        }
    }
    // A proxy before a region that is being started says so.
    let passes =
        matches!(status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT);
    match CallError::unclear(error, Some(&asked)) {
        CallError::Unclear { error, lost: _ } => CallError::Unclear { error, lost: passes },
        other @ (CallError::Said(_) | CallError::Interrupted) => other,
    }
}

/// An answer that is not what was asked for.
pub(super) fn senseless(client: &Client, answer: Answer) -> CallError {
    let error = silence::senseless(&client.origin, answer.status, &answer.body, answer.asked.wanted);
    CallError::unclear(error, Some(&answer.asked))
}

/// The data of an answer.
pub(super) fn data<T: DeserializeOwned>(client: &Client, answer: Answer) -> Result<T, CallError> {
    match serde_json::from_slice::<Envelope<T>>(&answer.body) {
        Ok(Envelope { status: EnvelopeStatus::Success, data: Some(data), .. }) => Ok(data),
        // Nothing, where nothing is asked for.
        Ok(Envelope { status: EnvelopeStatus::Success, data: None, .. }) => {
            serde_json::from_value(Value::Null).map_err(|_| senseless(client, answer))
        }
        Ok(Envelope { status: EnvelopeStatus::Error, .. }) | Err(_) => Err(senseless(client, answer)),
    }
}

/// The bytes of an answer.
pub(super) fn bytes(client: &Client, answer: Answer) -> Result<Bytes, CallError> {
    if answer.is_bytes { Ok(answer.body) } else { Err(senseless(client, answer)) }
}

/// The blocks of an answer to a question that was for blocks.
pub(super) fn blocks(client: &Client, mut answer: Answer) -> Result<Packed, CallError> {
    match answer.blocks.take() {
        Some(Ok(packed)) if answer.is_bytes => Ok(packed),
        Some(_) | None => Err(senseless(client, answer)),
    }
}

/// How an operation failed.
pub(super) fn failed(client: &Client, operation: Operation, asked: Asked) -> CallError {
    let data = operation.error.unwrap_or(Value::Null);
    let message = operation.message.unwrap_or_else(|| "it gives no reason".to_owned());
    CallError::Said(Box::new(Said { status: None, data, message, asked, origin: client.origin.clone() }))
}
