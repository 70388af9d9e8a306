//! The policies of a topology, with their defaults, and what is wrong with them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::policy::{AuditPolicy, FailoverPolicy, HealthPolicy, Hooks, Policy, Retention, Strategy};
use crate::model::topology::Endpoint;
use crate::model::units::{brief, format_duration};
use crate::model::{ByteCount, RegionId};

use super::document::{AuditDoc, FailoverDoc, HealthDoc, HooksDoc, RetentionDoc, TopologyDoc};
use super::lower::known_region;
use super::problem::Problem;
use super::reader::At;
use super::report::Report;

/// Automatic failover needs a majority that survives the loss of one region.
const SERVED_MIN: usize = 3;
/// What an audit compares at once.
const AUDIT_LEAST: ByteCount = ByteCount::mib(4);
/// The longest period of an audit.
const PERIOD_MAX: Duration = Duration::from_secs(3650 * 86_400);
/// The longest that one round reads: whoever waits for the round waits for that.
const ROUND_MAX: Duration = Duration::from_secs(86_400);

fn or<T: Clone>(found: Option<&At<T>>, default: T) -> T {
    found.map_or(default, |found| found.value.clone())
}

pub(super) fn lower(
    report: &mut Report,
    doc: &TopologyDoc,
    declared: &BTreeSet<&RegionId>,
    endpoints: &BTreeMap<RegionId, Endpoint>,
) -> Policy {
    let served = endpoints.values().filter(|endpoint| matches!(endpoint, Endpoint::Http(_))).count();
    // While an endpoint is in doubt, nobody knows how many regions are served.
    let certain = endpoints.len() == doc.regions.len() && !report.may_hide("regions");
    if let Some(failover) = &doc.failover {
        for candidate in &failover.candidates {
            known_region(report, declared, candidate);
        }
        if certain {
            quorum(report, failover, served);
        }
        automatic(report, failover, served, certain);
    }
    if let Some(health) = &doc.health {
        latencies(report, health);
    }
    if let Some(audit) = &doc.audit {
        audit_reads(report, audit);
    }
    Policy {
        retention: doc.retention.as_ref().map(retention).unwrap_or_default(),
        health: doc.health.as_ref().map(health).unwrap_or_default(),
        failover: doc.failover.as_ref().map(failover).unwrap_or_default(),
        audit: doc.audit.as_ref().map(audit).unwrap_or_default(),
    }
}

fn retention(doc: &RetentionDoc) -> Retention {
    let default = Retention::default();
    let RetentionDoc { last, hourly, daily } = doc;
    Retention {
        last: or(last.as_ref(), default.last),
        hourly: or(hourly.as_ref(), default.hourly),
        daily: or(daily.as_ref(), default.daily),
    }
}

fn health(doc: &HealthDoc) -> HealthPolicy {
    let default = HealthPolicy::default();
    let HealthDoc { timeout, degraded_latency, unreachable_latency, probe_interval, failures, detect_for } = doc;
    HealthPolicy {
        timeout: or(timeout.as_ref(), default.timeout),
        degraded_latency: or(degraded_latency.as_ref(), default.degraded_latency),
        unreachable_latency: or(unreachable_latency.as_ref(), default.unreachable_latency),
        probe_interval: or(probe_interval.as_ref(), default.probe_interval),
        failures: or(failures.as_ref(), default.failures),
        detect_for: or(detect_for.as_ref(), default.detect_for),
    }
}

fn audit(doc: &AuditDoc) -> AuditPolicy {
    let default = AuditPolicy::default();
    let AuditDoc { enabled, period, read_limit, round_limit } = doc;
    AuditPolicy {
        enabled: or(enabled.as_ref(), default.enabled),
        period: or(period.as_ref(), default.period),
        read_limit: or(read_limit.as_ref(), default.read_limit),
        round_limit: or(round_limit.as_ref(), default.round_limit),
    }
}

fn failover(doc: &FailoverDoc) -> FailoverPolicy {
    let default = FailoverPolicy::default();
    let FailoverDoc { strategy, candidates, quorum, cooldown, failback, hooks } = doc;
    FailoverPolicy {
        strategy: or(strategy.as_ref(), default.strategy),
        candidates: candidates.iter().map(|candidate| candidate.value.clone()).collect(),
        quorum: quorum.as_ref().map(|quorum| quorum.value),
        cooldown: or(cooldown.as_ref(), default.cooldown),
        failback: or(failback.as_ref(), default.failback),
        hooks: hooks.as_ref().map(self::hooks).unwrap_or_default(),
    }
}

fn hooks(doc: &HooksDoc) -> Hooks {
    let HooksDoc { fence, before, after, timeout, fence_broken: _ } = doc;
    let default = Hooks::default();
    Hooks {
        fence: or(fence.as_ref(), default.fence),
        before: or(before.as_ref(), default.before),
        after: or(after.as_ref(), default.after),
        timeout: or(timeout.as_ref(), default.timeout),
    }
}

const fn is_automatic(strategy: Strategy) -> bool {
    match strategy {
        Strategy::Automatic | Strategy::Cascading => true,
        Strategy::Manual | Strategy::Graceful => false,
    }
}

