//! Events as lines: what ended, and of a long copy now and then how far it is. For logs, and for the lines above the
//! bars of a terminal.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::feed::View;
use crate::execute::event::{DeferReason, Event, Outcome, Stage};
use crate::model::{Address, ByteCount, RegionId, Timestamp};
use crate::plan::document::Kind;
use crate::render::failovers;
use crate::render::paint::{Glyph, Tone};
use crate::render::printer::Printer;
use crate::render::terminal::Look;
use crate::render::text;

/// A copy says how far it is every so often.
const PROGRESS_EVERY: Duration = Duration::from_secs(30);
/// The columns of an object's name, so that what follows stands in line.
const NAME: usize = 38;

/// Whether what the plan could not even try is told too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tells {
    /// Not again: the plan was shown, and says it.
    #[default]
    WhatHappens,
    /// Yes: nobody saw the plan.
    WhatIsStoppedToo,
}

/// Lines on standard error.
#[derive(Debug)]
pub struct Lines {
    printer: Arc<Printer>,
    said: BTreeMap<String, Timestamp>,
    tells: Tells,
}

impl Lines {
    /// Writes through `printer`.
    pub const fn new(printer: Arc<Printer>, tells: Tells) -> Self {
        Self { printer, said: BTreeMap::new(), tells }
    }
}

impl View for Lines {
    fn event(&mut self, event: &Event) {
        let look = *self.printer.error_look();
        match event {
            Event::ActionStarted { at, id, .. } => {
                self.said.insert(id.clone(), *at);
            }
            Event::Progress { at, id, address, stage, bytes_done, bytes_total } => {
                let last = self.said.entry(id.clone()).or_insert(*at);
                if at.since(*last) >= PROGRESS_EVERY {
                    *last = *at;
                    let far = far(*bytes_done, *bytes_total);
                    let line = format!("  {} {address}  {} {far}", look.glyph(Glyph::Ellipsis), stage_word(*stage));
                    self.printer.note(&line);
                }
            }
            Event::ActionFinished { id, .. } => {
                self.said.remove(id);
                if let Some(line) = finished(event, &look) {
                    self.printer.note(&line);
                }
            }
            Event::Blocked { .. } | Event::Deferred { .. } => {
                if let Some(line) = stopped(event, self.tells, &look) {
                    self.printer.note(&line);
                }
            }
            Event::DamageFound { .. } | Event::Audited { .. } => {
                if let Some(line) = audit(event, &look) {
                    self.printer.note(&line);
                }
            }
            Event::OperationOpen { .. } | Event::FailoverHeld { .. } | Event::FailoverFinished { .. } => {
                if let Some(line) = failover(event, &look) {
                    self.printer.note(&line);
                }
            }
            Event::Summary { .. } => {}
        }
    }

    fn say(&mut self, line: &str) {
        self.printer.note(line);
    }

    fn end(&mut self) {}
}

/// What a copy is doing, in a word.
pub(super) const fn stage_word(stage: Stage) -> &'static str {
    match stage {
        Stage::Reading => "reading",
        Stage::Comparing => "comparing",
        Stage::Copying => "copying",
        Stage::Publishing => "publishing",
    }
}

fn far(done: ByteCount, total: Option<ByteCount>) -> String {
    match total.filter(|total| total.0 > 0) {
        Some(total) => {
            let percent = u128::from(done.0) * 100 / u128::from(total.0);
            format!("{done} of {total} ({percent} %)")
        }
        None => done.to_string(),
    }
}

/// `vm.web-vm-1 → us-west-1` for a copy, the address alone for a record.
pub(super) fn name(address: &Address, kind: Kind, regions: &[RegionId], look: &Look) -> String {
    match kind {
        Kind::Sync | Kind::Failover | Kind::Fence if !regions.is_empty() => {
            let regions = regions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            format!("{address} {} {regions}", look.glyph(Glyph::Arrow))
        }
        Kind::Sync | Kind::Failover | Kind::Fence | Kind::Region | Kind::Replication | Kind::Resource => {
            address.to_string()
        }
    }
}

/// The sign and the tone of an outcome, and its word where the sign does not say enough.
pub(super) const fn outcome(outcome: Outcome) -> (Glyph, Tone, Option<&'static str>) {
    match outcome {
        Outcome::Done => (Glyph::Done, Tone::Good, None),
        Outcome::Unchanged => (Glyph::Same, Tone::Faint, Some("unchanged")),
        Outcome::Failed => (Glyph::Cross, Tone::Bad, Some("failed")),
        Outcome::Blocked => (Glyph::Stop, Tone::Warn, Some("blocked")),
        Outcome::Skipped => (Glyph::Bullet, Tone::Faint, Some("skipped")),
        Outcome::Interrupted => (Glyph::Stop, Tone::Warn, Some("interrupted")),
    }
}

/// The lines of what the plan could not even try; none for any other event, and where it was shown before.
pub(super) fn stopped(event: &Event, tells: Tells, look: &Look) -> Option<String> {
    if tells == Tells::WhatHappens {
        return None;
    }
    let (glyph, word, address, place, reason, detail) = match event {
        Event::Blocked { at: _, address, region_id, reason, detail } => {
            let place = region_id.as_ref().map(|region| format!(" {} {region}", look.glyph(Glyph::Arrow)));
            (Glyph::Stop, "blocked", address, place.unwrap_or_default(), reason.words(), detail)
        }
        // The region that it waits for may be its source, so no arrow leads there.
        Event::Deferred { at: _, address, region_id, reason: DeferReason::Unobserved, detail } => {
            let reason = format!("until {region_id} answers");
            (Glyph::Bullet, "deferred", address, String::new(), reason, detail)
        }
        Event::ActionStarted { .. }
        | Event::Progress { .. }
        | Event::ActionFinished { .. }
        | Event::DamageFound { .. }
        | Event::Audited { .. }
        | Event::OperationOpen { .. }
        | Event::FailoverHeld { .. }
        | Event::FailoverFinished { .. }
        | Event::Summary { .. } => return None,
    };
    let sign = look.paint(Tone::Warn, &text::padded(look.glyph(glyph), if look.unicode { 1 } else { 2 }));
    let name = text::padded(&format!("{address}{place}"), NAME);
    let line = format!("  {sign} {word:<8} {name} {}", look.paint(Tone::Warn, &reason));
    Some(line + "\n" + &told(detail, look))
}

