//! What drills found, resource by resource.

use super::paint::Tone;
use super::table::{Cell, Column, Table};
use super::terminal::Look;
use super::text::{brief, count};
use std::collections::BTreeSet;

use crate::fleet::{DrillReport, ResourceDrill};
use crate::live::port::Drilled;
use crate::model::{RegionId, ResourceType};

/// All of them, the sum, and what was not looked at: other copies than those that `to` keeps, or else than the freshest.
pub fn report(report: &DrillReport, to: Option<&RegionId>, look: &Look) -> String {
    let DrillReport { at: _, resources, unwritten } = report;
    if resources.is_empty() {
        return format!("{}\n", look.paint(Tone::Faint, "no region that answers records anything that fits"));
    }
    let mut table = Table::new([
        Column::name("Resource"),
        Column::name("At"),
        Column::name("Result"),
        Column::number("Point").below(1),
        Column::number("Age"),
        Column::number("Read in").below(2),
        Column::number("Ran for").below(3),
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
    let read = match to {
        Some(to) => format!("Of each resource the copy at {to} was read; others are read with `--to` another region."),
        None => "Of each resource one copy was read, the freshest; `--to REGION` reads those that it keeps.".to_owned(),
    };
    out.push_str(&look.wrapped(2, &read));
    let idle = |it: &&ResourceDrill| {
        it.resource_type == ResourceType::Vm
            && it.success
            && it.drilled.as_ref().is_some_and(|it| it.started_as.is_none())
    };
    let idle: BTreeSet<&str> =
        resources.iter().filter(idle).filter_map(|it| it.region_id.as_ref()).map(RegionId::as_str).collect();
    if !idle.is_empty() {
        let regions = idle.into_iter().collect::<Vec<_>>().join(", ");
        let why = format!("Machines are not started where the region's `[runner]` has no `drill_start`: {regions}.");
        out.push_str(&look.wrapped(2, &why));
    }
    if let Some(why) = unwritten {
        out.push_str(&look.paint(Tone::Warn, &format!("history has nothing of it: {why}\n")));
    }
    out
}
