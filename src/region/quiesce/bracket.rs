//! What is begun is ended: a command that freezes or snapshots, and the one that takes it back.
//!
//! - **Guarantee**: once the first command was started, the second one runs, again where it fails, up to [`TRIES`]
//!   times: when it is asked for, when whoever asked is gone (its end of the pipe is
//!   closed, however it died), when the longest time is over, or when this process is told to end. If the first
//!   command is still running at that moment it is killed with its group before, and waited for. Only what was asked
//!   for counts as having held until then.
//! - **Assumption**: nobody kills the guard with SIGKILL; then whoever asked still runs the second command itself. Where
//!   both are killed, the machine fails, or the second command fails each time, the mark (`mark`) remembers it.
//! - **A crash here** of the asking process leaves the guard, which takes the first command back within moments.
//!
//! [`thaw_guard`] is this program's own hidden subcommand, in a process group of its own, so that neither Ctrl-C nor
//! the death of the program reaches it.

use std::collections::BTreeMap;
use std::future::Future;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Pid;
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::mark::{self, Claim};
use crate::process::{self, Command, Finished, Outcome};

/// How often the second command is tried before it is given up.
pub const TRIES: u32 = 5;
/// How long one try of the second command may take: longer than any thaw, since there is nothing better to do.
pub(super) const LEAVING: Duration = Duration::from_secs(60);
/// Between two tries.
pub(super) const BREATH: Duration = Duration::from_millis(250);

/// Two commands and the time between them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orders {
    /// Begins.
    pub enter: Vec<String>,
    /// Takes back.
    pub leave: Vec<String>,
    /// What both find in their environment.
    pub variables: BTreeMap<String, String>,
    /// How long the first command may take.
    #[serde(with = "crate::model::units::duration")]
    pub entering: Duration,
    /// How long, from the start of the first command, until it is taken back unasked; none: as long as the asking
    /// process lives.
    #[serde(with = "crate::model::units::optional_duration")]
    pub longest: Option<Duration>,
    /// The file that says that something is held, which goes when it was taken back; none: nobody remembers.
    pub mark: Option<PathBuf>,
}

impl Orders {
    /// The first command's program.
    pub(super) fn program(&self) -> &str {
        self.enter.first().map_or("the command", String::as_str)
    }

    /// The second command, as it can be typed.
    pub(super) fn leaving(&self) -> String {
        self.command(&self.leave, LEAVING).display()
    }

    fn command(&self, argv: &[String], deadline: Duration) -> Command {
        let command = Command::new(argv, deadline);
        self.variables.iter().fold(command, |command, (name, value)| command.variable(name, value))
    }
}

/// The first command's end, as the guard reports it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entered {
    /// Its first lines where it succeeded, else how it failed.
    pub result: Result<String, String>,
}

/// What brought the end about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// It was asked for, or whoever could ask is gone. Only this one says that it held until then.
    Asked,
    /// The first command failed.
    Failed,
    /// The longest time was over.
    Overdue,
    /// The guard was told to end.
    Told,
    /// The guard died or answers no more.
    Lost,
}

/// How what was begun ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// What brought it about.
    pub cause: Cause,
    /// Why it could not be taken back; none: it was.
    pub failure: Option<String>,
}

/// What the guard says, one line each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    /// The first command runs, in a process group of this number.
    Started(i32),
    /// The first command ended.
    Entered(Entered),
    /// The second command is about to run.
    Leaving,
    /// All is over.
    Left(Left),
}

/// Runs the first command, waits, runs the second one.
pub(super) async fn hold(orders: &Orders, released: impl Future<Output = Cause>, mut say: impl FnMut(Answer)) -> Left {
    let over = async {
        match orders.longest {
            Some(longest) => tokio::time::sleep(longest).await,
            None => std::future::pending().await,
        }
    };
    let ended = async {
        tokio::pin!(released, over);
        tokio::select! {
            // What held too long did not hold until it was asked to end.
            biased;
            () = &mut over => Cause::Overdue,
            cause = &mut released => cause,
        }
    };
    tokio::pin!(ended);
    let _claim = Claim::of(orders);
    let enter = orders.command(&orders.enter, orders.entering);
    let mut early = None;
    let started = |group: Pid| say(Answer::Started(group.as_raw_nonzero().get()));
    let finished = process::run_until(&enter, started, async { early = Some((&mut ended).await) }).await;
    let began = !matches!(finished.outcome, Outcome::NotStarted(_));
    let failed = early.or_else(|| (!finished.success()).then_some(Cause::Failed));
    say(Answer::Entered(Entered { result: told(finished, orders, failed) }));
    let (cause, tries) = match failed {
        None => (ended.await, TRIES),
        // It may have done half of its work, which is taken back; but it may be taking back nothing.
        Some(Cause::Failed) => (Cause::Failed, 2),
        Some(cause) => (cause, TRIES),
    };
    if !began {
        mark::remove(orders);
        return Left { cause, failure: None };
    }
    say(Answer::Leaving);
    Left { cause, failure: take_back(orders, tries).await }
}

