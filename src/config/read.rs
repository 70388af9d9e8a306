//! One file's tables are read into the document that all files of a topology share. Here two files that say the same
//! thing twice meet: `schema_version` may repeat and must agree, lists of tables are joined, anything else must stand
//! in one place.

use std::collections::BTreeMap;
use std::fmt::Display;

use toml::Spanned;
use toml::de::DeValue;

use crate::model::id::is_id;
use crate::model::policy::{Failback, Strategy};
use crate::model::{Address, RegionId, ResourceType};

use super::document::{
    AuditDoc, FailoverDoc, HealthDoc, HooksDoc, MovedDoc, PairDoc, ProtectionDoc, RegionDoc, ResourceDoc, RetentionDoc,
    TopologyDoc,
};
use super::nearest::nearest;
use super::problem::Problem;
use super::range::Pattern;
use super::reader::{At, Fields};
use super::report::Report;
use super::source::Place;

/// The version of the format that this program reads.
const SCHEMA_VERSION: i64 = 1;

/// The document while files are read into it.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub(super) doc: TopologyDoc,
    /// Where each table that may stand once was found, by its name: `retention`, `regions.us-east-1`.
    tables: BTreeMap<String, Place>,
    /// Whether a version was there at all, readable or not.
    version_seen: bool,
}

impl Reading {
    /// Reads one file.
    pub(super) fn file(&mut self, report: &mut Report, file: usize) {
        let source = std::sync::Arc::clone(report.source(file));
        let table = report.parse(file, source.text());
        let mut root = Fields::new(report, String::new(), Place::new(file, 0..0), table);
        self.version(&mut root);
        for (key, value) in root.entries("regions") {
            self.region(root.report, key, value);
        }
        for (header, value) in root.tables("replication") {
            self.doc.replication.extend(pair(root.report, header, value));
        }
        for (key, value) in root.entries("vms") {
            self.resource(root.report, "vms", key, value);
        }
        for (key, value) in root.entries("resources") {
            self.resource(root.report, "resources", key, value);
        }
        if let Some(table) = root.table("retention") {
            let header = table.header.clone();
            let found = retention(table);
            self.once(root.report, "retention", &header, found, |doc, found| doc.retention = Some(found));
        }
        if let Some(table) = root.table("health") {
            let header = table.header.clone();
            let found = health(table);
            self.once(root.report, "health", &header, found, |doc, found| doc.health = Some(found));
        }
        if let Some(table) = root.table("audit") {
            let header = table.header.clone();
            let found = audit(table);
            self.once(root.report, "audit", &header, found, |doc, found| doc.audit = Some(found));
        }
        if let Some(table) = root.table("failover") {
            let header = table.header.clone();
            let found = failover(table);
            self.once(root.report, "failover", &header, found, |doc, found| doc.failover = Some(found));
        }
        for (header, value) in root.tables("moved") {
            self.doc.moved.extend(moved(root.report, header, value));
        }
        root.finish();
    }

    /// Says that no file told the version.
    pub(super) fn finish(self, report: &mut Report) -> TopologyDoc {
        if !self.version_seen && !report.sources().is_empty() && !report.may_hide("schema_version") {
            let problem = Problem::new("config::missing-key", "`schema_version` is missing")
                .reason("without it, a later program could not tell how to read this")
                .help(format!("add `schema_version = {SCHEMA_VERSION}` as the first line"));
            report.add(problem, &[(&Place::new(0, 0..0), "in none of the files".to_owned())]);
        }
        self.doc
    }

    fn version(&mut self, root: &mut Fields<'_, '_>) {
        let Some(found) = root.take("schema_version") else { return };
        self.version_seen = true;
        let number = found.value.as_integer().and_then(|n| i64::from_str_radix(n.as_str(), n.radix()).ok());
        if number != Some(SCHEMA_VERSION) {
            let problem = Problem::new("config::schema-version", "this version of the format is not known")
                .reason(format!("this program reads version {SCHEMA_VERSION} only"))
                .help(format!("write `schema_version = {SCHEMA_VERSION}`, or use a program that is made for it"));
            let other = self.doc.schema_version.as_ref().map(|before| (&before.place, "another one here".to_owned()));
            let labels: Vec<_> = [(&found.place, "not known".to_owned())].into_iter().chain(other).collect();
            root.report.add(problem, &labels);
        } else if self.doc.schema_version.is_none() {
            self.doc.schema_version = Some(At { value: SCHEMA_VERSION, place: found.place });
        }
    }

