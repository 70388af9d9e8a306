//! Reads the credentials file, and the files that it names: with every mistake at its place, and no secret in any.

use std::fs::{self, File};
use std::io::Read;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::DeValue;

use super::credential::{ClientCertificate, Credential, Credentials, PemFile, host, is_private};
use super::masked::masked;
use super::secret::Secret;
use crate::config::endpoint;
use crate::config::problem::{Problem, Problems};
use crate::config::reader::{At, Fields};
use crate::config::report::Report;
use crate::config::source::{Place, Source};

/// The largest file that is read: credentials, a token, a chain of certificates.
const FILE_MAX: u64 = 1 << 20;

/// Reads the credentials file at `path`. Relative paths in it start from its own directory.
///
/// # Errors
/// All that is wrong with it and with the files that it names.
pub fn load(path: &Path) -> Result<Credentials, Problems> {
    let text = secret_file(path).map_err(|Unfit { what, reason, help }| {
        let problem = Problem::new("credentials::unreadable", format!("`{}` {what}", path.display()));
        let problem = if reason.is_empty() { problem } else { problem.reason(reason) };
        problem.help(help)
    })?;
    let mut report = Report::default();
    let file = report.take_source(Source::new(path.display().to_string(), masked(&text)));
    let table = report.parse(file, &text);
    let mut root = Fields::new(&mut report, String::new(), Place::new(file, 0..0), table);
    let base = path.parent().unwrap_or(Path::new(""));
    let mut credentials = Credentials::default();
    let mut known: Vec<At<String>> = Vec::new();
    for (key, value) in root.entries("origins") {
        let origin = name(root.report, &key, &mut known);
        let credential = credential(root.report, &key, origin.as_deref(), value, base);
        if let Some((origin, credential)) = origin.zip(credential) {
            credentials.origins.insert(origin, credential);
        }
    }
    root.finish();
    match report.into_problems() {
        Some(problems) => Err(problems),
        None => Ok(credentials),
    }
}

/// The origin that a table is for.
fn name(report: &mut Report, key: &At<String>, known: &mut Vec<At<String>>) -> Option<String> {
    let origin = match endpoint::origin(&key.value) {
        Ok(origin) => origin,
        Err(error) => {
            // The text itself may hold a password.
            let problem = Problem::new("credentials::bad-origin", "this is no origin of a region")
                .reason(error.to_string())
                .help("write `[origins.\"https://host[:port]\"]`, as the region's `api_endpoint` has it");
            report.add(problem, &[(&key.place, "this one".to_owned())]);
            return None;
        }
    };
    if let Some(before) = known.iter().find(|known| known.value == origin) {
        let problem = Problem::new("credentials::duplicate-origin", format!("`{origin}` stands twice"))
            .reason("host names are the same in any case, and so are 443 and no port after `https`")
            .help("leave one of them out");
        report.add(problem, &[(&key.place, "again".to_owned()), (&before.place, "first here".to_owned())]);
        return None;
    }
    known.push(At { value: origin.clone(), place: key.place.clone() });
    Some(origin)
}

fn credential(
    report: &mut Report,
    key: &At<String>,
    origin: Option<&str>,
    value: Spanned<DeValue<'_>>,
    base: &Path,
) -> Option<Credential> {
    let what = origin.map_or_else(|| "this origin".to_owned(), |origin| format!("`{origin}`"));
    let mut table = Fields::open(report, what, key.place.clone(), value)?;
    let token = table.parsed("token", "…", Secret::token);
    let token_file = table.text("token_file", "/etc/debvisor/region/us-east-1.token");
    let ca = table.text("ca", "/etc/debvisor/region/ca.pem");
    let cert = table.text("cert", "/etc/debvisor/region/client.pem");
    let client_key = table.text("key", "/etc/debvisor/region/client.key");
    let connect = table.parsed("connect", "10.1.2.3:5000", |text| {
        text.parse::<SocketAddr>().map_err(|_| "it is no address with a port")
    });
    if let (Some(token), Some(file)) = (&token, &token_file) {
        let problem = Problem::new("credentials::two-tokens", "`token` and `token_file` stand together")
            .help("leave one of them out");
        table.report.add(problem, &[(&file.place, "a file".to_owned()), (&token.place, "and a token".to_owned())]);
    }
    for (there, lacks, hint) in [(&cert, &client_key, "key"), (&client_key, &cert, "cert")] {
        if let (Some(_), None) = (there, lacks)
            && !table.has(hint)
        {
            let example =
                format!("{hint} = \"/etc/debvisor/region/client.{}\"", if hint == "key" { "key" } else { "pem" });
            table.missing(hint, "a certificate is shown with its key", &example);
        }
    }
    let shown = token.as_ref().map(|token| &token.place).or(token_file.as_ref().map(|file| &file.place)).cloned();
    table.finish();
    if let Some(origin) = origin {
        check_reach(report, origin, shown.as_ref(), connect.as_ref(), [&ca, &cert, &client_key]);
    }
    let from_file = token_file.and_then(|file| read_at(report, base, &file, secret_file).zip(Some(file)));
    let from_file = from_file.and_then(|((path, text), file)| token_in(report, &path, &text, &file));
    let ca = ca.and_then(|ca| pem(report, base, &ca, "CERTIFICATE", open_file));
    let cert = cert.and_then(|cert| pem(report, base, &cert, "CERTIFICATE", open_file));
    let client_key = client_key.and_then(|key| pem(report, base, &key, "PRIVATE KEY", secret_file));
    Some(Credential {
        token: token.map(|token| token.value).or(from_file),
        ca,
        client: cert.zip(client_key).map(|(cert, key)| ClientCertificate { cert, key: Secret::text(key.text) }),
        connect: connect.map(|connect| connect.value),
        withheld: None,
    })
}

