//! What may go wrong: which errors are answered with which status and code.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use super::forms::Forms;
use crate::live::PortError;
use crate::model::{ByteCount, Timestamp};
use crate::replica::port::TransferError;
use crate::wire::failover::{FailoverFault, FailoverRefused};
use crate::wire::{Fault, FaultCode};

/// Errors that a call may meet besides those that its parts tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Refuses {
    /// One of the server's own.
    Own(FaultCode),
    /// Those of the region's port.
    Port,
    /// Those of one end of a transfer.
    Transfer,
    /// Those of a whole transfer.
    Sync,
    /// That a session is not open any more.
    Session,
    /// Why a failover is not begun.
    Failover,
}

/// An error of a whole transfer: also what travelled nevertheless.
#[derive(Serialize, JsonSchema)]
struct SyncError {
    #[serde(flatten)]
    error: TransferError,
    /// Bytes that travelled nevertheless; the target keeps them for the next sync.
    bytes: ByteCount,
    /// What the two ends have to tell besides.
    notes: Vec<String>,
}

/// An error of a region, and what to do about it.
#[derive(Serialize, JsonSchema)]
struct RegionError {
    #[serde(flatten)]
    error: PortError,
    /// What to do next, where there is something.
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<String>,
}

/// Status and code of each of the port's errors.
const PORT: [(u16, &str); 8] = [
    (404, "not_found"),
    (409, "conflict"),
    (409, "not_controller"),
    (409, "refused"),
    (409, "role"),
    (503, "busy"),
    (503, "failed"),
    (503, "unreachable"),
];
/// Status and code of each of a transfer's errors.
const TRANSFER: [(u16, &str); 7] = [
    (409, "blocked"),
    (409, "region"),
    (409, "stale"),
    (422, "corrupt"),
    (503, "busy"),
    (503, "interrupted"),
    (503, "io"),
];
/// A session that is gone is a [`TransferError::Region`] with a status of its own.
const SESSION: [(u16, &str); 1] = [(404, "region")];

/// Status and code of each refusal of a failover.
const FAILOVER: [(u16, &str); 4] = {
    let [one, two, three, four] = FailoverFault::ALL;
    [
        (one.status(), one.as_str()),
        (two.status(), two.as_str()),
        (three.status(), three.as_str()),
        (four.status(), four.as_str()),
    ]
};

/// Which type an error is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Form {
    Fault,
    Port,
    Transfer,
    Sync,
    Failover,
}

/// The errors that one call may meet, by status.
#[derive(Debug, Default)]
pub(super) struct Refusals(BTreeMap<u16, BTreeSet<(Form, &'static str)>>);

impl Refusals {
    pub(super) fn add(&mut self, refuses: Refuses) {
        let (form, table): (Form, &[(u16, &str)]) = match refuses {
            Refuses::Own(code) => (Form::Fault, &[(code.status(), code.as_str())]),
            Refuses::Port => (Form::Port, &PORT),
            Refuses::Transfer => (Form::Transfer, &TRANSFER),
            Refuses::Sync => (Form::Sync, &TRANSFER),
            Refuses::Session => (Form::Transfer, &SESSION),
            Refuses::Failover => (Form::Failover, &FAILOVER),
        };
        for (status, code) in table {
            self.0.entry(*status).or_default().insert((form, code));
        }
        // What is refused before anything could travel tells of no bytes.
        if refuses == Refuses::Sync {
            self.add(Refuses::Transfer);
        }
    }

    /// By status: a name for the answer, and the form of its body.
    pub(super) fn answers(self, forms: &mut Forms) -> Vec<(u16, String, Value)> {
        let answer = |(status, errors): (u16, BTreeSet<(Form, &'static str)>)| {
            let codes: BTreeSet<&str> = errors.iter().map(|(_, code)| *code).collect();
            let kinds: BTreeSet<Form> = errors.iter().map(|(form, _)| *form).collect();
            let data: Vec<Value> = kinds
                .into_iter()
                .map(|form| match form {
                    Form::Fault => forms.written::<Fault>(),
                    Form::Port => forms.written::<RegionError>(),
                    Form::Transfer => forms.written::<TransferError>(),
                    Form::Sync => forms.written::<SyncError>(),
                    Form::Failover => forms.written::<FailoverRefused>(),
                })
                .collect();
            let mut told = json!({ "type": "object", "properties": { "code": { "enum": codes } } });
            match <[Value; 1]>::try_from(data) {
                Ok([only]) => told["$ref"] = only["$ref"].clone(),
                Err(data) => told["anyOf"] = Value::Array(data),
            }
            let name = format!("{status}-{}", codes.iter().copied().collect::<Vec<_>>().join("-"));
            let body = json!({
                "type": "object",
                "properties": {
                    "status": { "const": "error" },
                    "timestamp": forms.written::<Timestamp>(),
                    "message": { "type": "string", "description": "Why not." },
                    "data": told,
                },
                "required": ["status", "timestamp", "message", "data"],
            });
            (status, name, body)
        };
        self.0.into_iter().map(answer).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::answer::Failure;
    use super::*;
    use crate::model::observed::RegionStatus;
    use crate::model::point::BlockReason;
    use crate::model::region::Epoch;

    /// Status and code of each error, and every code that the type's schema has.
    fn told<T: JsonSchema>(errors: Vec<Failure>) -> (BTreeSet<(u16, String)>, BTreeSet<String>) {
        let told = errors.iter().map(|failure| {
            let code = failure.data()["code"].as_str().unwrap().to_owned();
            (failure.status().as_u16(), code)
        });
        let schema = schemars::schema_for!(T).to_value();
        let codes = schema["oneOf"].as_array().unwrap().iter();
        let codes = codes.map(|form| form["properties"]["code"]["const"].as_str().unwrap().to_owned());
        (told.collect(), codes.collect())
    }

    fn expect(table: &[(u16, &str)], (told, codes): (BTreeSet<(u16, String)>, BTreeSet<String>)) {
        let listed: BTreeSet<(u16, String)> =
            table.iter().map(|(status, code)| (*status, (*code).to_owned())).collect();
        assert_eq!(listed, told);
        assert_eq!(told.into_iter().map(|(_, code)| code).collect::<BTreeSet<_>>(), codes, "every error is tried");
    }

    #[test]
    fn the_regions_errors_are_answered_as_listed() {
        let text = || "why".to_owned();
        let port = [
            PortError::Unreachable { status: RegionStatus::Unknown, reason: text(), help: None },
            PortError::Busy(text()),
            PortError::Conflict { address: text(), detail: text(), current: None },
            PortError::NotController {
                region: "east".parse().unwrap(),
                lineage: crate::model::Lineage(uuid::Uuid::nil()),
                term: 1,
                place: text(),
            },
            PortError::NotFound(text()),
            PortError::Role(Box::new(crate::failover::Refusal::NotOpen)),
            PortError::Refused { reason: text(), help: None },
            PortError::Failed(text()),
        ];
        expect(&PORT, told::<PortError>(port.map(Failure::from).into()));
        let transfer = [
            TransferError::blocked(BlockReason::Suspicious, text(), None, Timestamp::from_micros(0)),
            TransferError::Stale { ordered: Epoch(1), recorded: Epoch(2) },
            TransferError::Interrupted,
            TransferError::Io {
                action: text(),
                path: text(),
                detail: text(),
                bad_file: false,
                no_space: false,
                not_permitted: false,
            },
            TransferError::Corrupt(text()),
            TransferError::Busy(text()),
            TransferError::Region(text()),
        ];
        expect(&TRANSFER, told::<TransferError>(transfer.map(Failure::from).into()));
    }
}
