//! The region's own file: what a region runs, how it holds still for a reading, which files lie elsewhere. It belongs
//! to the region's machine and is never part of a topology, which comes in pull requests.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;

use crate::model::{RegionId, ResourceId};

use super::load::take;
use super::problem::{Problem, Problems};
use super::read::key_id;
use super::reader::{At, Fields, not_empty};
use super::report::Report;
use super::schema::{Command, DurationText, IdText};
use super::source::Place;

/// What is filled in in a command, between braces.
pub const PLACEHOLDERS: [&str; 4] = ["id", "dir", "region", "epoch"];

/// One command: the program and its arguments. `{id}`, `{dir}`, `{region}` and `{epoch}` are filled in.
pub type Argv = Vec<String>;

/// What starts and stops resources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runner {
    /// Starts one.
    pub start: Argv,
    /// Stops one.
    pub stop: Argv,
    /// Prints `running` or `stopped` and exits 0; anything else is unknown, and unknown is not stopped.
    pub status: Argv,
    /// Starts a drill's clone; without it there are no drills here.
    pub drill_start: Option<Argv>,
}

/// Pauses a resource's writers while its files are read or cloned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freeze {
    /// Pauses them.
    pub freeze: Argv,
    /// Lets them go on.
    pub thaw: Argv,
}

/// Makes a copy that holds still.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Prints one directory with the resource's files under the same relative names.
    pub snapshot: Argv,
    /// Gives it back.
    pub release: Argv,
}

/// How resources hold still for a reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quiesce {
    /// By pausing.
    pub freeze: Option<Freeze>,
    /// By a copy; tried first.
    pub snapshot: Option<Snapshot>,
    /// How long a freeze may last.
    pub timeout: Duration,
}

impl Quiesce {
    /// The longest freeze when none is declared.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
}

/// Bitmaps of disk images that tell what was written since a reading, so that the rest need not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hints {
    /// What the names of the bitmaps begin with that readings begin.
    pub bitmap: String,
}

impl Hints {
    /// The longest `bitmap`.
    const NAME_MAX: usize = 64;
}

/// A region's own configuration. Relative paths are resolved against the directory of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegionConfig {
    /// `serve --region`.
    pub region: Option<RegionId>,
    /// `serve --data-dir`.
    pub data_dir: Option<PathBuf>,
    /// `serve --listen`.
    pub listen: Option<String>,
    /// `serve --token-file`.
    pub token_file: Option<PathBuf>,
    /// `serve --peer-tokens`.
    pub peer_tokens: Option<PathBuf>,
    /// `serve --tls-cert`.
    pub tls_cert: Option<PathBuf>,
    /// `serve --tls-key`.
    pub tls_key: Option<PathBuf>,
    /// `serve --client-ca`.
    pub client_ca: Option<PathBuf>,
    /// `serve --insecure`.
    pub insecure: bool,
    /// What starts and stops resources here; none: this region starts and stops nothing.
    pub runner: Option<Runner>,
    /// How resources hold still for a reading.
    pub quiesce: Option<Quiesce>,
    /// What tells which parts of a disk were written; none: files that changed are read whole.
    pub hints: Option<Hints>,
    /// Files that stay where they are, by resource.
    pub files: BTreeMap<ResourceId, Vec<PathBuf>>,
    /// The programs that this region may run as a policy's hooks.
    pub allowed_hooks: Vec<PathBuf>,
}

/// Reads the region's file at `path`.
///
/// # Errors
/// All that is wrong with it.
pub fn load(path: &Path) -> Result<RegionConfig, Problems> {
    let mut report = Report::default();
    if std::fs::metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound) {
        let missing = Problem::new("config::missing", format!("`{}` does not exist", path.display()));
        report.add_unread(missing.help("check the path; what a server needs can be said by its options too"));
        return report.into_problems().map_or_else(|| Ok(RegionConfig::default()), Err);
    }
    let config = take(&mut report, path).map(|file| read(&mut report, file, path.parent().unwrap_or(Path::new(""))));
    match report.into_problems() {
        Some(problems) => Err(problems),
        None => Ok(config.unwrap_or_default()),
    }
}

/// As [`load`], but a file that is not there is an empty one: a region needs none.
///
/// # Errors
/// All that is wrong with it.
pub fn load_if_present(path: &Path) -> Result<RegionConfig, Problems> {
    match std::fs::symlink_metadata(path) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(RegionConfig::default())
        }
        _ => load(path),
    }
}

