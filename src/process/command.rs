//! One program to run, completely spelled out: nothing of this program's own environment reaches it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::fresh::Fresh;
use super::placeholder::Placeholders;

/// Where programs are looked for that are named without a slash. A constant, so that a command behaves the same
/// under cron, in a terminal and in a service.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program, its arguments, its environment and its deadline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    argv: Vec<OsString>,
    variables: BTreeMap<OsString, OsString>,
    directory: PathBuf,
    deadline: Duration,
    pub(super) fresh: Option<Fresh>,
}

impl Command {
    /// The program `argv[0]` with the arguments after it, to be killed after `deadline`.
    ///
    /// It runs in `/`, with `PATH` and `LANG` set to constants and nothing else in its environment.
    pub fn new<S: AsRef<OsStr>>(argv: &[S], deadline: Duration) -> Self {
        let variables = [("PATH", PATH), ("LANG", "C.UTF-8")].map(|(name, value)| (name.into(), value.into()));
        Self {
            argv: argv.iter().map(|argument| argument.as_ref().to_owned()).collect(),
            variables: variables.into(),
            directory: "/".into(),
            deadline,
            fresh: None,
        }
    }

    /// The same with every placeholder replaced.
    #[must_use]
    pub fn expanded(mut self, places: &Placeholders) -> Self {
        for argument in &mut self.argv {
            *argument = places.expand(argument);
        }
        self
    }

    /// With one more variable in its environment.
    #[must_use]
    pub fn variable(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }

    /// Run in `directory`.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = directory.into();
        self
    }

    /// Program and arguments.
    pub fn argv(&self) -> &[OsString] {
        &self.argv
    }

    /// All that is in its environment.
    pub const fn variables(&self) -> &BTreeMap<OsString, OsString> {
        &self.variables
    }

    /// Where it runs.
    pub fn working_directory(&self) -> &Path {
        &self.directory
    }

    /// After how long it is killed.
    pub const fn deadline(&self) -> Duration {
        self.deadline
    }

    /// The command for people, arguments in quotes where they need them.
    pub fn display(&self) -> String {
        let words: Vec<String> = self
            .argv
            .iter()
            .map(|argument| {
                let text = argument.to_string_lossy();
                let plain = |c: char| c.is_alphanumeric() || "-_./=:@,+{}%".contains(c);
                if !text.is_empty() && text.chars().all(plain) { text.into_owned() } else { format!("{text:?}") }
            })
            .collect();
        words.join(" ")
    }
}
