//! Credentials by origin, and which of them a region's origin may see.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::secret::{Secret, SecretError};
use crate::config::endpoint;
use crate::config::problem::{Problem, Problems};
use crate::model::RegionId;

/// What the environment variables begin with that hold a token for one region.
pub const TOKEN_VARIABLE: &str = "DEBVISOR_REGION_TOKEN_";

/// A PEM file as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PemFile {
    /// Where it lies, for messages.
    pub path: PathBuf,
    /// Its text; certificates are public.
    pub text: String,
}

/// Who this program is, in TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The chain.
    pub cert: PemFile,
    /// Its key.
    pub key: Secret,
}

/// What one origin may see, and how it is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Credential {
    /// The token.
    pub token: Option<Secret>,
    /// The only authority that is believed; none: the system's.
    pub ca: Option<PemFile>,
    /// Who this program is.
    pub client: Option<ClientCertificate>,
    /// Where the origin's name is reached from here.
    pub connect: Option<SocketAddr>,
    /// Why a token that was given is not shown, for the day that the region asks for one.
    pub withheld: Option<String>,
}

/// All that this program may show.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    pub(super) origins: BTreeMap<String, Credential>,
    /// Tokens of the environment, by what stands after [`TOKEN_VARIABLE`].
    tokens: BTreeMap<String, Secret>,
    /// Origins that a person vouched for.
    trusted: BTreeSet<String>,
}

impl Credentials {
    /// Takes tokens from environment variables: those of `variables` whose names begin with [`TOKEN_VARIABLE`].
    ///
    /// # Errors
    /// Values that can be no tokens, by the names of their variables.
    pub fn take_variables(
        &mut self,
        variables: impl IntoIterator<Item = (String, Option<String>)>,
    ) -> Result<(), Problems> {
        let mut problems = Vec::new();
        for (name, value) in variables {
            let Some(region) = name.strip_prefix(TOKEN_VARIABLE) else { continue };
            match value.as_deref().map_or(Err(SecretError::Characters), Secret::token) {
                Ok(token) => {
                    self.tokens.insert(region.to_owned(), token);
                }
                // As in many a CI, where a secret that is not there is an empty text.
                Err(SecretError::Empty) => {}
                Err(error @ (SecretError::Characters | SecretError::TooLong)) => problems.push(
                    Problem::new("credentials::bad-token", format!("`{name}` holds no token"))
                        .reason(error.to_string())
                        .help("give it the token alone, as the region's token file has it"),
                ),
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(Problems(problems)) }
    }

    /// Takes the word of a person for an origin that the state does not record yet.
    ///
    /// # Errors
    /// What is no origin, and why.
    pub fn trust(&mut self, text: &str) -> Result<(), String> {
        self.trusted.insert(endpoint::origin(text).map_err(|error| format!("{error}; {}", error.help))?);
        Ok(())
    }

    /// Whether there are tokens whose sending depends on what the state records.
    pub fn asks_the_state(&self) -> bool {
        !self.tokens.is_empty()
    }

    /// What the file has for an origin.
    pub fn for_origin(&self, origin: &str) -> Credential {
        self.origins.get(origin).cloned().unwrap_or_default()
    }

    /// What `origin`, declared for `region`, may see. The token of the environment goes only where the state records
    /// the region (`recorded`) or where a person vouched for: a topology comes in pull requests, and who writes one
    /// must not learn the token by it. `regions` are all that are declared: a variable that could be that of two is
    /// nobody's.
    pub fn for_region<'a>(
        &self,
        region: &RegionId,
        origin: &str,
        recorded: Option<&str>,
        regions: impl IntoIterator<Item = &'a RegionId>,
    ) -> Credential {
        let mut credential = self.for_origin(origin);
        let name = variable_part(region);
        let Some(token) = self.tokens.get(&name) else { return credential };
        let mut alike = regions.into_iter().filter(|other| *other != region && variable_part(other) == name);
        let variable = format!("{TOKEN_VARIABLE}{name}");
        let why = if let Some(other) = alike.next() {
            Some(format!(
                "the token in {variable} was not sent: it could be that of {other} too; name it in the credentials file"
            ))
        } else if recorded != Some(origin) && !self.trusted.contains(origin) {
            let known = match recorded {
                Some(known) => format!("the state records {region} at {known}"),
                None => format!("the state does not record {origin} for {region} yet"),
            };
            Some(format!("the token in {variable} was not sent: {known}; give --trust-origin {origin} if that is it"))
        } else if !is_private(origin, credential.connect) {
            Some(format!("the token in {variable} was not sent: {origin} is not encrypted; serve it with TLS"))
        } else {
            None
        };
        match why {
            Some(why) => credential.withheld = credential.token.is_none().then_some(why),
            None => credential.token = Some(token.clone()),
        }
        credential
    }
}

/// How a region is called in the name of its variable.
fn variable_part(region: &RegionId) -> String {
    region.as_str().to_ascii_uppercase().replace('-', "_")
}

/// Whether what is said to the origin stays between it and this program: encrypted, or never off this machine.
pub(super) fn is_private(origin: &str, connect: Option<SocketAddr>) -> bool {
    origin.starts_with("https:")
        || connect.map_or_else(|| is_loopback(host(origin)), |address| address.ip().is_loopback())
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The host of an origin, an address without its brackets.
pub(super) fn host(origin: &str) -> &str {
    let authority = origin.split_once("://").map_or(origin, |(_, authority)| authority);
    match authority.strip_prefix('[') {
        Some(address) => address.split(']').next().unwrap_or(address),
        None => authority.split(':').next().unwrap_or(authority),
    }
}
