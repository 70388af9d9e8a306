//! What was done, by whom, when, and how it ended.

use std::collections::BTreeSet;

use super::moment::moment;
use super::paint::Tone;
use super::table::{Cell, Column, Table, said};
use super::terminal::Look;
use super::text::{brief, grouped};
use crate::state::{ActionOutcome, ActionRecord, HistoryEntry, RunOutcome, RunRecord};

const fn run_outcome(outcome: RunOutcome) -> (&'static str, Tone) {
    match outcome {
        RunOutcome::Running => ("running", Tone::Move),
        RunOutcome::Done => ("done", Tone::Good),
        RunOutcome::Partial => ("partial", Tone::Warn),
        RunOutcome::Failed => ("failed", Tone::Bad),
        RunOutcome::Refused => ("refused", Tone::Warn),
        RunOutcome::Interrupted => ("interrupted", Tone::Warn),
        RunOutcome::Abandoned => ("abandoned", Tone::Bad),
    }
}

const fn action_outcome(outcome: ActionOutcome) -> (&'static str, Tone) {
    match outcome {
        ActionOutcome::Running => ("running", Tone::Move),
        ActionOutcome::Done => ("done", Tone::Good),
        ActionOutcome::Unchanged => ("unchanged", Tone::Faint),
        ActionOutcome::Failed => ("failed", Tone::Bad),
        ActionOutcome::Blocked => ("blocked", Tone::Warn),
        ActionOutcome::Skipped => ("skipped", Tone::Faint),
        ActionOutcome::Interrupted => ("interrupted", Tone::Warn),
        ActionOutcome::Unknown => ("unknown", Tone::Bad),
    }
}

/// The runs, the newest first; with `actions`, what each of them did.
pub fn history(entries: &[HistoryEntry], actions: bool, look: &Look) -> String {
    if entries.is_empty() {
        return format!("{}\n", look.paint(Tone::Faint, "nothing in the history that fits"));
    }
    if !actions {
        let mut table = runs();
        entries.iter().for_each(|entry| table.row(run(&entry.run)));
        return table.render(look);
    }
    let (mut out, mut left_out) = (String::new(), BTreeSet::new());
    for entry in entries {
        if !out.is_empty() {
            out.push('\n');
        }
        let RunRecord { run, command, who, host: _, pid, started_at, topology, outcome, message, .. } = &entry.run;
        let (word, tone) = run_outcome(*outcome);
        let when = look.paint(Tone::Strong, &moment(*started_at));
        out.push_str(&format!("{when}  {}\n", look.paint(tone, word)));
        out.push_str(&look.wrapped(2, bare(command)));
        let topology = topology.as_ref().map_or_else(String::new, |digest| format!(", topology {}", digest.short()));
        // A failover is carried on by whoever resumes it.
        let process = if *pid == 0 { String::new() } else { format!(", pid {pid}") };
        let facts = format!("run {run} by {who}{process}{topology}");
        for line in look.wrapped(2, &facts).lines() {
            out.push_str(&format!("  {}\n", look.paint(Tone::Faint, line.trim_start())));
        }
        if let Some(message) = message {
            out.push_str(&look.wrapped(2, message));
        }
        if !entry.actions.is_empty() {
            out.push_str(&self::actions(&entry.actions, look, &mut left_out));
        }
    }
    out.push_str(&said(&left_out, 2, look));
    out
}

fn runs() -> Table {
    Table::new([
        Column::name("Began"),
        Column::name("Outcome"),
        Column::number("Actions").optional(2),
        Column::number("Moved").optional(1),
        Column::number("Took").optional(3),
        Column::name("By").below(4),
        Column::text("Command"),
    ])
}

fn run(run: &RunRecord) -> [Cell; 7] {
    let (word, tone) = run_outcome(run.outcome);
    let took = run.finished_at.map_or_else(String::new, |end| brief(end.since(run.started_at)));
    [
        Cell::from(moment(run.started_at)),
        Cell::toned(tone, word),
        Cell::from(grouped(run.action_count.into())),
        Cell::from(if run.bytes.0 > 0 { run.bytes.to_string() } else { String::new() }),
        Cell::from(took),
        Cell::from(run.who.clone()),
        Cell::from(bare(&run.command)),
    ]
}

fn actions(actions: &[ActionRecord], look: &Look, left_out: &mut BTreeSet<&'static str>) -> String {
    let mut table = Table::new([
        Column::name("Action"),
        Column::name("Object"),
        Column::text("Where"),
        Column::name("Outcome"),
        Column::number("Moved").optional(1),
        Column::number("Took").optional(2),
        Column::text("Message"),
    ])
    .indented(2);
    for action in actions {
        let (word, tone) = action_outcome(action.outcome);
        table.row([
            Cell::from(action.action.as_str()),
            Cell::from(action.address.to_string()),
            Cell::from(action.regions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
            Cell::toned(tone, word),
            Cell::from(if action.bytes.0 > 0 { action.bytes.to_string() } else { String::new() }),
            Cell::from(action.duration.map_or_else(String::new, brief)),
            Cell::from(action.message.clone().unwrap_or_default()),
        ]);
    }
    table.render_part(look, left_out)
}

/// The command line without the program's own name, which all of them begin with.
fn bare(command: &str) -> &str {
    command.strip_prefix("debvisor-region ").unwrap_or(command)
}
