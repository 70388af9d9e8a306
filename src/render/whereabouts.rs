//! Which machines run where: what is wrong first, then all others, then what could not be told, and why.

use std::collections::{BTreeMap, BTreeSet};

use super::paint::{Glyph, Tone};
use super::table::{Cell, Column, Table};
use super::terminal::Look;
use super::text::{count, grouped};
use crate::fleet::{MachineWhere, RunnerAt, Told, Whereabout, Whereabouts};
use crate::model::RegionId;

/// More machines than this, running where they belong or nowhere, are shown only on request.
const WELL_MAX: usize = 60;

/// So many machines are named that share a reason.
const NAMES: usize = 6;

const fn words(verdict: Whereabout) -> (&'static str, Tone) {
    match verdict {
        Whereabout::RunningTwice => ("RUNNING TWICE", Tone::Bad),
        Whereabout::ForeignStart => ("foreign start", Tone::Bad),
        Whereabout::Unknown => ("unknown", Tone::Warn),
        Whereabout::Stopped => ("stopped", Tone::Plain),
        Whereabout::Running => ("running", Tone::Good),
    }
}

/// All that was found; with `every`, machines with which all is well are listed however many they are.
pub fn whereabouts(found: &Whereabouts, look: &Look, every: bool) -> String {
    let Whereabouts { at: _, machines, regions } = found;
    let mut out = wrong(machines, look);
    let is_well = |machine: &MachineWhere| match machine.verdict {
        Whereabout::Running | Whereabout::Stopped => true,
        Whereabout::RunningTwice | Whereabout::ForeignStart | Whereabout::Unknown => false,
    };
    let well = machines.iter().filter(|machine| is_well(machine)).count();
    let shown = |machine: &&MachineWhere| every || well <= WELL_MAX || !is_well(machine);
    let mut table = Table::new([
        Column::name("VM"),
        Column::name("Is"),
        Column::name("Held by"),
        Column::number("Epoch").below(2),
        Column::name("Runs at"),
        Column::text("Not known at").below(1),
    ])
    .indented(2);
    for machine in machines.iter().filter(shown) {
        let MachineWhere { resource_id, verdict, holder, epoch, running_at, unknown_at, regions: _ } = machine;
        let (word, tone) = words(*verdict);
        table.row([
            Cell::from(resource_id.as_str()),
            Cell::toned(tone, word),
            Cell::from(holder.as_ref().map(ToString::to_string).unwrap_or_default()),
            Cell::from(epoch.map(|epoch| epoch.to_string()).unwrap_or_default()),
            Cell::from(listed(running_at)),
            Cell::from(listed(unknown_at)),
        ]);
    }
    if machines.is_empty() {
        out.push_str(&format!("  {}\n", look.paint(Tone::Faint, "no machine is declared, recorded or running")));
    } else {
        out.push_str(&table.render(look));
    }
    if !every && well > WELL_MAX {
        let more = format!("{} where they belong, or stopped; --verbose lists them", grouped(well as u64));
        out.push_str(&format!("  {}\n", look.paint(Tone::Faint, &more)));
    }
    out.push_str(&untold(machines, regions, look));
    out
}

/// What must be looked at now.
fn wrong(machines: &[MachineWhere], look: &Look) -> String {
    let mut out = String::new();
    for MachineWhere { resource_id, verdict, holder, epoch, running_at, .. } in machines {
        let holds = match (holder, epoch) {
            (Some(holder), Some(epoch)) => format!("{holder} holds it since epoch {epoch}"),
            _ => "no region that answers knows who holds it".to_owned(),
        };
        let (headline, help) = match verdict {
            Whereabout::RunningTwice => (
                format!("{resource_id}: RUNNING TWICE, at {}", listed(running_at)),
                "Stop it at once at all but one of them: each writes to files of its own.",
            ),
            Whereabout::ForeignStart => (
                format!("{resource_id}: runs at {}, which does not hold it", listed(running_at)),
                "Stop it there, or what it writes is lost or stands in the way.",
            ),
            Whereabout::Unknown | Whereabout::Stopped | Whereabout::Running => continue,
        };
        let line = format!("{} {}", look.glyph(Glyph::Cross), look.clean(&headline));
        out.push_str(&format!("{}\n", look.paint(Tone::Bad, &line)));
        out.push_str(&look.wrapped(2, &format!("{holds}. {help}")));
    }
    if !out.is_empty() {
        out.push('\n');
    }
    out
}

/// Why nothing is known of what runs at some regions, or of some machines.
fn untold(machines: &[MachineWhere], regions: &[RunnerAt], look: &Look) -> String {
    let (mut lines, mut without) = (Vec::new(), Vec::new());
    for RunnerAt { region_id, runner, reason, help } in regions {
        match (runner, reason) {
            (Some(true), _) => {}
            (Some(false), _) => without.push(region_id.as_str()),
            (None, reason) => {
                let reason = reason.as_deref().unwrap_or("no answer");
                let help = help.as_ref().map(|help| format!("; {help}")).unwrap_or_default();
                lines.push(format!("{region_id} does not answer, and may be running anything: {reason}{help}"));
            }
        }
    }
    match without[..] {
        [] => {}
        [region] => lines.push(format!("{region} has no runner: what runs there is not known")),
        _ => lines.push(format!("{} have no runner: what runs there is not known", without.join(", "))),
    }
    let mut alike: BTreeMap<(&RegionId, &str), Vec<&str>> = BTreeMap::new();
    for machine in machines {
        for (region, at) in &machine.regions {
            if let Told::Unknown(why) = &at.told {
                alike.entry((region, why)).or_default().push(machine.resource_id.as_str());
            }
        }
    }
    for ((region, why), names) in alike {
        let more = match names.len().saturating_sub(NAMES) {
            0 => String::new(),
            more => format!(" and {}", count(more, "more", "more")),
        };
        let names = names[..names.len().min(NAMES)].join(", ");
        lines.push(format!("{names}{more} at {region}: {why}"));
    }
    if lines.is_empty() {
        return String::new();
    }
    let mut out = format!("\n{}\n", look.paint(Tone::Strong, "Not known"));
    for line in lines {
        out.push_str(&look.wrapped(2, &line));
    }
    out
}

fn listed(regions: &BTreeSet<RegionId>) -> String {
    regions.iter().map(RegionId::as_str).collect::<Vec<_>>().join(", ")
}
