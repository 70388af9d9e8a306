//! One attribute's value in words, and the objects of a plan in a few of them.

use serde_json::Value;

use crate::model::Address;
use crate::model::topology::Spec;
use crate::model::units::format_duration;
use crate::plan::delta::{Difference, delta};
use crate::plan::document::{Change, Kind};

/// A value as people write it: no quotes around plain words, `none` for nothing.
pub(super) fn value(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "none".to_owned(),
        Some(Value::String(text)) if text.is_empty() => "\"\"".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) if items.is_empty() => "none".to_owned(),
        Some(Value::Array(items)) => items.iter().map(|item| self::value(Some(item))).collect::<Vec<_>>().join(", "),
        Some(Value::Object(fields)) if fields.is_empty() => "none".to_owned(),
        Some(Value::Object(fields)) => {
            let fields = fields.iter().map(|(name, item)| format!("{name} = {}", self::value(Some(item))));
            format!("{{ {} }}", fields.collect::<Vec<_>>().join(", "))
        }
        Some(other) => other.to_string(),
    }
}

/// `us-east-1 → us-west-1, eu-west-1`, or the one end that is known.
pub(super) fn route(change: &Change, arrow: &str) -> String {
    let targets = change.regions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match &change.source {
        Some(source) => format!("{source} {arrow} {targets}"),
        None => targets,
    }
}

/// What an object is, in a few words, from its attributes.
pub(super) fn gist(address: &Address, attributes: Option<&Value>, arrow: &str) -> Option<String> {
    match Spec::from_json(address, attributes?.clone()).ok()? {
        Spec::Region(spec) => {
            Some(if spec.primary { format!("{}, primary", spec.api_endpoint) } else { spec.api_endpoint })
        }
        Spec::Replication(spec) => {
            let types = spec.resource_types.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(", ");
            let mut gist = format!("{types} every {}", format_duration(spec.sync_interval));
            if spec.bidirectional {
                gist.push_str(", both ways");
            }
            if let Some(limit) = spec.bandwidth_limit {
                gist.push_str(&format!(", at most {limit}"));
            }
            if !spec.enabled {
                gist.push_str(", not enabled");
            } else if spec.paused {
                gist.push_str(", paused");
            }
            Some(gist)
        }
        Spec::Resource(spec) => {
            let replicas = spec.replicas.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            Some(if replicas.is_empty() {
                format!("{}, no replica", spec.primary)
            } else {
                format!("{} {arrow} {replicas}", spec.primary)
            })
        }
    }
}

/// What a change is about, in a few words.
pub(super) fn about(change: &Change, arrow: &str) -> String {
    match change.kind {
        Kind::Sync | Kind::Failover | Kind::Fence => route(change, arrow),
        Kind::Region | Kind::Replication | Kind::Resource => {
            gist(&change.address, change.after.as_ref().or(change.before.as_ref()), arrow).unwrap_or_default()
        }
    }
}

/// What differs, attribute by attribute: its path, and what was and will be. Nothing for an object that appears or
/// disappears as a whole.
pub(super) fn differences(change: &Change, arrow: &str) -> Vec<(String, String)> {
    let (Some(before), Some(after)) = (&change.before, &change.after) else { return Vec::new() };
    delta(Some(before), Some(after)).iter().map(|found| (found.path.clone(), difference(found, arrow))).collect()
}

/// `5m → 10m`; of a set, who came and who went: `+ eu-west-1, - us-west-1`.
pub(super) fn difference(found: &Difference, arrow: &str) -> String {
    match found.members() {
        Some((added, removed)) => {
            let added = added.iter().map(|member| format!("+ {}", value(Some(member))));
            let removed = removed.iter().map(|member| format!("- {}", value(Some(member))));
            added.chain(removed).collect::<Vec<_>>().join(", ")
        }
        None => format!("{} {arrow} {}", value(found.before.as_ref()), value(found.after.as_ref())),
    }
}