/// The majority rule may be raised, never lowered, and not beyond what there is.
fn quorum(report: &mut Report, doc: &FailoverDoc, served: usize) {
    let Some(quorum) = &doc.quorum else { return };
    let majority = served / 2 + 1;
    let automatic = doc.strategy.as_ref().is_some_and(|strategy| is_automatic(strategy.value));
    if (quorum.value as usize) < majority {
        let problem = Problem::new("config::low-quorum", format!("a quorum of {} is no majority", quorum.value))
            .reason(format!("of {served} regions that observe, {majority} are a majority, which may only be raised"))
            .help(format!("write `quorum = {majority}` or more, or leave it out"));
        report.add(problem, &[(&quorum.place, format!("less than {majority}"))]);
    } else if automatic && quorum.value as usize > served {
        let problem = Problem::new("config::high-quorum", format!("a quorum of {} is never reached", quorum.value))
            .reason(format!("only {served} regions have an http(s) endpoint and can observe"))
            .help(format!("write at most `quorum = {served}`"));
        report.add(problem, &[(&quorum.place, format!("more than {served}"))]);
    }
}

/// What nobody watches must not fail over by itself, nor what nobody can stop.
fn automatic(report: &mut Report, doc: &FailoverDoc, served: usize, certain: bool) {
    let Some(strategy) = doc.strategy.as_ref().filter(|strategy| is_automatic(strategy.value)) else { return };
    let name = strategy.value.as_str();
    if certain && served < SERVED_MIN {
        let problem =
            Problem::new("config::too-few-observers", format!("failover cannot be {name} with so few observers"))
                .reason(format!(
                    "a loss must be seen by a majority, and only regions with an http(s) endpoint observe: {served} of \
                     the {SERVED_MIN} that it takes"
                ))
                .help("serve at least three regions, or write `strategy = \"manual\"`");
        report.add(problem, &[(&strategy.place, format!("{served} observers"))]);
    }
    let fence = doc.hooks.as_ref().and_then(|hooks| hooks.fence.as_ref());
    let broken = doc.hooks.as_ref().is_some_and(|hooks| hooks.fence_broken);
    if fence.is_none_or(|fence| fence.value.is_empty()) && !broken && !report.may_hide("fence") {
        let problem = Problem::new("config::no-fence", format!("failover cannot be {name} without a fence hook"))
            .reason("a region that only fell silent may still be running what would be started elsewhere")
            .help("name a program that cuts it off: `hooks = { fence = [\"/path/of/program\"] }`");
        let empty = fence.map(|fence| (&fence.place, "empty".to_owned()));
        let labels: Vec<_> = [(&strategy.place, "needs a fence hook".to_owned())].into_iter().chain(empty).collect();
        report.add(problem, &labels);
    }
}

/// What is read is compared group by group: a round that reads less than one would never come to an end, and a period
/// that no clock can count to is none.
fn audit_reads(report: &mut Report, doc: &AuditDoc) {
    let policy = audit(doc);
    let limit = doc.round_limit.as_ref().map(|at| &at.place).or(doc.read_limit.as_ref().map(|at| &at.place));
    if let Some(place) = limit.filter(|_| policy.round_bytes() < AUDIT_LEAST.0) {
        let read = ByteCount(policy.round_bytes());
        let seconds = (AUDIT_LEAST.0 * 8).div_ceil(policy.read_limit.0.max(1));
        let problem =
            Problem::new("config::bad-value", format!("`audit` reads {read} in a round, which is too little"))
                .reason(format!(
                    "{} for {} is all that it may read, and it compares {AUDIT_LEAST} at once",
                    policy.read_limit,
                    format_duration(policy.round_limit)
                ))
                .help(format!("write `round_limit = \"{seconds}s\"` or more, or a higher `read_limit`"));
        report.add(problem, &[(place, "too little".to_owned())]);
    }
    for (name, at, most, example) in [
        ("period", doc.period.as_ref(), PERIOD_MAX, "30d"),
        ("round_limit", doc.round_limit.as_ref(), ROUND_MAX, "10s"),
    ] {
        if let Some(at) = at.filter(|at| at.value > most) {
            let problem = Problem::new("config::bad-value", format!("`{name}` of `audit` is out of range"))
                .help(format!("write {} at most, such as `{name} = \"{example}\"`", brief(most)));
            report.add(problem, &[(&at.place, "too long".to_owned())]);
        }
    }
}

fn latencies(report: &mut Report, doc: &HealthDoc) {
    let policy = health(doc);
    let Some(place) = doc.unreachable_latency.as_ref().or(doc.degraded_latency.as_ref()).map(|at| &at.place) else {
        return;
    };
    if policy.unreachable_latency < policy.degraded_latency {
        let problem = Problem::new("config::bad-value", "`unreachable_latency` is below `degraded_latency`")
            .reason("a region would look unreachable before it looks degraded")
            .help("make `unreachable_latency` the larger one");
        report.add(problem, &[(place, "out of order".to_owned())]);
    }
}
