//! The catalogue of documents: what the program reads, prints and writes, the commands that print it, and its schema.
//!
//! `schema` prints from it, `schemas/` is made from it, and the tests hold every printed document against it.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde_json::{Value, json};

use super::command::printed;
use crate::config;
use crate::execute::event::Event;
use crate::failover::{Proposal, Runbook};
use crate::fleet::{
    Back, DrillReport, FailoverReport, FailoverStatus, Fenced, GlobalStatistics, LetIn, PauseReport, Readmitted,
    Rebuilt, RegionState, RegionStatistics, ReplicationStatus, Restored, StatusReport, Verification, Whereabouts,
};
use crate::host::Holder;
use crate::model::event::FailoverEvent;
use crate::model::region::Identity;
use crate::render::edited::EditDocument;
use crate::render::graph::Graph;
use crate::render::memory::Memory;
use crate::render::report::ErrorDocument;
use crate::render::run::RunView;
use crate::render::schemas::Listed;
use crate::state::HistoryEntry;

/// One document.
#[derive(Debug, Clone, Copy)]
pub(super) struct Document {
    /// Its name, also that of its file under `schemas/`.
    pub(super) name: &'static str,
    /// What it is.
    pub(super) about: &'static str,
    /// The commands whose result it is, with the options that make it so; none: it is a file or an answer.
    pub(super) printed_by: &'static [&'static str],
    make: fn() -> Value,
}

impl Document {
    const fn new(
        name: &'static str,
        about: &'static str,
        printed_by: &'static [&'static str],
        make: fn() -> Value,
    ) -> Self {
        Self { name, about, printed_by, make }
    }

    /// The schema.
    pub(super) fn schema(&self) -> Value {
        (self.make)()
    }

    /// The document of this name.
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        DOCUMENTS.iter().find(|document| document.name == name)
    }

    /// Its file under `schemas/`.
    pub(super) fn file(&self) -> String {
        // That of an API is a description of its own kind.
        if self.name == OPENAPI { format!("{OPENAPI}.json") } else { format!("{}.schema.json", self.name) }
    }
}

const OPENAPI: &str = "openapi";

impl From<&Document> for Listed {
    fn from(document: &Document) -> Self {
        let Document { name, about, printed_by, make: _ } = *document;
        Self { name, file: document.file(), about, printed_by }
    }
}

/// The schema of what is written from `T`: a field that is always there is required.
fn of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    Schema::to_value(settings.into_generator().into_root_schema_for::<T>())
}

/// One line of a server's log. What an event is about stands in fields of its own.
fn log() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "LogLine",
        "type": "object",
        "properties": {
            "timestamp": { "type": "string", "format": "date-time" },
            "level": { "enum": ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"] },
            "target": { "type": "string", "description": "The part of the program." },
            "message": { "type": "string" },
        },
        "required": ["timestamp", "level", "target"],
        "additionalProperties": true,
    })
}