    /// Keeps `found` unless its table was there before.
    fn once<T>(
        &mut self,
        report: &mut Report,
        name: &str,
        place: &Place,
        found: T,
        keep: impl FnOnce(&mut TopologyDoc, T),
    ) {
        let Some(before) = self.tables.get(name) else {
            self.tables.insert(name.to_owned(), place.clone());
            keep(&mut self.doc, found);
            return;
        };
        let problem = Problem::new("config::declared-twice", format!("`{name}` is declared twice"))
            .reason("files are merged table by table, and none of the two could win")
            .help("leave one of them out, or put both into one table");
        report.add(problem, &[(place, "again here".to_owned()), (before, "first here".to_owned())]);
    }

    fn region(&mut self, report: &mut Report, key: At<String>, value: Spanned<DeValue<'_>>) {
        let Some(table) = Fields::open(report, format!("region `{}`", key.value), key.place.clone(), value) else {
            return;
        };
        let doc = region(table);
        if let Some(id) = key_id(report, &key) {
            let id = At { value: id, place: key.place.clone() };
            self.once(report, &format!("regions.{}", key.value), &key.place, doc, |all, doc| {
                all.regions.push((id, doc));
            });
        }
    }

    fn resource(&mut self, report: &mut Report, list: &'static str, key: At<String>, value: Spanned<DeValue<'_>>) {
        let vms = list == "vms";
        let what = format!("{} `{}`", if vms { "VM" } else { "resource" }, key.value);
        let Some(mut table) = Fields::open(report, what, key.place.clone(), value) else { return };
        let kind = if vms { Some(ResourceType::Vm) } else { other_type(&mut table) };
        let protection = protection(table);
        let pattern = if vms { key_pattern(report, &key) } else { key_id::<Plain>(report, &key).map(|plain| plain.0) };
        if let Some(pattern) = pattern {
            let doc = ResourceDoc { key: At { value: pattern, place: key.place.clone() }, kind, protection };
            self.once(report, &format!("{list}.{}", key.value), &key.place, doc, |all, doc| {
                if vms { all.vms.push(doc) } else { all.resources.push(doc) }
            });
        }
    }
}

/// A resource's name outside of `[vms]`, where there are no ranges.
struct Plain(Pattern);

impl std::str::FromStr for Plain {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if is_id(text) {
            Pattern::parse(text).map(Self).map_err(|error| error.to_string())
        } else if text.contains('{') {
            Err("brace ranges stand for virtual machines only".to_owned())
        } else {
            Err(not_an_id(text))
        }
    }
}

fn not_an_id(text: &str) -> String {
    match crate::model::ResourceId::new(text) {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    }
}

const ID_HELP: &str = "rename it, for instance to `web-vm-1`";

/// A table's key as an id.
pub(super) fn key_id<T: std::str::FromStr<Err: Display>>(report: &mut Report, key: &At<String>) -> Option<T> {
    let help = if key.value.contains('{') { "write a table for each" } else { ID_HELP };
    key.value.parse().map_err(|error: T::Err| bad_key(report, key, "config::bad-id", &error, help)).ok()
}

fn bad_key(report: &mut Report, key: &At<String>, code: &'static str, why: &impl Display, help: &str) {
    let problem =
        Problem::new(code, format!("`{}` cannot be a name", key.value)).reason(why.to_string()).help(help.to_owned());
    report.add(problem, &[(&key.place, "this one".to_owned())]);
}

fn key_pattern(report: &mut Report, key: &At<String>) -> Option<Pattern> {
    match Pattern::parse(&key.value) {
        Err(error) => bad_key(report, key, "config::bad-range", &error, &error.help()),
        Ok(pattern) => match pattern.ends().iter().find(|member| !is_id(member)) {
            Some(member) => bad_key(report, key, "config::bad-id", &not_an_id(member), ID_HELP),
            None => return Some(pattern),
        },
    }
    None
}

/// Ids, or ranges of them.
fn id_pattern(text: &str) -> Result<Pattern, String> {
    let pattern = Pattern::parse(text).map_err(|error| error.to_string())?;
    match pattern.ends().iter().find(|member| !is_id(member)) {
        Some(member) => Err(not_an_id(member)),
        None => Ok(pattern),
    }
}

