//! `thaw-guard`: hidden; started by this program itself. It thaws what was frozen when the program that asked for it
//! is gone, and therefore minds no signal meant for that one.

use std::sync::{Arc, PoisonError};

use clap::Args;

use super::super::error::CliError;
use super::super::exit::Exit;
use super::super::session::Session;
use crate::region::quiesce::thaw_guard;

/// Keep a freeze no longer than the program that asked for it lives
#[derive(Debug, Args)]
#[command(hide = true)]
pub(crate) struct ThawGuard {}

impl ThawGuard {
    pub(super) async fn run(self, session: &Arc<Session>) -> Result<Exit, CliError> {
        let input = session.input.lock().unwrap_or_else(PoisonError::into_inner).take();
        let input = input.unwrap_or_else(|| Box::new(std::io::empty()));
        let done = thaw_guard(input, session.printer.result_writer()).await;
        done.map(|()| Exit::Done).map_err(|message| CliError::Unfit { message, help: None })
    }
}