/// What the first command printed, or how it failed.
fn told(finished: Finished, orders: &Orders, failed: Option<Cause>) -> Result<String, String> {
    let program = orders.program();
    let words = match failed {
        None => return Ok(finished.stdout.text),
        Some(Cause::Failed | Cause::Lost) => finished.describe(),
        Some(Cause::Overdue) => {
            let longest = orders.longest.unwrap_or(orders.entering);
            Finished { outcome: Outcome::TimedOut(longest), ..finished }.describe()
        }
        Some(Cause::Told) => "was stopped, because its guard was told to end".to_owned(),
        Some(Cause::Asked) => "was stopped, because nobody waits for it any more".to_owned(),
    };
    Err(format!("{program} {words}"))
}

/// Runs the second command, and removes the mark where it succeeds; why it did not.
pub(super) async fn take_back(orders: &Orders, most: u32) -> Option<String> {
    let failure = leave(orders, most, LEAVING).await;
    if failure.is_none() {
        mark::remove(orders);
    }
    failure
}

/// Runs the second command until it succeeds, at most `most` times, each for at most `each`; why it did not.
pub(super) async fn leave(orders: &Orders, most: u32, each: Duration) -> Option<String> {
    let command = orders.command(&orders.leave, each);
    let mut tries = 0;
    loop {
        let finished = process::run(&command).await;
        tries += 1;
        if finished.success() {
            return None;
        }
        if tries >= most {
            return Some(format!("{} {}", command.display(), finished.describe()));
        }
        tokio::time::sleep(BREATH).await;
    }
}

/// The guard process: reads [`Orders`] as one line of JSON from `input`, carries them out, and takes the end of
/// `input` for the sign to end. Answers in lines of JSON.
///
/// # Errors
/// Where there are no orders to read, or signals cannot be caught; nothing was begun then.
pub async fn thaw_guard(input: impl Read + Send + 'static, mut output: impl Write) -> Result<(), String> {
    // A broken pipe must not kill the guard: it is exactly what it is there for. The others mean: end now, but well.
    let catch = |kind| signal(kind).map_err(|error| format!("cannot catch signals: {error}"));
    let _broken_pipe = catch(SignalKind::pipe())?;
    let (mut hangup, mut interrupt, mut terminate) =
        (catch(SignalKind::hangup())?, catch(SignalKind::interrupt())?, catch(SignalKind::terminate())?);

    let (send_orders, orders) = oneshot::channel();
    let (send_end, end) = oneshot::channel::<()>();
    // A thread of its own, which the end of this process doesn't wait for.
    std::thread::spawn(move || {
        let mut input = BufReader::new(input);
        let mut line = String::new();
        let read = input.read_line(&mut line);
        let _ = send_orders.send(read.map(|_| line));
        // Whatever comes after the orders means nothing; an error of the pipe is its end.
        let _ = std::io::copy(&mut input, &mut std::io::sink());
        drop(send_end);
    });
    let line = match orders.await {
        Ok(Ok(line)) => line,
        Ok(Err(error)) => return Err(format!("cannot read the orders: {error}")),
        Err(_) => return Err("there are no orders".to_owned()),
    };
    let orders: Orders = serde_json::from_str(&line).map_err(|error| format!("these are no orders: {error}"))?;
    let released = async {
        tokio::select! {
            _ = end => Cause::Asked,
            _ = hangup.recv() => Cause::Told,
            _ = interrupt.recv() => Cause::Told,
            _ = terminate.recv() => Cause::Told,
        }
    };
    // Whoever asked may be gone; then nobody misses the answers.
    let mut say = |answer: Answer| {
        let line = serde_json::to_string(&answer).expect("plain data converts to JSON");
        let _ = writeln!(output, "{line}").and_then(|()| output.flush());
    };
    let left = hold(&orders, released, &mut say).await;
    say(Answer::Left(left));
    Ok(())
}
