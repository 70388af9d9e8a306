//! Why a server itself refuses a request, before or beside what the region says.
//!
//! Owns the codes, the status that each one is answered with, and their form in an error's `data`. Leaves to
//! [`PortError`](crate::live::PortError) and [`TransferError`](crate::replica::port::TransferError), which have the
//! same outer form, what a region refuses.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The name of a refusal, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FaultCode {
    /// Something in the request is wrong; `field` says where.
    BadRequest,
    /// The request is not the one that was sent: its seal does not hold.
    Changed,
    /// The token is missing, or none of the region's.
    Unauthorized,
    /// A client certificate is missing.
    CertificateRequired,
    /// There is nothing of that name, or at that path.
    NotFound,
    /// The path does not know the method.
    MethodNotAllowed,
    /// The body did not come in time.
    BodyTimeout,
    /// Another request has the same key, or another object the same name.
    Conflict,
    /// The operation cannot be stopped.
    Unstoppable,
    /// The body is longer than this request may have.
    TooLarge,
    /// The body is of another type.
    UnsupportedMediaType,
    /// The server met a mistake of its own.
    Bug,
    /// The server does as much as it can; the same request may be answered later.
    Busy,
    /// The region did not get it done in time.
    Timeout,
}

impl FaultCode {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::BadRequest,
        Self::Changed,
        Self::Unauthorized,
        Self::CertificateRequired,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::BodyTimeout,
        Self::Conflict,
        Self::Unstoppable,
        Self::TooLarge,
        Self::UnsupportedMediaType,
        Self::Bug,
        Self::Busy,
        Self::Timeout,
    ];

    /// The status that it is answered with.
    pub const fn status(self) -> u16 {
        match self {
            Self::BadRequest | Self::Changed => 400,
            Self::Unauthorized => 401,
            Self::CertificateRequired => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::BodyTimeout => 408,
            Self::Conflict | Self::Unstoppable => 409,
            Self::TooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::Bug => 500,
            Self::Busy | Self::Timeout => 503,
        }
    }

    /// The name as it travels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::Changed => "changed",
            Self::Unauthorized => "unauthorized",
            Self::CertificateRequired => "certificate_required",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::BodyTimeout => "body_timeout",
            Self::Conflict => "conflict",
            Self::Unstoppable => "unstoppable",
            Self::TooLarge => "too_large",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::Bug => "bug",
            Self::Busy => "busy",
            Self::Timeout => "timeout",
        }
    }
}

/// A refusal in an error's `data`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fault {
    /// Its name.
    pub code: FaultCode,
    /// In words; the same as the envelope's message.
    #[serde(default)]
    pub detail: String,
    /// Which part of the request is wrong: a field of its body by its path, a header, or a part of its path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What to do next, where there is something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_travel() {
        for code in FaultCode::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
            assert!(matches!(code.status(), 400..=599));
        }
        let all: std::collections::BTreeSet<FaultCode> = FaultCode::ALL.into_iter().collect();
        assert_eq!(all.len(), FaultCode::ALL.len());
    }
}
