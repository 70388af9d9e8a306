//! Commands that declare: they edit the topology's files, show what changes, write it, and with `--apply` carry out
//! just that.
//!
//! Whoever types such a command wants the files to say so, and they lie in a repository: no question is asked before
//! they are written. With `--apply` they are written right before the first change in a region: where the plan is
//! refused, or not approved, the files are as they were.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use clap::Args;

use super::approve::{Approval, Reviewer};
use super::error::{self, CliError};
use super::exit::Exit;
use super::finish;
use super::session::Session;
use super::write::replace;
use crate::config::edit::{Edit, Edited, EditedFile, edit};
use crate::config::{self, Loaded};
use crate::fleet::{PlanOptions, Review, Verdict};
use crate::model::Address;
use crate::plan::document::Plan;
use crate::render::edited::{EditDocument, diffs};
use crate::render::run::{self, RunView};

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

/// What is to be declared, and which objects that concerns.
#[derive(Debug, Default)]
pub(super) struct Declaration {
    pub(super) edits: Vec<Edit>,
    pub(super) concerns: Vec<Address>,
    /// Whether they are declared no more.
    pub(super) gone: bool,
    /// What is said instead where the files say all of it already.
    pub(super) already: String,
}

/// A topology to be edited.
#[derive(Debug)]
pub(super) struct Ground {
    pub(super) loaded: Arc<Loaded>,
    /// Whether its file is not there yet.
    pub(super) begun: bool,
}

impl Ground {
    /// The topology that there is.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub(super) fn there(session: &Session) -> Result<Self, CliError> {
        Ok(Self { loaded: session.load()?, begun: false })
    }

    /// The topology that there is, or one that begins now.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub(super) fn there_or_begun(session: &Session) -> Result<Self, CliError> {
        let named = session.globals.topology.as_deref();
        let path = named.unwrap_or(Path::new("topology.toml"));
        let none = match named {
            Some(path) => std::fs::symlink_metadata(path).is_err() && path.extension().is_some_and(|is| is == "toml"),
            None => {
                config::locate(None).is_err_and(|problems| problems.0.iter().any(|it| it.code == "config::missing"))
            }
        };
        if !none {
            return Self::there(session);
        }
        Ok(Self { loaded: session.keep(config::edit::begun(path, "schema_version = 1\n")?), begun: true })
    }
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
    let edited = edit(&ground.loaded, &edits);
    let Edited { mut files, loaded } = edited.inspect_err(|_| session.say("nothing was written"))?;
    if ground.begun {
        files.iter_mut().for_each(|file| file.before = None);
    }
    let loaded = session.keep(loaded);
    if session.for_people() {
        session.printer.result(&diffs(&files, session.printer.output_look()));
    }
    let mut document = EditDocument::of(&files);
    if files.is_empty() {
        session.say(&format!("{already}; nothing is changed in the files"));
    }
    if !apply {
        if !dry_run {
            write(&files)?;
            document.written = !files.is_empty();
        }
        session.print(&document, |_| String::new())?;
        match (files.is_empty(), dry_run) {
            (true, _) => {}
            (false, true) => session.say("nothing was written: this is what would be"),
            (false, false) => session.say(&format!("{}; `debvisor-region apply` carries it out", wrote(&files))),
        }
        return Ok(Exit::Done);
    }
    if !files.is_empty() && session.for_people() {
        session.printer.result("\n");
    }
    let approval = if auto_approve { Approval::Given } else { Approval::Asked };
    let reviewer = Reviewer::new(session, approval);
    let actions = reviewer.actions();
    let mut writer = Writer { reviewer, files: &files, written: false, failed: None };
    let most = u32::try_from(concerns.len()).unwrap_or(u32::MAX);
    let options = PlanOptions {
        targets: concerns,
        prune: gone,
        // They were all asked for by name.
        max_prune: Some(most.max(crate::plan::PlanOptions::DEFAULT_MAX_PRUNE)),
        ..PlanOptions::default()
    };
    let (watch, feed) = session.watch_with(actions);
    let result = session.fleet_of(&loaded)?.apply(&options, &mut writer, &watch).await;
    feed.end();
    let Writer { reviewer, files: _, written, failed } = writer;
    let report = match (result, failed) {
        (_, Some(failed)) => return Err(failed),
        (Ok(report), None) => report,
        (Err(error), None) => {
            if !files.is_empty() {
                let what = if written { wrote(&files) } else { "the files are as they were".to_owned() };
                session.say(&what);
            }
            return Err(reviewer.explain(error));
        }
    };
    document.written = written && !files.is_empty();
    document.run = Some(RunView::from(&report));
    session.print(&document, |look| run::run(&report, look))?;
    finish::tell(session, &error::of_run(&report, session.loaded().as_deref()));
    Ok(report.class.into())
}

