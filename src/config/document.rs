//! The shape of a topology file, table by table: what the JSON Schema is made from and what reading fills in. The
//! words here are what an editor shows beside a key.
//!
//! Nothing is judged here beyond a value's own form; what values mean together is for `lower` and the checks.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;

use crate::model::policy::{Failback, Strategy};
use crate::model::units::Percent;
use crate::model::{BitRate, RegionId, ResourceType};

use super::range::Pattern;
use super::reader::At;
use super::schema::{
    AddressText, Command, DurationText, EndpointText, IdText, KnownVersion, PatternText, PercentText, RateText,
};

/// Desired regions, replication and protected resources.
#[derive(Debug, Default, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Topology")]
pub(super) struct TopologyDoc {
    /// The version of this format: 1. In a directory of files at least one must have it.
    #[schemars(with = "Option<KnownVersion>")]
    pub(super) schema_version: Option<At<i64>>,
    /// Regions by id: `[regions.us-east-1]`.
    #[schemars(with = "Option<BTreeMap<IdText, RegionDoc>>")]
    pub(super) regions: Vec<(At<RegionId>, RegionDoc)>,
    /// What is copied from where to where: `[[replication]]`, once for each pair of regions.
    #[schemars(with = "Option<Vec<PairDoc>>")]
    pub(super) replication: Vec<PairDoc>,
    /// Virtual machines by id: `[vms.web-vm-1]`, or many alike: `[vms."web-vm-{1..5}"]`. A key of its own inside of a
    /// range overrides that member.
    #[schemars(with = "Option<BTreeMap<PatternText, VmDoc>>")]
    pub(super) vms: Vec<ResourceDoc>,
    /// Other resources by id: `[resources.app-config]`.
    #[schemars(with = "Option<BTreeMap<IdText, OtherResourceDoc>>")]
    pub(super) resources: Vec<ResourceDoc>,
    /// How many recovery points each replica keeps. A point stays when any of the rules wants it.
    pub(super) retention: Option<RetentionDoc>,
    /// When a region counts as degraded, and when as a candidate for down.
    pub(super) health: Option<HealthDoc>,
    /// How much of what replicas hold each `reconcile` reads back, and compares with what was copied.
    pub(super) audit: Option<AuditDoc>,
    /// When and where a workload may be promoted.
    pub(super) failover: Option<FailoverDoc>,
    /// Renames: `[[moved]]`.
    #[schemars(with = "Option<Vec<MovedDoc>>")]
    pub(super) moved: Vec<MovedDoc>,
}

/// A region: a place that holds resources.
#[derive(Debug, Default, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Region")]
pub(super) struct RegionDoc {
    /// A name for people. Default: the id.
    pub(super) name: Option<At<String>>,
    /// Geographic location. Default: the id.
    pub(super) location: Option<At<String>>,
    /// Where the region is reached: `https://host[:port]`, or `file:dir` for a directory of this machine, relative to
    /// this file.
    #[schemars(with = "EndpointText")]
    pub(super) api_endpoint: Option<At<String>>,
    /// Where resources are born that name no region; at most one region. Default: false.
    #[schemars(with = "Option<bool>", extend("default" = false))]
    pub(super) primary: Option<At<bool>>,
    /// How many VMs it can hold. Default: 1000.
    #[schemars(extend("default" = 1000))]
    pub(super) capacity_vms: Option<At<u32>>,
    /// Free words for placement rules, such as `jurisdiction = "eu"`.
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    pub(super) labels: BTreeMap<String, String>,
    /// Whether `primary` is there, but could not be read.
    #[schemars(skip)]
    pub(super) primary_broken: bool,
    /// Whether some of `labels` could not be read.
    #[schemars(skip)]
    pub(super) labels_broken: bool,
}