/// Every document.
pub(super) const DOCUMENTS: &[Document] = &[
    Document::new("topology", "Topology files", &[], config::schema::topology),
    Document::new("region", "A region's own DIR/.debvisor/config.toml", &[], config::schema::region),
    Document::new(
        "credentials",
        "The credentials file: what is shown to regions, by their origins",
        &[],
        config::schema::credentials,
    ),
    Document::new("identity", "Who a region's directory is: DIR/.debvisor/region.json", &[], of::<Identity>),
    Document::new("lock", "Who has a state, or a region's directory: what stands in the lock file", &[], of::<Holder>),
    Document::new(OPENAPI, "What a served region answers over HTTP, as OpenAPI 3.1", &[], crate::serve::openapi),
    Document::new("log", "One line of a served region's log", &[], log),
    Document::new(
        "error",
        "What stands on standard error with `--format json` when something went wrong",
        &[],
        of::<ErrorDocument>,
    ),
    Document::new("plan", "A plan, printed or saved by `plan --out`", &["plan", "show"], crate::plan::schema),
    Document::new(
        "event",
        "One line of what a run tells while it goes on",
        &["apply", "reconcile", "replication sync"],
        of::<Event>,
    ),
    Document::new(
        "run",
        "What became of a run, in one document",
        &["apply --format yaml", "reconcile --format yaml", "replication sync --format yaml"],
        of::<RunView<'static>>,
    ),
    Document::new(
        "edit",
        "What a command did that edits topology files",
        &[
            "import",
            "region add",
            "region remove",
            "replication setup",
            "replication pause",
            "replication resume",
            "replication remove",
            "vm replicate",
            "vm remove",
            "failover accept",
        ],
        of::<EditDocument<'static>>,
    ),
    Document::new("schema-list", "The documents that have a schema", &["schema --list"], of::<Vec<Listed>>),
    Document::new("status", "What is wrong, and how far replicas lag", &["status"], of::<StatusReport>),
    Document::new("init", "The file that was begun", &["init"], of::<printed::Begun>),
    Document::new("validate", "What a valid topology holds", &["validate"], of::<printed::Valid>),
    Document::new("fmt", "The files that were laid out anew", &["fmt"], of::<printed::Laid>),
    Document::new("region-list", "The regions", &["region list"], of::<Vec<RegionState>>),
    Document::new("region-show", "One region", &["region show"], of::<RegionState>),
    Document::new(
        "region-health-check",
        "A region's health, as it is seen from everywhere",
        &["region health-check"],
        of::<RegionState>,
    ),
    Document::new("region-stats", "A region's numbers", &["region stats"], of::<RegionStatistics>),
    Document::new(
        "region-readmit",
        "What a region learnt that takes part again",
        &["region readmit"],
        of::<Readmitted>,
    ),
    Document::new(
        "replication-status",
        "One resource and its replicas",
        &["replication status"],
        of::<ReplicationStatus>,
    ),
    Document::new(
        "replication-list",
        "Resources and their replicas",
        &["replication list", "vm list"],
        of::<Vec<ReplicationStatus>>,
    ),
    Document::new(
        "replication-points",
        "A resource's recovery points",
        &["replication points"],
        of::<Vec<printed::Kept<'static>>>,
    ),
    Document::new(
        "replication-verify",
        "Both sides of a resource, compared byte by byte",
        &["replication verify"],
        of::<Verification>,
    ),
    Document::new(
        "replication-export",
        "The point that was written out",
        &["replication export"],
        of::<printed::Exported<'static>>,
    ),
    Document::new("replication-discard", "The copy that is gone", &["replication discard"], of::<printed::Discarded>),
    Document::new("vm-where", "Which machines run where", &["vm where"], of::<Whereabouts>),
    Document::new("vm-restore", "The point that was put in place", &["vm restore"], of::<Restored>),
    Document::new("failover-proposal", "A failover as it would go", &["failover execute --dry-run"], of::<Proposal>),
    Document::new(
        "failover-report",
        "What became of a failover",
        &["failover execute", "failover resume", "failover abort"],
        of::<FailoverReport>,
    ),
    Document::new(
        "failover-status",
        "What is open or paused, and what keeps a failover from happening by itself",
        &["failover status"],
        of::<FailoverStatus>,
    ),
    Document::new("failover-history", "The failovers", &["failover history"], of::<Vec<FailoverEvent>>),
    Document::new("failover-take-over", "The controller's place, taken", &["failover take-over"], of::<printed::Taken>),
    Document::new(
        "failover-back-proposal",
        "The ways home as they would go",
        &["failover back --dry-run"],
        of::<Vec<Proposal>>,
    ),
    Document::new("failover-back", "What went home", &["failover back"], of::<Back>),
    Document::new(
        "failover-pause",
        "Who keeps a pause, or ended it",
        &["failover pause", "failover unpause"],
        of::<PauseReport>,
    ),
    Document::new("drill", "What drills found", &["failover drill"], of::<DrillReport>),
    Document::new("failover-fence", "A region that was cut off", &["failover fence"], of::<Fenced>),
    Document::new("failover-unfence", "A region that was let in again", &["failover unfence"], of::<LetIn>),
    Document::new(
        "failover-runbook",
        "What to do on the night that it is needed",
        &["failover runbook"],
        of::<Runbook>,
    ),
    Document::new("graph", "The topology as a picture: its boxes and arrows", &["graph"], of::<Graph>),
    Document::new("global", "The numbers of all regions together", &["global"], of::<GlobalStatistics>),
    Document::new("history", "What was done", &["history"], of::<Vec<HistoryEntry>>),
    Document::new("state-show", "What a state file remembers", &["state show"], of::<Memory>),
    Document::new("state-backup", "The copy of a state file", &["state backup"], of::<printed::Copied>),
    Document::new("state-rebuild", "What a state file was made anew from", &["state rebuild"], of::<Rebuilt>),
];
