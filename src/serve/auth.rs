//! Who may ask: bearer tokens, and certificates where an authority is named. Each one that is set up is needed.
//!
//! Tokens are kept and compared as hashes, in constant time. The file is read again when it changes, so that tokens can
//! be given out and taken back without a restart; one that cannot be read lets nobody in.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

use super::answer::Failure;
use super::error::ServeError;
use crate::wire::FaultCode;

/// The largest token file that is read.
const FILE_MAX: u64 = 1 << 20;

/// Who a request comes from, as the log names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Who {
    /// Nobody was asked to say.
    Anybody,
    /// By the number of the token's line in the file.
    Token(usize),
    /// By a certificate alone.
    Certificate,
}

impl std::fmt::Display for Who {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Anybody => f.write_str("anybody"),
            Self::Token(line) => write!(f, "token of line {line}"),
            Self::Certificate => f.write_str("client certificate"),
        }
    }
}

/// What is asked of those who ask.
#[derive(Debug)]
pub(super) struct Access {
    tokens: Option<Tokens>,
    certificates: bool,
}

#[derive(Debug)]
struct Tokens {
    path: PathBuf,
    known: Mutex<Known>,
}

/// The tokens as last read.
#[derive(Debug)]
struct Known {
    stamp: Option<Stamp>,
    tokens: Vec<Token>,
}

/// A token's line in the file, and its hash.
struct Token {
    line: usize,
    hash: blake3::Hash,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "token of line {}", self.line)
    }
}

/// What a changed file differs in.
pub(super) type Stamp = (u64, u64, u64, i64, i64);

/// What `stat` says of a file's state.
pub(super) fn stamp(stat: &Metadata) -> Stamp {
    (stat.dev(), stat.ino(), stat.size(), stat.ctime(), stat.ctime_nsec())
}

impl Access {
    /// Reads the tokens of `token_file`; `certificates`, where client certificates are asked for.
    pub(super) fn new(token_file: Option<&Path>, certificates: bool) -> Result<Self, ServeError> {
        let tokens = token_file
            .map(|path| {
                let known = read(path)?;
                if known.tokens.is_empty() {
                    return Err(wrong(path, "it holds no token".to_owned(), "write one token a line"));
                }
                Ok(Tokens { path: path.to_owned(), known: Mutex::new(known) })
            })
            .transpose()?;
        Ok(Self { tokens, certificates })
    }

    /// Who it is, if that one may ask.
    pub(super) fn admit(&self, headers: &HeaderMap, certificate: bool) -> Result<Who, Failure> {
        let who = match &self.tokens {
            Some(tokens) => Who::Token(tokens.find(headers)?),
            None if self.certificates => Who::Certificate,
            None => Who::Anybody,
        };
        if self.certificates && !certificate {
            let message = "this region asks for a client certificate".to_owned();
            return Err(Failure::own(FaultCode::CertificateRequired, message));
        }
        Ok(who)
    }
}

impl Tokens {
    /// The line of the token that the request carries.
    fn find(&self, headers: &HeaderMap) -> Result<usize, Failure> {
        let refuse = |message: &str| Failure::own(FaultCode::Unauthorized, message.to_owned());
        let header = headers.get(AUTHORIZATION).ok_or_else(|| refuse("this region asks for a token"))?;
        let (scheme, token) = header
            .to_str()
            .ok()
            .and_then(|text| text.split_once(' '))
            .ok_or_else(|| refuse("the authorization is no bearer token"))?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(refuse("the authorization is no bearer token"));
        }
        let hash = blake3::hash(token.trim().as_bytes());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        self.renew(&mut known);
        // Hashes are compared in constant time, and all of them.
        let found =
            known.tokens.iter().fold(None, |found, token| if token.hash == hash { Some(token.line) } else { found });
        found.ok_or_else(|| refuse("the token is not one of this region's"))
    }

    fn renew(&self, known: &mut Known) {
        let now = fs::metadata(&self.path).ok().as_ref().map(stamp);
        if now == known.stamp {
            return;
        }
        match read(&self.path) {
            Ok(fresh) => {
                tracing::info!(tokens = fresh.tokens.len(), "the token file was read again");
                *known = fresh;
            }
            Err(error) => {
                tracing::error!(%error, "nobody is let in until the token file can be read");
                *known = Known { stamp: now, tokens: Vec::new() };
            }
        }
    }
}

