//! `schema`: the formats, for editors and checkers.

use clap::Args;
use clap::builder::PossibleValue;

use super::super::error::CliError;
use super::super::exit::Exit;
use super::super::schemas::{DOCUMENTS, Document};
use super::super::session::Session;
use crate::render::schemas::Listed;
use crate::render::{document, schemas};

/// Print the JSON Schema of a format
///
/// Editors complete and check a topology file with it: name the file in the first line, as
/// `#:schema path/to/topology.schema.json`. All that any command prints with `--format json` has one, and --list names them.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region schema > schemas/topology.schema.json
  debvisor-region schema plan
  debvisor-region schema --list     # by command")]
pub(crate) struct Schema {
    /// The format, by its name [default: topology]
    #[arg(
        value_name = "NAME", value_parser = names(), hide_possible_values = true, default_value = "topology",
        hide_default_value = true
    )]
    of: String,
    /// List the formats that have one, and the commands that print them
    #[arg(long)]
    list: bool,
}

fn names() -> Vec<PossibleValue> {
    DOCUMENTS.iter().map(|document| PossibleValue::new(document.name)).collect()
}

impl Schema {
    pub(super) fn run(self, session: &Session) -> Result<Exit, CliError> {
        let Self { of, list } = self;
        if list {
            let listed: Vec<Listed> = DOCUMENTS.iter().map(Listed::from).collect();
            session.print(&listed, |look| schemas::list(&listed, look))?;
            return Ok(Exit::Done);
        }
        let known = Document::named(&of).ok_or_else(|| CliError::Usage(format!("there is no format `{of}`")))?;
        // A schema is JSON whatever the format of other results.
        session.printer.result(&document::json(&known.schema())?);
        Ok(Exit::Done)
    }
}
