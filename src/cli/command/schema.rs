//! `schema`: the formats, for editors and checkers.

use clap::{Args, ValueEnum};

use super::super::error::CliError;
use super::super::exit::Exit;
use super::super::session::Session;
use crate::config;
use crate::execute::event::Event;
use crate::fleet::DrillReport;
use crate::render::document;
use crate::render::report::ErrorDocument;

/// Print the JSON Schema of a format
///
/// Editors complete and check a topology file with it: name the file in the first line, as
/// `#:schema path/to/topology.schema.json`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region schema > schemas/topology.schema.json
  debvisor-region schema plan")]
pub(crate) struct Schema {
    /// The format
    #[arg(value_enum, default_value_t)]
    of: Of,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Of {
    /// Topology files
    #[default]
    Topology,
    /// A region's own DIR/.debvisor/config.toml
    Region,
    /// The credentials file: what is shown to regions, by their origins
    Credentials,
    /// What `plan --format json` prints and `plan --out` saves
    Plan,
    /// What a served region answers over HTTP, as OpenAPI 3.1
    Openapi,
    /// One line of what `apply --format json` prints
    Event,
    /// What commands that edit topology files print with `--format json`
    Edit,
    /// What `graph --format json` prints
    Graph,
    /// What `failover drill --format json` prints
    Drill,
    /// What stands on standard error with `--format json` when something went wrong
    Error,
}

impl Schema {
    pub(super) fn run(self, session: &Session) -> Result<Exit, CliError> {
        let schema = match self.of {
            Of::Topology => config::schema::topology(),
            Of::Region => config::schema::region(),
            Of::Credentials => config::schema::credentials(),
            Of::Plan => crate::plan::schema(),
            Of::Openapi => crate::serve::openapi(),
            Of::Event => schemars::schema_for!(Event).to_value(),
            Of::Edit => crate::render::edited::schema(),
            Of::Graph => crate::render::graph::schema(),
            Of::Drill => schemars::schema_for!(DrillReport).to_value(),
            Of::Error => schemars::schema_for!(ErrorDocument).to_value(),
        };
        // A schema is JSON whatever the format of other results.
        session.printer.result(&document::json(&schema)?);
        Ok(Exit::Done)
    }
}
