//! The server's description of itself: held against the router, the committed copy, and every answer of these tests.

use std::sync::{LazyLock, Mutex};
use std::thread;

use jsonschema::{Draft, Validator};
use reqwest::Url;

use super::*;
use crate::serve::openapi;

/// The description, its forms closed: an answer that says more than is described is a mistake of the description.
static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let mut document = openapi();
    let forms = document["components"]["schemas"].as_object_mut().unwrap();
    for form in forms.values_mut().filter_map(Value::as_object_mut) {
        if form.contains_key("properties") || form.contains_key("oneOf") {
            form.entry("unevaluatedProperties").or_insert(json!(false));
        }
    }
    document
});

const METHODS: [Method; 6] = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];

/// What was asked.
pub(super) struct Question {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) body: Option<Vec<u8>>,
}

fn validator(form: &Value) -> Arc<Validator> {
    static MADE: Mutex<BTreeMap<String, Arc<Validator>>> = Mutex::new(BTreeMap::new());
    let name = form.to_string();
    if let Some(made) = MADE.lock().unwrap().get(&name) {
        return Arc::clone(made);
    }
    let mut form = form.clone();
    form["components"] = DOCUMENT["components"].clone();
    let options = jsonschema::options().with_draft(Draft::Draft202012).should_validate_formats(true);
    let made = Arc::new(options.build(&form).unwrap());
    MADE.lock().unwrap().insert(name, Arc::clone(&made));
    made
}

/// Answers that are held against the description beside the test, whose timing is its own. Their mistakes are the
/// test's when it ends.
#[derive(Debug, Default)]
pub(super) struct Checks(Mutex<Vec<thread::JoinHandle<Result<(), String>>>>);

impl Checks {
    pub(super) fn check(&self, question: Question, answered: &Answered) {
        let answered = answered.clone();
        let check = thread::spawn(move || {
            let (method, url, status) = (&question.method, &question.url, answered.status);
            expect_described(&question, &answered).map_err(|error| format!("{method} {url}: {status}: {error}"))
        });
        self.0.lock().unwrap().push(check);
    }
}

impl Drop for Checks {
    fn drop(&mut self) {
        let checks = std::mem::take(&mut *self.0.lock().unwrap());
        let mistakes: Vec<String> = checks.into_iter().filter_map(|check| check.join().unwrap().err()).collect();
        assert!(mistakes.is_empty() || thread::panicking(), "{}", mistakes.join("\n"));
    }
}

fn expect_form(form: &Value, value: &Value) -> Result<(), String> {
    let errors: Vec<String> =
        validator(form).iter_errors(value).map(|error| format!("{error} at {}", error.instance_path())).collect();
    if errors.is_empty() { Ok(()) } else { Err(format!("{}\n{value:#}", errors.join("\n"))) }
}

/// What is described of a path, if anything is.
fn described(path: &str) -> Option<&'static Value> {
    let asked: Vec<&str> = path.split('/').collect();
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let fits = |template: &str| {
        let parts: Vec<&str> = template.split('/').collect();
        let same = |(part, asked): (&&str, &&str)| part == asked || (part.starts_with('{') && !asked.is_empty());
        parts.len() == asked.len() && parts.iter().zip(&asked).all(same)
    };
    paths.iter().find(|(template, _)| fits(template)).map(|(_, item)| item)
}

