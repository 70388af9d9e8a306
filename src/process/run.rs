//! Runs one command to its end or its deadline.
//!
//! - **Guarantee**: the program is started with exactly the given arguments and environment, its standard input at its
//!   end, in a process group of its own. When the deadline passes, it is told to stop, or the caller stops waiting (drops
//!   the future), the whole group is killed with SIGKILL, so nothing that it started and left in the group goes on. At most
//!   [`CAPTURE_BYTES`] of each stream are kept, whatever it prints; a full pipe never stops it.
//! - **Assumption**: it does not leave its group by itself. A runner that starts a machine in a session of its own
//!   (`setsid`, `systemd-run`, a hypervisor that daemonizes) does so on purpose, and that machine goes on.
//! - **A crash here** (this program is killed) leaves the command running to its own end, unwatched: whoever relies on
//!   its end must ask for it again (a runner's `status`).

use std::future::Future;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::command::Command;
use super::fresh::Fresh;

/// The most that is kept of each output stream.
pub const CAPTURE_BYTES: usize = 64 << 10;

/// How long the output of what a finished program left behind in the background is still read.
const DRAIN: Duration = Duration::from_millis(200);

/// How long a killed program is waited for: one that the kernel holds, in a system call that cannot be broken off, dies
/// when that call ends.
const REAP: Duration = Duration::from_secs(5);

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// By itself, with this code.
    Exited(i32),
    /// By a signal that somebody else sent.
    Signalled(i32),
    /// Killed with its group when its deadline had passed.
    TimedOut(Duration),
    /// Never started, in the system's words.
    NotStarted(String),
    /// Not run: what speaks for it was not fresh any more.
    TooLate,
}

/// The beginning of what a stream carried.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Captured {
    /// Its text; bytes that are not UTF-8 are replaced.
    pub text: String,
    /// Whether there was more.
    pub truncated: bool,
}

/// A command that ran, or could not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// How it ended.
    pub outcome: Outcome,
    /// What it printed.
    pub stdout: Captured,
    /// What it complained of.
    pub stderr: Captured,
}

impl Captured {
    /// The beginning of the first line that is not empty.
    pub fn first_line(&self) -> String {
        let line = self.text.lines().map(str::trim).find(|line| !line.is_empty());
        line.unwrap_or_default().chars().take(80).collect()
    }
}

impl Finished {
    /// Whether it ended by itself with code 0.
    pub const fn success(&self) -> bool {
        matches!(self.outcome, Outcome::Exited(0))
    }

    /// How it ended, in words, with the first line that it complained of.
    pub fn describe(&self) -> String {
        let ending = match &self.outcome {
            Outcome::Exited(code) => format!("exited with {code}"),
            Outcome::Signalled(signal) => format!("was ended by signal {signal}"),
            Outcome::TimedOut(after) => {
                format!("took longer than {} and was killed", crate::model::units::format_duration(*after))
            }
            Outcome::NotStarted(reason) => format!("could not be started: {reason}"),
            Outcome::TooLate => "was not run: what was confirmed for it was too old by then".to_owned(),
        };
        match self.stderr.text.lines().map(str::trim).find(|line| !line.is_empty()) {
            Some(line) => format!("{ending}: {line}"),
            None => ending,
        }
    }

    /// How it ended, in words, with the first line that it complained of or, where it complained of nothing, printed.
    pub fn describe_all(&self) -> String {
        let ending = self.describe();
        match self.stdout.first_line() {
            printed if self.stderr.first_line().is_empty() && !printed.is_empty() => format!("{ending}: {printed}"),
            _ => ending,
        }
    }

    fn not_started(reason: String) -> Self {
        Self::not_run(Outcome::NotStarted(reason))
    }

    pub(super) fn not_run(outcome: Outcome) -> Self {
        Self { outcome, stdout: Captured::default(), stderr: Captured::default() }
    }
}

/// Kills a process group unless told that its leader was waited for: until then, its number cannot have been given
/// to anybody else.
struct Group(Option<Pid>);

