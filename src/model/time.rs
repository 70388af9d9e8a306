//! Time, ids and chance as inputs. Nothing in the library asks the machine for them: it is handed a [`World`].

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A moment of UTC, to the microsecond; prints as RFC 3339.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("format" = "date-time"))]
pub struct Timestamp {
    micros: i64,
}

impl Timestamp {
    /// The moment `micros` microseconds after 1970-01-01T00:00:00Z.
    pub const fn from_micros(micros: i64) -> Self {
        Self { micros }
    }

    /// Microseconds since 1970-01-01T00:00:00Z.
    pub const fn as_micros(self) -> i64 {
        self.micros
    }

    /// How long before `self` the moment `earlier` was; zero where it was not before.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.micros.saturating_sub(earlier.micros)).unwrap_or(0))
    }

    /// The moment `after` later.
    #[must_use]
    pub fn plus(self, after: Duration) -> Self {
        Self { micros: self.micros.saturating_add(i64::try_from(after.as_micros()).unwrap_or(i64::MAX)) }
    }

    /// The moment `ago` earlier.
    #[must_use]
    pub fn before(self, ago: Duration) -> Self {
        Self { micros: self.micros.saturating_sub(i64::try_from(ago.as_micros()).unwrap_or(i64::MAX)) }
    }

    fn to_jiff(self) -> jiff::Timestamp {
        jiff::Timestamp::from_microsecond(self.micros).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.to_jiff().to_string())
    }
}

impl Timestamp {
    /// The moment for people, to the second: `2026-11-22 12:00:05Z`.
    pub fn for_people(self) -> String {
        let text = self.to_string();
        let whole = text.split(['.', 'Z']).next().unwrap_or_default();
        format!("{}Z", whole.replace('T', " "))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no RFC 3339 time.
#[derive(Debug, Clone, thiserror::Error)]
#[error("`{0}` is not a time such as 2026-01-31T12:00:00Z")]
pub struct TimestampError(String);

impl FromStr for Timestamp {
    type Err = TimestampError;
    fn from_str(text: &str) -> Result<Self, TimestampError> {
        let time: jiff::Timestamp = text.parse().map_err(|_| TimestampError(text.to_owned()))?;
        Ok(Self { micros: time.as_microsecond() })
    }
}

impl TryFrom<String> for Timestamp {
    type Error = TimestampError;
    fn try_from(text: String) -> Result<Self, TimestampError> {
        text.parse()
    }
}

impl From<Timestamp> for String {
    fn from(time: Timestamp) -> Self {
        time.to_string()
    }
}

/// Tells the time.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The wall clock, for people and for ages within one machine.
    fn now(&self) -> Timestamp;
    /// Time since this machine booted, suspension included; for deadlines.
    fn since_boot(&self) -> Duration;
}

/// Gives out identifiers.
pub trait IdSource: Send + Sync + fmt::Debug {
    /// An unpredictable identifier.
    fn random(&self) -> Uuid;
    /// An identifier that sorts after those given out before it.
    fn ordered(&self) -> Uuid;
}

/// What a piece of the program may know of the world beside its inputs.
#[derive(Debug, Clone)]
pub struct World {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Ids and chance.
    pub ids: Arc<dyn IdSource>,
}