/// A pair of regions, the first of which feeds the second.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Replication")]
pub(super) struct PairDoc {
    /// Where the bytes come from.
    #[schemars(with = "IdText")]
    pub(super) source: Option<At<RegionId>>,
    /// Where they go.
    #[schemars(with = "IdText")]
    pub(super) target: Option<At<RegionId>>,
    /// What is copied.
    #[schemars(with = "Vec<ResourceType>", extend("minItems" = 1, "uniqueItems" = true))]
    pub(super) resource_types: Option<At<Vec<At<ResourceType>>>>,
    /// The time after which a resource is due again. Default: 5m.
    #[schemars(with = "Option<DurationText>", extend("default" = "5m"))]
    pub(super) sync_interval: Option<At<Duration>>,
    /// Resources per request. Default: 100.
    #[schemars(range(min = 1), extend("default" = 100))]
    pub(super) batch_size: Option<At<u32>>,
    /// Lower goes first, then the earliest deadline. Default: 1.
    #[schemars(extend("default" = 1))]
    pub(super) priority: Option<At<u32>>,
    /// Whether anything is copied at all. Default: true.
    #[schemars(extend("default" = true))]
    pub(super) enabled: Option<At<bool>>,
    /// Whether the pair also serves resources born at its target, in the other direction. Default: false.
    #[schemars(extend("default" = false))]
    pub(super) bidirectional: Option<At<bool>>,
    /// Whether blocks are compressed on the way, where it pays. Default: true.
    #[schemars(extend("default" = true))]
    pub(super) compression: Option<At<bool>>,
    /// The most of the link that it may use, such as `200 Mbit/s`. Default: all of it.
    #[schemars(with = "Option<RateText>")]
    pub(super) bandwidth_limit: Option<At<BitRate>>,
    /// Whether its copies rest for now; what it feeds keeps its points, and grows older. Default: false.
    #[schemars(extend("default" = false))]
    pub(super) paused: Option<At<bool>>,
    /// Its header, and whether one of the keys that say what it connects could not be read.
    #[schemars(skip)]
    pub(super) header: super::source::Place,
    #[schemars(skip)]
    pub(super) broken: bool,
}

/// A protected virtual machine.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Vm")]
#[expect(dead_code, reason = "only its shape is wanted, for the schema; `ResourceDoc` is what is read")]
struct VmDoc {
    #[schemars(flatten)]
    protection: ProtectionDoc,
}

/// A protected resource that is no virtual machine.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Resource")]
#[expect(dead_code, reason = "only its shape is wanted, for the schema; `ResourceDoc` is what is read")]
struct OtherResourceDoc {
    /// What it is.
    #[schemars(extend("enum" = ["storage", "network", "config", "state"]))]
    r#type: String,
    #[schemars(flatten)]
    protection: ProtectionDoc,
}

/// One key of `[vms]` or `[resources]`.
#[derive(Debug)]
pub(super) struct ResourceDoc {
    /// What its key says, a range or one name.
    pub(super) key: At<Pattern>,
    /// None where it is not said or cannot be read.
    pub(super) kind: Option<ResourceType>,
    /// Where it lives and where it is kept.
    pub(super) protection: ProtectionDoc,
}

/// Where a resource lives and where it is kept.
#[derive(Debug, Default, JsonSchema)]
pub(super) struct ProtectionDoc {
    /// Where it is born. Default: the primary region. Once it lives this is never a reason to move it.
    #[schemars(with = "Option<IdText>")]
    pub(super) primary: Option<At<RegionId>>,
    /// The regions that keep a copy.
    #[schemars(with = "Option<Vec<IdText>>", extend("uniqueItems" = true))]
    pub(super) replicas: Vec<At<RegionId>>,
    /// The resources that are promoted before it; ranges stand for all of their members.
    #[schemars(with = "Option<Vec<PatternText>>", extend("uniqueItems" = true))]
    pub(super) depends_on: Vec<At<Pattern>>,
    /// The recovery point that it is promised, as the age that its newest copy may reach. Default: three times the
    /// pair's interval.
    #[schemars(with = "Option<DurationText>")]
    pub(super) max_lag: Option<At<Duration>>,
    /// For each label, the values of which a region must have one to hold it, such as
    /// `{ jurisdiction = ["us", "eu"] }`.
    #[schemars(with = "Option<BTreeMap<String, Vec<String>>>")]
    pub(super) allowed_regions: BTreeMap<String, At<Vec<String>>>,
    /// Free words.
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    pub(super) labels: BTreeMap<String, String>,
    /// A larger change at once is suspicious and waits for a person. Default: 50 %.
    #[schemars(with = "Option<PercentText>", extend("default" = "50 %"))]
    pub(super) max_change: Option<At<Percent>>,
    /// Whether `primary` or `replicas` hold something that could not be read.
    #[schemars(skip)]
    pub(super) broken: bool,
}

/// How many recovery points each replica keeps.
#[derive(Debug, Default, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Retention")]
pub(super) struct RetentionDoc {
    /// The newest so many points. Default: 3.
    #[schemars(range(min = 1), extend("default" = 3))]
    pub(super) last: Option<At<u32>>,
    /// The newest point of each of the last so many hours that have one. Default: 24.
    #[schemars(extend("default" = 24))]
    pub(super) hourly: Option<At<u32>>,
    /// The newest point of each of the last so many days that have one. Default: 7.
    #[schemars(extend("default" = 7))]
    pub(super) daily: Option<At<u32>>,
}

