//! The asking side of a guard.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::bracket::{Answer, BREATH, Cause, Entered, LEAVING, Left, Orders, TRIES, hold, take_back};

/// How late the guard's answers may be. One that takes longer is stopped or starved: it thaws nothing.
const LATE: Duration = Duration::from_secs(3);
/// How long the last words of a guard that is dead are still read.
const DRAIN: Duration = Duration::from_millis(200);

/// Something that holds still. Dropping it takes it back too, without waiting for the end of that.
#[derive(Debug)]
pub struct Held {
    /// What the first command printed.
    pub printed: String,
    release: oneshot::Sender<()>,
    end: JoinHandle<Left>,
}

/// Why nothing holds still.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HoldError {
    /// The guard could not be started: without a sure end, nothing is begun.
    #[error("the guard {program} cannot be started: {detail}")]
    NoGuard {
        /// The guard.
        program: String,
        /// Why.
        detail: String,
    },
    /// The first command failed, and was taken back.
    #[error("{0}")]
    Enter(String),
    /// It cannot be taken back. Somebody must look at it.
    #[error("it may still be held: {0}")]
    Leave(String),
}

impl Held {
    /// Begins. `guard` is the argv of a process that runs [`super::thaw_guard`]; without one, the end is sure only
    /// as long as this process lives.
    ///
    /// # Errors
    /// [`HoldError`].
    pub async fn begin(guard: Option<&[String]>, orders: Orders) -> Result<Self, HoldError> {
        let (send_entered, entered) = oneshot::channel();
        let (release, released) = oneshot::channel::<()>();
        let program = orders.program().to_owned();
        let end = match guard {
            Some(guard) => {
                let started = Guard::start(guard, &orders).await?;
                tokio::spawn(started.tend(orders, released, send_entered))
            }
            None => tokio::spawn(async move {
                let released = async {
                    let _ = released.await;
                    Cause::Asked
                };
                let mut send_entered = Some(send_entered);
                hold(&orders, released, |answer| match (answer, send_entered.take()) {
                    (Answer::Entered(entered), Some(send)) => {
                        let _ = send.send(entered);
                    }
                    (Answer::Started(_) | Answer::Leaving | Answer::Left(_) | Answer::Entered(_), unsent) => {
                        send_entered = unsent;
                    }
                })
                .await
            }),
        };
        let detail = match entered.await {
            Ok(Entered { result: Ok(printed) }) => return Ok(Self { printed, release, end }),
            Ok(Entered { result: Err(detail) }) => detail,
            Err(_) => format!("the guard of {program} ended before it"),
        };
        match ended(end).await {
            Left { failure: None, cause: _ } => Err(HoldError::Enter(detail)),
            // What failed by itself most likely left nothing to take back.
            Left { failure: Some(failure), cause: Cause::Failed } => {
                Err(HoldError::Enter(format!("{detail}; {failure}")))
            }
            Left { failure: Some(failure), cause: Cause::Asked | Cause::Overdue | Cause::Told | Cause::Lost } => {
                Err(HoldError::Leave(format!("{detail}; {failure}")))
            }
        }
    }

    /// Takes it back and waits for that; says whether it held until now.
    ///
    /// # Errors
    /// [`HoldError::Leave`].
    pub async fn release(self) -> Result<bool, HoldError> {
        drop(self.release);
        match ended(self.end).await {
            Left { failure: Some(failure), cause: _ } => Err(HoldError::Leave(failure)),
            Left { failure: None, cause: Cause::Asked } => Ok(true),
            Left { failure: None, cause: Cause::Failed | Cause::Overdue | Cause::Told | Cause::Lost } => Ok(false),
        }
    }

    /// Whether it was taken back already.
    pub fn is_over(&self) -> bool {
        self.end.is_finished()
    }
}

async fn ended(end: JoinHandle<Left>) -> Left {
    end.await.unwrap_or_else(|error| Left { cause: Cause::Lost, failure: Some(error.to_string()) })
}

/// A guard that was given its orders.
struct Guard {
    child: Child,
    /// Its closing is the sign to end.
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
}

