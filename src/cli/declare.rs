//! Commands that declare: they edit the topology's files, show what changes, write it, and with `--apply` carry out
//! just that.
//!
//! Whoever types such a command wants the files to say so, and they lie in a repository: no question is asked before
//! they are written. With `--apply` they are written right before the first change in a region: where the plan is
//! refused, or not approved, the files are as they were.

use std::path::Path;
use std::sync::Arc;

use clap::Args;

use super::approve::{Approval, Reviewer};
use super::error::{self, CliError};
use super::exit::Exit;
use super::finish;
use super::session::Session;
use crate::config;
use crate::config::edit::{Edit, EditedFile};
use crate::fleet::{self, Declared, Ground};
use crate::model::Address;
use crate::render::edited::{EditDocument, diffs};
use crate::render::run::{self, RunView};
use crate::state::{HistoryFilter, StateFile};

/// What becomes of an edit.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct How {
    /// Show what changes in the files; write nothing
    #[arg(long, conflicts_with = "apply")]
    dry_run: bool,
    /// Carry out just this, after a question
    #[arg(long)]
    apply: bool,
    /// With --apply: ask nothing
    #[arg(long, requires = "apply")]
    auto_approve: bool,
}

/// A declaration, and what is said instead where the files say all of it already.
#[derive(Debug, Default)]
pub(super) struct Declaration {
    pub(super) edits: Vec<Edit>,
    pub(super) concerns: Vec<Address>,
    /// Whether they are declared no more.
    pub(super) gone: bool,
    pub(super) already: String,
}

/// The topology that there is.
///
/// # Errors
/// All that is wrong with it.
pub(super) fn ground(session: &Session) -> Result<Ground, CliError> {
    Ok(Ground { loaded: session.load()?, begun: false })
}

/// The topology that there is, or one that begins now.
///
/// # Errors
/// All that is wrong with it.
pub(super) fn ground_or_begun(session: &Session) -> Result<Ground, CliError> {
    let named = session.globals.topology.as_deref();
    let path = named.unwrap_or(Path::new("topology.toml"));
    let none = match named {
        Some(path) => std::fs::symlink_metadata(path).is_err() && path.extension().is_some_and(|is| is == "toml"),
        None => config::locate(None).is_err_and(|problems| problems.0.iter().any(|it| it.code == "config::missing")),
    };
    if !none {
        return ground(session);
    }
    let ground = Ground::begun_at(path)?;
    session.keep((*ground.loaded).clone());
    Ok(ground)
}

/// Declares, as the options say.
///
/// # Errors
/// Edits that cannot be made or would make the topology invalid; files that changed meanwhile or cannot be written;
/// with `--apply`, what refuses or fails an `apply`.
pub(super) async fn declare(
    session: &Arc<Session>,
    ground: Ground,
    declaration: Declaration,
    how: How,
) -> Result<Exit, CliError> {
    let How { dry_run, apply, auto_approve } = how;
    let Declaration { edits, concerns, gone, already } = declaration;
    // What leaves the files goes from the regions only where that is asked for.
    let carries_out = if gone { "debvisor-region apply --prune" } else { "debvisor-region apply" };
    let declaration = fleet::Declaration { edits, concerns, gone };
    let declared = Declared::of(&ground, &declaration);
    let mut declared = declared.inspect_err(|_| session.say("nothing was written"))?;
    let (files, loaded) = (declared.files.clone(), session.keep(declared.loaded.clone()));
    if session.for_people() {
        session.printer.result(&diffs(&files, session.printer.output_look()));
    }
    let mut document = EditDocument::of(&files);
    if files.is_empty() && declaration.gone && !was_known(session, &loaded.path, &declaration.concerns)? {
        let help = "Nothing was changed: neither the files nor the history of this state know it.".to_owned();
        return Err(CliError::Unfit { message: already, help: Some(help) });
    }
    if files.is_empty() {
        session.say(&format!("{already}; nothing is changed in the files"));
    }
    if !apply {
        if !dry_run {
            declared.write()?;
            document.written = declared.written;
        }
        session.print(&document, |_| String::new())?;
        match (files.is_empty(), dry_run) {
            (true, _) => {}
            (false, true) => session.say("nothing was written: this is what would be"),
            (false, false) => session.say(&format!("{}; `{carries_out}` carries it out", wrote(&files))),
        }
        return Ok(Exit::Done);
    }
    if !files.is_empty() && session.for_people() {
        session.printer.result("\n");
    }
    let approval = if auto_approve { Approval::Given } else { Approval::Asked };
    let mut reviewer = Reviewer::new(session, approval);
    let (watch, feed) = session.watch_with(reviewer.actions());
    let result = session.fleet_of(&loaded)?.apply_declared(&mut declared, &mut reviewer, &watch).await;
    feed.end();
    let report = match result {
        Ok(report) => report,
        Err(error) => {
            if !files.is_empty() {
                let what = if declared.written { wrote(&files) } else { "the files are as they were".to_owned() };
                session.say(&what);
            }
            return Err(reviewer.explain(error));
        }
    };
    document.written = declared.written;
    document.run = Some(RunView::from(&report));
    session.print(&document, |look| run::run(&report, look))?;
    finish::tell(session, &error::of_run(&report, session.loaded().as_deref()));
    Ok(report.class.into())
}

/// Whether anything of this was ever applied from here. Where there is no state yet, nobody knows.
fn was_known(session: &Session, topology: &Path, concerns: &[Address]) -> Result<bool, CliError> {
    let Some(state) = StateFile::new(session.state_beside(topology)).read()? else { return Ok(true) };
    let managed = state.managed()?;
    for address in concerns {
        let filter = HistoryFilter { limit: Some(1), address: Some(address.clone()), ..HistoryFilter::default() };
        if managed.iter().any(|object| object.address == *address) || !state.history(&filter)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(concerns.is_empty())
}

/// The files that were written, in words.
pub(super) fn wrote(files: &[EditedFile]) -> String {
    let names: Vec<String> = files.iter().map(|file| file.path.display().to_string()).collect();
    format!("wrote {}", names.join(", "))
}

/// A name that is not declared, and the one that may be meant.
pub(super) fn not_declared<'a>(what: &str, name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    match config::nearest(name, known) {
        Some(near) => format!("{what} is not declared (did you mean `{near}`?)"),
        None => format!("{what} is not declared"),
    }
}