/// Addresses, or ranges of them.
fn address_pattern(text: &str) -> Result<Pattern, String> {
    let pattern = Pattern::parse(text).map_err(|error| error.to_string())?;
    for member in pattern.ends() {
        member.parse::<Address>().map_err(|error| error.to_string())?;
    }
    Ok(pattern)
}

fn region(mut table: Fields<'_, '_>) -> RegionDoc {
    let before = table.report.count();
    let primary = table.boolean("primary");
    let primary_broken = table.report.count() > before;
    let before = table.report.count();
    let labels = table.words("labels");
    let doc = RegionDoc {
        primary,
        primary_broken,
        labels,
        labels_broken: table.report.count() > before,
        name: table.text("name", "US East 1"),
        location: table.text("location", "us-east-1"),
        api_endpoint: endpoint(&mut table),
        capacity_vms: table.number("capacity_vms", 0..=u32::MAX),
    };
    table.finish();
    doc
}

fn endpoint(table: &mut Fields<'_, '_>) -> Option<At<String>> {
    let before = table.report.count();
    let found = table.text("api_endpoint", "https://api.us-east-1.example");
    if found.is_none() && table.report.count() == before {
        table.missing(
            "api_endpoint",
            "a region must be reached somewhere",
            "api_endpoint = \"https://host\"` or `api_endpoint = \"file:directory\"",
        );
    }
    found
}

fn pair(report: &mut Report, header: Place, value: Spanned<DeValue<'_>>) -> Option<PairDoc> {
    let mut table = Fields::open(report, "this replication".to_owned(), header.clone(), value)?;
    let before = table.report.count();
    let source = table.id::<RegionId>("source", "us-east-1");
    let target = table.id::<RegionId>("target", "us-west-1");
    let resource_types = table.list("resource_types", "vm", str::parse::<ResourceType>);
    let enabled = table.boolean("enabled");
    let bidirectional = table.boolean("bidirectional");
    let readable = table.report.count() == before;
    if readable && source.is_none() {
        table.missing("source", "a pair needs both ends", "source = \"us-east-1\"");
    }
    if readable && target.is_none() {
        table.missing("target", "a pair needs both ends", "target = \"us-west-1\"");
    }
    match &resource_types {
        None if readable => {
            table.missing("resource_types", "a pair must know what to copy", "resource_types = [\"vm\"]");
        }
        Some(types) if readable && types.value.is_empty() => {
            let problem = Problem::new("config::bad-value", "this replication copies nothing")
                .reason("its list of types is empty")
                .help("name what to copy, such as `resource_types = [\"vm\"]`, or write `enabled = false`");
            table.report.add(problem, &[(&types.place, "empty".to_owned())]);
        }
        _ => {}
    }
    let broken = table.report.count() > before
        || source.is_none()
        || target.is_none()
        || resource_types.as_ref().is_none_or(|types| types.value.is_empty());
    let doc = PairDoc {
        source,
        target,
        resource_types,
        sync_interval: table.duration("sync_interval", Some("a resource would always be due")),
        batch_size: table.number("batch_size", 1..=u32::MAX),
        priority: table.number("priority", 0..=u32::MAX),
        enabled,
        bidirectional,
        compression: table.boolean("compression"),
        bandwidth_limit: table.parsed("bandwidth_limit", "200 Mbit/s", str::parse),
        paused: table.boolean("paused"),
        header,
        broken,
    };
    table.finish();
    Some(doc)
}

fn other_type(table: &mut Fields<'_, '_>) -> Option<ResourceType> {
    let before = table.report.count();
    let kind = table.parsed("type", "config", |text| match text.parse() {
        Ok(ResourceType::Vm) => Err("virtual machines are declared under `[vms]`".to_owned()),
        Ok(other) => Ok(other),
        Err(_) => Err(format!("`{text}` is not a type: storage, network, config or state")),
    });
    if kind.is_none() && table.report.count() == before {
        table.missing("type", "it must be known what it is", "type = \"config\"");
    }
    kind.map(|kind| kind.value)
}