impl Guard {
    async fn start(argv: &[String], orders: &Orders) -> Result<Self, HoldError> {
        let program = argv.first().cloned().unwrap_or_default();
        let refuse = |detail: String| HoldError::NoGuard { program: program.clone(), detail };
        let mut child = tokio::process::Command::new(&program)
            .args(argv.iter().skip(1))
            .env_clear()
            .env("PATH", crate::process::command::PATH)
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| refuse(error.to_string()))?;
        let (Some(mut input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(refuse("it has no pipes".to_owned()));
        };
        let mut line = serde_json::to_string(orders).expect("plain data converts to JSON");
        line.push('\n');
        input.write_all(line.as_bytes()).await.map_err(|error| refuse(error.to_string()))?;
        Ok(Self { child, input: Some(input), output: BufReader::new(output).lines() })
    }

    /// Waits for the guard's answers, gives it the sign to end, and stands in for it where it died or is silent.
    async fn tend(
        mut self,
        orders: Orders,
        mut released: oneshot::Receiver<()>,
        send_entered: oneshot::Sender<Entered>,
    ) -> Left {
        /// How far it is.
        enum Stage {
            Entering,
            Holding,
            Leaving,
        }
        let mut stage = Stage::Entering;
        let (mut send_entered, mut group, mut asked, mut dead) = (Some(send_entered), None, false, false);
        let mut late = Box::pin(tokio::time::sleep(orders.entering + LATE));
        loop {
            let mut patience = None;
            tokio::select! {
                biased;
                answer = answer(&mut self.output) => match answer {
                    Some(Answer::Started(leader)) => group = Pid::from_raw(leader),
                    Some(Answer::Entered(entered)) => {
                        (stage, group) = (Stage::Holding, None);
                        let held = entered.result.is_ok() && !asked;
                        let longest = orders.longest.unwrap_or(Duration::MAX);
                        patience = Some(if held { longest.saturating_add(LATE) } else { LATE });
                        if let Some(send) = send_entered.take() {
                            // Nobody waits for it where whoever asked is gone.
                            let _ = send.send(entered);
                        }
                    }
                    Some(Answer::Leaving) => {
                        stage = Stage::Leaving;
                        patience = Some((LEAVING + BREATH) * TRIES + LATE);
                    }
                    Some(Answer::Left(left)) => {
                        let _ = self.child.wait().await;
                        return left;
                    }
                    None => return self.stand_in(&orders, group).await,
                },
                _ = &mut released, if !asked => {
                    asked = true;
                    drop(self.input.take());
                    match stage {
                        Stage::Holding => patience = Some(LATE),
                        Stage::Entering | Stage::Leaving => {}
                    }
                }
                // Its end of the pipe may outlive it, in the hands of what it started.
                _ = self.child.wait(), if !dead => {
                    dead = true;
                    late.set(tokio::time::sleep(DRAIN));
                }
                () = &mut late => return self.stand_in(&orders, group).await,
            }
            if let Some(patience) = patience.filter(|_| !dead) {
                late.set(tokio::time::sleep(patience));
            }
        }
    }

    /// The guard is dead, or as good as that: what it held is taken back here, and counts as not having held.
    /// `entering` is the group of a first command that may still run: it must not begin what was taken back.
    async fn stand_in(mut self, orders: &Orders, entering: Option<Pid>) -> Left {
        // One that lives must not thaw beside us.
        let _ = self.child.kill().await;
        if let Some(group) = entering {
            // One that is gone already is what was wanted.
            let _ = kill_process_group(group, Signal::KILL);
        }
        Left { cause: Cause::Lost, failure: take_back(orders, TRIES).await }
    }
}

/// The guard's next line; none where it ended without one, or speaks nonsense. Loses nothing where it is not waited for
/// to its end.
async fn answer(output: &mut Lines<BufReader<ChildStdout>>) -> Option<Answer> {
    output.next_line().await.ok().flatten().and_then(|line| serde_json::from_str(&line).ok())
}
