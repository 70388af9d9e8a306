//! What became of a run, in a line or a few.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::paint::{Glyph, Tone};
use super::terminal::Look;
use super::text::{brief, count, grouped};
use crate::fleet::{ChangeOutcome, Counts, ExitClass, Rebuilt, RunReport};
use crate::model::{ByteCount, RunId, units};

/// The verdict over a run, its figures, and what to look at.
pub fn run(report: &RunReport, look: &Look) -> String {
    let RunReport { run: _, plan: _, outcomes: _, counts, class, bytes, duration, serial } = report;
    let effects = counts.done + counts.renamed + counts.unchanged + counts.partly;
    let (glyph, tone, verdict) = verdict(*class, effects > 0, *bytes);
    // Where nothing was done there is nothing to count.
    if effects == 0 && *class == ExitClass::Done {
        return format!("{}\n", look.paint(tone, &format!("{} {verdict}", look.glyph(glyph))));
    }
    let mut facts = figures(counts);
    if bytes.0 > 0 {
        facts.push(format!("{bytes} moved"));
    }
    facts.push(format!("in {}", brief(*duration)));
    facts.push(format!("state serial {serial}"));
    let dot = look.glyph(Glyph::Dot);
    format!(
        "{}\n  {}\n",
        look.paint(tone, &format!("{} {verdict}", look.glyph(glyph))),
        look.paint(Tone::Faint, &facts.join(&format!(" {dot} ")))
    )
}

/// How a run ended: whether anything of it had an effect, and what travelled.
const fn verdict(class: ExitClass, effects: bool, bytes: ByteCount) -> (Glyph, Tone, &'static str) {
    match class {
        ExitClass::Done if effects => (Glyph::Done, Tone::Good, "Done"),
        ExitClass::Done => (Glyph::Done, Tone::Good, "Nothing to do"),
        ExitClass::Partial if effects => (Glyph::Stop, Tone::Warn, "Partly done; what is done stands and is recorded"),
        ExitClass::Partial => (Glyph::Stop, Tone::Warn, "Nothing of the plan could be done now"),
        ExitClass::Failed if bytes.0 > 0 => {
            (Glyph::Cross, Tone::Bad, "Failed; what arrived is kept, and the next apply goes on from here")
        }
        ExitClass::Failed => (Glyph::Cross, Tone::Bad, "Failed; nothing of it was carried out"),
        ExitClass::Interrupted => {
            (Glyph::Stop, Tone::Warn, "Interrupted; what is done stands, and the next apply goes on from here")
        }
    }
}

/// `3 done`, `1 failed`: what is not zero.
fn figures(counts: &Counts) -> Vec<String> {
    let Counts { done, renamed, unchanged, failed, partly: _, blocked, skipped, interrupted, deferred } = *counts;
    let parts = [
        (done, "done"),
        (renamed, "renamed"),
        (unchanged, "unchanged"),
        (failed, "failed"),
        (blocked, "blocked"),
        (skipped, "skipped"),
        (interrupted, "interrupted"),
        (deferred, "deferred"),
    ];
    parts.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{} {word}", grouped((*n).into()))).collect()
}

/// What a state file was made anew from.
pub fn rebuilt(rebuilt: &Rebuilt, look: &Look) -> String {
    let Rebuilt { run: _, lineage, objects, regions, missing, controllers } = rebuilt;
    let what = format!(
        "lineage {lineage}, {} remembered by {}",
        count(*objects, "object", "objects"),
        count(regions.len(), "region", "regions")
    );
    let mut out = format!("{} {what}\n", look.paint(Tone::Good, look.glyph(Glyph::Done)));
    for (region, reason) in missing {
        let line = format!("{} {region} did not answer; what only it knows is missing", look.glyph(Glyph::Stop));
        out.push_str(&format!("  {}\n{}", look.paint(Tone::Warn, &line), look.wrapped(6, reason)));
    }
    if !controllers.is_empty() {
        let places = controllers.iter().map(|place| look.clean(place)).collect::<Vec<_>>().join(", ");
        let line = format!("{} This state is not the controller", look.glyph(Glyph::Stop));
        let more = format!(
            "The regions obey the lost one at {places}: syncs go on, registry and roles stay as they are. \
             `apply --take-over` takes its place."
        );
        out.push_str(&format!("  {}\n{}", look.paint(Tone::Warn, &line), look.wrapped(6, &more)));
    }
    out
}

/// A run for programs: without the plan that it followed, which is a document of its own.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RunView<'a> {
    run: RunId,
    class: ExitClass,
    counts: Counts,
    bytes: ByteCount,
    #[serde(with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    duration: Duration,
    serial: u64,
    outcomes: &'a [ChangeOutcome],
}

impl<'a> From<&'a RunReport> for RunView<'a> {
    fn from(report: &'a RunReport) -> Self {
        let RunReport { run, plan: _, outcomes, counts, class, bytes, duration, serial } = report;
        Self {
            run: *run,
            class: *class,
            counts: *counts,
            bytes: *bytes,
            duration: *duration,
            serial: *serial,
            outcomes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_arrived_is_not_called_nothing() {
        let failed = |bytes| verdict(ExitClass::Failed, false, ByteCount(bytes)).2;
        assert_eq!(failed(0), "Failed; nothing of it was carried out");
        assert_eq!(failed(1), "Failed; what arrived is kept, and the next apply goes on from here");
    }
}
