//! `validate`: every mistake at once.

use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;

use super::super::error::CliError;
use super::super::exit::Exit;
use super::super::session::Session;
use crate::model::Digest;
use crate::render::paint::{Glyph, Tone};
use crate::render::text::count;

/// Check the topology and show every mistake at once
///
/// Reads the files and nothing else: no region is asked, no state is looked at. Each mistake is shown at its line with
/// a way to mend it, and any makes it exit with 1.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region validate
  debvisor-region validate --topology sites/
  debvisor-region validate --format json")]
pub(crate) struct Validate {}

/// What a valid topology holds.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Valid {
    /// True: what is not valid is an error.
    valid: bool,
    /// The topology.
    path: String,
    /// Of its canonical, expanded content.
    digest: Digest,
    /// How many files it has.
    files: usize,
    /// How many regions.
    regions: usize,
    /// How many pairs.
    replications: usize,
    /// How many resources.
    resources: usize,
}

impl Validate {
    pub(super) fn run(self, session: &Session) -> Result<Exit, CliError> {
        let loaded = session.load()?;
        let topology = &loaded.topology;
        let valid = Valid {
            valid: true,
            path: loaded.path.display().to_string(),
            digest: topology.digest,
            files: loaded.sources.len(),
            regions: topology.regions.len(),
            replications: topology.pairs.len(),
            resources: topology.resources.len(),
        };
        session.print(&valid, |look| {
            let parts = [
                count(valid.regions, "region", "regions"),
                count(valid.replications, "pair", "pairs"),
                count(valid.resources, "resource", "resources"),
            ];
            let sign = look.paint(Tone::Good, look.glyph(Glyph::Done));
            format!("{sign} {} is valid: {}\n", look.clean(&valid.path), parts.join(", "))
        })?;
        Ok(Exit::Done)
    }
}
