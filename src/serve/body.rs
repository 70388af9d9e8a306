//! Bodies of requests: their size, their time, their type, and which field of them is wrong.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::answer::{Failure, JSON};
use super::limits::{BLOCKS, BLOCKS_TIME, BODY_TIME, SMALL};
use super::router::App;
use super::seal::Sealing;
use crate::wire::blocks::{BlocksError, Packed};
use crate::wire::{BYTES, FaultCode};

/// What a repeat of a request must be equal in.
pub(super) type Fingerprint = blake3::Hash;

/// A body of JSON, at most `MAX` bytes long.
#[derive(Debug)]
pub(super) struct Json<T, const MAX: usize = SMALL> {
    pub(super) value: T,
    /// Of method, path and body.
    pub(super) fingerprint: Fingerprint,
}

/// No body, or one that says nothing.
#[derive(Debug)]
pub(super) struct Empty {
    pub(super) fingerprint: Fingerprint,
}

/// A body of bytes: blocks.
#[derive(Debug)]
pub(super) struct Blocks {
    /// What is wrong with them is told where they are used.
    pub(super) packed: Result<Packed, BlocksError>,
    /// How long they are.
    pub(super) length: usize,
    /// Of method, path and the blocks' heads.
    pub(super) fingerprint: Fingerprint,
}

impl<T: DeserializeOwned, const MAX: usize> FromRequest<Arc<App>> for Json<T, MAX> {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &Arc<App>) -> Result<Self, Failure> {
        expect_type(request.headers(), JSON)?;
        let (line, bytes) = read(request, MAX, BODY_TIME).await?;
        let fingerprint = line.sealed(&bytes)?;
        let value = match understood(&bytes) {
            Err(wrong) if wrong.text.contains(FRACTION) => understood(&without_fractions(&bytes)),
            other => other,
        };
        let value = value.map_err(|Wrong { path, text }| {
            Failure::bad_request(&field(&path, &text), format!("the body is wrong: {text}"))
        })?;
        Ok(Self { value, fingerprint })
    }
}

/// What the reader says of a number with a point where it wants a whole one.
const FRACTION: &str = "invalid type: floating point";

/// Where a body is wrong, and why.
struct Wrong {
    path: String,
    text: String,
}

fn understood<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Wrong> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        Wrong { path, text: error.into_inner().to_string() }
    })?;
    reader.end().map_err(|error| Wrong { path: ".".to_owned(), text: error.to_string() })?;
    Ok(value)
}

/// The same JSON with `7` for `7.0`: they are one number, and some programs write all of theirs with a point.
fn without_fractions(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(bytes.len());
    let (mut in_text, mut rest) = (false, bytes);
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'"' => in_text = !in_text,
            b'\\' if in_text => {
                plain.push(byte);
                if let Some((&escaped, after)) = rest.split_first() {
                    plain.push(escaped);
                    rest = after;
                }
                continue;
            }
            b'.' if !in_text => {
                let zeros = rest.iter().take_while(|byte| **byte == b'0').count();
                let ends = !matches!(rest.get(zeros), Some(b'0'..=b'9' | b'e' | b'E'));
                if zeros > 0 && ends {
                    rest = &rest[zeros..];
                    continue;
                }
            }
            _ => {}
        }
        plain.push(byte);
    }
    plain
}

impl FromRequest<Arc<App>> for Empty {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &Arc<App>) -> Result<Self, Failure> {
        let (line, bytes) = read(request, SMALL, BODY_TIME).await?;
        let fingerprint = line.sealed(&bytes)?;
        match bytes.trim_ascii() {
            b"" | b"{}" => Ok(Self { fingerprint }),
            _ => Err(Failure::bad_request(".", "this request takes no body".to_owned())),
        }
    }
}

