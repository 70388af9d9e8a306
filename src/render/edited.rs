//! Files that a command edits: the diff for people, the document for programs.

use schemars::JsonSchema;
use serde::Serialize;

use super::diff;
use super::run::RunView;
use super::terminal::Look;
use crate::config::edit::EditedFile;
use crate::fleet::Elsewhere;

/// What `--format json` prints of a command that edits topology files.
#[derive(Debug, Serialize, JsonSchema)]
pub struct EditDocument<'a> {
    /// The files that change; none where they say all of it already.
    pub files: Vec<String>,
    /// How, as a unified diff.
    pub diff: String,
    /// Whether they were written.
    pub written: bool,
    /// Of `failover accept`: what the regions hold otherwise than the files said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted: Option<&'a Elsewhere>,
    /// Of `--apply`: what became of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<RunView<'a>>,
}

impl EditDocument<'_> {
    /// The document of these files; nothing is written yet.
    pub fn of(files: &[EditedFile]) -> Self {
        Self {
            files: files.iter().map(|file| file.path.display().to_string()).collect(),
            diff: diffs(files, &Look::PLAIN),
            written: false,
            accepted: None,
            run: None,
        }
    }
}

/// The files' changes, one after the other.
pub fn diffs(files: &[EditedFile], look: &Look) -> String {
    let of = |EditedFile { path, before, after }: &EditedFile| {
        diff::unified(&path.display().to_string(), before.as_deref().unwrap_or_default(), after, look)
    };
    files.iter().map(of).collect()
}
