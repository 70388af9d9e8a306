//! What is gathered about one method of one path.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use schemars::JsonSchema;
use serde_json::{Value, json};

use super::super::answer::JSON;
use super::forms::Forms;
use super::refusal::{Refusals, Refuses};
use crate::model::Timestamp;
use crate::wire::seal::SEAL;
use crate::wire::{BYTES, FaultCode, REQUEST_ID};

/// Where a parameter stands.
#[derive(Debug, Clone, Copy)]
pub(super) enum In {
    Path,
    Header,
}

impl In {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Header => "header",
        }
    }
}

/// One method of one path, as far as its handler's parts have told.
#[derive(Debug)]
pub(in super::super) struct Sheet<'a> {
    forms: &'a mut Forms,
    parameters: Vec<Value>,
    body: Option<Value>,
    answers: BTreeMap<u16, Value>,
    refusals: Refusals,
}

/// Answers with errors, which many calls have in common: by name.
pub(super) type Shared = BTreeMap<String, Value>;

impl<'a> Sheet<'a> {
    pub(super) fn new(forms: &'a mut Forms) -> Self {
        Self { forms, parameters: Vec::new(), body: None, answers: BTreeMap::new(), refusals: Refusals::default() }
    }

    /// Has a parameter of the form `T`.
    pub(super) fn takes<T: JsonSchema>(&mut self, place: In, name: &str, about: &str) {
        let schema = self.forms.read::<T>();
        self.takes_text(place, name, about, schema);
    }

    /// Has a parameter of its own form.
    pub(super) fn takes_text(&mut self, place: In, name: &str, about: &str, schema: Value) {
        let required = matches!(place, In::Path);
        let place = place.as_str();
        self.parameters
            .push(json!({"name": name, "in": place, "required": required, "description": about, "schema": schema}));
    }

    /// Has the fields of `T` in its query.
    pub(super) fn takes_query<T: JsonSchema>(&mut self) {
        let form = Forms::whole::<T>();
        let required = |name: &str| {
            let all = form.get("required").and_then(Value::as_array);
            all.is_some_and(|all| all.iter().any(|required| required == name))
        };
        for (name, field) in form.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let mut schema = field.clone();
            let about = schema.as_object_mut().and_then(|schema| schema.remove("description")).unwrap_or_default();
            // What a query lacks is none: there is no null.
            if let Some(kinds) = schema.get_mut("type").and_then(Value::as_array_mut) {
                kinds.retain(|kind| kind != "null");
            }
            if let Some(mut forms) = schema.get_mut("anyOf").map(Value::take) {
                let mut forms = forms.as_array_mut().map(std::mem::take).unwrap_or_default();
                schema = forms.drain(..).find(|form| form["type"] != "null").unwrap_or_default();
            }
            self.parameters.push(json!({
                "name": name, "in": "query", "required": required(name), "description": about, "schema": schema,
            }));
        }
    }

    /// Reads a body of JSON.
    pub(super) fn reads<T: JsonSchema>(&mut self, most: usize) {
        let schema = self.forms.read::<T>();
        self.reads_as(JSON, most, json!({ "schema": schema }));
    }

    /// Reads a body of bytes.
    pub(super) fn reads_bytes(&mut self, about: &str, most: usize) {
        self.reads_as(BYTES, most, json!({ "schema": { "type": "string", "format": "binary", "description": about } }));
    }

    fn reads_as(&mut self, kind: &str, most: usize, content: Value) {
        let about = format!("At most {most} bytes.");
        self.body = Some(json!({ "required": true, "description": about, "content": { kind: content } }));
        self.refuses(Refuses::Own(FaultCode::UnsupportedMediaType));
        self.may_have_body();
    }

    /// Reads what comes, if only to see that it is nothing.
    pub(super) fn may_have_body(&mut self) {
        for code in [FaultCode::BadRequest, FaultCode::BodyTimeout, FaultCode::TooLarge] {
            self.refuses(Refuses::Own(code));
        }
    }

    /// Answers with data of the form `T` in the envelope.
    pub(super) fn answers<T: JsonSchema>(&mut self, status: StatusCode, about: &str) {
        let (timestamp, data) = (self.forms.written::<Timestamp>(), self.forms.written::<T>());
        let body = json!({
            "type": "object",
            "properties": { "status": { "const": "success" }, "timestamp": timestamp, "data": data },
            "required": ["status", "timestamp", "data"],
        });
        self.answers_as(status, about, JSON, body);
    }

    /// Answers with a body of another type.
    pub(super) fn answers_as(&mut self, status: StatusCode, about: &str, kind: &str, schema: Value) {
        let mut headers = headers();
        if status == StatusCode::ACCEPTED {
            headers["Location"] = json!({ "$ref": "#/components/headers/OperationPlace" });
        }
        let answer = json!({ "description": about, "headers": headers, "content": { kind: { "schema": schema } } });
        self.answers.insert(status.as_u16(), answer);
    }

    /// May refuse.
    pub(in super::super) fn refuses(&mut self, refuses: Refuses) {
        self.refusals.add(refuses);
    }

    /// As it stands in the document; answers with errors are put into `shared`.
    pub(super) fn finish(self, shared: &mut Shared) -> Value {
        let Self { forms, mut parameters, body, answers, refusals } = self;
        for name in ["RequestId", "Seal"] {
            parameters.push(json!({ "$ref": format!("#/components/parameters/{name}") }));
        }
        let mut responses: BTreeMap<String, Value> =
            answers.into_iter().map(|(status, answer)| (status.to_string(), answer)).collect();
        for (status, name, body) in refusals.answers(forms) {
            let about = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
            let mut headers = headers();
            if status == StatusCode::UNAUTHORIZED.as_u16() {
                headers["WWW-Authenticate"] = json!({ "required": true, "schema": { "const": "Bearer" } });
            }
            let answer = json!({
                "description": about.unwrap_or("An error"), "headers": headers, "content": { JSON: { "schema": body } },
            });
            let name = unique(shared, name, &answer);
            responses.insert(status.to_string(), json!({ "$ref": format!("#/components/responses/{name}") }));
            shared.insert(name, answer);
        }
        let mut operation = json!({ "parameters": parameters, "responses": responses });
        if let Some(body) = body {
            operation["requestBody"] = body;
        }
        operation
    }
}

/// What every answer carries.
fn headers() -> Value {
    json!({
        REQUEST_ID: { "$ref": "#/components/headers/RequestId" },
        SEAL: { "$ref": "#/components/headers/Seal" },
    })
}

/// The name, or the first with a number after it that is free or has the same answer.
fn unique(shared: &Shared, name: String, answer: &Value) -> String {
    let names = std::iter::once(name.clone()).chain((2..).map(|number| format!("{name}-{number}")));
    let mut free = names.filter(|name| shared.get(name).is_none_or(|known| known == answer));
    free.next().unwrap_or(name)
}