impl FromRequest<Arc<App>> for Blocks {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &Arc<App>) -> Result<Self, Failure> {
        expect_type(request.headers(), BYTES)?;
        let (line, bytes) = read(request, BLOCKS, BLOCKS_TIME).await?;
        let (packed, length) = (Packed::read([bytes.clone()]), bytes.len());
        let fingerprint = match &packed {
            Ok(packed) => line.sealed(packed.heads())?,
            Err(_) => line.unreadable(&bytes)?,
        };
        Ok(Self { packed, length, fingerprint })
    }
}

fn expect_type(headers: &HeaderMap, kind: &str) -> Result<(), Failure> {
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let given = given.split(';').next().unwrap_or_default().trim();
    if given.eq_ignore_ascii_case(kind) {
        return Ok(());
    }
    let message = format!("the body must be {kind}");
    Err(Failure::own(FaultCode::UnsupportedMediaType, message))
}

/// A request without its body, which was read.
struct Line(Parts);

impl Line {
    fn sealing(&self) -> Option<&Arc<Sealing>> {
        self.0.extensions.get::<Arc<Sealing>>()
    }

    /// Looks at the seal: `body` is what it is over.
    fn sealed(&self, body: &[u8]) -> Result<Fingerprint, Failure> {
        self.sealing().map_or(Ok(()), |sealing| sealing.check(body))?;
        Ok(self.fingerprint(body))
    }

    /// The same of a body that should be blocks and is not.
    fn unreadable(&self, body: &[u8]) -> Result<Fingerprint, Failure> {
        self.sealing().map_or(Ok(()), |sealing| sealing.check_unreadable(body))?;
        Ok(self.fingerprint(body))
    }

    fn fingerprint(&self, body: &[u8]) -> Fingerprint {
        let mut hasher = blake3::Hasher::new();
        for part in [self.0.method.as_str().as_bytes(), self.0.uri.path().as_bytes(), body] {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        hasher.finalize()
    }
}

async fn read(request: Request, max: usize, time: Duration) -> Result<(Line, Bytes), Failure> {
    let too_large = || {
        let message = format!("the body is longer than {max} bytes");
        Failure::own(FaultCode::TooLarge, message)
    };
    let (parts, body) = request.into_parts();
    let length = parts.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > max as u64) {
        return Err(too_large());
    }
    let bytes = match tokio::time::timeout(time, axum::body::to_bytes(body, max)).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(error)) if error.to_string().contains("length limit") => return Err(too_large()),
        Ok(Err(error)) => return Err(Failure::bad_request(".", format!("the body was cut: {error}"))),
        Err(_) => {
            let message = "the body did not come in time".to_owned();
            return Err(Failure::own(FaultCode::BodyTimeout, message));
        }
    };
    Ok((Line(parts), bytes))
}

/// The field that is wrong: of one that is missing or unknown, the path leads only to where it would be.
fn field(path: &str, message: &str) -> String {
    let named = ["missing field `", "unknown field `"].iter().find_map(|before| {
        let (_, rest) = message.split_once(before)?;
        rest.split_once('`').map(|(name, _)| name)
    });
    match named {
        None => path.to_owned(),
        Some(name) if path == "." => name.to_owned(),
        Some(name) if path == name || path.ends_with(&format!(".{name}")) => path.to_owned(),
        Some(name) => format!("{path}.{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_may_have_a_point() {
        for (given, plain) in [
            (r#"{"a": [7.0, 1.000, -3.0]}"#, r#"{"a": [7, 1, -3]}"#),
            (r#"{"7.0": "1.0", "\"2.0": 3.0}"#, r#"{"7.0": "1.0", "\"2.0": 3}"#),
            (r#"[1.5, 1.05, 1.0e2, 10.50]"#, r#"[1.5, 1.05, 1.0e2, 10.50]"#),
            (r#"["\\", 4.0]"#, r#"["\\", 4]"#),
            ("[1., 2.", "[1., 2."),
            ("\"cut\\", "\"cut\\"),
        ] {
            assert_eq!(String::from_utf8(without_fractions(given.as_bytes())).unwrap(), plain, "{given}");
        }
    }
}
