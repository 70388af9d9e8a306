//! What this program shows to regions so that they let it in, by their origins.
//!
//! ```toml
//! [origins."https://api.us-east-1.example:5000"]
//! token_file = "us-east-1.token"     # or token = "…"
//! ca = "region-ca.pem"               # only this authority is believed; default: the system's
//! cert = "client.pem"                # with `key`: who this program is
//! key = "client.key"
//! connect = "10.1.2.3:5000"          # where the name is reached from here
//! ```
//!
//! Guarantee: a secret is given to the origin that it was declared for (scheme, host and port) and to no other, never
//! in clear beyond this machine, and it stands in no message, no log and no drawn line of its file. Leaves to `live`
//! how a credential is shown.

mod secret;
pub(super) mod document;
mod credential;
mod masked;
mod read;

pub use credential::{ClientCertificate, Credential, Credentials, PemFile, TOKEN_VARIABLE};
pub use read::load;
pub use secret::{Secret, SecretError};
#[cfg(test)]
mod tests;
