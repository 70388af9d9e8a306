//! The forms of bodies: one schema for each type and direction.
//!
//! What is read may leave out what has a default, what is written has it all: a type that travels both ways may have
//! two forms. Where they differ, the one that is read goes by the type's name and `-Input`.

use std::collections::BTreeSet;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value};

const SCHEMAS: &str = "#/components/schemas/";
/// Where forms that are read are kept until all are known.
const READ: &str = "#/components/read/";

/// The forms that were asked for.
#[derive(Debug)]
pub(super) struct Forms {
    read: SchemaGenerator,
    written: SchemaGenerator,
}

impl Forms {
    pub(super) fn new() -> Self {
        let settings = |path: &str| {
            let mut settings = SchemaSettings::draft2020_12();
            settings.definitions_path = path.trim_start_matches('#').trim_end_matches('/').to_owned().into();
            settings
        };
        Self {
            read: settings(READ).for_deserialize().into_generator(),
            written: settings(SCHEMAS).for_serialize().into_generator(),
        }
    }

    /// The form of what clients send.
    pub(super) fn read<T: JsonSchema>(&mut self) -> Value {
        settled(self.read.subschema_for::<T>().to_value())
    }

    /// The form of what clients get.
    pub(super) fn written<T: JsonSchema>(&mut self) -> Value {
        settled(self.written.subschema_for::<T>().to_value())
    }

    /// A form by itself, which points at no other.
    pub(super) fn whole<T: JsonSchema>() -> Value {
        let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
        settled(settings.into_generator().into_root_schema_for::<T>().to_value())
    }

    /// All named forms; `document` is made to point at them.
    pub(super) fn name_all(self, document: &mut Value) -> Map<String, Value> {
        let Self { mut read, mut written } = self;
        let [mut read, mut named] = [read.take_definitions(true), written.take_definitions(true)];
        read.values_mut().chain(named.values_mut()).for_each(|form| *form = settled(form.take()));

        let mut apart: BTreeSet<String> = BTreeSet::new();
        loop {
            let differs = |(name, form): &(&String, &Value)| {
                let mut form = (*form).clone();
                point(&mut form, &apart);
                named.get(*name).is_some_and(|other| *other != form)
            };
            let found: BTreeSet<String> = read.iter().filter(differs).map(|(name, _)| name.clone()).collect();
            if found == apart {
                break;
            }
            apart = found;
        }
        point(document, &apart);
        for (name, mut form) in read {
            point(&mut form, &apart);
            named.insert(if apart.contains(&name) { input(&name) } else { name }, form);
        }
        named
    }
}

fn input(name: &str) -> String {
    format!("{name}-Input")
}

/// Makes what points at forms that are read point at where they are at last.
fn point(value: &mut Value, apart: &BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            if let Some(Value::String(place)) = object.get_mut("$ref")
                && let Some(name) = place.strip_prefix(READ)
            {
                let name = if apart.contains(name) { input(name) } else { name.to_owned() };
                *place = format!("{SCHEMAS}{name}");
            }
            object.values_mut().for_each(|value| point(value, apart));
        }
        Value::Array(values) => values.iter_mut().for_each(|value| point(value, apart)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The same form with the largest number that an integer's type has, since JSON knows no types of integers; without
/// the brackets of links into the source, and without the rule that lists of a set's members repeat none.
fn settled(mut form: Value) -> Value {
    settle(&mut form);
    form
}

fn settle(form: &mut Value) {
    match form {
        Value::Object(object) => {
            // What names something twice names it once.
            object.remove("uniqueItems");
            if let Some(Value::String(about)) = object.get_mut("description") {
                *about = about.replace("[`", "`").replace("`]", "`").replace('\n', " ");
            }
            let most = match object.get("format").and_then(Value::as_str) {
                Some("uint32") => Some(Value::from(u32::MAX)),
                Some("uint64" | "uint") => Some(Value::from(u64::MAX)),
                _ => None,
            };
            if let Some(most) = most {
                object.entry("maximum").or_insert(most);
            }
            if object.get("format").is_some_and(|format| format == "int64") {
                object.entry("minimum").or_insert(i64::MIN.into());
                object.entry("maximum").or_insert(i64::MAX.into());
            }
            object.values_mut().for_each(settle);
        }
        Value::Array(values) => values.iter_mut().for_each(settle),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
