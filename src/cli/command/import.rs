//! `import`: the topology of regions that are there already.

use std::path::{Path, PathBuf};

use clap::Args;

use super::super::error::CliError;
use super::super::exit::Exit;
use super::super::session::Session;
use crate::config::edit::{EditedFile, begun};
use crate::config::written;
use crate::render::edited::EditDocument;
use crate::render::text::count;

/// Write a topology of what live regions record
///
/// Asks the region at each endpoint and all that it knows of. The next plan with their state is empty. Writes the file
/// that --topology names, or topology.toml; nothing is ever overwritten. Changes nothing in any region.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region import https://us-east-1.example:5000
  debvisor-region import file:regions/us-east-1 --dry-run
  debvisor-region import --topology new.toml --state debvisor-region.state.db")]
pub(crate) struct Import {
    /// Ask the region here; it knows the others [default: those that the state knows]
    #[arg(value_name = "ENDPOINT")]
    endpoints: Vec<String>,
    /// Print the file; write nothing
    #[arg(long)]
    dry_run: bool,
}

impl Import {
    pub(super) async fn run(self, session: &Session) -> Result<Exit, CliError> {
        let Self { endpoints, dry_run } = self;
        let path: PathBuf = session.globals.topology.clone().unwrap_or_else(|| Path::new("topology.toml").to_owned());
        if !dry_run && std::fs::symlink_metadata(&path).is_ok() {
            return Err(CliError::Unfit {
                message: format!("{} is there already, and nothing is overwritten", path.display()),
                help: Some(
                    "`--dry-run` prints what would be written; `--topology FILE` writes it elsewhere.".to_owned(),
                ),
            });
        }
        let nothing = begun(&path, "schema_version = 1\n")?;
        let imported = session.fleet_of(&nothing)?.import(&endpoints).await?;
        let text = written(&imported.topology);
        for note in &imported.notes {
            session.say(note);
        }
        session.keep(begun(&path, &text).inspect_err(|_| session.say("nothing was written"))?);
        let files = [EditedFile { path: path.clone(), before: None, after: text }];
        let mut document = EditDocument::of(&files);
        if !dry_run {
            crate::fleet::write_edited(&files)?;
            document.written = true;
        }
        let [file] = files;
        session.print(&document, |look| {
            if dry_run { file.after } else { format!("wrote {}\n", look.clean(&path.display().to_string())) }
        })?;
        let what = &imported.topology;
        session.say(&format!(
            "{}, {} and {} were told; next: `debvisor-region plan`",
            count(what.regions.len(), "region", "regions"),
            count(what.pairs.len(), "pair", "pairs"),
            count(what.resources.len(), "resource", "resources")
        ));
        Ok(if imported.notes.is_empty() { Exit::Done } else { Exit::Partial })
    }
}
