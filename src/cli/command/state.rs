//! `state`: the memory of what was applied.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use schemars::JsonSchema;
use serde::Serialize;

use super::super::error::CliError;
use super::super::exit::Exit;
use super::super::session::Session;
use crate::render::memory::{self, Memory};
use crate::render::paint::{Glyph, Tone};
use crate::render::run;
use crate::state::{StateFile, StateReader};

/// Commands about the state file.
#[derive(Debug, Subcommand)]
pub(crate) enum State {
    Show(Show),
    Backup(Backup),
    Rebuild(Rebuild),
}

impl State {
    pub(super) async fn run(self, session: &Arc<Session>) -> Result<Exit, CliError> {
        match self {
            Self::Show(command) => command.run(session),
            Self::Backup(command) => command.run(session),
            Self::Rebuild(command) => command.run(session).await,
        }
    }
}

/// Show what the state file remembers
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region state show
  debvisor-region state show --format json     # attributes too")]
pub(crate) struct Show {}

impl Show {
    fn run(self, session: &Session) -> Result<Exit, CliError> {
        let (file, state) = open(session)?;
        let memory = Memory {
            path: file.path().display().to_string(),
            lineage: state.lineage()?,
            serial: state.serial()?,
            created_at: state.created_at()?,
            objects: state.managed()?,
            stores: state.stores()?,
            topologies: state.topologies()?,
        };
        session.print(&memory, |look| memory::memory(&memory, look))?;
        Ok(Exit::Done)
    }
}

/// Copy the state file, as of one moment, while it may be in use
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region state backup /var/backups/debvisor-region.db")]
pub(crate) struct Backup {
    /// The copy; must not be there yet
    #[arg(value_name = "FILE")]
    to: PathBuf,
}

/// The copy of a state file.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Copied {
    /// The state file.
    from: String,
    /// The copy.
    to: String,
}

impl Backup {
    fn run(self, session: &Session) -> Result<Exit, CliError> {
        let (file, state) = open(session)?;
        state.backup(&self.to)?;
        let copied = Copied { from: file.path().display().to_string(), to: self.to.display().to_string() };
        session.print(&copied, |look| {
            let sign = look.paint(Tone::Good, look.glyph(Glyph::Done));
            format!("{sign} {} copied to {}\n", look.clean(&copied.from), look.clean(&copied.to))
        })?;
        Ok(Exit::Done)
    }
}

fn open(session: &Session) -> Result<(StateFile, StateReader), CliError> {
    let file = session.state_file()?;
    let state = file.read()?;
    state.map(|state| (file.clone(), state)).ok_or_else(|| none_at(&file))
}

/// The error of a command that needs a state where there is none.
pub(super) fn none_at(file: &StateFile) -> CliError {
    CliError::Unfit {
        message: format!("there is no state at {}", file.path().display()),
        help: Some(
            "`apply` begins one. Where there was one and it is lost, `state rebuild` makes it anew from the regions."
                .to_owned(),
        ),
    }
}

/// Make a lost state file anew from what the regions remember
///
/// Every region keeps its copy of what concerns it. The history cannot be given back, and the controller's place only be
/// taken anew, with --take-over.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region state rebuild
  debvisor-region state rebuild --state /var/lib/debvisor/region.db")]
pub(crate) struct Rebuild {
    /// Take the controller's place too; every registered region must answer
    #[arg(long)]
    take_over: bool,
}

impl Rebuild {
    async fn run(self, session: &Arc<Session>) -> Result<Exit, CliError> {
        let fleet = session.fleet()?;
        let (watch, feed) = session.watch_for_people();
        let rebuilt = fleet.state_rebuild(self.take_over, &watch).await;
        feed.end();
        let rebuilt = rebuilt?;
        let partly = !rebuilt.missing.is_empty();
        session.print(&rebuilt, |look| run::rebuilt(&rebuilt, look))?;
        Ok(if partly { Exit::Partial } else { Exit::Done })
    }
}