fn read(report: &mut Report, file: usize, base: &Path) -> RegionConfig {
    let source = Arc::clone(report.source(file));
    let table = report.parse(file, source.text());
    let mut root = Fields::new(report, String::new(), Place::new(file, 0..0), table);
    let path = |found: Option<At<String>>| found.map(|at| base.join(at.value));
    let config = RegionConfig {
        region: root.id("region", "us-east-1").map(|at| at.value),
        data_dir: path(root.text("data_dir", "/srv/debvisor")),
        listen: root.text("listen", "127.0.0.1:5000").map(|at| at.value),
        token_file: path(root.text("token_file", "/etc/debvisor/region/tokens")),
        peer_tokens: path(root.text("peer_tokens", "/etc/debvisor/region/credentials.toml")),
        tls_cert: path(root.text("tls_cert", "/etc/debvisor/region/cert.pem")),
        tls_key: path(root.text("tls_key", "/etc/debvisor/region/key.pem")),
        client_ca: path(root.text("client_ca", "/etc/debvisor/region/ca.pem")),
        insecure: root.boolean("insecure").is_some_and(|at| at.value),
        runner: root.table("runner").and_then(runner),
        quiesce: root.table("quiesce").and_then(quiesce),
        hints: root.table("hints").and_then(hints),
        files: files(&mut root, base),
        allowed_hooks: root.table("hooks").map_or_else(Vec::new, hooks),
    };
    root.finish();
    config
}

/// A command that must be there and name a program.
fn command(table: &mut Fields<'_, '_>, key: &'static str, reason: &str) -> Option<Argv> {
    let before = table.report.count();
    let found = table.argv_in_place(key);
    let example = format!("{key} = [\"/path/of/program\", \"{{id}}\"]");
    match found {
        Some(argv) if argv.value.is_empty() => {
            let problem = Problem::new("config::bad-value", format!("`{key}` is an empty command"))
                .reason(reason.to_owned())
                .help(format!("write `{example}`"));
            table.report.add(problem, &[(&argv.place, "empty".to_owned())]);
            None
        }
        Some(argv) => filled_in(table, key, argv.value),
        None => {
            if table.report.count() == before {
                table.missing(key, reason, &example);
            }
            None
        }
    }
}

/// The first `{name}` in an argument that is no placeholder, though it looks like one. `${name}` is a shell's, and
/// `{{name}}` is some program's own.
fn stranger(argument: &str) -> Option<&str> {
    argument.match_indices('{').find_map(|(at, _)| {
        let (before, from) = argument.split_at(at);
        let (name, _) = from[1..].split_once('}')?;
        let mut letters = name.bytes();
        let looks = letters.next().is_some_and(|byte| byte.is_ascii_alphabetic())
            && letters.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
        let own = looks && !before.ends_with(['$', '{']) && !PLACEHOLDERS.contains(&name);
        own.then_some(name)
    })
}

/// A command that asks for nothing that is not filled in.
fn filled_in(table: &mut Fields<'_, '_>, key: &'static str, argv: Vec<At<String>>) -> Option<Argv> {
    let before = table.report.count();
    for argument in &argv {
        let Some(name) = stranger(&argument.value) else { continue };
        let help = match table.report.nearest(name, PLACEHOLDERS) {
            Some(near) => format!("did you mean `{{{near}}}`?"),
            None => format!("filled in are {}", PLACEHOLDERS.map(|name| format!("`{{{name}}}`")).join(", ")),
        };
        let problem =
            Problem::new("config::bad-value", format!("`{{{name}}}` in `{key}` is not filled in by anything"));
        table.report.add(problem.help(help), &[(&argument.place, "unknown".to_owned())]);
    }
    (table.report.count() == before).then(|| argv.into_iter().map(|argument| argument.value).collect())
}

fn runner(mut table: Fields<'_, '_>) -> Option<Runner> {
    let whole = "what is started must also be stopped, and what was stopped must be proven to be";
    let [start, stop, status] = ["start", "stop", "status"].map(|key| command(&mut table, key, whole));
    let drill_start = table.argv_in_place("drill_start").filter(|argv| !argv.value.is_empty());
    let drill_start = drill_start.and_then(|argv| filled_in(&mut table, "drill_start", argv.value));
    table.finish();
    Some(Runner { start: start?, stop: stop?, status: status?, drill_start })
}

/// Two commands of which neither makes sense alone; none where neither is there.
fn both(table: &mut Fields<'_, '_>, first: &'static str, second: &'static str, reason: &str) -> Option<(Argv, Argv)> {
    if !table.has(first) && !table.has(second) {
        // Known all the same.
        table.take(first);
        table.take(second);
        return None;
    }
    let (first, second) = (command(table, first, reason), command(table, second, reason));
    first.zip(second)
}

