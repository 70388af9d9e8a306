//! A program that runs only while what speaks for it is fresh.
//!
//! Between the word of everybody who must agree and the first instruction of a program, this program may be stopped, or
//! its machine suspended. So the program is not started directly: this program is started once more as a *guard*,
//! looks at the clock, and only then becomes the other program.
//!
//! - **Guarantee**: the program's first instruction comes after a look at CLOCK_BOOTTIME, in the same process, that found
//!   the deadline still ahead; and where a mark is kept, after the process had written its number into it.
//! - **Assumption**: between that look and the program there is nothing but the system call that makes it so.
//! - **A crash here** leaves a program that runs, and that the mark tells of, or one that never will.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, getpid, kill_process_group};
use serde::{Deserialize, Serialize};

use super::command::Command;
use super::run::{Finished, Outcome, start_error};
use crate::host::boot_id;
use crate::model::Clock;

/// How long a confirmation is fresh.
pub const FRESHNESS: Duration = Duration::from_secs(5);

/// Until when a program may be run, and who sees to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fresh {
    /// The argv of a process that calls [`Fresh::become_program`] with the arguments that follow.
    pub guard: Vec<String>,
    /// The time since boot.
    pub until: Duration,
    /// What remembers the program, for when this one is gone.
    pub mark: Option<PathBuf>,
}

/// Why a guard did not become the program: all that it prints.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "not_run", content = "reason")]
enum NotRun {
    TooLate,
    NotStarted(String),
}

impl Command {
    /// Run only as long as it is `fresh`.
    #[must_use]
    pub fn while_fresh(mut self, fresh: Fresh) -> Self {
        self.fresh = Some(fresh);
        self
    }
}

impl Fresh {
    /// The guard's arguments before those of the program.
    pub(super) fn arguments(&self) -> Vec<OsString> {
        let until = u64::try_from(self.until.as_nanos()).unwrap_or(u64::MAX).to_string();
        let mut all: Vec<OsString> = self.guard.iter().skip(1).map(OsString::from).collect();
        all.extend(["--until".into(), until.into()]);
        if let Some(mark) = &self.mark {
            all.extend(["--mark".into(), mark.into()]);
        }
        all.push("--".into());
        all
    }

    /// What a guard's end means.
    pub(super) fn outcome(finished: Finished) -> Finished {
        let why = if finished.success() { None } else { serde_json::from_str(&finished.stdout.text).ok() };
        match why {
            Some(NotRun::TooLate) => Finished::not_run(Outcome::TooLate),
            Some(NotRun::NotStarted(reason)) => Finished::not_run(Outcome::NotStarted(reason)),
            None => finished,
        }
    }

    /// Makes this process the program `argv`, unless `until` is over, having signed the `mark`. Comes back only where it
    /// did not, with what to print before this process fails.
    pub fn become_program(argv: &[OsString], until: Duration, mark: Option<&Path>, clock: &dyn Clock) -> String {
        let not_run = match argv.split_first() {
            None => NotRun::NotStarted("the command is empty".to_owned()),
            Some((program, arguments)) => match mark.map_or(Ok(()), Mark::sign) {
                Err(error) => NotRun::NotStarted(format!("nothing could be noted of it: {error}")),
                Ok(()) if clock.since_boot() > until => NotRun::TooLate,
                Ok(()) => {
                    let error = std::process::Command::new(program).args(arguments).exec();
                    NotRun::NotStarted(start_error(program, &error))
                }
            },
        };
        serde_json::to_string(&not_run).expect("plain data converts to JSON")
    }
}

/// What a file says of a program that may still run though nobody waits for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Noted {
    /// This boot of the machine: no program of another one runs.
    boot: String,
    /// After this time since boot, a program that has not signed will not run any more.
    until: Duration,
}

/// Who became the program: a process by its number and the time of its start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Signed {
    pid: i32,
    started: String,
}

/// A file that tells of a program after whoever started it is gone.
///
/// Its first line is written before the program is run, the second by the process that becomes it.
#[derive(Debug)]
pub struct Mark;

/// What a mark says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marked {
    /// Nothing of that program is left.
    Over,
    /// It runs, as a process group of this number.
    Runs(Pid),
    /// It may come to run, or what it did may still show, until this time since boot.
    Until(Duration),
}

impl Mark {
    /// Notes that a program may run, and come to do so until `until`.
    ///
    /// # Errors
    /// The file system's.
    pub fn write(path: &Path, until: Duration) -> io::Result<()> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        let mut line = serde_json::to_string(&Noted { boot: boot_id(), until })?;
        line.push('\n');
        fs::write(path, line)
    }

    /// This process becomes the program.
    fn sign(path: &Path) -> io::Result<()> {
        let pid = getpid();
        let started = started(pid)?.ok_or(io::ErrorKind::NotFound)?;
        let mut line = serde_json::to_string(&Signed { pid: pid.as_raw_nonzero().get(), started })?;
        line.push('\n');
        // One that is gone was seen to be over: then it is.
        File::options().append(true).open(path)?.write_all(line.as_bytes())
    }

    /// What the mark at `path` says; a file that is not there says that all is over.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn read(path: &Path, now: Duration) -> io::Result<Marked> {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Marked::Over),
            read => read?,
        };
        let mut lines = text.lines();
        // One that was cut off while it was written began nothing.
        let Some(noted) = lines.next().and_then(|line| serde_json::from_str::<Noted>(line).ok()) else {
            return Ok(Marked::Over);
        };
        if noted.boot != boot_id() {
            return Ok(Marked::Over);
        }
        if let Some(signed) = lines.next().and_then(|line| serde_json::from_str::<Signed>(line).ok())
            && let Some(pid) = Pid::from_raw(signed.pid)
            && started(pid)? == Some(signed.started)
        {
            return Ok(Marked::Runs(pid));
        }
        Ok(if noted.until >= now { Marked::Until(noted.until) } else { Marked::Over })
    }

    /// Removes it.
    ///
    /// # Errors
    /// The file system's.
    pub fn remove(path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Kills the process group that became the program.
    pub fn kill(leader: Pid) {
        // One that is gone already is what was wanted.
        let _ = kill_process_group(leader, Signal::KILL);
    }
}

/// When the process was started, in the kernel's words; none where it is gone, or ended and only not waited for.
fn started(pid: Pid) -> io::Result<Option<String>> {
    let stat = match fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())) {
        Err(error) if error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(3) => return Ok(None),
        read => read?,
    };
    // The name before it may hold anything but ends with the last parenthesis; then the 3rd to the 22nd value.
    let values: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let gone = values.first().is_none_or(|state| matches!(*state, "Z" | "X"));
    Ok(values.get(19).filter(|_| !gone).map(|value| (*value).to_owned()))
}