/// Follows the pointer that stands in the place of an answer or a header.
fn found(value: &'static Value) -> &'static Value {
    value["$ref"].as_str().map_or(value, |place| DOCUMENT.pointer(place.trim_start_matches('#')).unwrap())
}

/// Says how an answer differs from what is described.
pub(super) fn expect_described(question: &Question, answered: &Answered) -> Result<(), String> {
    let Question { method, url, body } = question;
    let status = answered.status.as_u16();
    let anywhere = [401, 403, 500, 503].contains(&status);
    let Some(item) = described(url.path()) else {
        return if anywhere || [400, 404].contains(&status) {
            Ok(())
        } else {
            Err("an unknown path is answered".into())
        };
    };
    let operation = &item[method.as_str().to_lowercase()];
    if operation.is_null() {
        let head = *method == Method::HEAD && !item["get"].is_null();
        return if anywhere || head || status == 405 { Ok(()) } else { Err("an unknown method is answered".into()) };
    }
    let answers = operation["responses"].as_object().unwrap();
    let answer = found(answers.get(&status.to_string()).ok_or("the status is not described")?);
    let (kind, content) = answer["content"].as_object().unwrap().iter().next().unwrap();
    let given = answered.headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if given.split(';').next() != Some(kind) {
        return Err(format!("it is {given} in place of {kind}"));
    }
    for (name, header) in answer["headers"].as_object().unwrap() {
        let header = found(header);
        match answered.headers.get(name) {
            Some(given) => expect_form(&header["schema"], &json!(given.to_str().unwrap()))?,
            None if header["required"] == true => return Err(format!("it has no {name}")),
            None => {}
        }
    }
    if kind == "application/json" {
        let mut form = content["schema"].clone();
        if form["properties"]["status"].is_object() {
            form["unevaluatedProperties"] = json!(false);
        }
        expect_form(&form, &answered.json())?;
    }
    // What was taken must have been allowed.
    let form = &operation["requestBody"]["content"]["application/json"]["schema"];
    match body {
        Some(body) if answered.status.is_success() && form.is_object() => {
            let body: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
            expect_form(form, &body).map_err(|error| format!("the request: {error}"))
        }
        _ => Ok(()),
    }
}

/// `SNAPSHOTS=overwrite` writes the file anew.
#[test]
fn the_committed_description_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/openapi.json");
    let expected = snapbox::Data::read_from(path.as_ref(), Some(snapbox::data::DataFormat::Text)).raw();
    snapbox::Assert::new().action_env("SNAPSHOTS").eq(format!("{:#}\n", openapi()), expected);
}

#[test]
fn every_form_that_is_pointed_at_is_there_and_every_name_is_used_once() {
    fn pointers<'a>(value: &'a Value, into: &mut BTreeSet<&'a str>) {
        match value {
            Value::Object(object) => {
                into.extend(object.get("$ref").and_then(Value::as_str));
                object.values().for_each(|value| pointers(value, into));
            }
            Value::Array(values) => values.iter().for_each(|value| pointers(value, into)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let document = openapi();
    let mut all = BTreeSet::new();
    pointers(&document, &mut all);
    assert!(all.len() > 50, "{}", all.len());
    for place in all {
        assert!(document.pointer(place.trim_start_matches('#')).is_some(), "{place}");
    }
    let mut names = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let name = operation["operationId"].as_str().unwrap();
            assert!(!name.is_empty() && names.insert(name.to_owned()), "{method} {path}: {name}");
            assert!(!operation["summary"].as_str().unwrap().is_empty(), "{method} {path}");
            let taken = operation["parameters"].as_array().unwrap().iter().filter(|taken| taken["in"] == "path");
            let taken: BTreeSet<String> =
                taken.map(|taken| format!("{{{}}}", taken["name"].as_str().unwrap())).collect();
            let parts: BTreeSet<String> =
                path.split('/').filter(|part| part.starts_with('{')).map(str::to_owned).collect();
            assert_eq!(taken, parts, "{method} {path}");
        }
    }
}

#[test]
fn the_router_is_made_from_the_table_alone() {
    let mut open = vec![PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/serve")];
    let mut made = Vec::new();
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.extend((!path.ends_with("tests")).then_some(path));
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let calls = [".route(", ".nest(", ".merge(", ".route_service(", ".fallback("];
            made.extend(calls.iter().flat_map(|call| text.matches(call)).map(|_| path.clone()));
        }
    }
    assert_eq!(made.len(), 1, "{made:?}");
    assert!(made[0].ends_with("router.rs"));
}

