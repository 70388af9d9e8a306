//! How a region is reached: the declared text becomes an [`Endpoint`]. Nothing is looked up, neither names nor paths.

use std::path::{Component, Path, PathBuf};

use crate::model::topology::Endpoint;

/// Why a text is no endpoint, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub(super) struct EndpointError {
    what: String,
    pub(super) help: String,
}

fn error(what: impl Into<String>, help: impl Into<String>) -> EndpointError {
    EndpointError { what: what.into(), help: help.into() }
}

/// Reads `https://host[:port]`, `http://host[:port]`, `file:///abs/dir` or `file:rel/dir`, the latter relative to
/// `base`.
pub(super) fn parse(text: &str, base: &Path) -> Result<Endpoint, EndpointError> {
    let forms = "write `https://host[:port]`, `file:///absolute/dir` or `file:relative/dir`";
    let (scheme, rest) = text.split_once(':').ok_or_else(|| error("it has no scheme", forms))?;
    match scheme.to_ascii_lowercase().as_str() {
        scheme @ ("https" | "http") => http(scheme, rest),
        "file" => file(rest, base),
        _ => Err(error(format!("`{scheme}:` is no scheme of an endpoint"), forms)),
    }
}

/// Reads the origin of a served region: scheme, host and port.
pub(super) fn origin(text: &str) -> Result<String, EndpointError> {
    match parse(text, Path::new(""))? {
        Endpoint::Http(origin) => Ok(origin),
        Endpoint::Directory(_) => Err(error("it is a directory", "write `https://host[:port]`")),
    }
}

/// Resolves the declared endpoint of a region that is only remembered; none where it is no endpoint any more.
pub fn resolve_endpoint(text: &str, base: &Path) -> Option<Endpoint> {
    parse(text, base).ok()
}

fn http(scheme: &str, rest: &str) -> Result<Endpoint, EndpointError> {
    let rest = rest
        .strip_prefix("//")
        .ok_or_else(|| error("two slashes are missing after the scheme", format!("write `{scheme}://host[:port]`")))?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if let Some((_, host)) = authority.rsplit_once('@') {
        return Err(error(
            "it carries a user name or password",
            format!("write `{scheme}://{host}`; credentials belong in the credentials file, never in a topology"),
        ));
    }
    if !matches!(path, "" | "/") {
        return Err(error(
            "it has a path, a query or a fragment",
            format!("write `{scheme}://{authority}`: `/api/v1` is added by the program"),
        ));
    }
    let (host, port) = match authority.rsplit_once(':') {
        // The last colon of a bracketed address may be its own.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let name = |host: &str| {
        !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
    };
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if !bracketed.map_or_else(|| name(host), |address| address.parse::<std::net::Ipv6Addr>().is_ok()) {
        return Err(error(format!("`{host}` is no host"), "name a host: `https://api.us-east-1.example`"));
    }
    let host = host.to_ascii_lowercase();
    let usual = if scheme == "https" { 443 } else { 80 };
    let origin = match port {
        None => format!("{scheme}://{host}"),
        Some(port) => match port.parse::<u16>() {
            Ok(port) if port == usual => format!("{scheme}://{host}"),
            Ok(port) if port > 0 => format!("{scheme}://{host}:{port}"),
            _ => return Err(error(format!("`{port}` is no port"), "a port is a number from 1 to 65535")),
        },
    };
    Ok(Endpoint::Http(origin))
}

fn file(rest: &str, base: &Path) -> Result<Endpoint, EndpointError> {
    if rest.contains(['?', '#']) {
        return Err(error("it has a query or a fragment", "write `?` as `%3F` and `#` as `%23`"));
    }
    let path = match rest.strip_prefix("//") {
        Some(path) if path.starts_with('/') => path,
        Some(host) => {
            return Err(error(
                "it names a host",
                format!("write `file:///{host}` for an absolute directory, `file:{host}` for a relative one"),
            ));
        }
        None => rest,
    };
    let path = decode(path).ok_or_else(|| error("a `%` is followed by no character code", "write `%` as `%25`"))?;
    if path.is_empty() {
        return Err(error("it names no directory", "write `file:///absolute/dir` or `file:relative/dir`"));
    }
    let joined = base.join(path);
    // Only fails where the working directory is gone; then a relative path is no worse.
    Ok(Endpoint::Directory(std::path::absolute(&joined).unwrap_or(joined)))
}

/// Undoes the percent encoding; none where it is broken, gives no text, or hides a NUL.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        if *first == b'%' {
            let code = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(code, 16).ok().filter(|_| code.bytes().all(|b| b.is_ascii_hexdigit()))?);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

/// A text that is the same for two endpoints that are the same place, as far as their texts tell.
pub(super) fn identity(endpoint: &Endpoint) -> String {
    match endpoint {
        Endpoint::Http(origin) => origin.clone(),
        Endpoint::Directory(path) => {
            let mut plain = PathBuf::new();
            for part in path.components() {
                match part {
                    Component::CurDir => {}
                    Component::ParentDir => {
                        plain.pop();
                    }
                    other @ (Component::Prefix(_) | Component::RootDir | Component::Normal(_)) => plain.push(other),
                }
            }
            plain.to_string_lossy().into_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Endpoint, String> {
        parse(text, Path::new("/etc/topology")).map_err(|error| error.to_string())
    }

    #[test]
    fn endpoints_of_every_form() {
        let http = |text: &str| Ok(Endpoint::Http(text.to_owned()));
        let dir = |text: &str| Ok(Endpoint::Directory(PathBuf::from(text)));
        assert_eq!(read("https://api.us-east-1.internal"), http("https://api.us-east-1.internal"));
        assert_eq!(read("HTTPS://API.Example:443/"), http("https://api.example"));
        assert_eq!(read("http://127.0.0.1:5000"), http("http://127.0.0.1:5000"));
        assert_eq!(read("http://[::1]:5000"), http("http://[::1]:5000"));
        assert_eq!(read("http://[::1]"), http("http://[::1]"));
        assert_eq!(read("file:///srv/region"), dir("/srv/region"));
        assert_eq!(read("file:/srv/region"), dir("/srv/region"));
        assert_eq!(read("file:regions/a"), dir("/etc/topology/regions/a"));
        assert_eq!(read("file:my%20disk"), dir("/etc/topology/my disk"));
    }

    #[test]
    fn what_is_no_endpoint_says_why() {
        for (text, why) in [
            ("us-east-1", "no scheme"),
            ("ftp://host", "no scheme of an endpoint"),
            ("https:host", "slashes are missing"),
            ("https://", "no host"),
            ("https://a b", "no host"),
            ("https://[::g]", "no host"),
            ("https://host:0", "no port"),
            ("https://host:http", "no port"),
            ("https://host:", "no port"),
            ("https://me:secret@host", "user name or password"),
            ("https://host/api/v1", "path"),
            ("https://host?x=1", "path"),
            ("file:", "no directory"),
            ("file://host/dir", "names a host"),
            ("file:a%zz", "character code"),
            ("file:a%00", "character code"),
            ("file:a#b", "fragment"),
        ] {
            assert!(read(text).is_err_and(|error| error.contains(why)), "{text}: {:?}", read(text));
        }
    }

    #[test]
    fn one_place_under_two_texts_is_one_place() {
        let same = |a: &str, b: &str| identity(&read(a).unwrap()) == identity(&read(b).unwrap());
        assert!(same("file:regions/a", "file:./regions/../regions/a/"));
        assert!(same("file:regions/a", "file:///etc/topology/regions/a"));
        assert!(same("https://host", "https://HOST:443/"));
        assert!(!same("https://host", "http://host"));
    }
}
