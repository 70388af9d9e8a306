//! Plans as text: written by `plan --out`, read by `apply PLANFILE`.
//!
//! The digest covers all that will be carried out. It is computed anew from the text as it stands, unknown fields
//! included, so that a file in which anything of that was changed is refused. It is no signature: it finds accidents
//! and careless edits, not an attacker.

use serde_json::{Value, json};

use super::document::{FORMAT_VERSION, Plan};
use crate::model::Digest;

/// Why a saved plan cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SavedPlanError {
    /// Not JSON at all, or not of a plan's shape.
    #[error("not a saved plan")]
    Shape(#[source] serde_json::Error),
    /// A JSON document without a plan's version.
    #[error("not a saved plan: it has no format_version")]
    NoVersion,
    /// Of a version that this program does not know.
    #[error("the plan has format {found}, and this program reads {known}")]
    Version {
        /// The file's.
        found: String,
        /// Ours.
        known: &'static str,
    },
    /// Changed since it was made.
    #[error("the plan was changed after it was made: its content has digest {computed}, it says {stated}")]
    Tampered {
        /// What the file says.
        stated: String,
        /// What is true.
        computed: Digest,
    },
}

impl SavedPlanError {
    /// What to do.
    pub const fn help(&self) -> &'static str {
        match self {
            Self::Shape(_) | Self::NoVersion => "`plan --out FILE` writes one",
            Self::Version { .. } => "plan again with this version of the program",
            Self::Tampered { .. } => "plan again; a saved plan is not for editing",
        }
    }
}

/// The plan as text.
pub fn write(plan: &Plan) -> String {
    let mut text = serde_json::to_string_pretty(plan).expect("plain data with text keys converts to JSON");
    text.push('\n');
    text
}

/// Reads a plan back.
///
/// # Errors
/// [`SavedPlanError`] where the text is no plan, is of another version, or was changed.
pub fn read(text: &str) -> Result<Plan, SavedPlanError> {
    let value: Value = serde_json::from_str(text).map_err(SavedPlanError::Shape)?;
    let found = value.get("format_version").and_then(Value::as_str).ok_or(SavedPlanError::NoVersion)?;
    if major(found) != major(FORMAT_VERSION) {
        return Err(SavedPlanError::Version { found: found.to_owned(), known: FORMAT_VERSION });
    }
    let computed = digest_of(&value);
    let stated = value.get("digest").and_then(Value::as_str).unwrap_or_default();
    if stated != computed.to_string() {
        return Err(SavedPlanError::Tampered { stated: stated.to_owned(), computed });
    }
    serde_json::from_value(value).map_err(SavedPlanError::Shape)
}

/// Whether a file is a saved plan of whatever version, changed or not: what `plan --out` may overwrite. Reads no more
/// of another file than it takes to see that it is none.
pub fn is_plan(text: impl std::io::Read) -> bool {
    #[derive(serde::Deserialize)]
    struct Mark {
        #[serde(rename = "format_version")]
        _version: String,
        #[serde(rename = "digest")]
        _digest: String,
        #[serde(rename = "changes")]
        _changes: Vec<serde::de::IgnoredAny>,
    }
    serde_json::from_reader::<_, Mark>(text).is_ok()
}

fn major(version: &str) -> &str {
    version.split('.').next().unwrap_or(version)
}

/// Over everything that will be carried out and what it was decided from; not over when, nor over how long regions
/// took to answer.
pub(crate) fn digest(plan: &Plan) -> Digest {
    let value = json!({
        "mode": plan.mode,
        "topology": {"digest": plan.topology.digest},
        "state": {"lineage": plan.state.lineage},
        "changes": plan.changes,
        "drift": plan.drift,
        "moved": plan.moved,
    });
    digest_of(&value)
}

fn digest_of(plan: &Value) -> Digest {
    let covered = json!([
        plan["mode"],
        plan["topology"]["digest"],
        plan["state"]["lineage"],
        plan["changes"],
        plan["drift"],
        plan["moved"],
    ]);
    Digest::of(covered.to_string().as_bytes())
}
