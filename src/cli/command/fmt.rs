//! `fmt`: one layout for everybody.

use std::path::{Path, PathBuf};

use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;

use super::super::error::CliError;
use super::super::exit::Exit;
use super::super::session::Session;
use super::super::write::replace;
use crate::config::{self, Problem, Problems};
use crate::render::diff;

/// Lay the topology's files out in the one way there is
///
/// White space is made equal; comments, order and values stay, and so does the topology's digest. Prints the names of
/// the files that it changed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region fmt
  debvisor-region fmt --check --diff     # for CI
  debvisor-region fmt sites/berlin.toml")]
pub(crate) struct Fmt {
    /// Lay out these files [default: those of the topology]
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Write nothing; exit with 1 where a file would change
    #[arg(long)]
    check: bool,
    /// Show what changes as a unified diff
    #[arg(long)]
    diff: bool,
}

/// The files that were laid out anew.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Laid {
    /// Those that change.
    changed: Vec<String>,
    /// Whether they were written.
    written: bool,
}

impl Fmt {
    pub(super) fn run(self, session: &Session) -> Result<Exit, CliError> {
        let Self { files, check, diff: show } = self;
        let files = if files.is_empty() { config::locate(session.globals.topology.as_deref())?.1 } else { files };
        let mut problems = Vec::new();
        let mut changed = Vec::new();
        for file in files {
            let name = file.display().to_string();
            let before = read(&file)?;
            match config::fmt::format(&name, &before) {
                Ok(after) if after != before => changed.push((file, name, before, after)),
                Ok(_) => {}
                Err(found) => problems.extend(found.0),
            }
        }
        // Files that are no TOML are left alone; so are the others, until all can be read.
        if !problems.is_empty() {
            return Err(Problems(problems).into());
        }
        if !check {
            for (file, _, _, after) in &changed {
                replace(file, after.as_bytes())?;
            }
        }
        let laid = Laid { changed: changed.iter().map(|(_, name, _, _)| name.clone()).collect(), written: !check };
        session.print(&laid, |look| {
            let shown = changed.iter().map(|(_, name, before, after)| {
                if show { diff::unified(name, before, after, look) } else { format!("{}\n", look.clean(name)) }
            });
            shown.collect()
        })?;
        Ok(if check && !changed.is_empty() { Exit::Failed } else { Exit::Done })
    }
}

fn read(file: &Path) -> Result<String, CliError> {
    let bytes =
        std::fs::read(file).map_err(|source| CliError::File { action: "read", path: file.to_owned(), source })?;
    String::from_utf8(bytes).map_err(|_| {
        let name = file.display();
        let problem = Problem::new("config::not-utf8", format!("`{name}` is not UTF-8 text"))
            .help(format!("convert it, for instance with `iconv -f LATIN1 -t UTF-8 {name}`"));
        Problems::from(problem).into()
    })
}
