//! The difference of two specs, attribute by attribute. Computed here, drawn in `render`.
//!
//! An attribute is a path of keys to a leaf: `policy.retention.last`, `labels.tier`. Lists are leaves. Those that are
//! sets by nature (replica regions, dependencies, …) compare without order; argv and candidates compare in order.
//! The decision whether an object changed is made on the typed specs, in `compare`; a property test holds that the
//! two agree.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::model::listed::listed;

/// One attribute that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The keys that lead to it, joined with dots.
    pub path: String,
    /// Its value before; none: it was not there.
    pub before: Option<Value>,
    /// Its value afterwards; none: it is not there any more.
    pub after: Option<Value>,
}

impl Difference {
    /// Of a list that is a set: what came in and what went out, in order. None for every other attribute.
    pub fn members(&self) -> Option<(Vec<&Value>, Vec<&Value>)> {
        let (Some(Value::Array(before)), Some(Value::Array(after))) = (&self.before, &self.after) else {
            return None;
        };
        is_set(&self.path).then(|| {
            let added = after.iter().filter(|member| !before.contains(member)).collect();
            let removed = before.iter().filter(|member| !after.contains(member)).collect();
            (added, removed)
        })
    }
}

/// Whether the list at `path` has no order.
fn is_set(path: &str) -> bool {
    let mut keys = path.split('.');
    match (keys.next(), keys.next(), keys.next()) {
        (Some("replicas" | "depends_on" | "resource_types"), None, None) => true,
        // A label's admitted values. A label may itself contain a dot, so the rest of the path is its name.
        (Some("allowed_regions"), Some(_), _) => true,
        _ => false,
    }
}

/// Every attribute that differs, by path. `None` stands for an object that is not there: all of the other's
/// attributes differ.
pub fn delta(before: Option<&Value>, after: Option<&Value>) -> Vec<Difference> {
    let (mut old, mut new) = (BTreeMap::new(), BTreeMap::new());
    if let Some(value) = before {
        leaves(String::new(), value, &mut old);
    }
    if let Some(value) = after {
        leaves(String::new(), value, &mut new);
    }
    let paths: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    paths
        .into_iter()
        .filter(|path| !same(path, old.get(*path).copied(), new.get(*path).copied()))
        .map(|path| Difference {
            path: path.clone(),
            before: old.get(path).map(|value| (*value).clone()),
            after: new.get(path).map(|value| (*value).clone()),
        })
        .collect()
}

/// The paths that differ, for a sentence: `max_lag, labels.tier and 3 more`.
pub fn named(differences: &[Difference]) -> String {
    listed(differences.iter().map(|difference| &difference.path), 4)
}

fn leaves<'a>(path: String, value: &'a Value, into: &mut BTreeMap<String, &'a Value>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                leaves(path, value, into);
            }
        }
        // An attribute that is not set is as good as one that is not there.
        Value::Null => {}
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            into.insert(path, value);
        }
    }
}

fn same(path: &str, before: Option<&Value>, after: Option<&Value>) -> bool {
    match (before, after) {
        (Some(Value::Array(before)), Some(Value::Array(after))) if is_set(path) => {
            before.iter().all(|member| after.contains(member)) && after.iter().all(|member| before.contains(member))
        }
        (before, after) => before == after,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn paths(before: &Value, after: &Value) -> Vec<String> {
        delta(Some(before), Some(after)).into_iter().map(|difference| difference.path).collect()
    }

    #[test]
    fn attributes_differ_by_path_in_order() {
        let before = json!({"name": "a", "labels": {"tier": "web", "x": "1"}, "max_lag": null, "policy": {"last": 3}});
        let after = json!({"name": "a", "labels": {"tier": "db", "y": "2"}, "max_lag": "5m", "policy": {"last": 3}});
        assert_eq!(paths(&before, &after), ["labels.tier", "labels.x", "labels.y", "max_lag"]);
        assert_eq!(paths(&before, &before), Vec::<String>::new());
        assert_eq!(delta(None, Some(&json!({"a": 1}))).len(), 1);
        assert_eq!(delta(Some(&json!({"a": 1})), None)[0].after, None);
        assert_eq!(named(&delta(Some(&before), Some(&after))), "labels.tier, labels.x, labels.y, max_lag");
    }

    #[test]
    fn sets_have_no_order_and_argv_does() {
        let before =
            json!({"replicas": ["a", "b"], "hooks": {"fence": ["x", "y"]}, "allowed_regions": {"j": ["us", "eu"]}});
        let after =
            json!({"replicas": ["b", "a"], "hooks": {"fence": ["y", "x"]}, "allowed_regions": {"j": ["eu", "us"]}});
        assert_eq!(paths(&before, &after), ["hooks.fence"]);
        let grown =
            json!({"replicas": ["b", "c"], "hooks": {"fence": ["x", "y"]}, "allowed_regions": {"j": ["us", "eu"]}});
        let found = delta(Some(&before), Some(&grown));
        assert_eq!(found[0].members(), Some((vec![&json!("c")], vec![&json!("a")])));
    }
}
