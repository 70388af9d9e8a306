//! What each part of a handler says of the request that it is taken from, and each form of answer of itself.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde_json::json;

use super::super::answer::{self, Begun, Bytes, Created, Document, Failure, JSON, Numbers, Reply};
use super::super::asked::{Asked, AtPoint, Called, Keyed, Named, Queried, Session, SetAside};
use super::super::body::{Blocks, Empty, Json};
use super::super::limits::BLOCKS;
use super::super::router::App;
use super::refusal::Refuses;
use super::sheet::{In, Sheet};
use crate::model::id::ID_PATTERN;
use crate::model::{OperationId, ResourceId, ResourceType};
use crate::wire::{BYTES, FaultCode, IDEMPOTENCY_KEY, Operation};

/// A part of a request.
pub(in super::super) trait Part {
    fn describe(sheet: &mut Sheet<'_>);
}

/// A form of answer.
pub(in super::super) trait Told {
    fn describe(sheet: &mut Sheet<'_>);
}

/// A handler; `P` are its parts.
pub(in super::super) trait Described<P> {
    /// Tells all that its parts say.
    fn describe(sheet: &mut Sheet<'_>);
}

macro_rules! described {
    ($($part:ident),*) => {
        impl<F, E, $($part),*> Described<($($part,)*)> for F
        where
            F: Fn($($part),*) -> E,
            E: Future<Output: Told>,
            $($part: Part),*
        {
            fn describe(sheet: &mut Sheet<'_>) {
                $($part::describe(sheet);)*
                E::Output::describe(sheet);
            }
        }
    };
}

described!();
described!(A);
described!(A, B);
described!(A, B, C);
described!(A, B, C, D);

const OPERATION: &str = "It takes longer than was preferred to wait: the operation, to be asked after.";
const DONE: &str = "What was asked for.";

fn bad_request(sheet: &mut Sheet<'_>) {
    sheet.refuses(Refuses::Own(FaultCode::BadRequest));
}

fn resource(sheet: &mut Sheet<'_>) {
    sheet.takes::<ResourceType>(In::Path, "type", "What the resource is.");
    sheet.takes::<ResourceId>(In::Path, "id", "The resource's name.");
    bad_request(sheet);
}

impl Part for State<Arc<App>> {
    fn describe(_: &mut Sheet<'_>) {}
}

impl Part for Asked {
    fn describe(sheet: &mut Sheet<'_>) {
        let key = "The order's own name, which becomes the operation's; a repeat under it does nothing twice.";
        sheet.takes::<OperationId>(In::Header, IDEMPOTENCY_KEY, key);
        let prefer = "With `respond-async` the answer is 202 where the work takes longer than `wait` seconds, 20 at \
                      most; otherwise the answer comes when the work is done.";
        let schema = json!({ "type": "string", "examples": ["respond-async, wait=10"] });
        sheet.takes_text(In::Header, "Prefer", prefer, schema);
        for code in [FaultCode::BadRequest, FaultCode::Conflict, FaultCode::Busy] {
            sheet.refuses(Refuses::Own(code));
        }
    }
}

impl Part for Keyed {
    fn describe(sheet: &mut Sheet<'_>) {
        let key =
            "The question's own name; a repeat under it is told what the first one is told, and does nothing twice.";
        sheet.takes::<OperationId>(In::Header, IDEMPOTENCY_KEY, key);
        for code in [FaultCode::BadRequest, FaultCode::Conflict] {
            sheet.refuses(Refuses::Own(code));
        }
    }
}

impl Part for Named {
    fn describe(sheet: &mut Sheet<'_>) {
        resource(sheet);
    }
}

impl Part for AtPoint {
    fn describe(sheet: &mut Sheet<'_>) {
        resource(sheet);
        sheet.takes::<u64>(In::Path, "sequence", "The point's number.");
    }
}

impl Part for SetAside {
    fn describe(sheet: &mut Sheet<'_>) {
        resource(sheet);
        let schema = json!({ "type": "string", "pattern": ID_PATTERN });
        sheet.takes_text(In::Path, "name", "The copy's name.", schema);
    }
}

impl<T: JsonSchema> Part for Called<T> {
    fn describe(sheet: &mut Sheet<'_>) {
        sheet.takes::<T>(In::Path, "id", "Its name.");
        bad_request(sheet);
    }
}

impl Part for Session {
    fn describe(sheet: &mut Sheet<'_>) {
        sheet.takes::<uuid::Uuid>(In::Path, "id", "Its name, as it was given when it was begun or opened.");
        bad_request(sheet);
    }
}

impl<T: JsonSchema> Part for Queried<T> {
    fn describe(sheet: &mut Sheet<'_>) {
        sheet.takes_query::<T>();
        bad_request(sheet);
    }
}

impl<T: JsonSchema, const MAX: usize> Part for Json<T, MAX> {
    fn describe(sheet: &mut Sheet<'_>) {
        sheet.reads::<T>(MAX);
    }
}

impl Part for Empty {
    fn describe(sheet: &mut Sheet<'_>) {
        sheet.may_have_body();
    }
}

impl Part for Blocks {
    fn describe(sheet: &mut Sheet<'_>) {
        let form = "Blocks after each other, numbers little-endian. The head of each: file (4 bytes), block (8), \
                    packing (1: 0 as it is, 1 zstd), length of the bytes (4), their CRC-32 (4). Then its bytes. A \
                    seal is over the heads, one after the other, and not over the bytes.";
        sheet.reads_bytes(form, BLOCKS);
    }
}

impl<T: Told> Told for Result<T, Failure> {
    fn describe(sheet: &mut Sheet<'_>) {
        T::describe(sheet);
    }
}

impl<T: JsonSchema> Told for Reply<T> {
    fn describe(sheet: &mut Sheet<'_>) {
        sheet.answers::<T>(StatusCode::OK, DONE);
    }
}

impl<T: JsonSchema> Told for Begun<T> {
    fn describe(sheet: &mut Sheet<'_>) {
        sheet.answers::<T>(StatusCode::OK, DONE);
        sheet.answers::<Operation>(StatusCode::ACCEPTED, OPERATION);
    }
}

impl<T: JsonSchema> Told for Created<T> {
    fn describe(sheet: &mut Sheet<'_>) {
        sheet.answers::<T>(StatusCode::CREATED, "It was made.");
        sheet.answers::<T>(StatusCode::OK, "It is there already, the same.");
        sheet.answers::<Operation>(StatusCode::ACCEPTED, OPERATION);
    }
}

impl Told for Bytes {
    fn describe(sheet: &mut Sheet<'_>) {
        let schema = json!({ "type": "string", "format": "binary" });
        sheet.answers_as(StatusCode::OK, "Hashes of 32 bytes after each other.", BYTES, schema);
    }
}

impl Told for answer::Blocks {
    fn describe(sheet: &mut Sheet<'_>) {
        let schema = json!({ "type": "string", "format": "binary" });
        let about = "Blocks, as they are written, too. The seal is over their heads, one after the other.";
        sheet.answers_as(StatusCode::OK, about, BYTES, schema);
    }
}

impl Told for Numbers {
    fn describe(sheet: &mut Sheet<'_>) {
        let kind = "application/openmetrics-text";
        sheet.answers_as(StatusCode::OK, "The numbers, as Prometheus reads them.", kind, json!({ "type": "string" }));
    }
}

impl Told for Document {
    fn describe(sheet: &mut Sheet<'_>) {
        let properties = json!({ "openapi": { "type": "string" }, "paths": { "type": "object" } });
        let schema = json!({ "type": "object", "properties": properties, "required": ["openapi", "paths"] });
        sheet.answers_as(StatusCode::OK, "This document.", JSON, schema);
    }
}
