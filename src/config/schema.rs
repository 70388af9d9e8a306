//! JSON Schemas of the files that people write, made from the document types; editors complete and check with them.
//! Draft 7, which the TOML language servers know.

use std::borrow::Cow;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::Value;

use super::document::TopologyDoc;

/// The schema of a topology file, committed as `schemas/topology.schema.json`.
pub fn topology() -> Value {
    of::<TopologyDoc>()
}

pub(super) fn of<T: JsonSchema>() -> Value {
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
    /// A duration with its unit.
    DurationText = { "type": "string", "pattern": "^ *[0-9]", "examples": ["90s", "5m", "1h30m"] };
    /// A rate.
    RateText = { "type": "string", "pattern": r"^ *[0-9]+(\.[0-9]+)? *([Gg]|[Mm]|[Kk])?[Bb][Ii][Tt]/[Ss] *$", "examples": ["200 Mbit/s"] };
    /// A share.
    PercentText = { "type": "string", "pattern": "^ *[0-9]{1,3} *% *$", "examples": ["50 %"] };
    /// A program and its arguments.
    Command = { "type": "array", "items": { "type": "string" } };
}