fn quiesce(mut table: Fields<'_, '_>) -> Option<Quiesce> {
    let before = table.report.count();
    let freeze = both(&mut table, "freeze", "thaw", "what is frozen must be let go on");
    let snapshot = both(&mut table, "snapshot", "release", "what is taken must be given back");
    if freeze.is_none() && snapshot.is_none() && table.report.count() == before {
        table.missing(
            "freeze",
            "nothing here holds a resource still",
            "freeze` and `thaw`, or `snapshot` and `release`, or leave out `[quiesce]",
        );
    }
    let timeout = table.duration("timeout", Some("no freeze could be that short"));
    table.finish();
    Some(Quiesce {
        freeze: freeze.map(|(freeze, thaw)| Freeze { freeze, thaw }),
        snapshot: snapshot.map(|(snapshot, release)| Snapshot { snapshot, release }),
        timeout: timeout.map_or(Quiesce::DEFAULT_TIMEOUT, |at| at.value),
    })
}

fn hints(mut table: Fields<'_, '_>) -> Option<Hints> {
    let before = table.report.count();
    let bitmap = table.parsed("bitmap", "debvisor", bitmap_name);
    if bitmap.is_none() && table.report.count() == before {
        let reason = "only bitmaps are changed whose names begin with it, so that others' backups keep theirs";
        table.missing("bitmap", reason, "bitmap = \"debvisor\"");
    }
    table.finish();
    bitmap.map(|bitmap| Hints { bitmap: bitmap.value })
}

/// What a bitmap's name may begin with: a program is told it as an argument, people read it.
fn bitmap_name(text: &str) -> Result<String, String> {
    let known = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    if !text.starts_with(|first: char| first.is_ascii_alphanumeric()) || !text.chars().all(known) {
        return Err(format!(
            "`{text}` cannot be a bitmap's name: it begins with a letter or digit, and has letters, digits, `.`, `_`, `-`"
        ));
    }
    if text.len() > Hints::NAME_MAX {
        return Err(format!("a bitmap's name has at most {} letters here", Hints::NAME_MAX));
    }
    Ok(text.to_owned())
}

fn files(root: &mut Fields<'_, '_>, base: &Path) -> BTreeMap<ResourceId, Vec<PathBuf>> {
    let mut all = BTreeMap::new();
    for (key, value) in root.entries("resources") {
        let what = format!("resource `{}`", key.value);
        let Some(mut table) = Fields::open(root.report, what, key.place.clone(), value) else { continue };
        let before = table.report.count();
        let list = table.list("files", "/var/lib/libvirt/images/web-vm-1.qcow2", not_empty);
        match &list {
            Some(list) if list.value.is_empty() && table.report.count() == before => {
                let problem = Problem::new("config::bad-value", format!("no files are named for `{}`", key.value))
                    .help("name them, or leave the table out: then its own directory holds them");
                table.report.add(problem, &[(&list.place, "empty".to_owned())]);
            }
            None if table.report.count() == before => {
                table.missing("files", "nothing else is said of a resource here", "files = [\"/path/of/image\"]");
            }
            _ => {}
        }
        table.finish();
        if let Some(id) = key_id::<ResourceId>(root.report, &key) {
            let paths = list.map_or_else(Vec::new, |list| list.value);
            all.insert(id, paths.into_iter().map(|path| base.join(path.value)).collect());
        }
    }
    all
}

fn hooks(mut table: Fields<'_, '_>) -> Vec<PathBuf> {
    let allow = table.list("allow", "/etc/debvisor/fence", |text| {
        // A relative one could be another program tomorrow.
        let absolute = Path::new(text).is_absolute();
        if absolute { Ok(PathBuf::from(text)) } else { Err(format!("`{text}` is not an absolute path")) }
    });
    table.finish();
    allow.map_or_else(Vec::new, |list| list.value.into_iter().map(|path| path.value).collect())
}