/// When a region counts as degraded, and when as a candidate for down.
#[derive(Debug, Default, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Health")]
pub(super) struct HealthDoc {
    /// How long one probe waits for its answer. Default: 2s.
    #[schemars(with = "Option<DurationText>", extend("default" = "2s"))]
    pub(super) timeout: Option<At<Duration>>,
    /// A slower answer shows the region as degraded. Default: 100ms.
    #[schemars(with = "Option<DurationText>", extend("default" = "100ms"))]
    pub(super) degraded_latency: Option<At<Duration>>,
    /// A slower answer shows the region as unreachable; slow is never counted as down. Default: 500ms.
    #[schemars(with = "Option<DurationText>", extend("default" = "500ms"))]
    pub(super) unreachable_latency: Option<At<Duration>>,
    /// The time between two probes. Default: 5s.
    #[schemars(with = "Option<DurationText>", extend("default" = "5s"))]
    pub(super) probe_interval: Option<At<Duration>>,
    /// So many probes in a row must have met silence. Default: 3.
    #[schemars(range(min = 1), extend("default" = 3))]
    pub(super) failures: Option<At<u32>>,
    /// And the silence must have lasted at least this long. Default: 15s.
    #[schemars(with = "Option<DurationText>", extend("default" = "15s"))]
    pub(super) detect_for: Option<At<Duration>>,
}

/// How much of what replicas hold each `reconcile` reads back, and compares with what was copied.
#[derive(Debug, Default, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Audit")]
pub(super) struct AuditDoc {
    /// Whether anything is read back at all. Default: true.
    #[schemars(with = "Option<bool>", extend("default" = true))]
    pub(super) enabled: Option<At<bool>>,
    /// The time within which all that a replica holds is read once, a part in each round. Default: 30d.
    #[schemars(with = "Option<DurationText>", extend("default" = "30d"))]
    pub(super) period: Option<At<Duration>>,
    /// The most that is read in a second, at each region. Default: 400 Mbit/s.
    #[schemars(with = "Option<RateText>", extend("default" = "400 Mbit/s"))]
    pub(super) read_limit: Option<At<BitRate>>,
    /// The longest that one round reads, at each region. Default: 10s.
    #[schemars(with = "Option<DurationText>", extend("default" = "10s"))]
    pub(super) round_limit: Option<At<Duration>>,
}

/// When and where a workload may be promoted.
#[derive(Debug, Default, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Failover")]
pub(super) struct FailoverDoc {
    /// How. Default: manual.
    #[schemars(with = "Option<Strategy>", extend("default" = "manual"))]
    pub(super) strategy: Option<At<Strategy>>,
    /// Where to, in this order. Default: every replica's region, freshest first.
    #[schemars(with = "Option<Vec<IdText>>", extend("uniqueItems" = true))]
    pub(super) candidates: Vec<At<RegionId>>,
    /// Observers that must agree on a loss. It may only raise the majority rule.
    #[schemars(range(min = 1))]
    pub(super) quorum: Option<At<u32>>,
    /// The pause between two automatic failovers. Default: 1h.
    #[schemars(with = "Option<DurationText>", extend("default" = "1h"))]
    pub(super) cooldown: Option<At<Duration>>,
    /// Who brings a workload home. Default: manual.
    #[schemars(with = "Option<Failback>", extend("default" = "manual"))]
    pub(super) failback: Option<At<Failback>>,
    /// Programs that run around a failover.
    pub(super) hooks: Option<HooksDoc>,
}

/// Programs that run around a failover, each a command as a list of texts. No shell reads them.
#[derive(Debug, Default, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Hooks")]
pub(super) struct HooksDoc {
    /// Cuts the old side off for sure and prints `fenced REGION EPOCH`.
    #[schemars(with = "Option<Command>")]
    pub(super) fence: Option<At<Vec<String>>>,
    /// Runs before the first change.
    #[schemars(with = "Option<Command>")]
    pub(super) before: Option<At<Vec<String>>>,
    /// Runs after the last promotion.
    #[schemars(with = "Option<Command>")]
    pub(super) after: Option<At<Vec<String>>>,
    /// How long each may take. Default: 60s.
    #[schemars(with = "Option<DurationText>", extend("default" = "60s"))]
    pub(super) timeout: Option<At<Duration>>,
    /// Whether `fence` is there, but could not be read.
    #[schemars(skip)]
    pub(super) fence_broken: bool,
}

/// A rename: what was `from` is `to` from now on, and nothing else changes.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Moved")]
pub(super) struct MovedDoc {
    /// The former address, such as `vm.old-name`; a range pairs member by member with the other one.
    #[schemars(with = "AddressText")]
    pub(super) from: Option<At<Pattern>>,
    /// The present address.
    #[schemars(with = "AddressText")]
    pub(super) to: Option<At<Pattern>>,
    #[schemars(skip)]
    pub(super) header: super::source::Place,
}
