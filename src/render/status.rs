//! How the fleet does: what is wrong first, then the regions, then the replicas and their lag against their promise.

use std::time::Duration;

use super::moment;
use super::paint::{Glyph, Tone};
use super::plan::{self, counts};
use super::report::{self, Report};
use super::table::{Cell, Column, Table};
use super::terminal::Look;
use super::text::{self, count, grouped};
use crate::fleet::{
    LastRun, RegionState, RegionWork, ReplicaHealth, ReplicaState, ReplicationStatus, StatusReport, Trouble,
};
use crate::model::observed::RegionStatus;
use crate::model::work::Work;
use crate::model::{RegionId, ResourceKey, Timestamp};
use crate::plan::document::{Held, Waiting};

/// More replicas than this are shown only where something is to be said of them, and no more than this of those.
const REPLICAS_MAX: usize = 40;

/// Shorter questions are not spoken of.
const ASKING_AFTER: Duration = Duration::from_secs(2);

/// Everything; with `every`, replicas that are in sync are listed however many they are.
pub fn status(report: &StatusReport, look: &Look, every: bool) -> String {
    // Named field by field: a new part of the report must be shown before this compiles.
    let StatusReport {
        at,
        troubles,
        regions,
        resources,
        work,
        held,
        blocked,
        waiting,
        unmanaged,
        pending,
        state,
        last_run,
    } = report;
    let mut out = String::new();
    let healthy = regions.iter().filter(|region| region.status == RegionStatus::Healthy).count();
    let replicas: usize = resources.iter().map(|resource| resource.replicas.len()).sum();
    let in_sync = |resource: &ReplicationStatus| {
        resource.replicas.values().filter(|replica| replica.health == ReplicaHealth::InSync).count()
    };
    let synced: usize = resources.iter().map(in_sync).sum();
    let verdict = if regions.is_empty() {
        look.paint(Tone::Strong, "No region is declared")
    } else if troubles.is_empty() && !state.exists {
        look.paint(Tone::Strong, "Nothing was applied from here yet")
    } else if troubles.is_empty() {
        look.paint(Tone::Good, "All is well")
    } else {
        look.paint(
            Tone::Bad,
            &count(grouped_troubles(troubles).len(), "thing needs attention", "things need attention"),
        )
    };
    out.push_str(&format!("{verdict}\n"));
    let dot = look.glyph(Glyph::Dot);
    let mut facts = vec![
        format!("{} of {} healthy", grouped(healthy as u64), count(regions.len(), "region", "regions")),
        format!("{} of {} in sync", grouped(synced as u64), count(replicas, "replica", "replicas")),
    ];
    let asides =
        [(held.len(), "held"), (blocked.len(), "blocked"), (waiting.len(), "waiting"), (unmanaged.len(), "unmanaged")];
    facts.extend(asides.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{} {word}", grouped(*n as u64))));
    faint(&mut out, look, &facts.join(&format!(" {dot} ")));
    let pending = counts(pending);
    if !pending.is_empty() {
        faint(&mut out, look, &format!("a plan would now have {pending}"));
    }
    let memory = if state.exists {
        format!("state serial {}, {}", state.serial, count(state.objects as usize, "object", "objects"))
    } else {
        "no state file yet: `debvisor-region plan` shows what `apply` would do".to_owned()
    };
    faint(&mut out, look, &memory);
    if let Some(LastRun { command, who, at: began, outcome }) = last_run {
        let command = command.strip_prefix("debvisor-region ").unwrap_or(command);
        faint(&mut out, look, &format!("last run {} by {who}: {command}: {outcome}", moment::ago(*began, *at)));
    }

    if !troubles.is_empty() {
        heading(&mut out, look, "Needs attention");
        out.push_str(&self::troubles(troubles, look, every));
    }
    if !regions.is_empty() {
        heading(&mut out, look, "Regions");
        out.push_str(&self::regions(regions, look));
    }
    let shown: Vec<(&ReplicationStatus, &RegionId, &ReplicaState)> = resources
        .iter()
        .flat_map(|resource| resource.replicas.iter().map(move |(region, replica)| (resource, region, replica)))
        .filter(|(_, _, replica)| every || replicas <= REPLICAS_MAX || replica.health != ReplicaHealth::InSync)
        .collect();
    if !shown.is_empty() {
        heading(&mut out, look, "Replicas");
        // Why one of them is not in sync stands above, with what to do.
        let listed = if every { shown.len() } else { shown.len().min(REPLICAS_MAX) };
        out.push_str(&replica_table(&shown[..listed], false, look));
        let left_out = shown.len() - listed;
        if left_out > 0 {
            let more = count(left_out, "more is", "more are");
            faint(&mut out, look, &format!("{more} not in sync; --verbose lists them"));
        }
    }
    if shown.len() < replicas {
        faint(
            &mut out,
            look,
            &format!("{} in sync; --verbose lists them", count(replicas - shown.len(), "more is", "more are")),
        );
    }
    let aside: Vec<&ReplicationStatus> = resources.iter().filter(|resource| resource.set_aside > 0).collect();
    if let Some(first) = aside.first() {
        let copies: u32 = aside.iter().map(|resource| resource.set_aside).sum();
        let copies = count(usize::try_from(copies).unwrap_or(usize::MAX), "copy", "copies");
        let more = match aside.len() - 1 {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let id = &first.resource_id;
        let text = format!("{copies} of former files set aside, of {id}{more}; `replication points {id}` names them");
        faint(&mut out, look, &text);
    }
    if !work.is_empty() {
        heading(&mut out, look, "Under way");
        out.push_str(&self::work(work, look));
    }
    if !held.is_empty() || !waiting.is_empty() {
        heading(&mut out, look, "Held and waiting");
        out.push_str(&asides_table(held, waiting, every, look));
        if !held.is_empty() {
            let next = "`failover accept` has the files say who holds what, `failover back` brings it home";
            faint(&mut out, look, next);
        }
    }
    out
}

/// What is known of the look at a page that is drawn again and again.
#[derive(Debug, Clone, Copy)]
pub struct Watched<'a> {
    /// The present moment.
    pub now: Timestamp,
    /// The time between two looks.
    pub interval: Duration,
    /// How long the regions are being asked for now.
    pub asking: Option<Duration>,
    /// What the last look failed with, where it did: the page is of an earlier one.
    pub failure: &'a [Report],
}

/// The same as a page that is drawn again and again.
pub fn watched(report: &StatusReport, watched: &Watched<'_>, look: &Look, every: bool) -> String {
    let Watched { now, interval, asking, failure } = *watched;
    let dot = look.glyph(Glyph::Dot);
    let seen = format!("{}, {}", moment::moment(report.at), moment::ago(report.at, now));
    let next = match asking {
        Some(since) if since >= ASKING_AFTER => format!("asking for {}", text::brief(since)),
        Some(_) | None => format!("every {}", text::brief(interval)),
    };
    let mut out = format!("{}\n\n", look.paint(Tone::Faint, &format!("{seen} {dot} {next} {dot} Ctrl-C ends it")));
    if !failure.is_empty() {
        out.push_str(&report::people(failure, look));
        out.push('\n');
    }
    out.push_str(&status(report, look, every));
    out
}

/// The same as one of many blocks that follow each other.
pub fn block(report: &StatusReport, look: &Look, every: bool) -> String {
    format!("{}\n{}\n", look.paint(Tone::Faint, &moment::moment(report.at)), status(report, look, every))
}

/// What is under way, a row each.
fn work(work: &[RegionWork], look: &Look) -> String {
    let mut table = Table::new([
        Column::name("At"),
        Column::name("What"),
        Column::name("Resource"),
        Column::name("From").below(2),
        Column::number("Done").below(1),
        Column::number("For"),
    ])
    .indented(2);
    for RegionWork { region_id, work } in work {
        let Work { id: _, kind, resource, source, age, bytes_done, bytes_total } = work;
        let done = match (bytes_done, bytes_total) {
            (Some(done), Some(total)) => format!("{done} of {total}"),
            (Some(done), None) => done.to_string(),
            (None, _) => String::new(),
        };
        table.row([
            Cell::from(region_id.as_str()),
            Cell::from(kind.replace('_', " ")),
            Cell::from(resource.as_ref().map(ToString::to_string).unwrap_or_default()),
            Cell::from(source.as_ref().map(ToString::to_string).unwrap_or_default()),
            Cell::from(done),
            Cell::from(text::brief(*age)),
        ]);
    }
    table.render(look)
}

/// What stays as it is for now, and why; what is said of many alike is said once.
fn asides_table(held: &[Held], waiting: &[Waiting], every: bool, look: &Look) -> String {
    const SHOWN: usize = 20;
    let held = held.iter().map(|held| (held.address.to_string(), ("held", plan::held(held))));
    let waiting = waiting
        .iter()
        .map(|waiting| (waiting.address.to_string(), ("waiting", format!("no files at {} yet", waiting.region_id))));
    let entries: Vec<(String, (&str, String))> = held.chain(waiting).collect();
    let entries = if every { entries } else { plan::rows::gather(entries) };
    let all = entries.len();
    let shown = if every { all } else { all.min(SHOWN) };
    let mut table = Table::new([Column::name("Object"), Column::name("Is"), Column::text("Because")]).indented(2);
    for (address, (word, reason)) in entries.into_iter().take(shown) {
        table.row([Cell::from(address), Cell::from(word), Cell::from(reason)]);
    }
    let mut out = table.render(look);
    if shown < all {
        faint(&mut out, look, &format!("and {} more; --verbose shows all", grouped((all - shown) as u64)));
    }
    out
}

fn heading(out: &mut String, look: &Look, title: &str) {
    out.push_str(&format!("\n{}\n", look.paint(Tone::Strong, title)));
}

fn faint(out: &mut String, look: &Look, text: &str) {
    for line in look.wrapped(2, text).lines() {
        out.push_str(&format!("  {}\n", look.paint(Tone::Faint, line.trim_start())));
    }
}

/// What is wrong, each thing with the objects that it is wrong with.
fn grouped_troubles(troubles: &[Trouble]) -> Vec<(&Trouble, Vec<String>)> {
    let mut groups: Vec<(&Trouble, Vec<String>)> = Vec::new();
    for trouble in troubles {
        let Trouble { kind, address, region_id, reason, help } = trouble;
        let name = match region_id {
            Some(region) if address.to_string() != format!("region.{region}") => format!("{address} at {region}"),
            Some(_) | None => address.to_string(),
        };
        let alike = |known: &Trouble| known.kind == *kind && known.reason == *reason && known.help == *help;
        match groups.iter_mut().find(|(known, _)| alike(known)) {
            Some((_, names)) => names.push(name),
            None => groups.push((trouble, vec![name])),
        }
    }
    groups
}

/// What is wrong, the worst first; what is wrong with several objects alike is said once.
fn troubles(troubles: &[Trouble], look: &Look, every: bool) -> String {
    const SHOWN: usize = 20;
    const NAMES: usize = 6;
    let groups = grouped_troubles(troubles);
    let mut out = String::new();
    let all = groups.len();
    let shown = if every { all } else { all.min(SHOWN) };
    for (Trouble { kind, reason, help, .. }, names) in groups.into_iter().take(shown) {
        use crate::fleet::TroubleKind::{
            Blocked, CutOff, Damaged, ForeignStart, Late, Open, Paused, Pending, Run, StillHeld, Unobserved, Unseen,
        };
        let (glyph, tone) = match kind {
            Open | ForeignStart | StillHeld | Unobserved | Damaged | Late => (Glyph::Cross, Tone::Bad),
            CutOff | Paused | Unseen | Blocked | Pending | Run => (Glyph::Stop, Tone::Warn),
        };
        let named = if every { names.len() } else { names.len().min(NAMES) };
        for name in &names[..named] {
            let line = look.paint(tone, &format!("{} {}", look.glyph(glyph), look.clean(name)));
            out.push_str(&format!("  {line}\n"));
        }
        if named < names.len() {
            faint(&mut out, look, &format!("and {} more like these", grouped((names.len() - named) as u64)));
        }
        out.push_str(&look.wrapped(6, reason));
        if let Some(help) = help {
            out.push_str(&look.wrapped(6, help));
        }
    }
    if shown < all {
        faint(&mut out, look, &format!("and {} more; --verbose shows all", grouped((all - shown) as u64)));
    }
    out
}

pub(super) const fn region_tone(status: RegionStatus) -> Tone {
    match status {
        RegionStatus::Healthy => Tone::Good,
        RegionStatus::Degraded | RegionStatus::Recovering | RegionStatus::Unknown => Tone::Warn,
        RegionStatus::Unreachable => Tone::Bad,
    }
}

/// The regions, a row each.
pub fn regions(regions: &[RegionState], look: &Look) -> String {
    let mut table = Table::new([
        Column::name("Region"),
        Column::name("Status"),
        Column::number("Latency").optional(3),
        Column::number("VMs"),
        Column::number("Holds").optional(2),
        Column::number("Keeps").optional(2),
        Column::number("Oldest").optional(1),
        Column::number("Free").optional(4),
    ])
    .indented(2);
    for region in regions {
        let number = |n: Option<u32>| n.map_or_else(String::new, |n| grouped(n.into()));
        let name =
            if region.is_primary { format!("{} (primary)", region.region_id) } else { region.region_id.to_string() };
        table.row([
            Cell::from(name),
            Cell::toned(region_tone(region.status), region.status.as_str()),
            Cell::from(region.latency_ms.map_or_else(String::new, text::latency)),
            Cell::from(region.current_vms.map_or_else(String::new, |vms| {
                format!("{} of {}", grouped(vms.into()), grouped(region.capacity_vms.into()))
            })),
            Cell::from(number(region.resources_primary)),
            Cell::from(number(region.resources_replica)),
            Cell::from(region.replication_lag_seconds.map_or_else(String::new, |seconds| {
                text::brief(Duration::try_from_secs_f64(seconds).unwrap_or_default())
            })),
            Cell::from(region.free_bytes.map_or_else(String::new, |free| free.to_string())),
        ]);
    }
    table.render(look)
}

const fn health(health: ReplicaHealth) -> (&'static str, Tone) {
    match health {
        ReplicaHealth::InSync => ("in sync", Tone::Good),
        ReplicaHealth::Behind => ("behind", Tone::Plain),
        ReplicaHealth::Late => ("late", Tone::Bad),
        ReplicaHealth::Paused => ("paused", Tone::Warn),
        ReplicaHealth::Blocked => ("blocked", Tone::Warn),
        ReplicaHealth::Damaged => ("damaged", Tone::Bad),
        ReplicaHealth::Pending => ("no point yet", Tone::Warn),
        ReplicaHealth::Waiting => ("waiting", Tone::Faint),
        ReplicaHealth::Unknown => ("unknown", Tone::Warn),
    }
}

fn key(resource: &ReplicationStatus) -> ResourceKey {
    ResourceKey::new(resource.resource_type, resource.resource_id.clone())
}

fn replica_table(rows: &[(&ReplicationStatus, &RegionId, &ReplicaState)], details: bool, look: &Look) -> String {
    let mut table = Table::new([
        Column::name("Resource"),
        Column::name("Held by").below(2),
        Column::name("Replica at"),
        Column::name("Status"),
        Column::number("Lag"),
        Column::number("Promised").optional(1),
        Column::number("Points").optional(3),
        Column::text("Detail").below(4),
    ])
    .indented(2);
    for (resource, region, replica) in rows {
        let (word, tone) = health(replica.health);
        let points = match (replica.points, replica.set_aside) {
            (None, _) => String::new(),
            (Some(points), 0) => points.to_string(),
            (Some(points), aside) => format!("{points} + {aside} aside"),
        };
        table.row([
            Cell::from(key(resource).to_string()),
            Cell::from(resource.primary_region.as_ref().map_or("unknown", RegionId::as_str)),
            Cell::from(region.as_str()),
            Cell::toned(tone, word),
            Cell::from(replica.lag.map_or_else(String::new, text::brief)),
            Cell::from(text::brief(replica.promise)),
            Cell::from(points),
            // Some states say it all.
            Cell::from(match replica.health {
                _ if !details => String::new(),
                ReplicaHealth::InSync | ReplicaHealth::Pending | ReplicaHealth::Waiting => String::new(),
                ReplicaHealth::Behind
                | ReplicaHealth::Late
                | ReplicaHealth::Paused
                | ReplicaHealth::Blocked
                | ReplicaHealth::Damaged
                | ReplicaHealth::Unknown => replica.detail.clone().unwrap_or_default(),
            }),
        ]);
    }
    table.render(look)
}

/// Every replica of these resources, a row each.
pub fn replicas(resources: &[ReplicationStatus], look: &Look) -> String {
    let rows = resources
        .iter()
        .flat_map(|resource| resource.replicas.iter().map(move |(region, replica)| (resource, region, replica)));
    replica_table(&rows.collect::<Vec<_>>(), true, look)
}

/// One resource and its replicas.
pub fn replication(resource: &ReplicationStatus, look: &Look) -> String {
    let mut out = look.paint(Tone::Strong, &key(resource).to_string());
    let held = match (&resource.primary_region, resource.epoch) {
        (Some(region), Some(epoch)) => format!(" held by {region} since epoch {epoch}"),
        (Some(region), None) => format!(" held by {region}"),
        (None, _) => " held by no region that answers".to_owned(),
    };
    out.push_str(&look.clean(&held));
    out.push('\n');
    if let (Some(version), Some(at)) = (resource.version, resource.last_sync) {
        faint(&mut out, look, &format!("point {version}, seen unchanged at its source {}", moment::moment(at)));
    }
    if resource.set_aside > 0 {
        let copies = count(usize::try_from(resource.set_aside).unwrap_or(usize::MAX), "copy", "copies");
        let id = &resource.resource_id;
        faint(&mut out, look, &format!("{copies} of its former files set aside; `replication points {id}` names them"));
    }
    if !resource.replicas.is_empty() {
        out.push('\n');
        out.push_str(&replicas(std::slice::from_ref(resource), look));
        out.push_str(&remedies(resource, look));
    }
    out
}

/// What to do next about each replica that is not in sync; the table says why it is not.
fn remedies(resource: &ReplicationStatus, look: &Look) -> String {
    let helped = resource.replicas.iter().filter_map(|(region, replica)| Some((region, replica.help.as_ref()?)));
    helped.map(|(region, help)| format!("\n{}", look.wrapped(2, &format!("{region}: {help}")))).collect()
}
