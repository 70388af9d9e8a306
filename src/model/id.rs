//! Names. Every identifier is a type of its own, so that a region cannot be passed where a resource is meant.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The longest identifier, in bytes.
pub const ID_MAX: usize = 63;

/// What identifiers look like, as schemas say it.
pub const ID_PATTERN: &str = "^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$";
/// What a [`ResourceKey`] looks like.
const KEY_PATTERN: &str = r"^(vm|storage|network|config|state)\.[A-Za-z0-9][A-Za-z0-9_-]{0,62}$";
/// What an [`Address`] looks like.
const ADDRESS_PATTERN: &str = r"^(replication(\.[A-Za-z0-9][A-Za-z0-9_-]{0,62}){2}|(region|vm|storage|network|config|state)\.[A-Za-z0-9][A-Za-z0-9_-]{0,62})$";

/// Why a text is no identifier or address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// An identifier that breaks the pattern `[A-Za-z0-9][A-Za-z0-9_-]{0,62}`.
    #[error("`{0}` is not an id: letters, digits, `-` and `_`, at most 63, beginning with a letter or digit")]
    Pattern(String),
    /// A resource type that does not exist.
    #[error("`{0}` is not a resource type: vm, storage, network, config or state")]
    Type(String),
    /// An address of no known form.
    #[error("`{0}` is not an address: region.ID, replication.SOURCE.TARGET or TYPE.ID")]
    Address(String),
}

/// Says whether `text` is an identifier: `[A-Za-z0-9][A-Za-z0-9_-]{0,62}`.
pub fn is_id(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() <= ID_MAX
        && bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schemars(with = "String", extend("pattern" = ID_PATTERN))]
        pub struct $name(Box<str>);

        impl $name {
            /// Takes `text` as an identifier.
            ///
            /// # Errors
            /// [`IdError::Pattern`] where it breaks the pattern.
            pub fn new(text: impl Into<String>) -> Result<Self, IdError> {
                let text = text.into();
                if is_id(&text) { Ok(Self(text.into_boxed_str())) } else { Err(IdError::Pattern(text)) }
            }

            /// The identifier's text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.into()
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id! {
    /// A region's name, such as `us-east-1`.
    RegionId
}
text_id! {
    /// A resource's name, such as `web-vm-1`; unique across types.
    ResourceId
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        #[schemars(with = "Uuid")]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

uuid_id! {
    /// The line of descent of a state file; every object that it manages carries it as `managed_by`.
    Lineage
}
uuid_id! {
    /// One store of one region: minted when the region's directory is founded, never reused.
    StoreId
}
uuid_id! {
    /// The place of a controller: minted by each bind or take-over, so a copied state file has none.
    Seat
}
uuid_id! {
    /// One order that changes something; a repeat under the same id does nothing twice.
    OperationId
}
uuid_id! {
    /// One run of a command, as history knows it; ordered by time.
    RunId
}

uuid_id! {
    /// Who makes an attempt at a failover: new in every process, so that two of them never speak with one voice.
    AttemptOwner
}
uuid_id! {
    /// One life of a region's agent, from its start to its end: what was promised to it in an earlier one is void.
    Life
}

/// What kind of thing is replicated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ResourceType {
    /// A virtual machine: its definition and its disk images.
    Vm,
    /// A storage volume without a machine.
    Storage,
    /// A network's definition.
    Network,
    /// Application configuration.
    Config,
    /// Application state.
    State,
}

impl ResourceType {
    /// All types, in the order in which they are listed.
    pub const ALL: [Self; 5] = [Self::Vm, Self::Storage, Self::Network, Self::Config, Self::State];

    /// The type's name in files, addresses and directories.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Vm => "vm",
            Self::Storage => "storage",
            Self::Network => "network",
            Self::Config => "config",
            Self::State => "state",
        }
    }
}

impl fmt::Display for ResourceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for ResourceType {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::ALL.into_iter().find(|t| t.as_str() == text).ok_or_else(|| IdError::Type(text.to_owned()))
    }
}

/// A resource by type and name; prints as its address, `vm.web-vm-1`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = KEY_PATTERN))]
pub struct ResourceKey {
    /// What it is.
    pub kind: ResourceType,
    /// Its name.
    pub id: ResourceId,
}

impl ResourceKey {
    /// Names the resource `id` of type `kind`.
    pub const fn new(kind: ResourceType, id: ResourceId) -> Self {
        Self { kind, id }
    }
}

impl fmt::Display for ResourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}.{}", self.kind.as_str(), self.id.as_str()))
    }
}

impl fmt::Debug for ResourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ResourceKey {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let (kind, id) = text.split_once('.').ok_or_else(|| IdError::Address(text.to_owned()))?;
        Ok(Self::new(kind.parse()?, id.parse()?))
    }
}

impl TryFrom<String> for ResourceKey {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<ResourceKey> for String {
    fn from(key: ResourceKey) -> Self {
        key.to_string()
    }
}

/// A replication pair by its two ends; prints as `us-east-1 → us-west-1`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct PairId {
    /// Where the bytes come from.
    pub source: RegionId,
    /// Where they go.
    pub target: RegionId,
}

impl fmt::Display for PairId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} → {}", self.source, self.target)
    }
}

impl fmt::Debug for PairId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a plan, a `--target` or a history entry points at.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = ADDRESS_PATTERN))]
pub enum Address {
    /// `region.ID`
    Region(RegionId),
    /// `replication.SOURCE.TARGET`
    Replication(PairId),
    /// `vm.ID`, `storage.ID`, `network.ID`, `config.ID`, `state.ID`
    Resource(ResourceKey),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Region(id) => f.pad(&format!("region.{id}")),
            Self::Replication(pair) => f.pad(&format!("replication.{}.{}", pair.source, pair.target)),
            Self::Resource(key) => fmt::Display::fmt(key, f),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Address {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let bad = || IdError::Address(text.to_owned());
        let (kind, rest) = text.split_once('.').ok_or_else(bad)?;
        match kind {
            "region" => Ok(Self::Region(rest.parse()?)),
            "replication" => {
                let (source, target) = rest.split_once('.').ok_or_else(bad)?;
                Ok(Self::Replication(PairId { source: source.parse()?, target: target.parse()? }))
            }
            _ => text.parse().map(Self::Resource).map_err(|_| bad()),
        }
    }
}

impl TryFrom<String> for Address {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

impl From<ResourceKey> for Address {
    fn from(key: ResourceKey) -> Self {
        Self::Resource(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_the_pattern() {
        for good in ["a", "us-east-1", "9x", "A_b-c", &"x".repeat(63)] {
            assert!(is_id(good), "{good}");
        }
        for bad in ["", "-a", "_a", "a.b", "a/b", "../../etc", "a b", "ä", "a\0", &"x".repeat(64)] {
            assert!(!is_id(bad), "{bad:?}");
        }
    }

    #[test]
    fn addresses_print_as_they_parse() {
        for text in ["region.us-east-1", "replication.a.b", "vm.web-1", "storage.s", "network.n", "config.c", "state.s"]
        {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for bad in ["web-1", "vm.", "vm.a.b", "replication.a", "disk.a", "region.-"] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }
}
