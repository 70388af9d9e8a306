//! The seal of a request and of its answer: a digest of what is asked and of what is said to that, so that nothing that
//! was changed on its way passes for an order or an answer.
//!
//! ```text
//! request  BLAKE3 of method, path, query, idempotency key and body, each after its length
//! answer   BLAKE3 of the request's seal as the server found it, of status and body
//! ```
//!
//! Of a body of blocks the seal is over their [heads](super::blocks), which have a checksum of each block's bytes.
//!
//! Guarantee: an answer whose seal holds is the one to this very request, as its server said it, whatever the line or
//! a proxy makes of either. Names, times and sizes are under no block's hash; they are under this one. Assumption:
//! accidents. Whoever means it seals anew; TLS keeps them out.

use std::fmt;
use std::str::FromStr;

/// The header that a seal travels in, in hexadecimal.
pub const SEAL: &str = "x-seal";

/// A seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seal(blake3::Hash);

fn part(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
}

impl Seal {
    /// Of a request. A query or key that is not there is an empty one; of blocks the body is their heads.
    pub fn of_request(method: &str, path: &str, query: Option<&str>, key: Option<&[u8]>, body: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        let (query, key) = (query.unwrap_or_default().as_bytes(), key.unwrap_or_default());
        [method.as_bytes(), path.as_bytes(), query, key, body].into_iter().for_each(|bytes| part(&mut hasher, bytes));
        Self(hasher.finalize())
    }

    /// Of the answer to the request that this is the seal of; of blocks the body is their heads.
    pub fn of_answer(self, status: u16, body: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.0.as_bytes()).update(&status.to_le_bytes());
        part(&mut hasher, body);
        Self(hasher.finalize())
    }
}

impl fmt::Display for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Seal {
    type Err = blake3::HexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        blake3::Hash::from_hex(text).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_another_has_another_seal() {
        let seal = Seal::of_request("GET", "/a", Some("b=1"), Some(b"c"), b"d");
        let others = [
            Seal::of_request("PUT", "/a", Some("b=1"), Some(b"c"), b"d"),
            Seal::of_request("GET", "/b", Some("b=1"), Some(b"c"), b"d"),
            Seal::of_request("GET", "/a", Some("b=2"), Some(b"c"), b"d"),
            Seal::of_request("GET", "/a", None, Some(b"c"), b"d"),
            Seal::of_request("GET", "/a", Some("b=1"), None, b"d"),
            Seal::of_request("GET", "/a", Some("b=1"), Some(b"cd"), b""),
            Seal::of_request("GET", "/a", Some("b=1"), Some(b"c"), b""),
        ];
        assert!(others.iter().all(|other| *other != seal && other.of_answer(200, b"") != seal.of_answer(200, b"")));
        assert_ne!(seal.of_answer(200, b"yes"), seal.of_answer(200, b"yet"));
        assert_ne!(seal.of_answer(200, b"yes"), seal.of_answer(201, b"yes"));
        assert_eq!(seal.to_string().parse::<Seal>().unwrap(), seal);
        assert!("nonsense".parse::<Seal>().is_err());
    }
}