fn read(path: &Path) -> Result<Known, ServeError> {
    let stat = expect_private("the token file", path)?;
    let text = fs::read_to_string(path).map_err(|error| unreadable("the token file", path, &error))?;
    let lines = text.lines().enumerate().map(|(number, line)| (number + 1, line.trim()));
    let tokens = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let tokens = tokens.map(|(line, token)| Token { line, hash: blake3::hash(token.as_bytes()) }).collect();
    Ok(Known { stamp: Some(stamp(&stat)), tokens })
}

/// Refuses a secret that everybody on this machine can read.
pub(super) fn expect_private(what: &'static str, path: &Path) -> Result<Metadata, ServeError> {
    let stat = fs::metadata(path).map_err(|error| unreadable(what, path, &error))?;
    let refuse =
        |detail: &str, help: String| ServeError::File { what, path: path.to_owned(), detail: detail.to_owned(), help };
    if !stat.is_file() || stat.len() > FILE_MAX {
        return Err(refuse("it is no ordinary small file", "name a text file".to_owned()));
    }
    if stat.mode() & 0o007 != 0 {
        return Err(refuse(
            "others on this machine can read it",
            format!("make it its owner's alone: `chmod 600 {}`", path.display()),
        ));
    }
    Ok(stat)
}

fn unreadable(what: &'static str, path: &Path, error: &io::Error) -> ServeError {
    let help = "check the path, and that this program may read it".to_owned();
    ServeError::File { what, path: path.to_owned(), detail: error.to_string(), help }
}

fn wrong(path: &Path, detail: String, help: &str) -> ServeError {
    ServeError::File { what: "the token file", path: path.to_owned(), detail, help: help.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use axum::http::StatusCode;

    use super::*;

    fn write(path: &Path, text: &str) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn bearing(token: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, token.parse().unwrap())])
    }

    #[test]
    fn a_token_is_needed_and_known_by_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens");
        write(&path, "# of the others\n\nfirst-secret\n  second-secret \n");
        let access = Access::new(Some(&path), false).unwrap();
        assert_eq!(access.admit(&bearing("Bearer first-secret"), false).unwrap(), Who::Token(3));
        assert_eq!(access.admit(&bearing("bearer second-secret"), false).unwrap(), Who::Token(4));
        for no in ["Bearer", "Bearer ", "Bearer first", "Basic first-secret", "first-secret", "Bearer # of the others"]
        {
            assert_eq!(access.admit(&bearing(no), true).unwrap_err().status(), StatusCode::UNAUTHORIZED, "{no}");
        }
        assert!(access.admit(&HeaderMap::new(), true).is_err());
        assert!(!format!("{access:?}").contains("secret"), "{access:?}");
    }

    #[test]
    fn tokens_can_be_given_out_and_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens");
        write(&path, "old\n");
        let access = Access::new(Some(&path), false).unwrap();
        let may = |token: &str| access.admit(&bearing(&format!("Bearer {token}")), false).is_ok();
        assert!(may("old"));
        write(&path, "old\nnew-one\n");
        assert!(may("new-one") && may("old"));
        write(&path, "new-one\n");
        assert!(may("new-one") && !may("old"));
        fs::remove_file(&path).unwrap();
        assert!(!may("new-one"), "what cannot be read lets nobody in");
        write(&path, "new-one\n");
        assert!(may("new-one"));
    }

    #[test]
    fn a_file_that_is_no_secret_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens");
        assert!(Access::new(Some(&path), false).is_err());
        write(&path, "# none\n");
        assert!(Access::new(Some(&path), false).unwrap_err().to_string().contains("no token"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = Access::new(Some(&path), false).unwrap_err();
        assert!(error.help().unwrap().contains("`chmod 600 "), "{error}");
    }

    #[test]
    fn certificates_are_needed_beside_tokens() {
        let access = Access::new(None, true).unwrap();
        assert_eq!(access.admit(&HeaderMap::new(), true).unwrap(), Who::Certificate);
        assert_eq!(access.admit(&HeaderMap::new(), false).unwrap_err().status(), StatusCode::FORBIDDEN);
        assert_eq!(Access::new(None, false).unwrap().admit(&HeaderMap::new(), false).unwrap(), Who::Anybody);
    }
}
