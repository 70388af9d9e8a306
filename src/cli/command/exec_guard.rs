//! `exec-guard`: hidden; started by this program itself. It becomes another program, unless that is too late by now.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::super::exit::Exit;
use super::super::session::Session;
use crate::process::Fresh;

/// Become another program while what was confirmed for it is fresh
#[derive(Debug, Args)]
#[command(hide = true)]
pub(crate) struct ExecGuard {
    /// The last nanosecond since boot
    #[arg(long)]
    until: u64,
    /// The file to sign before
    #[arg(long)]
    mark: Option<PathBuf>,
    /// The program and its arguments
    #[arg(last = true)]
    argv: Vec<OsString>,
}

impl ExecGuard {
    pub(crate) fn run(self, session: &Arc<Session>) -> Exit {
        let Self { until, mark, argv } = self;
        let until = Duration::from_nanos(until);
        let why = Fresh::become_program(&argv, until, mark.as_deref(), &*session.world.clock);
        session.printer.result(&why);
        Exit::Failed
    }
}
