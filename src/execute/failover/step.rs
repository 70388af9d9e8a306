//! The steps of an attempt in words, as the journal and people have them.

use std::collections::BTreeSet;

use crate::failover::Step;
use crate::model::ResourceKey;
use crate::model::event::StepRecord;
use crate::model::failover::{Hook, Note};

/// So many resources are named.
const NAMED: usize = 3;

/// What the journal says of a step that ended as it should.
pub(super) const DONE: &str = "done";

/// Whether a step of a journal is one that may have changed something: one that stops or starts machines, or a hook.
pub fn changes(step: &str) -> bool {
    let verbs = [" gives up and stops ", " holds and starts "];
    step.starts_with("run ") || verbs.iter().any(|verb| step.contains(verb))
}

/// Whether a record of a journal says that a hook has run to its end.
pub fn has_run(hook: &Hook, record: &StepRecord) -> bool {
    record.step == words(&Step::Run(hook.clone())) && record.outcome.as_deref() == Some(DONE)
}

/// A step in words.
pub(super) fn words(step: &Step) -> String {
    match step {
        Step::Meet(region) => format!("meet the agent of {region}"),
        Step::Accept(region) => format!("{region} accepts the operation"),
        Step::Withdraw(region, keys) => format!("{region} lets go of {}", named(keys)),
        Step::Confirm(region) => format!("{region} confirms the attempt"),
        Step::Judge => "judge the gates on what the regions answered".to_owned(),
        Step::Note(region, note) => format!("{region} keeps word: {}", word(note)),
        Step::Run(hook) => format!("run {}", hook_words(hook)),
        Step::Demote(region, keys) => format!("{region} gives up and stops {}", named(keys)),
        Step::Start(region, keys) => format!("{region} holds and starts {}", named(keys)),
        Step::Close(region, keys) => format!("{region} closes the operation on {}", named(keys)),
    }
}

fn word(note: &Note) -> String {
    match note {
        Note::HookIntended { hook, .. } => format!("{} is about to run", hook_words(hook)),
        Note::HookDone { hook } => format!("{} has run", hook_words(hook)),
        Note::Fenced { region, .. } => format!("{region} is stopped"),
        Note::Unproven { region, .. } => format!("nothing proves any more that {region} is stopped"),
    }
}

/// A hook in words; they are counted from one for people.
pub(super) fn hook_words(hook: &Hook) -> String {
    match hook {
        Hook::Before(n) => format!("the hook before ({})", n + 1),
        Hook::Fence(region) => format!("the fence of {region}"),
        Hook::After(n) => format!("the hook after ({})", n + 1),
    }
}

fn named(keys: &BTreeSet<ResourceKey>) -> String {
    let first: Vec<String> = keys.iter().take(NAMED).map(ToString::to_string).collect();
    match keys.len().saturating_sub(NAMED) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}
