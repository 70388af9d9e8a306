//! `show`: a saved plan.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clap::Args;

use super::super::error::CliError;
use super::super::exit::Exit;
use super::super::session::Session;
use crate::plan::document::Plan;
use crate::plan::saved;

/// Show a saved plan
///
/// Asks no region and reads no state: it shows what the file holds.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region show plan.json
  debvisor-region show plan.json --format markdown")]
pub(crate) struct Show {
    /// The file that `plan --out` wrote
    #[arg(value_name = "PLANFILE")]
    file: PathBuf,
}

impl Show {
    pub(super) fn run(self, session: &Session) -> Result<Exit, CliError> {
        super::plan::print(session, &read(&self.file)?)?;
        Ok(Exit::Done)
    }
}

/// Reads a saved plan.
pub(super) fn read(path: &Path) -> Result<Plan, CliError> {
    let text = std::fs::read_to_string(path).map_err(|source| match source.kind() {
        ErrorKind::NotFound => CliError::Unfit {
            message: format!("there is no saved plan {}", path.display()),
            help: Some(format!(
                "`plan --out {}` saves one; `apply` without a file plans by itself, and asks.",
                path.display()
            )),
        },
        _ => CliError::File { action: "read the plan", path: path.to_owned(), source },
    })?;
    saved::read(&text).map_err(|source| CliError::SavedPlan { path: path.to_owned(), source })
}