fn protection(mut table: Fields<'_, '_>) -> ProtectionDoc {
    let before = table.report.count();
    let primary = table.id("primary", "us-east-1");
    let replicas = table.list("replicas", "us-west-1", str::parse::<RegionId>);
    let broken = table.report.count() > before;
    let doc = ProtectionDoc {
        primary,
        replicas: replicas.map_or_else(Vec::new, |list| list.value),
        depends_on: table.list("depends_on", "db-vm-1", id_pattern).map_or_else(Vec::new, |list| list.value),
        max_lag: table.duration("max_lag", Some("no copy can be that fresh")),
        allowed_regions: table.word_lists("allowed_regions"),
        labels: table.words("labels"),
        max_change: table.parsed("max_change", "50 %", str::parse),
        broken,
    };
    table.finish();
    doc
}

fn retention(mut table: Fields<'_, '_>) -> RetentionDoc {
    let doc = RetentionDoc {
        last: table.number("last", 1..=u32::MAX),
        hourly: table.number("hourly", 0..=u32::MAX),
        daily: table.number("daily", 0..=u32::MAX),
    };
    table.finish();
    doc
}

fn health(mut table: Fields<'_, '_>) -> HealthDoc {
    let doc = HealthDoc {
        timeout: table.duration("timeout", Some("no probe could be answered")),
        degraded_latency: table.duration("degraded_latency", Some("every region would be degraded")),
        unreachable_latency: table.duration("unreachable_latency", Some("every region would look unreachable")),
        probe_interval: table.duration("probe_interval", Some("probes would follow each other without a pause")),
        failures: table.number("failures", 1..=u32::MAX),
        detect_for: table.duration("detect_for", Some("the shortest silence would count as a loss")),
    };
    table.finish();
    doc
}

fn audit(mut table: Fields<'_, '_>) -> AuditDoc {
    let doc = AuditDoc {
        enabled: table.boolean("enabled"),
        period: table
            .duration("period", Some("everything would be read all the time; `enabled = false` reads nothing")),
        read_limit: table.parsed("read_limit", "400 Mbit/s", str::parse),
        round_limit: table.duration("round_limit", Some("nothing would be read; `enabled = false` says so")),
    };
    table.finish();
    doc
}

fn failover(mut table: Fields<'_, '_>) -> FailoverDoc {
    let doc = FailoverDoc {
        strategy: table.parsed("strategy", "manual", |text| {
            let known = [Strategy::Automatic, Strategy::Manual, Strategy::Graceful, Strategy::Cascading];
            let strategy = known.into_iter().find(|strategy| strategy.as_str() == text);
            strategy.ok_or_else(|| {
                let names = known.map(|strategy| strategy.as_str());
                let begun = names.into_iter().find(|name| text.len() > 2 && name.starts_with(text));
                let meant = begun.or_else(|| nearest(text, names)).map(|name| format!("; did you mean `{name}`?"));
                let known = "automatic, manual, graceful or cascading";
                format!("`{text}` is not a strategy: {known}{}", meant.unwrap_or_default())
            })
        }),
        candidates: table
            .list("candidates", "us-west-1", str::parse::<RegionId>)
            .map_or_else(Vec::new, |list| list.value),
        quorum: table.number("quorum", 1..=u32::MAX),
        cooldown: table.duration("cooldown", None),
        failback: table.parsed("failback", "manual", |text| match text {
            "manual" => Ok(Failback::Manual),
            "automatic" => Ok(Failback::Automatic),
            other => Err(format!("`{other}` is neither manual nor automatic")),
        }),
        hooks: table.table("hooks").map(hooks),
    };
    table.finish();
    doc
}

fn hooks(mut table: Fields<'_, '_>) -> HooksDoc {
    let before = table.report.count();
    let fence = table.argv("fence");
    let doc = HooksDoc {
        fence,
        fence_broken: table.report.count() > before,
        before: table.argv("before"),
        after: table.argv("after"),
        timeout: table.duration("timeout", Some("no hook could end in time")),
    };
    table.finish();
    doc
}

fn moved(report: &mut Report, header: Place, value: Spanned<DeValue<'_>>) -> Option<MovedDoc> {
    let mut table = Fields::open(report, "this rename".to_owned(), header.clone(), value)?;
    let before = table.report.count();
    let from = table.parsed("from", "vm.old-name", address_pattern);
    let to = table.parsed("to", "vm.new-name", address_pattern);
    if table.report.count() == before {
        if from.is_none() {
            table.missing("from", "a rename needs both names", "from = \"vm.old-name\"");
        }
        if to.is_none() {
            table.missing("to", "a rename needs both names", "to = \"vm.new-name\"");
        }
    }
    table.finish();
    Some(MovedDoc { from, to, header })
}
