//! What a failed request says of the region behind it.
//!
//! Only silence counts as unreachable: refused, reset, no route, no answer in time. A name that does not resolve, a
//! TLS failure, and any answer, even a senseless one, say nothing of the region: it may well be alive, so its status
//! is unknown. Confusing the two would let a broken certificate look like a lost region.

use std::error::Error;
use std::io;
use std::time::Duration;

use super::port::PortError;
use crate::model::observed::RegionStatus;
use crate::model::units;

const CHECK_NAME: &str = "check the region's api_endpoint and this machine's DNS (`getent hosts NAME`)";
const START: &str = "the machine answers, and nothing listens at that port: start the region there \
                     (`systemctl status debvisor-region`), or correct the port in its api_endpoint";
const OPEN: &str = "the machine is off, or a firewall or security group drops what is sent to that port: let it in there, \
                    and see whether the others reach it (`region health-check`)";
const HANGS: &str = "a machine that is overloaded or frozen, or a firewall on the way: look at it there \
                     (`systemctl status debvisor-region`), and see whether the others reach it (`region health-check`)";
const ROUTE: &str = "check this machine's network and its routes, and the address in the region's api_endpoint";
const LOG: &str = "the program there died or hung up: look at the region's own log (`journalctl -u debvisor-region`)";
const LINE: &str = "the line there is too slow or loses too much: measure it, and see how the others reach it \
                    (`region health-check`)";

/// What the HTTP library says of a connection that was closed before an answer began.
const CLOSED: [&str; 2] = ["connection closed", "connection was not ready"];

/// The longest piece of an answer that is shown.
const SHOWN: usize = 120;

/// A request that brought no answer: within `deadline`, or on no connection within `connect`. `lookup` says whether
/// looking up the name took most of a wait.
pub(super) fn no_answer(
    origin: &str,
    error: &reqwest::Error,
    (deadline, connect): (Duration, Duration),
    lookup: &dyn Fn(Duration) -> bool,
) -> PortError {
    let first: &(dyn Error + 'static) = error;
    let causes: Vec<_> = std::iter::successors(Some(first), |cause| (*cause).source()).collect();
    let kinds: Vec<io::ErrorKind> =
        causes.iter().filter_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind).collect();
    // The innermost is the cause; those around it say that something went wrong.
    let innermost = causes.last().map_or_else(String::new, ToString::to_string);
    if error.is_dns() {
        let reason = format!("the name in {origin} does not resolve: {innermost}");
        return unknown(reason, Some(CHECK_NAME));
    }
    if error.is_timeout() {
        let waited = if error.is_connect() { connect.min(deadline) } else { deadline };
        return match (lookup(waited), error.is_connect()) {
            (true, _) => nameless(origin, waited),
            (false, true) => unconnected(origin, waited),
            (false, false) => late(origin, waited),
        };
    }
    // Whoever sends an alert is there, whatever became of the connection after that.
    if innermost.contains("received fatal alert") {
        return unknown(
            format!("{origin} refused the TLS connection: {innermost}"),
            Some("check the `cert` and `key` of its credentials"),
        );
    }
    let silent = kinds.iter().find(|kind| {
        matches!(
            kind,
            io::ErrorKind::ConnectionRefused
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::HostUnreachable
                | io::ErrorKind::NetworkUnreachable
                | io::ErrorKind::NetworkDown
                | io::ErrorKind::TimedOut
        )
    });
    match silent {
        Some(kind) => {
            let help = match kind {
                io::ErrorKind::ConnectionRefused => START,
                io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable | io::ErrorKind::NetworkDown => {
                    ROUTE
                }
                io::ErrorKind::TimedOut => OPEN,
                _ => LOG,
            };
            unreachable(format!("{origin}: {kind}"), help)
        }
        // The connection stood and was closed without a word, before or after the question was sent: the program behind
        // it died or hung up.
        None if !error.is_connect() && CLOSED.iter().any(|words| innermost.contains(words)) => {
            unreachable(format!("{origin} closed the connection without an answer"), LOG)
        }
        // Under TLS an end without a farewell is an error of its own.
        None if innermost.contains("end of file before message length")
            || !error.is_connect() && kinds.contains(&io::ErrorKind::UnexpectedEof) =>
        {
            unreachable(format!("{origin} closed the connection in the middle of its answer"), LOG)
        }
        None if origin.starts_with("https:") && innermost.contains("InvalidContentType") => unknown(
            format!("no TLS connection to {origin}: what answers there speaks no TLS"),
            Some("if it speaks plain HTTP, write the region's api_endpoint with http://"),
        ),
        None if origin.starts_with("https:") && error.is_connect() => unknown(
            format!("no TLS connection to {origin}: {innermost}"),
            Some("check the region's certificate and the `ca` of its credentials"),
        ),
        None => {
            unknown(format!("{origin} did not answer in HTTP: {innermost}"), Some("check the region's api_endpoint"))
        }
    }
}