#[tokio::test]
async fn every_described_method_is_answered_and_no_other() {
    let lab = Lab::new();
    let east = lab.serve("east").await;
    let served = east.send(east.client.get(format!("{}/openapi.json", east.origin))).await;
    assert_eq!(served.json(), openapi());
    for (template, item) in DOCUMENT["paths"].as_object().unwrap() {
        let path = template.replace("{type}", "vm").replace("{sequence}", "1").replace("{name}", "replaced-1");
        let path = match template.contains("/readings")
            || template.contains("/receivings")
            || template.contains("/operations")
        {
            true => path.replace("{id}", &Uuid::nil().to_string()),
            false => path.replace("{id}", "web"),
        };
        let known: BTreeSet<String> = item.as_object().unwrap().keys().map(|method| method.to_uppercase()).collect();
        for method in METHODS {
            let answer = east.send(east.client.request(method.clone(), format!("{}{path}", east.origin))).await;
            let nothing = answer.body.windows(29).any(|words| words == b"there is nothing at this path");
            assert!(!nothing, "{method} {path}: {answer:?}");
            if known.contains(method.as_str()) {
                assert_ne!(answer.status, 405, "{method} {path}");
            } else {
                assert_eq!(
                    (answer.status.as_u16(), answer.code().as_str()),
                    (405, "method_not_allowed"),
                    "{method} {path}"
                );
                let allow = answer.headers["allow"].to_str().unwrap();
                let allow: BTreeSet<String> =
                    allow.split(',').filter(|name| *name != "HEAD").map(str::to_owned).collect();
                assert_eq!(allow, known, "{path}");
            }
        }
        let head = east.send(east.client.head(format!("{}{path}", east.origin))).await;
        assert_eq!(head.status == 405, !known.contains("GET"), "{path}: {head:?}");
        assert!(head.body.is_empty());
    }
}

#[tokio::test]
#[should_panic(expected = "is not one of")]
async fn an_answer_that_is_not_described_fails_its_test() {
    let lab = Lab::new();
    let east = lab.serve("east").await;
    let mut answered = east.get("nowhere").await;
    answered.status = StatusCode::BAD_REQUEST;
    let url = Url::parse(&east.url("regions?status=odd")).unwrap();
    let mut json = answered.json();
    json["data"]["code"] = json!("odd");
    answered.body = json.to_string().into_bytes();
    east.checks.check(Question { method: Method::GET, url, body: None }, &answered);
}

#[tokio::test]
async fn what_is_not_described_is_seen() {
    let lab = Lab::new();
    let east = lab.serve("east").await;
    let good = east.get("health").await;
    let at = |path: &str, method: Method| Question { method, url: Url::parse(&east.url(path)).unwrap(), body: None };
    let health = at("health", Method::GET);
    assert_eq!(expect_described(&health, &good), Ok(()));
    let with = |change: fn(&mut Answered)| {
        let mut other = Answered { status: good.status, headers: good.headers.clone(), body: good.body.clone() };
        change(&mut other);
        other
    };
    let body = |answered: &mut Answered, change: fn(&mut Value)| {
        let mut json = answered.json();
        change(&mut json);
        answered.body = json.to_string().into_bytes();
    };
    for (what, other) in [
        ("status", with(|answered| answered.status = StatusCode::IM_A_TEAPOT)),
        ("another described status", with(|answered| answered.status = StatusCode::SERVICE_UNAVAILABLE)),
        ("type", with(|answered| drop(answered.headers.insert("content-type", "text/html".parse().unwrap())))),
        ("name of the request", with(|answered| drop(answered.headers.remove("x-request-id")))),
    ] {
        assert!(expect_described(&health, &other).is_err(), "{what}");
    }
    type Change = fn(&mut Value);
    let changes: [(&str, Change); 5] = [
        ("more in the envelope", |json| json["more"] = json!(1)),
        ("more in the data", |json| json["data"]["more"] = json!(1)),
        ("less in the data", |json| drop(json["data"].as_object_mut().unwrap().remove("status"))),
        ("another type", |json| json["data"]["status"] = json!(7)),
        ("no time", |json| json["timestamp"] = json!("soon")),
    ];
    for (what, change) in changes {
        let mut other = with(|_| {});
        body(&mut other, change);
        assert!(expect_described(&health, &other).is_err(), "{what}");
    }
    assert!(expect_described(&at("nowhere", Method::GET), &good).is_err());
    assert!(expect_described(&at("health", Method::POST), &good).is_err());
    let missing = east.get("operations/00000000-0000-0000-0000-000000000000").await;
    let operation = at("operations/00000000-0000-0000-0000-000000000000", Method::GET);
    assert_eq!(expect_described(&operation, &missing), Ok(()));
    let mut other = Answered { status: missing.status, headers: missing.headers.clone(), body: missing.body.clone() };
    body(&mut other, |json| json["data"]["code"] = json!("not_there"));
    assert!(expect_described(&operation, &other).is_err(), "a code that nobody knows");
}
