//! The document as a whole.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::super::route::{OPEN, Route, Tag};
use super::super::routes::routes;
use super::forms::Forms;
use super::sheet::{Shared, Sheet};
use crate::wire::REQUEST_ID;
use crate::wire::seal::SEAL;

const ABOUT: &str = "A region of debvisor-region: what people order of it, what it knows of the others, and the calls \
by which programs plan, replicate and verify.

Answers come in one envelope: `status`, `timestamp`, `data`, and `message` on errors, whose `data` has a `code` for \
programs. Hashes and blocks are bytes. Paths that are not here answer 404, methods that are not here 405, both in the \
envelope; `HEAD` is answered wherever `GET` is. Where client certificates are asked for, they are needed beside the \
token.";

/// The document as it is served: made once.
pub(in super::super) static TEXT: LazyLock<String> = LazyLock::new(|| openapi().to_string());

/// The document, committed as `schemas/openapi.json`.
pub fn openapi() -> Value {
    let mut forms = Forms::new();
    let mut shared = Shared::new();
    let mut paths = Map::new();
    for route in routes() {
        let Route { method, path, .. } = &route;
        let operation = operation(&route, &mut forms, &mut shared);
        let at = paths.entry(path.clone()).or_insert_with(|| json!({}));
        at[method.as_str().to_lowercase()] = operation;
    }
    let tags: Vec<Value> =
        Tag::ALL.into_iter().map(|tag| json!({ "name": tag.as_str(), "description": tag.about() })).collect();
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "debvisor-region",
            "description": ABOUT,
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "http://127.0.0.1:5000", "description": "Where `serve` listens by default." }],
        "security": [{ "token": [] }],
        "tags": tags,
        "paths": paths,
        "components": {
            "responses": shared,
            "parameters": { "RequestId": {
                "name": REQUEST_ID, "in": "header",
                "description": "Names the request in the logs of both sides: 1 to 64 letters, digits, `-`, `_`, `.`; \
                                anything else gets a name of the server's.",
                "schema": { "type": "string" },
            }, "Seal": {
                "name": SEAL, "in": "header",
                "description": "BLAKE3, in hexadecimal, of method, path, query, idempotency key and body (of blocks: \
                                their heads), each after its length in 8 bytes, little-endian. What does not fit it is refused; without it \
                                nothing is.",
                "schema": { "type": "string", "pattern": "^[0-9a-f]{64}$" },
            } },
            "headers": {
                "RequestId": {
                    "required": true, "description": "The request's name.",
                    "schema": { "type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$" },
                },
                "Seal": {
                    "description": "BLAKE3, in hexadecimal, of the request's seal (32 bytes), the status (2 bytes, \
                                    little-endian), the body's length (8 bytes) and the body (of blocks: their heads, \
                                    and their length); there where the whole request was read.",
                    "schema": { "type": "string", "pattern": "^[0-9a-f]{64}$" },
                },
                "OperationPlace": {
                    "required": true, "description": "Where to ask after the operation.",
                    "schema": { "type": "string", "format": "uri-reference" },
                },
            },
            "securitySchemes": { "token": {
                "type": "http", "scheme": "bearer", "description": "One of the lines of `--token-file`.",
            } },
        },
    });
    let schemas = forms.name_all(&mut document);
    document["components"]["schemas"] = Value::Object(schemas);
    document
}

fn operation(route: &Route, forms: &mut Forms, shared: &mut Shared) -> Value {
    let mut sheet = Sheet::new(forms);
    (route.describe)(&mut sheet);
    let open = OPEN.contains(&route.path.as_str());
    for refuses in route.refuses() {
        sheet.refuses(refuses);
    }
    let mut operation = sheet.finish(shared);
    operation["operationId"] = route.name.into();
    operation["summary"] = route.about.into();
    operation["tags"] = json!([route.tag.as_str()]);
    if open {
        operation["security"] = json!([]);
    }
    operation
}
