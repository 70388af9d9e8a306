//! The asking side of a guard.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::bracket::{Answer, Entered, Left, Orders, TRIES, hold, leave};

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
        let end = match guard {
            Some(guard) => {
                let started = Guard::start(guard, &orders).await?;
                tokio::spawn(started.tend(orders, released, send_entered))
            }
            None => tokio::spawn(async move {
                let released = async {
                    let _ = released.await;
                };
                hold(&orders, released, |entered| {
                    let _ = send_entered.send(entered);
                })
                .await
            }),
        };
        match entered.await {
            Ok(Entered { result: Ok(printed) }) => Ok(Self { printed, release, end }),
            Ok(Entered { result: Err(detail) }) => match ended(end).await.failure {
                Some(failure) => Err(HoldError::Enter(format!("{detail}; {failure}"))),
                None => Err(HoldError::Enter(detail)),
            },
            // It ended before its first command did: the longest time passed.
            Err(_) => match ended(end).await.failure {
                Some(failure) => Err(HoldError::Leave(failure)),
                None => Err(HoldError::Enter("it took longer than it may".to_owned())),
            },
        }
    }

    /// Takes it back and waits for that; says whether it held until now.
    ///
    /// # Errors
    /// [`HoldError::Leave`].
    pub async fn release(self) -> Result<bool, HoldError> {
        drop(self.release);
        let Left { asked, failure } = ended(self.end).await;
        match failure {
            Some(failure) => Err(HoldError::Leave(failure)),
            None => Ok(asked),
        }
    }

    /// Whether it was taken back already.
    pub fn is_over(&self) -> bool {
        self.end.is_finished()
    }
}

async fn ended(end: JoinHandle<Left>) -> Left {
    end.await.unwrap_or_else(|error| Left { asked: false, failure: Some(error.to_string()) })
}

/// A guard that was given its orders.
struct Guard {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
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
        Ok(Self { child, input, output: BufReader::new(output) })
    }

    /// Waits for the guard's answers, gives it the sign to end, and stands in for it where it died.
    async fn tend(
        self,
        orders: Orders,
        released: oneshot::Receiver<()>,
        send_entered: oneshot::Sender<Entered>,
    ) -> Left {
        let Self { child, input, mut output } = self;
        match answer(&mut output).await {
            Some(Answer::Entered(entered)) => {
                let _ = send_entered.send(entered);
            }
            Some(Answer::Left(left)) => return reap(child, left).await,
            None => return stand_in(child, &orders).await,
        }
        let mut ended = Box::pin(answer(&mut output));
        let last = tokio::select! {
            // An end before the sign was given: the longest time was over, or the guard died.
            last = &mut ended => last,
            _ = released => {
                drop(input);
                ended.await
            }
        };
        match last {
            Some(Answer::Left(left)) => reap(child, left).await,
            Some(Answer::Entered(_)) | None => stand_in(child, &orders).await,
        }
    }
}

/// The guard's next line; none where it ended without one, or speaks nonsense.
async fn answer(output: &mut BufReader<ChildStdout>) -> Option<Answer> {
    let mut line = String::new();
    match output.read_line(&mut line).await {
        Ok(1..) => serde_json::from_str(&line).ok(),
        Ok(0) | Err(_) => None,
    }
}

async fn reap(mut child: Child, left: Left) -> Left {
    let _ = child.wait().await;
    left
}

/// The guard is dead: what it held is taken back here, and counts as not having held.
async fn stand_in(mut child: Child, orders: &Orders) -> Left {
    // One that lives but speaks nonsense must not thaw beside us.
    let _ = child.kill().await;
    Left { asked: false, failure: leave(orders, TRIES).await }
}
