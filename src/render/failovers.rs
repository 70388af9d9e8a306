//! Failovers that were, are, and how one ended.

use super::moment::moment;
use super::paint::{Glyph, Tone};
use super::table::{Cell, Column, Table};
use super::terminal::Look;
use super::text::{brief, count};
use crate::fleet::{Back, FailoverReport, PauseReport, PendingOperation};
use crate::model::event::{FailoverEvent, FailoverOutcome};
use crate::model::failover::Direction;

fn outcome(event: &FailoverEvent) -> (&'static str, Tone) {
    match event.outcome {
        None => ("open", Tone::Bad),
        Some(FailoverOutcome::Completed) if event.is_fence() => ("cut off", Tone::Warn),
        Some(FailoverOutcome::Completed) if event.success => ("completed", Tone::Good),
        Some(FailoverOutcome::Completed) => ("partly", Tone::Warn),
        Some(FailoverOutcome::Aborted) => ("aborted", Tone::Warn),
        Some(FailoverOutcome::Withdrawn) => ("withdrawn", Tone::Warn),
        Some(FailoverOutcome::Refused) => ("refused", Tone::Warn),
    }
}

/// The failovers, the newest first.
pub fn history(events: &[FailoverEvent], look: &Look) -> String {
    if events.is_empty() {
        return format!("{}\n", look.paint(Tone::Faint, "no failover in the history that fits"));
    }
    let mut table = Table::new([
        Column::name("Began"),
        Column::name("From"),
        Column::name("To"),
        Column::name("Outcome"),
        Column::number("Moved"),
        Column::number("Took").optional(2),
        Column::name("Strategy").below(3),
        Column::name("By").below(4),
        Column::text("Why").below(1),
    ]);
    for event in events {
        let (word, tone) = outcome(event);
        table.row([
            Cell::from(moment(event.timestamp)),
            Cell::from(event.from_region_id.to_string()),
            Cell::from(if event.is_fence() { String::new() } else { event.to_region_id.to_string() }),
            Cell::toned(tone, word),
            Cell::from(event.affected_resources.to_string()),
            Cell::from(brief(event.duration_seconds.0)),
            Cell::from(event.strategy.as_str()),
            Cell::from(event.by.clone()),
            Cell::from(event.reason.clone().unwrap_or_default()),
        ]);
    }
    table.render(look)
}

/// How a failover ended.
pub fn report(report: &FailoverReport, look: &Look) -> String {
    let Some(event) = &report.event else {
        let from = report.proposal.as_ref().map_or_else(String::new, |proposal| format!(" from {}", proposal.from));
        return format!("nothing is left to move{from}\n");
    };
    let mut out = ended(event, look);
    for (region, why) in &report.unheard {
        out.push_str(
            &look.wrapped(2, &format!("{region} has not heard of the end: {why}; it learns it from the others")),
        );
    }
    out
}

/// Where nothing is held elsewhere than the files say.
pub const HOME: &str = "everything is at home\n";

/// What went home.
pub fn back(back: &Back, look: &Look) -> String {
    let Back { reports, left_out, held_back, error: _ } = back;
    let mut out: String = reports.iter().map(|one| report(one, look)).collect();
    for one in held_back {
        out.push_str(
            &look.wrapped(
                2,
                &format!("{} {} {} did not go: {}", one.from, look.glyph(Glyph::Arrow), one.to, one.reason),
            ),
        );
    }
    for one in left_out {
        out.push_str(&look.wrapped(2, &format!("{} stays where it is: {}", one.resource, one.reason)));
    }
    if out.is_empty() { HOME.to_owned() } else { out }
}

/// How a failover ended, or that it is open.
pub fn ended(event: &FailoverEvent, look: &Look) -> String {
    let (word, tone) = outcome(event);
    let moved = count(event.resources.len(), "resource", "resources");
    let loss = match event.loss {
        Some(loss) if loss.is_zero() || event.outcome != Some(FailoverOutcome::Completed) => String::new(),
        Some(loss) => format!(", at most {} lost", brief(loss)),
        None => String::new(),
    };
    let head = format!(
        "{} {} {} {}: {moved} in {}{loss}",
        look.paint(tone, word),
        event.from_region_id,
        look.glyph(Glyph::Arrow),
        event.to_region_id,
        brief(event.duration_seconds.0),
    );
    let mut out = format!("{head}\n");
    for (key, why) in &event.failed {
        out.push_str(&look.wrapped(2, &format!("{key}: {why}")));
    }
    for note in &event.notes {
        out.push_str(&look.wrapped(2, note));
    }
    if event.outcome.is_none() {
        let next = format!(
            "the operation {} is open: `failover resume` goes on with it, `failover abort` leads it back",
            event.operation
        );
        out.push_str(&look.wrapped(2, &next));
    }
    out
}

/// What became of a pause, or of its end.
pub fn pause(report: &PauseReport, look: &Look) -> String {
    let PauseReport { pause, stored, not_stored, class: _ } = report;
    let regions = stored.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let said = match pause {
        _ if stored.is_empty() => "no region answered".to_owned(),
        Some(_) => format!("nothing fails over without a person any more: {regions} keep that, and one would do"),
        None => format!("failovers may happen without a person again, as far as {regions} know"),
    };
    let mut out = look.wrapped(0, &said);
    for (region, why) in not_stored {
        let consequence = match pause {
            Some(_) => "has not stored it",
            None => "still keeps a pause, if it had one, and that binds once it is back",
        };
        let line = look.paint(Tone::Warn, &format!("{region} {consequence}: {}", look.clean(why)));
        out.push_str(&look.wrapped(2, &line));
    }
    out
}

/// The operations that are open.
pub fn pending(pending: &[PendingOperation], look: &Look) -> String {
    if pending.is_empty() {
        return format!("{}\n", look.paint(Tone::Faint, "no operation is open at any region that answers"));
    }
    let mut table = Table::new([
        Column::name("Operation"),
        Column::name("From"),
        Column::name("To"),
        Column::name("Leads"),
        Column::number("Attempt").below(2),
        Column::number("Resources"),
        Column::number("Promoted"),
        Column::text("Open at").below(1),
    ]);
    for open in pending {
        let leads = match open.bid.direction {
            Direction::Forward => "forward",
            Direction::Abort => "back",
        };
        let promoted: usize = open.promoted.values().map(std::collections::BTreeSet::len).sum();
        let places: Vec<String> = open.open_at.keys().map(ToString::to_string).collect();
        table.row([
            Cell::from(open.bid.failover.id.to_string()),
            Cell::from(open.bid.failover.from.to_string()),
            Cell::from(open.bid.to.to_string()),
            Cell::toned(Tone::Warn, leads),
            Cell::from(open.bid.attempt.number.to_string()),
            Cell::from(open.bid.resources.len().to_string()),
            Cell::from(promoted.to_string()),
            Cell::from(places.join(", ")),
        ]);
    }
    let help = "`failover resume` goes on with one, `failover abort` leads it back";
    format!("{}{}", table.render(look), look.wrapped(0, help))
}
