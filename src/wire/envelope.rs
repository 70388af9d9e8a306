//! The envelope that every HTTP body travels in.
//!
//! Owns its form: `status`, `timestamp`, `data`, and on errors `message`. Leaves to each call what `data` is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::Timestamp;

/// Whether what was asked for was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EnvelopeStatus {
    /// Yes.
    Success,
    /// No; the message says why.
    Error,
}

/// One HTTP body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Envelope<T> {
    /// Whether what was asked for was done.
    pub status: EnvelopeStatus,
    /// When the body was made.
    pub timestamp: Timestamp,
    /// What was asked for; of an error: what is known of it, such as gates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<T>,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl<T> Envelope<T> {
    /// An answer.
    pub const fn success(timestamp: Timestamp, data: T) -> Self {
        Self { status: EnvelopeStatus::Success, timestamp, data: Some(data), message: None }
    }

    /// A refusal or failure.
    pub const fn error(timestamp: Timestamp, message: String, data: Option<T>) -> Self {
        Self { status: EnvelopeStatus::Error, timestamp, data, message: Some(message) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_look_as_the_guide_has_them() {
        let at = Timestamp::from_micros(1_700_000_000_000_000);
        let body = serde_json::to_string(&Envelope::success(at, 7)).unwrap();
        assert_eq!(body, r#"{"status":"success","timestamp":"2023-11-14T22:13:20Z","data":7}"#);
        let body = serde_json::to_string(&Envelope::<u8>::error(at, "no such region".into(), None)).unwrap();
        assert_eq!(body, r#"{"status":"error","timestamp":"2023-11-14T22:13:20Z","message":"no such region"}"#);
        assert_eq!(serde_json::from_str::<Envelope<u8>>(&body).unwrap().data, None);
    }
}
