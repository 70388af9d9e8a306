//! The JSON Schema of a plan, made from the types that read and write it. The committed copy is
//! `schemas/plan.schema.json`; a test holds the two equal.

use serde_json::Value;

use super::document::Plan;

/// The schema of `plan --format json` and of saved plans.
pub fn schema() -> Value {
    let mut schema = schemars::schema_for!(Plan).to_value();
    if let Some(object) = schema.as_object_mut() {
        object.insert("title".to_owned(), Value::from("debvisor-region plan"));
    }
    schema
}
