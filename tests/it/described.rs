//! What a served region answers, held against the committed description of it: every answer that a test asks for by
//! `failover_rest`.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, LazyLock, Mutex};

use jsonschema::{Draft, Validator};
use serde_json::{Value, json};

use crate::support::repository;

/// The description, its forms closed: an answer that says more than is described is a mistake.
static DESCRIPTION: LazyLock<Value> = LazyLock::new(|| {
    let committed = fs::read_to_string(repository().join("schemas/openapi.json")).unwrap();
    let mut description: Value = serde_json::from_str(&committed).unwrap();
    for form in description["components"]["schemas"].as_object_mut().unwrap().values_mut() {
        let form = form.as_object_mut().unwrap();
        if ["properties", "oneOf", "anyOf"].iter().any(|key| form.contains_key(*key)) {
            form.entry("unevaluatedProperties").or_insert(json!(false));
        }
    }
    description
});

/// Whether a path of the description is this one.
fn fits(described: &str, path: &str) -> bool {
    let mut parts = described.split('/').zip(path.split('/'));
    described.split('/').count() == path.split('/').count()
        && parts.all(|(described, part)| described == part || described.starts_with('{'))
}

/// Where the description has the form of such an answer, as a JSON pointer.
fn form_of(method: &str, path: &str, status: u16) -> String {
    let path = format!("/api/v1/{}", path.split('?').next().unwrap());
    let paths = DESCRIPTION["paths"].as_object().unwrap();
    let mut described: Vec<&String> = paths.keys().filter(|described| fits(described, &path)).collect();
    described.sort_by_key(|described| described.matches('{').count());
    let described = described.first().unwrap_or_else(|| panic!("{path} is not described"));
    let answers = &paths[*described][method.to_lowercase()]["responses"];
    let answer =
        answers.get(status.to_string()).unwrap_or_else(|| panic!("{method} {path}: {status} is not described"));
    let form = answer["$ref"].as_str().map_or_else(
        || format!("#/paths/{}/{}/responses/{status}", described.replace('/', "~1"), method.to_lowercase()),
        str::to_owned,
    );
    form.replace('{', "%7B").replace('}', "%7D") + "/content/application~1json/schema"
}

/// Holds an answer against the form that the description has for its route and status.
#[track_caller]
pub(crate) fn assert_described(method: &str, path: &str, status: u16, body: &Value) {
    static MADE: Mutex<BTreeMap<String, Arc<Validator>>> = Mutex::new(BTreeMap::new());
    let form = form_of(method, path, status);
    let known = MADE.lock().unwrap().get(&form).cloned();
    let validator = known.unwrap_or_else(|| {
        let mut schema = DESCRIPTION.clone();
        schema["$ref"] = json!(form);
        let options = jsonschema::options().with_draft(Draft::Draft202012).should_validate_formats(true);
        let made = Arc::new(options.build(&schema).unwrap());
        MADE.lock().unwrap().insert(form, Arc::clone(&made));
        made
    });
    let errors: Vec<String> =
        validator.iter_errors(body).map(|error| format!("{error} at {}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{method} {path}, {status}:\n{}\n{body:#}", errors.join("\n"));
}

#[test]
fn an_answer_that_says_too_much_or_too_little_is_none_that_is_described() {
    let fit = |body: &Value| std::panic::catch_unwind(|| assert_described("GET", "health", 200, body)).is_ok();
    let answer = |data: Value| json!({ "status": "success", "timestamp": "2026-01-02T03:04:05Z", "data": data });
    let whole = json!({ "service": "multi-region", "status": "operational" });
    assert!(fit(&answer(whole.clone())));
    assert!(!fit(&answer(json!({ "service": "multi-region" }))));
    let mut more = whole;
    more["more"] = json!(1);
    assert!(!fit(&answer(more)));
    assert!(std::panic::catch_unwind(|| assert_described("GET", "nowhere", 200, &Value::Null)).is_err());
    assert!(std::panic::catch_unwind(|| assert_described("GET", "health", 201, &Value::Null)).is_err());
}
