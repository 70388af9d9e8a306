//! One region, how it looks to the others, and numbers: of one region, of all together.

use std::time::Duration;

use super::moment;
use super::paint::Tone;
use super::status::region_tone;
use super::table::{Cell, Column, Table};
use super::terminal::Look;
use super::text::{self, grouped};
use crate::fleet::{GlobalStatistics, Readmitted, RegionState, RegionStatistics};
use crate::model::listed::listed;
use crate::model::observed::RegionStatus;
use crate::model::sighting::Evidence;
use crate::model::{RegionId, Timestamp};

/// Facts, a line each; those without a value are left out.
fn facts(look: &Look, rows: impl IntoIterator<Item = (&'static str, Option<String>)>) -> String {
    let rows: Vec<(&str, String)> = rows.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let width = rows.iter().map(|(name, _)| text::width(name)).max().unwrap_or(0);
    rows.iter().map(|(name, value)| format!("  {name:width$}  {}\n", look.clean(value))).collect()
}

fn title(look: &Look, id: &RegionId, status: RegionStatus, more: &str) -> String {
    let status = look.paint(region_tone(status), status.as_str());
    format!("{} {status}{}\n", look.paint(Tone::Strong, id.as_str()), look.clean(more))
}

fn lag(seconds: f64) -> String {
    text::brief(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

fn reason(look: &Look, state: &RegionState) -> String {
    let told = [&state.reason, &state.help].into_iter().flatten();
    told.map(|text| look.wrapped(2, text)).collect()
}

/// Everything that is known of one region.
pub fn region(state: &RegionState, now: Timestamp, look: &Look) -> String {
    let RegionState {
        region_id,
        name,
        location,
        api_endpoint,
        is_primary,
        status,
        reason: _,
        help: _,
        latency_ms,
        last_heartbeat,
        bandwidth_mbps,
        capacity_vms,
        current_vms,
        resources_primary,
        resources_replica,
        free_bytes,
        replication_lag_seconds,
        resources_synced_per_minute,
        controller,
        labels,
        seen_by,
    } = state;
    let mut out = title(look, region_id, *status, if *is_primary { ", the primary region" } else { "" });
    out.push_str(&reason(look, state));
    let number = |number: &Option<u32>| number.map(|number| grouped(number.into()));
    let used = current_vms.map(|vms| format!("{} of {}", grouped(vms.into()), grouped((*capacity_vms).into())));
    let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    out.push_str(&facts(
        look,
        [
            ("name", (name != region_id.as_str()).then(|| name.clone())),
            ("location", (location != region_id.as_str()).then(|| location.clone())),
            ("endpoint", Some(api_endpoint.clone())),
            ("latency", latency_ms.map(text::latency)),
            ("last seen", last_heartbeat.map(|at| moment::ago(at, now))),
            ("bandwidth", bandwidth_mbps.map(|mbps| format!("{mbps:.1} Mbit/s"))),
            ("VMs", used.or_else(|| Some(format!("room for {}", grouped((*capacity_vms).into()))))),
            ("holds", number(resources_primary)),
            ("keeps copies of", number(resources_replica)),
            ("oldest copy", replication_lag_seconds.map(lag)),
            ("copies", resources_synced_per_minute.map(a_minute)),
            ("room left", free_bytes.map(|free| free.to_string())),
            ("controlled by", controller.as_ref().map(|controller| controller.place.clone())),
            ("labels", (!labels.is_empty()).then(|| labels.join(", "))),
        ],
    ));
    out.push_str(&views(seen_by, look));
    out
}

/// Whether a region is there, and who sees it how.
pub fn health(state: &RegionState, look: &Look) -> String {
    let latency = state.latency_ms.map_or_else(String::new, |ms| format!(", {}", text::latency(ms)));
    let mut out = title(look, &state.region_id, state.status, &latency);
    out.push_str(&reason(look, state));
    out.push_str(&views(&state.seen_by, look));
    out
}

/// How others see it, a row each.
fn views(seen_by: &std::collections::BTreeMap<RegionId, Evidence>, look: &Look) -> String {
    if seen_by.is_empty() {
        return String::new();
    }
    let mut table = Table::new([
        Column::name("Seen by"),
        Column::name("As"),
        Column::number("Latency").below(3),
        Column::number("Last seen"),
        Column::number("Silent").below(1),
        Column::number("Failures").below(2),
        Column::text("Last failure"),
    ])
    .indented(2);
    for (observer, seen) in seen_by {
        let Evidence { status, last_seen, silent_for, failures, lost, latency, last_probe: _, failure } = seen;
        let age = |age: &Option<Duration>| age.map_or_else(String::new, text::brief);
        let shown = if *lost { format!("{status}, lost") } else { status.to_string() };
        table.row([
            Cell::from(observer.as_str()),
            Cell::toned(region_tone(*status), shown),
            Cell::from(latency.map_or_else(String::new, |latency| text::latency(latency.as_secs_f64() * 1e3))),
            Cell::from(last_seen.map_or_else(|| "never".to_owned(), |age| format!("{} ago", text::brief(age)))),
            Cell::from(age(silent_for)),
            Cell::from(if *failures == 0 { String::new() } else { grouped((*failures).into()) }),
            // What is over needs no explanation any more.
            Cell::from(failure.clone().filter(|_| *status != RegionStatus::Healthy).unwrap_or_default()),
        ]);
    }
    format!("\n{}", table.render(look))
}

fn percent(percent: f64) -> String {
    format!("{percent:.1} %")
}

fn a_minute(copies: f64) -> String {
    // A few copies an hour are not none.
    let digits = if copies > 0.0 && copies < 0.1 { 2 } else { 1 };
    format!("{copies:.digits$} a minute in the last hour")
}

/// One region's numbers.
pub fn statistics(stats: &RegionStatistics, now: Timestamp, look: &Look) -> String {
    let RegionStatistics {
        region_id,
        name,
        status,
        capacity_vms,
        current_vms,
        utilization_percent,
        resources_primary,
        resources_replica,
        failover_events,
        failover_success_percent,
        last_failover_duration_seconds,
        resources_synced_per_minute,
        latency_ms,
        bandwidth_mbps,
        replication_lag_seconds,
        free_bytes,
        last_heartbeat,
    } = stats;
    let number = |number: &Option<u32>| number.map(|number| grouped(number.into()));
    let used = current_vms.map(|vms| format!("{} of {}", grouped(vms.into()), grouped((*capacity_vms).into())));
    let rows = [
        ("name", (name != region_id.as_str()).then(|| name.clone())),
        ("VMs", used),
        ("utilization", utilization_percent.map(percent)),
        ("holds", number(resources_primary)),
        ("keeps copies of", number(resources_replica)),
        ("oldest copy", replication_lag_seconds.map(lag)),
        ("latency", latency_ms.map(text::latency)),
        ("bandwidth", bandwidth_mbps.map(|mbps| format!("{mbps:.1} Mbit/s"))),
        ("room left", free_bytes.map(|free| free.to_string())),
        ("last seen", last_heartbeat.map(|at| moment::ago(at, now))),
        ("copies", resources_synced_per_minute.map(a_minute)),
        ("failovers", Some(grouped((*failover_events).into()))),
        ("succeeded", failover_success_percent.map(percent)),
        ("last took", last_failover_duration_seconds.map(lag)),
    ];
    title(look, region_id, *status, "") + &facts(look, rows)
}

/// The numbers of all regions together.
pub fn global(stats: &GlobalStatistics, look: &Look) -> String {
    let GlobalStatistics {
        total_regions,
        answering_regions,
        healthy_regions,
        degraded_regions,
        unreachable_regions,
        recovering_regions,
        unknown_regions,
        total_resources,
        total_vms,
        capacity_vms,
        utilization_percent,
        replication_lag_seconds,
        latency_ms,
        resources_synced_per_minute,
        failover_events_total,
        failover_events_failed,
        failover_events_refused,
        failover_success_percent,
        last_failover_duration_seconds,
        mean_failover_duration_seconds,
    } = stats;
    let number = |number: u32| grouped(number.into());
    let some = |n: u32| (n > 0).then(|| number(n));
    // What a silent region holds is not nothing.
    let all_answer = answering_regions == total_regions;
    let counted = |n: u32| if all_answer { number(n) } else { format!("at least {}", number(n)) };
    let failovers = match failover_events_failed {
        0 => number(*failover_events_total),
        failed => format!("{}, {} of them failed", number(*failover_events_total), number(*failed)),
    };
    let took = last_failover_duration_seconds.map(|last| {
        let mean =
            mean_failover_duration_seconds.map_or_else(String::new, |mean| format!(", {} on average", lag(mean)));
        format!("{}{mean}", lag(last))
    });
    facts(
        look,
        [
            ("regions", Some(number(*total_regions))),
            (
                "answered",
                (answering_regions < total_regions)
                    .then(|| format!("{} of {}", number(*answering_regions), number(*total_regions))),
            ),
            ("healthy", Some(number(*healthy_regions))),
            ("degraded", some(*degraded_regions)),
            ("unreachable", some(*unreachable_regions)),
            ("recovering", some(*recovering_regions)),
            ("unknown", some(*unknown_regions)),
            ("resources", Some(counted(*total_resources))),
            ("VMs", Some(format!("{} of {}", counted(*total_vms), number(*capacity_vms)))),
            ("utilization", utilization_percent.filter(|_| all_answer).map(percent)),
            ("oldest copy", replication_lag_seconds.map(lag)),
            ("latency", latency_ms.map(|ms| format!("{} at most", text::latency(ms)))),
            ("copies", resources_synced_per_minute.map(a_minute)),
            ("failovers", Some(failovers)),
            ("succeeded", failover_success_percent.map(percent)),
            ("refused", some(*failover_events_refused)),
            ("last took", took),
        ],
    )
}

/// How a region was readmitted.
pub fn readmitted(done: &Readmitted, look: &Look) -> String {
    let Readmitted { region_id, was, keeps, holds_no_more, holds } = done;
    let Some(was) = was else { return format!("{region_id} takes part already; nothing was changed\n") };
    let mut told = format!("{region_id} takes part again: {was}\n");
    if !keeps.is_empty() {
        told += &format!(
            "it keeps copies of {}; `apply` brings them up to date\n",
            text::count(keeps.len(), "resource", "resources")
        );
    }
    if !holds.is_empty() {
        told += &format!(
            "it holds {}: its agent starts them once it has heard the others that are not gone\n",
            listed(holds, 2)
        );
    }
    if !holds_no_more.is_empty() {
        let idle = format!(
            "the others know it as the holder of {}, which nobody starts now: move it with `failover execute \
             {region_id} TO --strategy manual`",
            listed(holds_no_more, 2)
        );
        told += &format!("{}\n", look.paint(Tone::Warn, &idle));
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_copies_an_hour_are_not_none() {
        let told = |copies: f64| a_minute(copies).split_once(' ').unwrap().0.to_owned();
        assert_eq!([0.0, 2.0 / 60.0, 0.5, 11.5].map(told), ["0.0", "0.03", "0.5", "11.5"]);
    }
}