/// The file's shape, for its schema. [`RegionConfig`] is what is read.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Region")]
#[expect(dead_code, reason = "only its shape is wanted")]
pub(super) struct RegionDoc {
    /// The id of the region that is served.
    #[schemars(with = "Option<IdText>")]
    region: (),
    /// The directory that holds it.
    #[schemars(with = "Option<String>")]
    data_dir: (),
    /// Where to listen. Default: 127.0.0.1:5000.
    #[schemars(with = "Option<String>", extend("default" = "127.0.0.1:5000"))]
    listen: (),
    /// The tokens that are accepted, one a line.
    #[schemars(with = "Option<String>")]
    token_file: (),
    /// Credentials for other regions, in the form of the credentials file.
    #[schemars(with = "Option<String>")]
    peer_tokens: (),
    /// The certificate chain, as PEM.
    #[schemars(with = "Option<String>")]
    tls_cert: (),
    /// Its key, as PEM.
    #[schemars(with = "Option<String>")]
    tls_key: (),
    /// The authority that client certificates must come from, as PEM.
    #[schemars(with = "Option<String>")]
    client_ca: (),
    /// Listen beyond this machine without token and TLS all the same. Default: false.
    #[schemars(with = "Option<bool>", extend("default" = false))]
    insecure: (),
    /// What starts and stops resources. `{id}`, `{dir}`, `{region}` and `{epoch}` are filled in.
    runner: Option<RunnerDoc>,
    /// How resources hold still for a reading: `freeze` and `thaw`, or `snapshot` and `release`.
    quiesce: Option<QuiesceDoc>,
    /// Bitmaps of disk images that tell what was written since the last copy, so that the rest of a disk need not be
    /// read.
    hints: Option<HintsDoc>,
    /// Files that stay where they are, by resource.
    #[schemars(with = "Option<BTreeMap<IdText, FilesDoc>>")]
    resources: (),
    /// Programs that this region may run as hooks of a policy.
    hooks: Option<HooksDoc>,
}

/// What starts and stops resources.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Runner")]
#[expect(dead_code, reason = "only its shape is wanted")]
struct RunnerDoc {
    /// Starts one.
    start: Command,
    /// Stops one.
    stop: Command,
    /// Prints `running` or `stopped` and exits 0.
    status: Command,
    /// Starts a drill's clone.
    drill_start: Option<Command>,
}

/// How resources hold still for a reading.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Quiesce")]
#[expect(dead_code, reason = "only its shape is wanted")]
struct QuiesceDoc {
    /// Pauses a resource's writers.
    freeze: Option<Command>,
    /// Lets them go on.
    thaw: Option<Command>,
    /// Prints one directory with a copy of the resource's files, under the same relative names.
    snapshot: Option<Command>,
    /// Gives the copy back.
    release: Option<Command>,
    /// How long a freeze may last. Default: 10s.
    #[schemars(with = "Option<DurationText>", extend("default" = "10s"))]
    timeout: (),
}

/// Bitmaps of disk images that tell what was written.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Hints")]
#[expect(dead_code, reason = "only its shape is wanted")]
struct HintsDoc {
    /// What the names of the bitmaps begin with that are begun in qcow2 images of machines that are stopped; others are
    /// never touched.
    #[schemars(extend("pattern" = "^[0-9A-Za-z][0-9A-Za-z._-]{0,63}$"))]
    bitmap: String,
}

/// Where a resource's files are.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Files")]
#[expect(dead_code, reason = "only its shape is wanted")]
struct FilesDoc {
    /// The files, relative to this file.
    #[schemars(extend("minItems" = 1, "uniqueItems" = true))]
    files: Vec<String>,
}

/// Hooks of a policy.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Hooks")]
#[expect(dead_code, reason = "only its shape is wanted")]
struct HooksDoc {
    /// The programs, by absolute path.
    #[schemars(with = "Option<Vec<String>>")]
    allow: (),
}

#[cfg(test)]
mod tests {
    use super::super::tests::drawn;
    use super::*;

