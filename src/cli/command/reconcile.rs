//! `reconcile`: what cron and timers run.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::super::args::interval;
use super::super::error::CliError;
use super::super::exit::Exit;
use super::super::finish;
use super::super::session::Session;
use super::super::write::replace;
use crate::fleet::{Allowed, OnLocked, ReconcileOptions, Round, Skipped};
use crate::render::event::Tells;

/// Sync what is due, for cron and timers
///
/// Never asks. Syncs each replica whose interval has passed since it was last verified, mends drift where that is
/// allowed, and fails over where that is allowed and the policy is to. Changes of the topology that were never applied
/// are left to `apply`, and a topology older than the one applied last is refused.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region reconcile
  debvisor-region reconcile --allow sync,drift --on-locked skip
  debvisor-region reconcile --allow sync,failover
  debvisor-region reconcile --metrics-file /run/metrics/debvisor.prom
  debvisor-region reconcile --watch --interval 1m")]
pub(crate) struct Reconcile {
    /// Go on, one round after the other, until a signal comes
    #[arg(long)]
    watch: bool,
    /// Begin a round so long after the last one ended, with --watch
    #[arg(long, value_name = "DUR", default_value = "1m", value_parser = interval, requires = "watch")]
    interval: Duration,
    /// Do these by itself
    #[arg(long, value_name = "WHAT", value_enum, value_delimiter = ',', default_value = "sync")]
    allow: Vec<Allow>,
    /// What to do where another run has the state
    #[arg(long, value_name = "WHAT", value_enum, default_value_t)]
    on_locked: Locked,
    /// Write metrics in Prometheus' text format to this file, whole or not at all
    #[arg(long, value_name = "PATH")]
    metrics_file: Option<PathBuf>,
}

/// What a round may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Allow {
    /// Copy what is due
    Sync,
    /// Make live objects again what was applied
    Drift,
    /// Move what a region holds that is down, by the policy
    Failover,
}

/// What a round does when it is locked out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Locked {
    /// Exit with 4
    #[default]
    Fail,
    /// Wait for the other run to end, as long as it takes or --lock-timeout says
    Wait,
    /// Leave this round out and exit with 0
    Skip,
}

impl Reconcile {
    pub(super) async fn run(self, session: &Arc<Session>) -> Result<Exit, CliError> {
        let Self { watch, interval, allow, on_locked, metrics_file } = self;
        let options = ReconcileOptions {
            allow: Allowed {
                sync: allow.contains(&Allow::Sync),
                drift: allow.contains(&Allow::Drift),
                failover: allow.contains(&Allow::Failover),
            },
            on_locked: match on_locked {
                Locked::Fail => OnLocked::Fail,
                Locked::Wait => OnLocked::Wait { at_most: session.globals.lock_timeout },
                Locked::Skip => OnLocked::Skip,
            },
            repeated: watch,
            unmeasured: metrics_file.is_none(),
        };
        loop {
            let round = round(session, &options, metrics_file.as_ref()).await;
            if !watch {
                return round;
            }
            if session.cancel.is_cancelled() {
                return Ok(Exit::Done);
            }
            // A round that failed is told, and the next one tries again: that is what watching is for.
            if let Err(error) = round {
                finish::tell(session, &error.reports(session.loaded().as_deref()));
            }
            tokio::select! {
                () = session.cancel.cancelled() => return Ok(Exit::Done),
                () = tokio::time::sleep(interval) => {}
            }
        }
    }
}

async fn round(
    session: &Arc<Session>,
    options: &ReconcileOptions,
    metrics_file: Option<&PathBuf>,
) -> Result<Exit, CliError> {
    let fleet = session.fleet()?;
    let (watch, feed) = session.watch(Arc::default(), Tells::WhatIsStoppedToo);
    let result = fleet.reconcile(options, &watch).await;
    feed.end();
    let Round { report, metrics } = result?;
    if let (Some(path), Some(text)) = (metrics_file, &metrics) {
        replace(path, text.as_bytes())?;
    }
    match report {
        Ok(report) => finish::run(session, &report),
        Err(Skipped { holder }) => {
            let holder = holder.as_deref().unwrap_or("another run");
            session.say(&format!("left out: the state is locked by {holder}"));
            Ok(Exit::Done)
        }
    }
}
