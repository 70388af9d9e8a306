//! A text that nobody may read by accident.

use std::fmt;
use std::sync::Arc;

/// The longest token that fits into a request's headers beside the rest.
const TOKEN_MAX: usize = 4096;

/// A secret: whoever needs its text says so.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

/// Why a text can be no token. Says nothing of the text itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Nothing is there.
    #[error("it is empty")]
    Empty,
    /// It could not stand in a request.
    #[error("a token has neither spaces nor characters beyond ASCII")]
    Characters,
    /// Too long.
    #[error("a token is at most 4096 characters long")]
    TooLong,
}

impl Secret {
    /// A token: what may stand after `Bearer` in a request.
    ///
    /// # Errors
    /// Why it can be none.
    pub fn token(text: &str) -> Result<Self, SecretError> {
        if text.is_empty() {
            return Err(SecretError::Empty);
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(SecretError::Characters);
        }
        if text.len() > TOKEN_MAX {
            return Err(SecretError::TooLong);
        }
        Ok(Self(text.into()))
    }

    /// Any text, such as a key.
    pub(crate) fn text(text: String) -> Self {
        Self(text.into())
    }

    /// The text itself, for showing it to whom it is meant for.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}