impl Group {
    fn kill(&mut self) {
        if let Some(leader) = self.0.take() {
            // A group that is gone already is what was wanted.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs `command` and waits for its end, at most until its deadline. See the module for what holds.
pub async fn run(command: &Command) -> Finished {
    run_until(command, |_| {}, std::future::pending()).await
}

/// Runs `command` and waits for its end, at most until its deadline or until `stop` is ready. `started` is given the
/// number of its process group.
///
/// Where it was killed, it is over when this returns, unless the kernel holds it for longer than a few seconds.
pub async fn run_until(command: &Command, started: impl FnOnce(Pid), stop: impl Future<Output = ()>) -> Finished {
    let Some((program, arguments)) = command.argv().split_first() else {
        return Finished::not_started("the command is empty".to_owned());
    };
    let guarded = command.fresh.as_ref().map(|fresh| (fresh.guard.first(), fresh.arguments()));
    let mut process = match guarded {
        None => tokio::process::Command::new(program),
        Some((None, _)) => return Finished::not_started("there is no guard for it".to_owned()),
        Some((Some(guard), before)) => {
            let mut process = tokio::process::Command::new(guard);
            process.args(before).arg(program);
            process
        }
    };
    let spawned = process
        .args(arguments)
        .env_clear()
        .envs(command.variables())
        .current_dir(command.working_directory())
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => return Finished::not_started(start_error(program, &error)),
    };
    let mut group = Group(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw));
    if let Some(leader) = group.0 {
        started(leader);
    }
    let (mut stdout, mut stderr) = (Capture::default(), Capture::default());
    let (from_stdout, from_stderr) = (child.stdout.take(), child.stderr.take());
    let mut reading = Box::pin(async { tokio::join!(stdout.fill(from_stdout), stderr.fill(from_stderr)) });

    let mut read_to_end = false;
    let deadline = tokio::time::sleep(command.deadline());
    tokio::pin!(deadline, stop);
    let outcome = loop {
        tokio::select! {
            // The end of the program counts even where the deadline passed at the same time.
            biased;
            status = child.wait() => {
                // Its number may belong to somebody else from here on.
                group.0 = None;
                break match status {
                    Ok(status) => ended(status),
                    Err(error) => Outcome::NotStarted(error.to_string()),
                };
            }
            _ = &mut reading, if !read_to_end => read_to_end = true,
            () = &mut deadline => {
                group.kill();
                let _ = tokio::time::timeout(REAP, child.wait()).await;
                break Outcome::TimedOut(command.deadline());
            }
            () = &mut stop => {
                group.kill();
                let _ = tokio::time::timeout(REAP, child.wait()).await;
                break Outcome::Signalled(Signal::KILL.as_raw());
            }
        }
    };
    if !read_to_end {
        // What it left in the background may keep the pipes open for ever.
        let _ = tokio::time::timeout(DRAIN, &mut reading).await;
    }
    drop(reading);
    let finished = Finished { outcome, stdout: stdout.finish(), stderr: stderr.finish() };
    if command.fresh.is_some() { Fresh::outcome(finished) } else { finished }
}

pub(super) fn start_error(program: &std::ffi::OsStr, error: &io::Error) -> String {
    let program = program.to_string_lossy();
    match error.kind() {
        io::ErrorKind::NotFound => format!("there is no program `{program}`"),
        io::ErrorKind::PermissionDenied => format!("`{program}` may not be executed"),
        _ => format!("`{program}`: {error}"),
    }
}

fn ended(status: ExitStatus) -> Outcome {
    match (status.code(), status.signal()) {
        (Some(code), _) => Outcome::Exited(code),
        (None, Some(signal)) => Outcome::Signalled(signal),
        (None, None) => Outcome::NotStarted("ended without a status".to_owned()),
    }
}

/// The beginning of a stream; the rest is read and dropped, so that the writer never waits.
#[derive(Default)]
struct Capture {
    kept: Vec<u8>,
    truncated: bool,
}

impl Capture {
    async fn fill(&mut self, stream: Option<impl AsyncRead + Unpin>) {
        let Some(mut stream) = stream else { return };
        let mut buffer = [0; 8 << 10];
        // An error ends the stream as its end does: what was read stays.
        while let Ok(read @ 1..) = stream.read(&mut buffer).await {
            let room = CAPTURE_BYTES - self.kept.len();
            self.kept.extend_from_slice(&buffer[..read.min(room)]);
            self.truncated |= read > room;
        }
    }

    fn finish(self) -> Captured {
        Captured { text: String::from_utf8_lossy(&self.kept).into_owned(), truncated: self.truncated }
    }
}
