//! `status`: the first look on a bad day.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::super::args::{Format, interval};
use super::super::error::CliError;
use super::super::exit::Exit;
use super::super::finish;
use super::super::session::Session;
use super::super::signal::{Change, Signals, Window, suspend};
use crate::fleet::StatusReport;
use crate::render::status::{self, Watched};
use crate::render::{Screen, document};

/// Show what is wrong, how far replicas lag, and what waits
///
/// What needs attention comes first, the worst of it on top; then the regions; then each replica's lag against its
/// promise. Takes no lock and writes nothing. Exits with 0 whatever it finds; `plan --detailed-exitcode` judges.
///
/// With --watch it is shown again and again until Ctrl-C, which ends it with 130: at a terminal in place, elsewhere one
/// block after the other, with --format json one document a line.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region                    # the same
  debvisor-region status --verbose   # every replica, however many are in sync
  debvisor-region status --watch
  debvisor-region status --watch --interval 1m > status.log
  debvisor-region status --format json")]
pub(crate) struct Status {
    /// Show it again and again, until Ctrl-C
    #[arg(long)]
    watch: bool,
    /// Look again so long after the last look, with --watch
    #[arg(long, value_name = "DUR", default_value = "5s", value_parser = interval, requires = "watch")]
    interval: Duration,
}

/// How often a page is drawn anew that says how old it is.
const TICK: Duration = Duration::from_secs(1);

impl Status {
    /// Once, as without any option.
    pub(super) const fn once() -> Self {
        Self { watch: false, interval: Duration::ZERO }
    }

    /// Whether it goes on until a signal comes.
    pub(super) const fn watches(&self) -> bool {
        self.watch
    }

    pub(super) async fn run(self, session: &Arc<Session>) -> Result<Exit, CliError> {
        let Self { watch, interval } = self;
        if !watch {
            let report = look(session).await?;
            session.print(&report, |look| status::status(&report, look, session.globals.verbose))?;
            return Ok(Exit::Done);
        }
        let mut signals = Signals::install().map_err(unwatched)?;
        // The first look fails as that of `status` does.
        let first = tokio::select! {
            first = look(session) => first?,
            () = signals.next() => return Ok(Exit::Interrupted),
        };
        let terminal = session.printer.terminal();
        if session.for_people() && terminal.output.tty && !terminal.dumb {
            in_place(session, first, interval, signals).await
        } else {
            one_after_the_other(session, first, interval, signals).await
        }
    }
}

fn unwatched(error: std::io::Error) -> CliError {
    CliError::Unfit {
        message: format!("no signal can be waited for: {error}"),
        help: Some("Look at the limits of this process; `status` without --watch needs none.".to_owned()),
    }
}

/// Everything is read anew, the topology too: a file that is edited meanwhile counts.
async fn look(session: &Session) -> Result<StatusReport, CliError> {
    Ok(session.fleet()?.status().await?)
}

/// What comes of looking again and again.
enum Step {
    Asking,
    Seen(Box<Result<StatusReport, CliError>>),
}

/// Looks again and again, for as long as somebody takes what is seen.
fn looks(session: &Arc<Session>, interval: Duration) -> mpsc::Receiver<Step> {
    let session = Arc::clone(session);
    let (to, looks) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(interval).await;
            if to.send(Step::Asking).await.is_err() {
                return;
            }
            let seen = tokio::select! {
                seen = look(&session) => seen,
                () = to.closed() => return,
            };
            if to.send(Step::Seen(Box::new(seen))).await.is_err() {
                return;
            }
        }
    });
    looks
}

/// Draws each look in place of the last one.
async fn in_place(
    session: &Arc<Session>,
    first: StatusReport,
    interval: Duration,
    mut signals: Signals,
) -> Result<Exit, CliError> {
    let mut window = Window::install().map_err(unwatched)?;
    let mut looks = looks(session, interval);
    let screen = Screen::new(Arc::clone(&session.printer));
    let (mut shown, mut asking, mut failure) = (first, None, Vec::new());
    loop {
        let watched = Watched {
            now: session.world.clock.now(),
            interval,
            asking: asking.map(|since: Instant| since.elapsed()),
            failure: &failure,
        };
        screen.draw(&status::watched(&shown, &watched, &screen.look(), session.globals.verbose));
        tokio::select! {
            () = signals.next() => return Ok(Exit::Interrupted),
            change = window.next() => match change {
                Change::Resized => {}
                Change::Suspended => {
                    screen.leave();
                    suspend();
                    screen.enter();
                }
            },
            () = tokio::time::sleep(TICK) => {}
            step = looks.recv() => match step {
                Some(Step::Asking) => asking = Some(Instant::now()),
                Some(Step::Seen(seen)) => {
                    asking = None;
                    match *seen {
                        Ok(report) => (shown, failure) = (report, Vec::new()),
                        Err(error) => failure = error.reports(session.loaded().as_deref()),
                    }
                }
                None => return Err(CliError::Bug("nobody looks any more".to_owned())),
            },
        }
    }
}

/// Prints each look behind the last one.
async fn one_after_the_other(
    session: &Arc<Session>,
    first: StatusReport,
    interval: Duration,
    mut signals: Signals,
) -> Result<Exit, CliError> {
    let mut looks = looks(session, interval);
    told(session, &first)?;
    loop {
        // Whoever read it has gone.
        if session.printer.output_closed() {
            return Ok(Exit::Done);
        }
        let step = tokio::select! {
            () = signals.next() => return Ok(Exit::Interrupted),
            step = looks.recv() => step,
        };
        match step {
            Some(Step::Asking) => {}
            Some(Step::Seen(seen)) => match *seen {
                Ok(report) => told(session, &report)?,
                // It is told, and the next look tries again: that is what watching is for.
                Err(error) => finish::tell(session, &error.reports(session.loaded().as_deref())),
            },
            None => return Err(CliError::Bug("nobody looks any more".to_owned())),
        }
    }
}

/// One of many: a block with its moment, a line of JSON, a document of YAML.
fn told(session: &Session, report: &StatusReport) -> Result<(), CliError> {
    let text = match session.globals.format {
        Format::Json => document::json_line(report)?,
        Format::Yaml => format!("---\n{}", document::yaml(report)?),
        Format::Table | Format::Markdown => {
            status::block(report, session.printer.output_look(), session.globals.verbose)
        }
    };
    session.printer.result(&text);
    Ok(())
}