    fn given(text: &str) -> Result<RegionConfig, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        std::fs::write(&path, text).unwrap();
        load(&path).map_err(|problems| drawn(&problems))
    }

    #[test]
    fn a_whole_file_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        let text = r#"
            region = "us-east-1"
            data_dir = "/srv/debvisor"
            listen = "127.0.0.1:0"
            token_file = "tokens"
            insecure = true
            [runner]
            start = ["/usr/bin/virsh", "start", "{id}"]
            stop = ["/usr/bin/virsh", "destroy", "{id}"]
            status = ["/usr/local/bin/status", "{id}", "{dir}"]
            [quiesce]
            freeze = ["freeze", "{id}"]
            thaw = ["thaw", "{id}"]
            snapshot = ["snapshot", "{id}"]
            release = ["release", "{id}"]
            timeout = "3s"
            [hints]
            bitmap = "debvisor"
            [resources.web-vm-1]
            files = ["/images/web.qcow2", "web.xml"]
            [hooks]
            allow = ["/etc/debvisor/fence"]
        "#;
        std::fs::write(&path, text).unwrap();
        let config = load(&path).unwrap();
        assert_eq!(config.region.unwrap().as_str(), "us-east-1");
        assert_eq!(config.token_file.unwrap(), dir.path().join("tokens"));
        assert!(config.insecure);
        assert_eq!(config.runner.unwrap().start, ["/usr/bin/virsh", "start", "{id}"]);
        let quiesce = config.quiesce.unwrap();
        assert_eq!(quiesce.timeout, Duration::from_secs(3));
        assert_eq!(config.hints.unwrap().bitmap, "debvisor");
        assert_eq!(quiesce.snapshot.unwrap().release, ["release", "{id}"]);
        assert_eq!(
            config.files.into_values().next().unwrap(),
            [PathBuf::from("/images/web.qcow2"), dir.path().join("web.xml")]
        );
        assert_eq!(config.allowed_hooks, [PathBuf::from("/etc/debvisor/fence")]);
    }

    #[test]
    fn nothing_is_needed() {
        assert_eq!(given("").unwrap(), RegionConfig::default());
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load_if_present(&dir.path().join("none.toml")).unwrap(), RegionConfig::default());
        assert_eq!(load(&dir.path().join("none.toml")).unwrap_err().0[0].code, "config::missing");
        // There, but no file: not the same as absent.
        assert_eq!(load_if_present(dir.path()).unwrap_err().0[0].code, "config::unreadable");
    }

    #[test]
    fn mistakes_are_all_told() {
        let report = given(
            r#"
            lisen = "127.0.0.1:0"
            [runner]
            start = "virsh start {id}"
            status = []
            [quiesce]
            freeze = ["freeze"]
            timeout = "0s"
            [resources."web-{1..2}"]
            files = []
            [hooks]
            allow = ["fence"]
        "#,
        )
        .unwrap_err();
        for expected in [
            "did you mean `listen`?",
            "no shell reads it: write `start = [\"virsh\", \"start\", \"{id}\"]`",
            "`stop` of `runner` is missing",
            "`status` is an empty command",
            "`thaw` of `quiesce` is missing",
            "`timeout` of `quiesce` is zero",
            "no files are named for `web-{1..2}`",
            "`web-{1..2}` cannot be a name",
            "`fence` is not an absolute path",
        ] {
            assert!(report.contains(expected), "{expected} is not in\n{report}");
        }
        let unknown = |argument: &str| {
            given(&format!(
                "[runner]\nstart = [\"start\", \"{argument}\"]\nstop = [\"stop\"]\nstatus = [\"status\"]\n\
                 drill_start = [\"drill\", \"{argument}\"]\n[quiesce]\nfreeze = [\"freeze\", \"{argument}\"]\n\
                 thaw = [\"thaw\"]\n"
            ))
        };
        for (argument, help) in [
            ("--of={regoin}", "did you mean `{region}`?"),
            ("{name}", "filled in are `{id}`, `{dir}`, `{region}`, `{epoch}`"),
        ] {
            let report = unknown(argument).unwrap_err();
            let name = argument.trim_start_matches("--of=");
            for key in ["start", "drill_start", "freeze"] {
                let told = format!("`{name}` in `{key}` is not filled in by anything");
                assert!(report.contains(&told) && report.contains(help), "{told}\n{report}");
            }
            assert!(report.contains("── unknown") && report.contains(&format!("\"{argument}\"")), "{report}");
        }
        for argument in ["{id}@{region}#{epoch}", "${HOME}/{dir}", "{{name}}", "{}", "{print $1}", "{.Status}", "a{b"] {
            assert!(unknown(argument).is_ok(), "{argument}");
        }
        let hints = |text: &str| given(&format!("[hints]\n{text}\n")).unwrap_err();
        assert!(hints("").contains("add `bitmap = \"debvisor\"`"), "{}", hints(""));
        assert!(hints("bitmaps = \"d\"").contains("did you mean `bitmap`?"));
        let long = format!("bitmap = \"{}\"", "x".repeat(65));
        assert!(hints(&long).contains("at most 64 letters"));
        for name in ["--remove", "a b", ".", "a/b", "größe"] {
            let report = hints(&format!("bitmap = \"{name}\""));
            assert!(report.contains(&format!("`{name}` cannot be a bitmap's name")), "{report}");
        }
        assert!(given("[quiesce]\ntimeout = \"1s\"\n").unwrap_err().contains("nothing here holds"));
    }
}
