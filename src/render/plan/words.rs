//! The words that every form of a plan shares: its verdict, its counts, and what each part means and asks for.

use std::collections::BTreeSet;

use crate::model::Address;
use crate::model::region::Epoch;
use crate::plan::document::{Action, Held, Mode, Plan, Summary, UnobservedRegion};
use crate::render::text::{count, grouped};

/// `12 to create, 3 to sync`; empty where there is nothing.
pub fn counts(summary: &Summary) -> String {
    let Summary { create, update, delete, sync, repair, failover, fence } = *summary;
    let parts = [
        (create, "create"),
        (update, "update"),
        (delete, "delete"),
        (sync, "sync"),
        (repair, "repair"),
        (failover, "fail over"),
        (fence, "fence"),
    ];
    let parts = parts.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{} to {word}", grouped((*n).into())));
    parts.collect::<Vec<_>>().join(", ")
}

/// What the counts leave out: `2 blocked, 1 held`.
pub(super) fn asides(plan: &Plan) -> String {
    let parts = [
        (plan.unobserved.len(), "unobserved"),
        (plan.deferred().len(), "deferred"),
        (plan.blocked.len(), "blocked"),
        (plan.held.len(), "held"),
        (plan.waiting.len(), "waiting"),
        (plan.unmanaged.len(), "unmanaged"),
        // The verdict names renames where there is nothing else to name.
        (if plan.summary.total() > 0 { plan.moved.len() } else { 0 }, "renamed"),
    ];
    let parts = parts.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{} {word}", grouped(*n as u64)));
    parts.collect::<Vec<_>>().join(", ")
}

/// What waits for each of these regions: each object once, at the first of them, and how many of the others stand there.
pub(super) fn deferred(unobserved: &[UnobservedRegion]) -> Vec<(Vec<&Address>, usize)> {
    let mut named = BTreeSet::new();
    let first = unobserved.iter().map(|region| {
        let new: Vec<&Address> = region.deferred.iter().filter(|address| named.insert(*address)).collect();
        let others = region.deferred.len() - new.len();
        (new, others)
    });
    first.collect()
}

/// Adds to a list of objects how many more stand at regions before.
pub(super) fn and_above(list: String, above: usize) -> String {
    match (list.is_empty(), above) {
        (_, 0) => list,
        (true, above) => format!("{} named above", grouped(above as u64)),
        (false, above) => format!("{list}, and {} named above", grouped(above as u64)),
    }
}

/// Where something is held, and what the files say instead.
pub fn held(held: &Held) -> String {
    let Held { address: _, declared, holder, reason: _ } = held;
    let (region, epoch) = (&holder.region, holder.epoch);
    let how = if epoch > Epoch::BIRTH { format!("since epoch {epoch}") } else { "where it was born".to_owned() };
    format!("held by {region} {how}; the files say {declared}")
}

/// The plan in one sentence.
pub fn verdict(plan: &Plan) -> String {
    let drift = match plan.drift.len() {
        0 => String::new(),
        all if all as u64 == u64::from(plan.summary.total()) => " (all drift)".to_owned(),
        some => format!(" ({} of them drift)", grouped(some as u64)),
    };
    let refreshes = plan.mode == Mode::RefreshOnly;
    if refreshes && plan.summary.total() > 0 {
        format!("{} in the state's record", counts(&plan.summary))
    } else if refreshes && plan.is_settled() {
        "nothing to do: the state's record is as the regions are".to_owned()
    } else if plan.summary.total() > 0 {
        format!("{}{drift}", counts(&plan.summary))
    } else if !plan.is_settled() && !plan.moved.is_empty() {
        format!("{} to record", count(plan.moved.len(), "rename", "renames"))
    } else if !plan.is_settled() {
        "nothing can be done now".to_owned()
    } else if plan.moved.is_empty() {
        "nothing to do: the regions are as the topology says".to_owned()
    } else {
        format!("nothing to do but to record {}", count(plan.moved.len(), "rename", "renames"))
    }
}

/// What a mode other than the usual one means.
pub(super) const fn mode(mode: Mode) -> Option<&'static str> {
    match mode {
        Mode::Normal => None,
        Mode::RefreshOnly => Some("refresh only: the state's record becomes what is live; regions are left alone"),
        Mode::Reconcile => Some("reconcile: only what is due and allowed"),
    }
}

/// The heading over an action's entries.
pub(super) const fn action(action: Action) -> &'static str {
    match action {
        Action::Create => "Create",
        Action::Update => "Update",
        Action::Delete => "Delete",
        Action::Sync => "Sync",
        Action::Repair => "Repair",
        Action::Failover => "Fail over",
        Action::Fence => "Fence",
    }
}

/// What an action does, where a reader could fear more.
pub(super) const fn action_note(action: Action) -> Option<&'static str> {
    match action {
        Action::Delete => Some("Their records are removed. No file and no recovery point is deleted."),
        Action::Repair => {
            Some("The replica's files differ from its newest point. What is there now is set aside first.")
        }
        Action::Create | Action::Update | Action::Sync | Action::Failover | Action::Fence => None,
    }
}

/// A part of a plan that is no change: its heading, what it means, and what to do next.
pub(super) struct Part {
    pub(super) title: &'static str,
    pub(super) note: &'static str,
}

/// Where live differs from what was applied, and which of the two gives way.
pub(super) const fn drift(mode: Mode) -> Part {
    match mode {
        Mode::Normal | Mode::Reconcile => Part {
            title: "Drift",
            note: "Live differs from what was applied last: somebody's hand. Carried out, this mends it.",
        },
        Mode::RefreshOnly => Part {
            title: "To be recorded as it is live",
            note: "Live differs from the state's record. Carried out, the record becomes what is live; no region is touched.",
        },
    }
}
pub(super) const UNOBSERVED: Part = Part {
    title: "Unobserved",
    note: "Nothing is known of these regions, so nothing is assumed. What depends on them waits; bring them back and plan again.",
};
pub(super) const BLOCKED: Part =
    Part { title: "Blocked", note: "Safety stops these, and only these. Do what the line says, then plan again." };
pub(super) const HELD: Part = Part {
    title: "Held",
    note: "Live is right, the files are out of date. `failover accept` has them say what is, `failover back` leads home; until then nothing happens.",
};
pub(super) const WAITING: Part = Part {
    title: "Waiting",
    note: "Declared, with no files at the primary yet. Put them there and apply; nothing is wrong until then.",
};
pub(super) const UNMANAGED: Part = Part {
    title: "Unmanaged",
    note: "Live, and never managed by this topology. They are left alone; declare them to have them managed.",
};
pub(super) const MOVED: Part =
    Part { title: "Renamed", note: "The next apply records the new name. No data moves, and the old points stay." };
pub(super) const WARNINGS: Part = Part { title: "Worth knowing", note: "" };
