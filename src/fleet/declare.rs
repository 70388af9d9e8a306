//! Declaring: the topology's files are edited in place, and just what they say then is carried out at the regions.
//!
//! Working it out is pure, and refuses what would not load. The files are written right before the first change in a
//! region: where the plan is refused, or not approved, they are as they were. Whoever only wants the files to say so
//! writes them and carries out nothing.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;

use super::error::FleetError;
use super::manager::MultiRegionManager;
use super::options::{PlanOptions, Review, Verdict, Watch};
use super::report::RunReport;
use crate::config::edit::{Edit, Edited, EditedFile, begun, edit};
use crate::config::{self, Loaded, Problems};
use crate::host;
use crate::model::Address;
use crate::plan::document::Plan;

/// What a topology file holds that is begun with its first declaration.
const FIRST_LINE: &str = "schema_version = 1\n";

/// What is to be declared, and which objects that concerns.
#[derive(Debug, Clone, Default)]
pub struct Declaration {
    /// What is asked of the files.
    pub edits: Vec<Edit>,
    /// What is carried out of them, and nothing else.
    pub concerns: Vec<Address>,
    /// Whether these objects are declared no more.
    pub gone: bool,
}

/// A topology whose files are to be edited.
#[derive(Debug, Clone)]
pub struct Ground {
    /// As it stands.
    pub loaded: Arc<Loaded>,
    /// Whether its file is not there yet.
    pub begun: bool,
}

impl Ground {
    /// A topology that begins now, in a file that is not there yet.
    ///
    /// # Errors
    /// A path that cannot be one of a topology.
    pub fn begun_at(file: &Path) -> Result<Self, Problems> {
        Ok(Self { loaded: Arc::new(begun(file, FIRST_LINE)?), begun: true })
    }

    /// What the files of a directory declare; where it has none yet, `topology.toml` begins there.
    ///
    /// # Errors
    /// All that is wrong with them; a directory that is not there.
    pub(super) fn of_directory(directory: &Path) -> Result<Self, Problems> {
        match config::load(Some(directory)) {
            Ok(loaded) => Ok(Self { loaded: Arc::new(loaded), begun: false }),
            Err(problems) if problems.0.iter().any(|it| it.code == "config::empty-directory") => {
                Self::begun_at(&directory.join("topology.toml"))
            }
            Err(problems) => Err(problems),
        }
    }
}

/// A declaration that was worked out; until it is written it changes nothing.
#[derive(Debug, Clone)]
pub struct Declared {
    /// The files that change; none where they say all of it already.
    pub files: Vec<EditedFile>,
    /// What they will declare.
    pub loaded: Loaded,
    /// Whether they were written.
    pub written: bool,
    concerns: Vec<Address>,
    gone: bool,
}

impl Declared {
    /// What becomes of the files. Writes nothing.
    ///
    /// # Errors
    /// Edits that cannot be made, or would make the topology invalid.
    pub fn of(ground: &Ground, declaration: &Declaration) -> Result<Self, Problems> {
        let Declaration { edits, concerns, gone } = declaration.clone();
        let Edited { mut files, loaded } = edit(&ground.loaded, &edits)?;
        if ground.begun {
            files.iter_mut().for_each(|file| file.before = None);
        }
        Ok(Self { files, loaded, written: false, concerns, gone })
    }

    /// Writes the files; see [`write_edited`].
    ///
    /// # Errors
    /// A file that has changed, or cannot be read or written.
    pub fn write(&mut self) -> Result<(), FleetError> {
        write_edited(&self.files)?;
        self.written = !self.files.is_empty();
        Ok(())
    }
}

/// Writes files that were edited.
///
/// Guarantee: each file holds the old text or the new one, whole; none is written where one of them has changed since
/// it was loaded. Assumption: nobody writes between that look and the rename. A crash between two files leaves those
/// whose names come first new and the others old: `validate` says where they do not hold together, and the same edit
/// once more writes the rest.
///
/// # Errors
/// A file that has changed, or cannot be read or written.
pub fn write_edited(files: &[EditedFile]) -> Result<(), FleetError> {
    for EditedFile { path, before, after: _ } in files {
        let now = match std::fs::read(path) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(source) => return Err(FleetError::Io { action: "read", path: path.clone(), source }),
        };
        if now.as_deref() != before.as_deref().map(str::as_bytes) {
            return Err(FleetError::Unfit {
                reason: format!("{} has changed since it was read, and nothing was written", path.display()),
                help: Some("run the command again: it takes the file as it is now".to_owned()),
            });
        }
    }
    for EditedFile { path, before: _, after } in files {
        let failed = |source| FleetError::Io { action: "write", path: path.clone(), source };
        host::replace(path, after.as_bytes()).map_err(failed)?;
    }
    Ok(())
}

/// Lets the plan be reviewed, and writes the files where it is carried out.
struct Writer<'a> {
    review: &'a mut dyn Review,
    declared: &'a mut Declared,
    failed: Option<FleetError>,
}

#[async_trait]
impl Review for Writer<'_> {
    async fn review(&mut self, plan: &Plan) -> Verdict {
        let verdict = self.review.review(plan).await;
        if verdict != Verdict::Proceed {
            return verdict;
        }
        match self.declared.write() {
            Ok(()) => Verdict::Proceed,
            Err(error) => {
                self.failed = Some(error);
                Verdict::Decline
            }
        }
    }
}

impl MultiRegionManager {
    /// Carries out just what was declared, of a fleet that was made of the edited topology. The files are written right
    /// before the first change: `declared.written` says whether.
    ///
    /// # Errors
    /// What refuses or fails an [`apply`](Self::apply); files that changed meanwhile, or cannot be written.
    pub async fn apply_declared(
        &self,
        declared: &mut Declared,
        review: &mut dyn Review,
        watch: &Watch,
    ) -> Result<RunReport, FleetError> {
        let most = u32::try_from(declared.concerns.len()).unwrap_or(u32::MAX);
        let options = PlanOptions {
            targets: declared.concerns.clone(),
            prune: declared.gone,
            // They were all asked for by name.
            max_prune: Some(most.max(crate::plan::PlanOptions::DEFAULT_MAX_PRUNE)),
            ..PlanOptions::default()
        };
        let mut writer = Writer { review, declared, failed: None };
        let result = self.apply(&options, &mut writer, watch).await;
        match writer.failed {
            Some(failed) => Err(failed),
            None => result,
        }
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
        assert!(write_edited(&[file("a", Some("old")), file("b", Some("old"))]).is_err());
        assert!(write_edited(&[file("a", Some("old")), file("b", None)]).is_err());
        assert_eq!((text("a"), text("b")), ("old".to_owned(), "somebody's".to_owned()));
        write_edited(&[file("a", Some("old")), file("c", None)]).unwrap();
        assert_eq!((text("a"), text("c")), ("new".to_owned(), "new".to_owned()));
    }
}
