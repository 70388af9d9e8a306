//! JSON Schemas of the files that people write, made from the document types; editors complete and check with them.
//! Draft 7, which the TOML language servers know.

use std::borrow::Cow;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::Value;

use super::credentials::document::CredentialsDoc;
use super::document::TopologyDoc;
use super::region::RegionDoc;

/// The schema of a topology file, committed as `schemas/topology.schema.json`.
pub fn topology() -> Value {
    of::<TopologyDoc>()
}

/// The schema of a region's own file, committed as `schemas/region.schema.json`.
pub fn region() -> Value {
    of::<RegionDoc>()
}

/// The schema of a credentials file, committed as `schemas/credentials.schema.json`.
pub fn credentials() -> Value {
    of::<CredentialsDoc>()
}

fn of<T: JsonSchema>() -> Value {
    let mut schema = SchemaSettings::draft07().into_generator().into_root_schema_for::<T>().to_value();
    drop_nulls(&mut schema);
    schema
}

/// TOML has no null: what is optional may be left out, and that is all.
fn drop_nulls(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if let Some(Value::Array(types)) = object.get_mut("type") {
                types.retain(|kind| kind != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    object.insert("type".to_owned(), only);
                }
            }
            let null = |option: &Value| option.get("type").is_some_and(|kind| kind == "null");
            if let Some(Value::Array(options)) = object.get_mut("anyOf") {
                options.retain(|option| !null(option));
                if options.len() == 1 {
                    let only = options.remove(0);
                    object.remove("anyOf");
                    // Draft 7 ignores what stands beside a `$ref`; the description would be lost.
                    object.insert("allOf".to_owned(), Value::Array(vec![only]));
                }
            }
            if let Some(Value::Array(values)) = object.get_mut("enum") {
                values.retain(|value| !value.is_null());
            }
            object.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

macro_rules! text_form {
    ($($(#[$doc:meta])* $name:ident = $schema:tt;)*) => {$(
        $(#[$doc])*
        pub(super) enum $name {}

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )*};
}

text_form! {
    /// The only version of the format so far.
    KnownVersion = { "type": "integer", "const": 1 };
    /// An id.
    IdText = { "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$" };
    /// An id or a brace range of ids.
    PatternText = { "type": "string", "pattern": r"^([A-Za-z0-9][A-Za-z0-9_-]{0,62}|[A-Za-z0-9_-]*\{[0-9]+\.\.[0-9]+\}[A-Za-z0-9_-]*)$" };
    /// The address of a resource, or a brace range of them.
    AddressText = { "type": "string", "pattern": r"^(vm|storage|network|config|state)\.[A-Za-z0-9_-]*(\{[0-9]+\.\.[0-9]+\})?[A-Za-z0-9_-]*$" };
    /// An endpoint.
    EndpointText = { "type": "string", "pattern": "^([Hh][Tt][Tt][Pp][Ss]?://|[Ff][Ii][Ll][Ee]:)" };
    /// An origin.
    OriginText = { "type": "string", "pattern": "^[Hh][Tt][Tt][Pp][Ss]?://[^/?#@]+/?$" };
    /// An address with a port.
    SocketText = { "type": "string", "pattern": "^([0-9.]+|\\[[0-9A-Fa-f:.]+\\]):[0-9]{1,5}$", "examples": ["10.1.2.3:5000"] };
    /// A duration with its unit.
    DurationText = { "type": "string", "pattern": "^ *[0-9]", "examples": ["90s", "5m", "1h30m"] };
    /// A rate.
    RateText = { "type": "string", "pattern": r"^ *[0-9]+(\.[0-9]+)? *([Gg]|[Mm]|[Kk])?[Bb][Ii][Tt]/[Ss] *$", "examples": ["200 Mbit/s"] };
    /// A share.
    PercentText = { "type": "string", "pattern": "^ *[0-9]{1,3} *% *$", "examples": ["50 %"] };
    /// A program and its arguments.
    Command = { "type": "array", "items": { "type": "string" } };
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_credentials_file_is_checked_by_its_schema() {
        let schema = credentials();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let accepts = |text: &str| validator.is_valid(&toml::from_str::<Value>(text).unwrap());
        for good in [
            "",
            "[origins.'https://api.us-east-1.example:5000']\ntoken_file = 'a.token'\nca = 'ca.pem'\ncert = 'a.pem'\nkey = 'a.key'\nconnect = '10.1.2.3:5000'",
            "[origins.'http://127.0.0.1:5000']\ntoken = 'x'\nconnect = '[::1]:5000'",
        ] {
            assert!(accepts(good), "{good}");
        }
        for bad in [
            "origin = {}",
            "[origins.'example.org']",
            "[origins.'https://user@example.org']",
            "[origins.'https://a']\ntokens = 'x'",
            "[origins.'https://a']\ntoken = 'x'\ntoken_file = 'y'",
            "[origins.'https://a']\ncert = 'x'",
            "[origins.'https://a']\nconnect = 'somewhere'",
            "[origins.'https://a']\ntoken = 7",
        ] {
            assert!(!accepts(bad), "{bad}");
        }
    }

    fn topology_accepts(text: &str) -> Result<(), String> {
        let document: Value = toml::from_str(text).unwrap();
        let schema = topology();
        let validator = jsonschema::validator_for(&schema).unwrap();
        validator.validate(&document).map_err(|error| format!("{} at {}", error, error.instance_path()))
    }

    /// `SNAPSHOTS=overwrite` writes the files anew.
    #[test]
    fn committed_schemas_are_up_to_date() {
        for (name, schema) in [("topology", topology()), ("region", region()), ("credentials", credentials())] {
            let path = format!("{}/schemas/{name}.schema.json", env!("CARGO_MANIFEST_DIR"));
            let text = format!("{schema:#}\n");
            let expected = snapbox::Data::read_from(path.as_ref(), Some(snapbox::data::DataFormat::Text)).raw();
            snapbox::Assert::new().action_env("SNAPSHOTS").eq(text, expected);
        }
    }

    #[test]
    fn what_loads_is_valid() {
        for file in ["valid/everything.toml", "valid/split/policies.toml", "valid/split/regions.toml"] {
            let path = format!("{}/tests/fixtures/topology/{file}", env!("CARGO_MANIFEST_DIR"));
            topology_accepts(&std::fs::read_to_string(path).unwrap()).unwrap();
        }
    }

    #[test]
    fn mistakes_of_form_are_seen_by_an_editor_too() {
        for text in [
            "schema_version = 2",
            "vmss = {}",
            "[regions.-a]\napi_endpoint = 'file:a'",
            "[regions.a]\napi_endpoint = 'a'",
            "[regions.a]\nprimary = true",
            "[regions.a]\napi_endpoint = 'file:a'\ncapacity_vms = '1'",
            "[[replication]]\nsource = 'a'\ntarget = 'b'\nresource_types = []",
            "[[replication]]\nsource = 'a'\ntarget = 'b'\nresource_types = ['disk']",
            "[[replication]]\nsource = 'a'\ntarget = 'b'\nresource_types = ['vm']\nbandwidth_limit = '1 MB/s'",
            "[vms.'web-{a..b}']",
            "[vms.web]\ntype = 'vm'",
            "[vms.web]\nmax_change = '50'",
            "[resources.web]",
            "[resources.web]\ntype = 'vm'",
            "[retention]\nlast = 0",
            "[failover]\nstrategy = 'auto'",
            "[audit]\nread_limit = '50 MB'",
            "[[moved]]\nfrom = 'vm.a'\nto = 'region.b'",
        ] {
            assert!(topology_accepts(text).is_err(), "{text}");
        }
    }

    /// Every key that an editor offers is one that the reader asks for.
    #[test]
    fn every_key_of_the_schema_is_read() {
        fn keys(schema: &Value, at: &Value, path: &str, found: &mut Vec<String>) {
            let at = match at.get("$ref").or_else(|| at.pointer("/allOf/0/$ref")) {
                Some(name) => schema.pointer(name.as_str().unwrap().trim_start_matches('#')).unwrap(),
                None => at,
            };
            for (name, inner) in at.get("properties").and_then(Value::as_object).into_iter().flatten() {
                found.push(format!("{path}{name}"));
                keys(schema, inner, &format!("{path}{name}."), found);
            }
            for inner in at.get("patternProperties").and_then(Value::as_object).into_iter().flat_map(|map| map.values())
            {
                keys(schema, inner, &format!("{path}x."), found);
            }
            if let Some(items) = at.get("items") {
                keys(schema, items, path, found);
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.toml");
        for (schema, load) in [
            (topology(), (|path| super::super::load(Some(path)).unwrap_err()) as fn(&std::path::Path) -> _),
            (region(), |path| super::super::region::load(path).unwrap_err()),
            (credentials(), |path| super::super::credentials::load(path).unwrap_err()),
        ] {
            let mut found = Vec::new();
            keys(&schema, &schema, "", &mut found);
            assert!(found.len() > 6, "{found:?}");
            for key in found {
                let list = ["replication", "moved"].iter().find(|list| key.starts_with(&format!("{list}.")));
                let text = match list {
                    Some(list) => format!("{list} = [{{ {} = 1979-05-27 }}]", &key[list.len() + 1..]),
                    None => format!("{key} = 1979-05-27"),
                };
                std::fs::write(&path, &text).unwrap();
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
                let codes: Vec<_> = load(&path).0.iter().map(|problem| problem.code).collect();
                assert!(!codes.contains(&"config::unknown-key"), "{key}: {codes:?}");
                assert!(codes.contains(&"config::wrong-type") || codes.contains(&"config::schema-version"), "{text}");
            }
        }
    }
}
