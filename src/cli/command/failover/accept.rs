//! `failover accept`: the files say who holds what.

use std::sync::Arc;

use clap::Args;

use super::super::super::approve::{Question, confirm};
use super::super::super::declare::wrote;
use super::super::super::error::CliError;
use super::super::super::exit::Exit;
use super::super::super::session::Session;
use crate::config::edit::edit;
use crate::fleet::{Elsewhere, accepting, write_edited};
use crate::render::edited::{self, EditDocument};

/// Edit the files so that they say who holds what
///
/// For what another region holds than its `primary` says: the holder becomes the `primary`, the former one a replica,
/// and pairs that are missing for that are added. Comments, order and ranges stay. Shows the diff, and asks before it
/// writes. Changes nothing in any region.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region failover accept --dry-run
  debvisor-region failover accept
  debvisor-region failover accept web-vm-1 --auto-approve
  debvisor-region failover accept us-east-1     # what it holds, or held")]
pub(crate) struct Accept {
    /// Only these: resources, or regions that hold them or did [default: all]
    #[arg(value_name = "RESOURCE|REGION")]
    names: Vec<String>,
    /// Show what changes in the files; write nothing
    #[arg(long)]
    dry_run: bool,
    /// Ask nothing
    #[arg(long)]
    auto_approve: bool,
}

impl Accept {
    pub(super) async fn run(self, session: &Arc<Session>) -> Result<Exit, CliError> {
        let Self { names, dry_run, auto_approve } = self;
        let loaded = session.load()?;
        let held = session.fleet_of(&loaded)?.held_elsewhere(&names).await?;
        let edits = accepting(&loaded.topology, &held.moved);
        let edited = edit(&loaded, &edits)?;
        let files = &edited.files;
        if session.for_people() {
            session.printer.result(&edited::diffs(files, session.printer.output_look()));
        }
        let Elsewhere { moved, left_out } = &held;
        for left in left_out {
            session.say(&format!("{} is left as it is: {}", left.resource, left.reason));
        }
        let mut document = EditDocument { accepted: Some(&held), ..EditDocument::of(files) };
        if !dry_run && !files.is_empty() {
            if !auto_approve {
                approve(session).await?;
            }
            write_edited(files)?;
            document.written = true;
        }
        session.print(&document, |_| String::new())?;
        match (files.is_empty(), dry_run) {
            (true, _) if left_out.is_empty() => session.say("nothing to accept: the files say who holds what"),
            (true, _) => {}
            (false, true) => session.say("nothing was written: this is what would be"),
            (false, false) => session.say(&format!("{}; commit it, and `debvisor-region plan`", wrote(files))),
        }
        Ok(match (left_out.is_empty(), moved.is_empty()) {
            (true, _) => Exit::Done,
            (false, false) => Exit::Partial,
            (false, true) => Exit::Failed,
        })
    }
}

async fn approve(session: &Session) -> Result<(), CliError> {
    let question = Question {
        asks: "Write this?".to_owned(),
        otherwise: "nothing was written".to_owned(),
        help: "Add --auto-approve where nobody can be asked.",
    };
    confirm(session, &question).await
}