/// Refuses what would show a secret to bystanders, and what has no meaning for this origin.
fn check_reach(
    report: &mut Report,
    origin: &str,
    token: Option<&Place>,
    connect: Option<&At<SocketAddr>>,
    tls: [&Option<At<String>>; 3],
) {
    if let Some(token) = token
        && !is_private(origin, connect.map(|connect| connect.value))
    {
        let problem = Problem::new("credentials::in-clear", format!("a token for `{origin}` would travel in clear"))
            .reason("whoever is on the way could read it and use it")
            .help("serve the region with TLS and write `https`");
        report.add(problem, &[(token, "this one".to_owned())]);
    }
    if origin.starts_with("http:") {
        for place in tls.into_iter().flatten().map(|at| &at.place) {
            let problem = Problem::new("credentials::no-tls", format!("there is no TLS at `{origin}`"))
                .help("leave it out, or write `https`");
            report.add(problem, &[(place, "has no use".to_owned())]);
        }
    } else if let Some(connect) = connect
        && host(origin).parse::<std::net::IpAddr>().is_ok()
    {
        let problem = Problem::new("credentials::bad-value", format!("`{origin}` has no name to look up"))
            .reason("`connect` says where a name is reached, and this origin is an address already")
            .help("leave `connect` out");
        report.add(problem, &[(&connect.place, "has no use".to_owned())]);
    }
}

/// Why a file cannot be used.
struct Unfit {
    what: String,
    reason: String,
    help: String,
}

fn unfit(what: impl Into<String>, reason: impl Into<String>, help: impl Into<String>) -> Unfit {
    Unfit { what: what.into(), reason: reason.into(), help: help.into() }
}

/// Reads a file that this file names; where that fails, it is reported where it is named.
fn read_at(
    report: &mut Report,
    base: &Path,
    named: &At<String>,
    read: impl FnOnce(&Path) -> Result<String, Unfit>,
) -> Option<(PathBuf, String)> {
    let path = base.join(&named.value);
    match read(&path) {
        Ok(text) => Some((path, text)),
        Err(Unfit { what, reason, help }) => {
            let problem = Problem::new("credentials::unreadable", format!("`{}` {what}", path.display())).help(help);
            let problem = if reason.is_empty() { problem } else { problem.reason(reason) };
            report.add(problem, &[(&named.place, "named here".to_owned())]);
            None
        }
    }
}

fn token_in(report: &mut Report, path: &Path, text: &str, named: &At<String>) -> Option<Secret> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let why = match (lines.next().map(Secret::token), lines.next()) {
        (Some(Ok(token)), None) => return Some(token),
        (_, Some(_)) => "it has more than one line".to_owned(),
        (Some(Err(error)), None) => error.to_string(),
        (None, None) => "it is empty".to_owned(),
    };
    let problem = Problem::new("credentials::bad-token", format!("`{}` holds no token", path.display()))
        .reason(why)
        .help("write the token alone into it");
    report.add(problem, &[(&named.place, "named here".to_owned())]);
    None
}

fn pem(
    report: &mut Report,
    base: &Path,
    named: &At<String>,
    label: &str,
    read: impl FnOnce(&Path) -> Result<String, Unfit>,
) -> Option<PemFile> {
    let (path, text) = read_at(report, base, named, read)?;
    // `PRIVATE KEY` stands alone or after its kind.
    let begins = |line: &str| line.starts_with("-----BEGIN ") && line.trim_end().ends_with(&format!("{label}-----"));
    if text.lines().any(begins) {
        return Some(PemFile { path, text });
    }
    let problem =
        Problem::new("credentials::bad-pem", format!("`{}` holds no {}", path.display(), label.to_lowercase()))
            .reason(format!("no line of it is `-----BEGIN {label}-----`"))
            .help("give it in PEM form; `openssl x509` and `openssl pkey` convert others");
    report.add(problem, &[(&named.place, "named here".to_owned())]);
    None
}

/// Reads a file that others must not read: who can read it can pass for this program.
fn secret_file(path: &Path) -> Result<String, Unfit> {
    let text = open_file(path)?;
    let mode = fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode());
    // Before its words are believed, too: who can write it can name other files.
    if mode & 0o006 != 0 {
        let verb = if mode & 0o004 != 0 { "read" } else { "written" };
        let help = format!("`chmod o-rw {}`, and replace what others may have seen", path.display());
        return Err(unfit(format!("can be {verb} by everybody here"), "it holds secrets", help));
    }
    Ok(text)
}

fn open_file(path: &Path) -> Result<String, Unfit> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => unfit("does not exist", "", "check the path"),
        _ => unfit("cannot be read", error.to_string(), "check who may read it, with `ls -l`"),
    };
    let metadata = fs::metadata(path).map_err(failed)?;
    // Before it is opened: opening a pipe would wait for its writer.
    if !metadata.is_file() {
        return Err(unfit("is not a file", "", "name a file"));
    }
    let mut bytes = Vec::new();
    File::open(path).map_err(failed)?.take(FILE_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(unfit("is larger than 1 MiB", "so large a file is more likely a mistaken path", "check the path"));
    }
    String::from_utf8(bytes).map_err(|_| unfit("is not UTF-8 text", "", "check the path"))
}
