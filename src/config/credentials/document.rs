//! The shape of a credentials file, for its JSON Schema; the words here are what an editor shows beside a key.

use std::collections::BTreeMap;

use schemars::JsonSchema;

use crate::config::schema::{OriginText, SocketText};

/// What this program shows to regions so that they let it in. Nobody else may read the file.
#[expect(dead_code, reason = "the shape only: secrets are read field by field, and never into a document")]
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Credentials")]
pub(in crate::config) struct CredentialsDoc {
    /// By origin: `[origins."https://us-east-1.example:5000"]`. What stands there is shown to that scheme, host and
    /// port and to nothing else.
    origins: Option<BTreeMap<OriginText, CredentialDoc>>,
}

/// What is shown to one origin, and how it is reached.
#[expect(dead_code, reason = "the shape only: secrets are read field by field, and never into a document")]
#[derive(JsonSchema)]
#[schemars(
    deny_unknown_fields,
    rename = "Credential",
    extend(
        "not" = { "required": ["token", "token_file"] },
        "dependencies" = { "cert": ["key"], "key": ["cert"] }
    )
)]
struct CredentialDoc {
    /// The token. Only for https, or for this machine.
    token: Option<String>,
    /// A file that holds the token, relative to this file; nobody else may read it.
    token_file: Option<String>,
    /// The authority in PEM form that alone is believed. Default: the system's.
    ca: Option<String>,
    /// The certificate in PEM form that says who this program is; with `key`.
    cert: Option<String>,
    /// The key of `cert` in PEM form, without a passphrase; nobody else may read it.
    key: Option<String>,
    /// Where the origin's name is reached from here. Default: what the name resolves to.
    connect: Option<SocketText>,
}
