//! What drills found, resource by resource.

use super::paint::Tone;
use super::table::{Cell, Column, Table};
use super::terminal::Look;
use super::text::{brief, count};
use crate::fleet::DrillReport;
use crate::live::port::Drilled;

/// All of them, and the sum.
pub fn report(report: &DrillReport, look: &Look) -> String {
    let DrillReport { at: _, resources, unwritten } = report;
    if resources.is_empty() {
        return format!("{}\n", look.paint(Tone::Faint, "no region that answers records anything that fits"));
    }
    let mut table = Table::new([
        Column::name("Resource"),
        Column::name("At"),
        Column::name("Result"),
        Column::number("Point").optional(1),
        Column::number("Age"),
        Column::number("Read in").optional(2),
        Column::number("Ran for").optional(3),
        Column::text("Why not"),
    ]);
    for resource in resources {
        let ran = resource.drilled.as_ref().and_then(|drilled| drilled.ran_for);
        let (word, tone) = match (resource.success, ran) {
            (true, Some(_)) => ("started", Tone::Good),
            (true, None) => ("whole", Tone::Good),
            (false, _) => ("failed", Tone::Bad),
        };
        let of = |tell: &dyn Fn(&Drilled) -> String| resource.drilled.as_ref().map(tell).unwrap_or_default();
        table.row([
            Cell::from(format!("{}.{}", resource.resource_type.as_str(), resource.resource_id)),
            Cell::from(resource.region_id.as_ref().map(ToString::to_string).unwrap_or_default()),
            Cell::toned(tone, word),
            Cell::from(of(&|drilled| drilled.point.sequence.to_string())),
            Cell::from(of(&|drilled| brief(drilled.age))),
            Cell::from(of(&|drilled| brief(drilled.read_in))),
            Cell::from(ran.map(brief).unwrap_or_default()),
            Cell::from(resource.failure.clone().unwrap_or_default()),
        ]);
    }
    let (well, started) = (report.well(), report.started());
    let mut out = table.render(look);
    let copies = count(resources.len(), "copy", "copies");
    out.push_str(&format!("\n{well} of {copies} could be read to the last byte, and "));
    out.push_str(&format!("{} started from them\n", count(started, "machine", "machines")));
    if let Some(why) = unwritten {
        out.push_str(&look.paint(Tone::Warn, &format!("history has nothing of it: {why}\n")));
    }
    out
}