/// The request was not sent in time, or hardly: its name was being looked up. That says nothing of the region.
pub(super) fn nameless(origin: &str, waited: Duration) -> PortError {
    let waited = units::brief(waited);
    unknown(format!("the name in {origin} does not resolve within {waited}"), Some(CHECK_NAME))
}

/// No connection stands.
fn unconnected(origin: &str, waited: Duration) -> PortError {
    unreachable(
        format!("no answer from {origin} within {}: not even a connection", units::format_duration(waited)),
        OPEN,
    )
}

/// No answer has begun.
pub(super) fn late(origin: &str, deadline: Duration) -> PortError {
    unreachable(format!("no answer from {origin} within {}", units::format_duration(deadline)), HANGS)
}

/// An answer that began brought only so many bytes in so long, or nothing for most of that.
pub(super) fn slow(origin: &str, came: usize, window: Duration, quiet: Option<Duration>) -> PortError {
    let reason = match quiet {
        Some(quiet) => {
            let quiet = units::brief(quiet);
            format!("{origin} stopped in the middle of its answer: nothing came for {quiet}")
        }
        None => format!("{origin} answers too slowly: {came} bytes in {}", units::format_duration(window)),
    };
    unreachable(reason, LINE)
}

/// An answer that is not what was asked for: `wanted`, in words.
pub(super) fn senseless(origin: &str, status: reqwest::StatusCode, body: &[u8], wanted: &str) -> PortError {
    let line = first_line(body);
    let said = if line.is_empty() { String::new() } else { format!(": {line}") };
    let code = status.as_u16();
    let (reason, help) = match code {
        200..=299 => (
            format!("{origin} answered with something else than {wanted}{said}"),
            "a proxy may answer in its place, or the api_endpoint is another service's",
        ),
        300..=399 => (
            format!("{origin} sends elsewhere ({code})"),
            "set api_endpoint to the region itself; redirects are not followed",
        ),
        401 | 403 => (
            format!("{origin} refused the request ({code}){said}"),
            "give a token for this origin in the credentials file",
        ),
        404 => (
            format!("{origin} knows no such request ({code}){said}"),
            "the api_endpoint may be another service's, or an older program's",
        ),
        _ => (format!("{origin} answered {code}{said}"), "look at the region's own log"),
    };
    unknown(reason, Some(help))
}

/// The first line of an answer that says anything, without control characters.
fn first_line(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(4096)]).into_owned();
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let shown: String = line.chars().filter(|c| !c.is_control()).take(SHOWN).collect();
    if shown.len() < line.len() { format!("{shown}…") } else { shown }
}

fn unreachable(reason: String, help: &str) -> PortError {
    PortError::Unreachable { status: RegionStatus::Unreachable, reason, help: Some(help.to_owned()) }
}

/// Of a region that says nothing about itself, though it may well be alive.
pub(super) fn unknown(reason: String, help: Option<&str>) -> PortError {
    PortError::Unreachable { status: RegionStatus::Unknown, reason, help: help.map(str::to_owned) }
}
