//! A world to run the program in: a directory, regions, a topology, and the program's whole answer.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::schemas;

/// The program under test.
pub(crate) fn program() -> &'static str {
    env!("CARGO_BIN_EXE_debvisor-region")
}

/// The repository.
pub(crate) fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// What the program answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Answer {
    pub(crate) fn from_output(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).expect("standard output is UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("standard error is UTF-8"),
        }
    }

    /// Runs the program to its end. What it answers programs must fit its schema.
    #[track_caller]
    pub(crate) fn to(command: &mut Command) -> Self {
        let answer = Self::from_output(command.output().unwrap());
        let args: Vec<String> = command.get_args().map(|arg| arg.to_string_lossy().into_owned()).collect();
        schemas::hold(&args, &answer);
        answer
    }

    /// Checks the exit code; shows everything where it is another.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "exit code\n--- stdout\n{}\n--- stderr\n{}", self.stdout, self.stderr);
        self
    }

    /// Checks that both streams together hold each text.
    #[track_caller]
    pub(crate) fn says(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(
                self.stdout.contains(text) || self.stderr.contains(text),
                "`{text}` is missing\n--- stdout\n{}\n--- stderr\n{}",
                self.stdout,
                self.stderr
            );
        }
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}\n--- stdout\n{}\n--- stderr\n{}", self.stdout, self.stderr))
    }

    /// Standard output as JSON lines.
    #[track_caller]
    pub(crate) fn json_lines(&self) -> Vec<serde_json::Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
    }
}

/// A directory with a topology and regions.
pub(crate) struct World {
    pub(crate) dir: TempDir,
}

/// Two regions, a pair for everything, and whatever is appended.
pub(crate) const TWO_REGIONS: &str = r#"schema_version = 1

[regions.a]
api_endpoint = "file:a"
primary = true

[regions.b]
api_endpoint = "file:b"

[[replication]]
source = "a"
target = "b"
resource_types = ["vm", "storage", "network", "config", "state"]
"#;

impl World {
    /// An empty directory.
    pub(crate) fn new() -> Self {
        Self { dir: TempDir::new().unwrap() }
    }

    /// Two `file:` regions and `more` of a topology.
    pub(crate) fn two_regions(more: &str) -> Self {
        let world = Self::new();
        world.write("topology.toml", format!("{TWO_REGIONS}\n{more}"));
        world
    }

    /// A copy of `examples/three-regions`, without what an apply made there.
    pub(crate) fn example() -> Self {
        let world = Self::new();
        let from = repository().join("examples/three-regions");
        fs::copy(from.join("topology.toml"), world.path("topology.toml")).unwrap();
        copy_tree(&from.join("regions/us-east-1/resources"), &world.path("regions/us-east-1/resources"));
        world
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file, its directories too.
    pub(crate) fn write(&self, name: impl AsRef<Path>, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// Writes a file that only its owner may read.
    pub(crate) fn secret(&self, name: impl AsRef<Path>, bytes: impl AsRef<[u8]>) {
        self.write(&name, bytes);
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }

    pub(crate) fn read(&self, name: impl AsRef<Path>) -> Vec<u8> {
        let path = self.path(name);
        fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// The program with these arguments, to be changed further or started.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(program());
        command
            .args(args)
            .current_dir(self.dir.path())
            .env_remove("DEBVISOR_REGION_TOPOLOGY")
            .env_remove("NO_COLOR")
            .env_remove("COLUMNS")
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null());
        command
    }

    /// Runs the program to its end.
    #[track_caller]
    pub(crate) fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Answer {
        Answer::to(&mut self.command(args))
    }

    /// `apply --auto-approve`, which must succeed.
    #[track_caller]
    pub(crate) fn apply(&self) -> Answer {
        self.run(["apply", "--auto-approve"]).exits(0)
    }

    /// Plans, and checks that nothing is to be done.
    #[track_caller]
    pub(crate) fn assert_settled(&self) {
        self.run(["plan", "--detailed-exitcode"]).exits(0);
    }

    /// Exports the newest point of `resource` at `region` and compares it with the directory `expected`.
    #[track_caller]
    pub(crate) fn assert_newest_point_is(&self, resource: &str, region: &str, expected: &Path) {
        let into = TempDir::new_in(self.dir.path()).unwrap();
        let into = into.path().join("export");
        self.run(["replication", "export", resource, "--region", region, into.to_str().unwrap()]).exits(0);
        assert_same_tree(expected, &into);
    }
}

/// Copies a tree of directories and files.
pub(crate) fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Checks that two trees hold the same names, kinds, modes, links and bytes.
#[track_caller]
pub(crate) fn assert_same_tree(expected: &Path, actual: &Path) {
    let (left, right) = (listing(expected), listing(actual));
    assert_eq!(left, right, "{} and {} differ", expected.display(), actual.display());
    for (name, kind) in &left {
        if kind.starts_with("file") {
            assert_same_bytes(&expected.join(name), &actual.join(name));
        }
    }
}

/// Checks that two files are equal byte for byte, holding little of them in memory.
#[track_caller]
pub(crate) fn assert_same_bytes(expected: &Path, actual: &Path) {
    let same = Command::new("cmp").arg(expected).arg(actual).output().unwrap();
    assert!(
        same.status.success(),
        "{}{}",
        String::from_utf8_lossy(&same.stdout),
        String::from_utf8_lossy(&same.stderr)
    );
}

/// Every path below `root` with its kind, mode and, of links, target.
fn listing(root: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display())) {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            let mode = meta.mode() & 0o7777;
            let kind = if meta.is_dir() {
                open.push(path.clone());
                format!("directory {mode:o}")
            } else if meta.is_symlink() {
                format!("link to {}", fs::read_link(&path).unwrap().display())
            } else {
                format!("file {mode:o} of {}", meta.len())
            };
            found.push((path.strip_prefix(root).unwrap().to_owned(), kind));
        }
    }
    found.sort();
    found
}

/// The bytes that a file really occupies.
pub(crate) fn allocated(path: &Path) -> u64 {
    fs::metadata(path).unwrap().blocks() * 512
}

/// Kills a program as soon as it is there, and says that it did; false: it had ended before.
pub(crate) fn kill_once(child: &mut Child, is_there: impl Fn() -> bool) -> bool {
    while !is_there() {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    true
}
