//! A policy's hooks: one program each, run once, with what it printed.
//!
//! - **Guarantee**: a hook's first instruction comes at most 5 s after everybody's word for it, by CLOCK_BOOTTIME, however
//!   long this program or its machine stood still in between. It is killed with its group when its time is over. A
//!   fence counts only where it ended with 0 and printed the line `fenced REGION EPOCH`, letter for letter.
//! - **Assumption**: a fence that prints this line has stopped the region's machines and its agent.
//! - **A crash here** leaves a hook that runs to its own end. Whoever goes on with the operation waits out its time.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::model::region::Epoch;
use crate::model::{Clock, RegionId};
use crate::process::{self, Command, FRESHNESS, Finished, Fresh, Occasion, Outcome};

/// How long a hook may go on once this program was told to end.
pub const LAST_WAIT: Duration = Duration::from_secs(4);

/// Runs hooks on this machine.
#[derive(Debug, Clone)]
pub struct Hooks {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// What runs a program only while it is fresh (see [`process::fresh`]).
    pub guard: Option<Vec<String>>,
    /// The programs that may be run; none: any, on the machine of whoever wrote the policy.
    pub allowed: Option<Vec<PathBuf>>,
}

/// One hook to run.
#[derive(Debug, Clone, Copy)]
pub struct HookOrder<'a> {
    /// Its argv.
    pub argv: &'a [String],
    /// How long it may take.
    pub timeout: Duration,
    /// What it is told. A fence's `from` is the region to cut off.
    pub occasion: &'a Occasion,
    /// The time since boot at which the first of those was asked who confirmed that it may run.
    pub confirmed: Duration,
}

/// Why a hook did not do what it is for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HookError {
    /// Not one of those that this machine may run.
    #[error("`{0}` is not among the hooks that this region allows")]
    NotAllowed(String),
    /// Not there, or nothing to run.
    #[error("{0}")]
    Missing(String),
    /// It did not begin: the word for it was too old. Who confirms it anew may run it.
    #[error("`{0}` was not run: what was confirmed for it was too old by then")]
    TooLate(String),
    /// It failed.
    #[error("`{program}` {how}")]
    Failed {
        /// The command.
        program: String,
        /// How it ended, and what it printed.
        how: String,
    },
    /// This program was told to end, and killed it: what it did is not known.
    #[error("`{0}` still ran when this program had to end, and was killed: its outcome is unknown")]
    OutcomeUnknown(String),
    /// It ended well, but did not say what was asked for.
    #[error("`{program}` did not print `fenced {region} {epoch}`: {printed}")]
    NotFenced {
        /// The command.
        program: String,
        /// The region to cut off.
        region: RegionId,
        /// The operation's epoch.
        epoch: Epoch,
        /// What it printed.
        printed: String,
    },
}

impl Hooks {
    /// Whether the hook could be run on this machine: a gate before the first change.
    ///
    /// # Errors
    /// [`HookError::NotAllowed`], [`HookError::Missing`].
    pub fn expect_runnable(&self, argv: &[String]) -> Result<(), HookError> {
        let Some(program) = argv.first().filter(|program| !program.is_empty()) else {
            return Err(HookError::Missing("the hook is an empty command".to_owned()));
        };
        if self.guard.is_none() {
            let reason = format!("`{program}` cannot be run: this program does not know where it is itself");
            return Err(HookError::Missing(reason));
        }
        let path = Path::new(program);
        if let Some(allowed) = &self.allowed
            && !allowed.iter().any(|allowed| allowed == path)
        {
            return Err(HookError::NotAllowed(program.clone()));
        }
        let mut places = process::command::PATH.split(':').map(|directory| Path::new(directory).join(path));
        let found = if program.contains('/') { is_program(path) } else { places.any(|path| is_program(&path)) };
        if found { Ok(()) } else { Err(HookError::Missing(format!("there is no program `{program}` on this machine"))) }
    }