/// The lines of a failover that no person asked for; none for any other event.
pub(super) fn failover(event: &Event, look: &Look) -> Option<String> {
    let sign = |glyph, tone| look.paint(tone, &text::padded(look.glyph(glyph), if look.unicode { 1 } else { 2 }));
    match event {
        Event::OperationOpen { at: _, operation, from, to, resources, detail } => {
            let moves = text::count(*resources as usize, "resource", "resources");
            let line = format!("  {} operation {operation} is open:", sign(Glyph::Stop, Tone::Bad));
            Some(format!("{line} {from} {} {to}, {moves}\n{}", look.glyph(Glyph::Arrow), told(detail, look)))
        }
        Event::FailoverHeld { at: _, region_id, gate, detail, help } => {
            let sign = sign(Glyph::Stop, Tone::Warn);
            let line = format!("  {sign} no failover of {region_id}: {}\n", look.paint(Tone::Warn, gate));
            let help = help.as_ref().map(|help| format!("\n{}", told(&format!("help: {help}"), look)));
            Some(format!("{line}{}{}", told(detail, look), help.unwrap_or_default()))
        }
        Event::FailoverFinished { at: _, event } => Some(failovers::ended(event, look).trim_end().to_owned()),
        Event::ActionStarted { .. }
        | Event::Progress { .. }
        | Event::ActionFinished { .. }
        | Event::Blocked { .. }
        | Event::Deferred { .. }
        | Event::DamageFound { .. }
        | Event::Audited { .. }
        | Event::Summary { .. } => None,
    }
}

/// The lines of what was found when replicas were read back, and of a region that could not read them; none for any other
/// event, and where all is well.
pub(super) fn audit(event: &Event, look: &Look) -> Option<String> {
    let sign = |tone| look.paint(tone, &text::padded(look.glyph(Glyph::Stop), if look.unicode { 1 } else { 2 }));
    match event {
        Event::DamageFound { at: _, address, region_id, point, path, detail } => {
            let name = format!("{address} {} {region_id}", look.glyph(Glyph::Arrow));
            let line = format!("  {} damaged  {}", sign(Tone::Bad), text::padded(&name, NAME));
            Some(format!("{}\n{}", line.trim_end(), told(&format!("{path} of point {point}: {detail}"), look)))
        }
        Event::Audited { at: _, region_id, bytes: _, duration: _, failure: Some(failure) } => {
            let line = format!("  {} replicas at {region_id} were not read back", sign(Tone::Warn));
            Some(format!("{line}\n{}", told(failure, look)))
        }
        Event::Audited { failure: None, .. }
        | Event::ActionStarted { .. }
        | Event::Progress { .. }
        | Event::ActionFinished { .. }
        | Event::Blocked { .. }
        | Event::Deferred { .. }
        | Event::OperationOpen { .. }
        | Event::FailoverHeld { .. }
        | Event::FailoverFinished { .. }
        | Event::Summary { .. } => None,
    }
}

/// A message below its line. Without a width it stays one line, so that a log can be searched.
fn told(message: &str, look: &Look) -> String {
    let indent = if look.unicode { 4 } else { 5 };
    if look.width.is_some() {
        look.wrapped(indent, message).trim_end().to_owned()
    } else {
        format!("{}{}", " ".repeat(indent), look.clean(message))
    }
}

/// What a person asked for of one copy, which no plan does: a plan's own ids have no verb.
fn by_hand(id: &str) -> Option<&str> {
    let (verb, _) = id.split_once(':')?;
    matches!(verb, "discard" | "restore").then_some(verb)
}

/// The line of an action that ended; none for any other event.
pub(super) fn finished(event: &Event, look: &Look) -> Option<String> {
    let Event::ActionFinished { at: _, id, address, kind, action, regions, outcome: ended, bytes, duration, message } =
        event
    else {
        return None;
    };
    let (glyph, tone, word) = outcome(*ended);
    let sign = look.paint(tone, &text::padded(look.glyph(glyph), if look.unicode { 1 } else { 2 }));
    let name = text::padded(&name(address, *kind, regions, look), NAME);
    let mut facts: Vec<String> = word.map(str::to_owned).into_iter().collect();
    if *kind == Kind::Sync && by_hand(id).is_none() && (*ended == Outcome::Done || bytes.0 > 0) {
        facts.push(format!("{bytes} in {}", text::brief(*duration)));
    }
    let facts = look.paint(if *ended == Outcome::Done { Tone::Faint } else { tone }, &facts.join(", "));
    let word = by_hand(id).unwrap_or(action.as_str());
    let mut line = format!("  {sign} {word:<6} {name} {facts}").trim_end().to_owned();
    // Why something failed or was blocked is told at the end of the run, with the line that asked for it.
    let told = matches!(ended, Outcome::Failed | Outcome::Blocked | Outcome::Interrupted);
    if let Some(message) = message.as_ref().filter(|_| !told) {
        line.push('\n');
        line.push_str(&self::told(message, look));
    }
    Some(line)
}