/// Shows the plan, gets it approved, and writes the files.
struct Writer<'a> {
    reviewer: Reviewer,
    files: &'a [EditedFile],
    written: bool,
    failed: Option<CliError>,
}

#[async_trait]
impl Review for Writer<'_> {
    async fn review(&mut self, plan: &Plan) -> Verdict {
        let verdict = self.reviewer.review(plan).await;
        if verdict != Verdict::Proceed {
            return verdict;
        }
        match write(self.files) {
            Ok(()) => {
                self.written = true;
                Verdict::Proceed
            }
            Err(error) => {
                self.failed = Some(error);
                Verdict::Decline
            }
        }
    }
}

/// The files that were written, in words.
pub(super) fn wrote(files: &[EditedFile]) -> String {
    let names: Vec<String> = files.iter().map(|file| file.path.display().to_string()).collect();
    format!("wrote {}", names.join(", "))
}

/// Writes files that were edited.
///
/// Guarantee: each file holds the old text or the new one, whole; none is written where one of them has changed since
/// it was loaded. Assumption: nobody writes between that look and the rename. A crash between two files leaves those
/// whose names come first new and the others old: `validate` says where they do not hold together, and the same
/// command once more writes the rest.
///
/// # Errors
/// A file that has changed, or cannot be read or written.
pub(super) fn write(files: &[EditedFile]) -> Result<(), CliError> {
    for EditedFile { path, before, after: _ } in files {
        let now = match std::fs::read(path) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(source) => return Err(CliError::File { action: "read", path: path.clone(), source }),
        };
        if now.as_deref() != before.as_deref().map(str::as_bytes) {
            return Err(CliError::Unfit {
                message: format!("{} has changed since it was read, and nothing was written", path.display()),
                help: Some("Run the command again: it takes the file as it is now.".to_owned()),
            });
        }
    }
    files.iter().try_for_each(|file| replace(&file.path, file.after.as_bytes()))
}

/// A name that is not declared, and the one that may be meant.
pub(super) fn not_declared<'a>(what: &str, name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    match config::nearest(name, known) {
        Some(near) => format!("{what} is not declared (did you mean `{near}`?)"),
        None => format!("{what} is not declared"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_changed_is_not_overwritten_and_neither_is_any_other() {
        let dir = tempfile::TempDir::new().unwrap();
        let file = |name: &str, before: Option<&str>| EditedFile {
            path: dir.path().join(name),
            before: before.map(str::to_owned),
            after: "new".to_owned(),
        };
        let text = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        std::fs::write(dir.path().join("a"), "old").unwrap();
        std::fs::write(dir.path().join("b"), "somebody's").unwrap();
        assert!(write(&[file("a", Some("old")), file("b", Some("old"))]).is_err());
        assert!(write(&[file("a", Some("old")), file("b", None)]).is_err());
        assert_eq!((text("a"), text("b")), ("old".to_owned(), "somebody's".to_owned()));
        write(&[file("a", Some("old")), file("c", None)]).unwrap();
        assert_eq!((text("a"), text("c")), ("new".to_owned(), "new".to_owned()));
    }
}