    /// Runs it. When `cancel` is, it has [`LAST_WAIT`] to end.
    ///
    /// # Errors
    /// [`HookError`]; after [`HookError::TooLate`], and where it could not be run, nothing was done.
    pub async fn run(&self, order: HookOrder<'_>, cancel: &CancellationToken) -> Result<Finished, HookError> {
        let HookOrder { argv, timeout, occasion, confirmed } = order;
        self.expect_runnable(argv)?;
        let command = Command::new(argv, timeout).on(occasion, self.clock.now());
        let program = command.display();
        let guard = self.guard.clone().unwrap_or_default();
        let command = command.while_fresh(Fresh { guard, until: confirmed + FRESHNESS, mark: None });
        let stop = async {
            cancel.cancelled().await;
            tokio::time::sleep(LAST_WAIT).await;
        };
        let mut stopped = false;
        let finished = process::run_until(&command, |_| {}, async {
            stop.await;
            stopped = true;
        })
        .await;
        match finished.outcome {
            Outcome::Exited(0) => Ok(finished),
            Outcome::TooLate => Err(HookError::TooLate(program)),
            Outcome::Signalled(_) if stopped => Err(HookError::OutcomeUnknown(program)),
            Outcome::Exited(_) | Outcome::Signalled(_) | Outcome::TimedOut(_) | Outcome::NotStarted(_) => {
                Err(HookError::Failed { program, how: finished.describe_all() })
            }
        }
    }

    /// Runs a fence, and judges what it says: the region that the occasion names as `from` is cut off.
    ///
    /// # Errors
    /// [`HookError`]: it is not known to be.
    pub async fn fence(&self, order: HookOrder<'_>, cancel: &CancellationToken) -> Result<(), HookError> {
        let finished = self.run(order, cancel).await?;
        let (region, epoch) = (&order.occasion.from, order.occasion.epoch);
        if says_fenced(&finished.stdout.text, region, epoch) {
            return Ok(());
        }
        let printed = match finished.stdout.first_line() {
            line if line.is_empty() => "it printed nothing".to_owned(),
            line => format!("it printed `{line}`"),
        };
        let program = Command::new(order.argv, order.timeout).display();
        Err(HookError::NotFenced { program, region: region.clone(), epoch, printed })
    }
}

/// Whether a line says so, letter for letter.
fn says_fenced(printed: &str, region: &RegionId, epoch: Epoch) -> bool {
    let wanted = format!("fenced {region} {epoch}");
    printed.lines().any(|line| line == wanted)
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_line_says_fenced() {
        let east: RegionId = "east".parse().unwrap();
        for (printed, says) in [
            ("fenced east 7\n", true),
            ("cutting power\nfenced east 7\ndone\n", true),
            ("fenced east 70\n", false),
            ("fenced east 6\n", false),
            ("fenced eastern 7\n", false),
            ("fenced west 7\n", false),
            ("not fenced east 7\n", false),
            ("fenced east 7 not\n", false),
            (" fenced east 7\n", false),
            ("FENCED east 7\n", false),
            ("", false),
        ] {
            assert_eq!(says_fenced(printed, &east, Epoch(7)), says, "{printed:?}");
        }
    }

    #[test]
    fn a_hook_that_cannot_be_run_here_is_known_before() {
        let dir = tempfile::tempdir().unwrap();
        let plain = dir.path().join("plain");
        std::fs::write(&plain, "").unwrap();
        let guard = Some(vec!["/bin/true".to_owned()]);
        let any = Hooks { clock: crate::host::world().clock, guard, allowed: None };
        let argv = |program: &str| vec![program.to_owned(), "argument".to_owned()];
        any.expect_runnable(&argv("/bin/sh")).unwrap();
        any.expect_runnable(&argv("sh")).unwrap();
        for missing in ["/nonexistent/fence", "nonexistent-fence", plain.to_str().unwrap(), ""] {
            let refused = any.expect_runnable(&argv(missing)).unwrap_err();
            assert!(matches!(refused, HookError::Missing(_)), "{missing}: {refused}");
        }
        assert!(matches!(any.expect_runnable(&[]), Err(HookError::Missing(_))));
        let some = Hooks { allowed: Some(vec!["/bin/true".into()]), ..any.clone() };
        some.expect_runnable(&argv("/bin/true")).unwrap();
        // Another name of the same program is not what was allowed.
        for other in ["/bin/sh", "true", "/bin/../bin/true"] {
            assert_eq!(some.expect_runnable(&argv(other)), Err(HookError::NotAllowed(other.to_owned())));
        }
        let unguarded = Hooks { guard: None, ..any };
        assert!(matches!(unguarded.expect_runnable(&argv("/bin/sh")), Err(HookError::Missing(_))));
    }
}
