//! Sizes, rates and durations with their units, as files write them and as people read them.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A text that is no size, rate or duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Not a size.
    #[error("`{0}` is not a size such as `64 MiB`")]
    Size(String),
    /// Not a rate.
    #[error("`{0}` is not a rate such as `200 Mbit/s`")]
    Rate(String),
    /// Not a duration.
    #[error("`{0}` is not a duration such as `90s`, `5m`, `1h30m` or `7d`")]
    Duration(String),
    /// Not a share.
    #[error("`{0}` is not a share such as `50 %`, from 1 % to 100 %")]
    Percent(String),
}

/// A number of bytes; prints in binary units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ByteCount(pub u64);

impl ByteCount {
    /// `n` KiB.
    pub const fn kib(n: u64) -> Self {
        Self(n << 10)
    }

    /// `n` MiB.
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }
}

impl std::ops::Add for ByteCount {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl std::ops::AddAssign for ByteCount {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl std::iter::Sum for ByteCount {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self(0), |a, b| a + b)
    }
}

const BINARY: [(&str, u64); 6] =
    [("PiB", 1 << 50), ("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl fmt::Display for ByteCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, size) = BINARY.into_iter().find(|(_, size)| self.0 >= *size).unwrap_or(("B", 1));
        let text = if self.0.is_multiple_of(size) {
            format!("{} {unit}", self.0 / size)
        } else {
            // Rounded for people; files and JSON carry the exact number.
            format!("{:.1} {unit}", self.0 as f64 / size as f64)
        };
        f.pad(&text)
    }
}

/// Splits `12.5 MiB` into its number and its unit.
fn number_and_unit(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let at = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let number = text[..at].parse::<f64>().ok().filter(|n| n.is_finite())?;
    Some((number, text[at..].trim()))
}

impl FromStr for ByteCount {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Self, UnitError> {
        let bad = || UnitError::Size(text.to_owned());
        let (number, unit) = number_and_unit(text).ok_or_else(bad)?;
        let (_, size) = BINARY.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).ok_or_else(bad)?;
        let bytes = number * size as f64;
        if bytes < u64::MAX as f64 { Ok(Self(bytes as u64)) } else { Err(bad()) }
    }
}

/// A transfer rate in bits per second; decimal, as networks are sold. Files and JSON carry `200 Mbit/s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = "^([1-9][0-9]{0,7} [GMk]bit/s|([89]|[1-9][0-9]{1,17}) bit/s)$"))]
pub struct BitRate(pub u64);

const DECIMAL: [(&str, u64); 4] = [("Gbit/s", 1_000_000_000), ("Mbit/s", 1_000_000), ("kbit/s", 1_000), ("bit/s", 1)];

impl BitRate {
    /// The rate in bytes per second.
    pub const fn bytes_per_second(self) -> u64 {
        self.0 / 8
    }
}

impl fmt::Display for BitRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, size) = DECIMAL.into_iter().find(|(_, size)| self.0.is_multiple_of(*size)).unwrap_or(("bit/s", 1));
        f.pad(&format!("{} {unit}", self.0 / size))
    }
}

impl FromStr for BitRate {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Self, UnitError> {
        let bad = || UnitError::Rate(text.to_owned());
        let (number, unit) = number_and_unit(text).ok_or_else(bad)?;
        let (_, size) = DECIMAL.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).ok_or_else(bad)?;
        let bits = number * size as f64;
        if (8.0..1e18).contains(&bits) { Ok(Self(bits as u64)) } else { Err(bad()) }
    }
}

impl TryFrom<String> for BitRate {
    type Error = UnitError;
    fn try_from(text: String) -> Result<Self, UnitError> {
        text.parse()
    }
}

impl From<BitRate> for String {
    fn from(rate: BitRate) -> Self {
        rate.to_string()
    }
}

/// A share of a whole, from 1 % to 100 %. Files and JSON carry `50 %`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = "^([1-9][0-9]?|100) %$"))]
pub struct Percent(pub u8);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{} %", self.0))
    }
}

impl FromStr for Percent {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Self, UnitError> {
        let number = text.trim().strip_suffix('%').and_then(|n| n.trim().parse::<u8>().ok());
        number.filter(|n| (1..=100).contains(n)).map(Self).ok_or_else(|| UnitError::Percent(text.to_owned()))
    }
}

impl TryFrom<String> for Percent {
    type Error = UnitError;
    fn try_from(text: String) -> Result<Self, UnitError> {
        text.parse()
    }
}

impl From<Percent> for String {
    fn from(share: Percent) -> Self {
        share.to_string()
    }
}

/// Reads a duration such as `90s`, `5m`, `1h30m` or `7d`, a day being 24 hours. A number without a unit is none.
///
/// # Errors
/// [`UnitError::Duration`] for anything else, negative durations and calendar units (months, years) included.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let bad = || UnitError::Duration(text.to_owned());
    let text = text.trim();
    // ISO 8601 (`PT5M`) would be read too, but is not what the files are documented to hold.
    if !text.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(bad());
    }
    let signed = match text.parse::<jiff::SignedDuration>() {
        Ok(signed) => signed,
        // Days are beyond a duration's own units.
        Err(_) => {
            let span: jiff::Span = text.parse().map_err(|_| bad())?;
            span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| bad())?
        }
    };
    Duration::try_from(signed).map_err(|_| bad())
}

/// Writes a duration as files do: `1h30m`, `90s` as `1m30s`, `250ms`, `80us`. To the microsecond below a millisecond,
/// to the millisecond above; [`parse_duration`] reads back what this writes.
pub fn format_duration(duration: Duration) -> String {
    let longest = jiff::SignedDuration::MAX.unsigned_abs().as_millis();
    let nanos = duration.as_nanos();
    let micros = (nanos + 500) / 1_000;
    if micros == 0 {
        return "0s".to_owned();
    }
    if micros < 1_000 {
        return format!("{micros}us");
    }
    let millis = ((nanos + 500_000) / 1_000_000).min(longest);
    let units =
        [("h", millis / 3_600_000), ("m", millis / 60_000 % 60), ("s", millis / 1_000 % 60), ("ms", millis % 1_000)];
    units.iter().filter(|(_, number)| *number > 0).map(|(unit, number)| format!("{number}{unit}")).collect()
}

/// A duration for a glance, in the form that files take: two units at most, `850ms`, `1.5s`, `12s`, `3m5s`, `2h10m`, `3d`.
pub fn brief(duration: Duration) -> String {
    let two = |large: u64, unit: char, small: u64, smaller: char| {
        if small == 0 { format!("{large}{unit}") } else { format!("{large}{unit}{small}{smaller}") }
    };
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{}ms", duration.as_millis()),
        1..10 => match duration.as_millis() / 100 % 10 {
            0 => format!("{seconds}s"),
            tenths => format!("{seconds}.{tenths}s"),
        },
        10..60 => format!("{seconds}s"),
        60..3600 => two(seconds / 60, 'm', seconds % 60, 's'),
        3600..86_400 => two(seconds / 3600, 'h', seconds % 3600 / 60, 'm'),
        _ => two(seconds / 86_400, 'd', seconds % 86_400 / 3600, 'h'),
    }
}

/// A number for people: `12,345`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// The form of a duration as [`format_duration`] writes it, for schemas.
pub enum DurationText {}

impl JsonSchema for DurationText {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^([0-9]{1,15}h([0-9]{1,2}m)?([0-9]{1,2}s)?([0-9]{1,3}ms)?\
                |[0-9]{1,9}m([0-9]{1,2}s)?([0-9]{1,3}ms)?|[0-9]{1,9}s([0-9]{1,3}ms)?|[0-9]{1,9}ms|[0-9]{1,3}us)$",
            "examples": ["1h30m", "5m", "250ms"],
        })
    }
}

/// Serde form of a `Duration` field: `"5m"`.
pub mod duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes the duration as text.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::format_duration(*duration))
    }

    /// Reads a duration from text.
    ///
    /// # Errors
    /// Where the text is no duration.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        super::parse_duration(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// Serde form of an `Option<Duration>` field.
pub mod optional_duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes the duration as text, or null.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => serializer.serialize_str(&super::format_duration(*duration)),
            None => serializer.serialize_none(),
        }
    }

    /// Reads a duration from text, or none from null.
    ///
    /// # Errors
    /// Where the text is no duration.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| super::parse_duration(&text)).transpose().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_rates_and_shares_print_as_they_parse() {
        assert_eq!("64 MiB".parse::<ByteCount>().unwrap(), ByteCount::mib(64));
        assert_eq!(ByteCount::mib(64).to_string(), "64 MiB");
        assert_eq!(ByteCount(1536).to_string(), "1.5 KiB");
        assert_eq!(ByteCount(0).to_string(), "0 B");
        assert_eq!("200 Mbit/s".parse::<BitRate>().unwrap().to_string(), "200 Mbit/s");
        assert_eq!("1.5 Gbit/s".parse::<BitRate>().unwrap().to_string(), "1500 Mbit/s");
        assert_eq!("50%".parse::<Percent>().unwrap().to_string(), "50 %");
        for bad in ["", "5", "5 MB/s", "-1 Mbit/s", "0 bit/s"] {
            assert!(bad.parse::<BitRate>().is_err(), "{bad}");
        }
        for bad in ["0 %", "101 %", "50", "a %"] {
            assert!(bad.parse::<Percent>().is_err(), "{bad}");
        }
    }

    #[test]
    fn figures_are_for_a_glance() {
        for (ms, text) in [
            (0, "0ms"),
            (5, "5ms"),
            (1500, "1.5s"),
            (5000, "5s"),
            (59_000, "59s"),
            (61_000, "1m1s"),
            (900_000, "15m"),
            (7_800_000, "2h10m"),
            (183_600_000, "2d3h"),
        ] {
            assert_eq!(brief(Duration::from_millis(ms)), text);
            assert!(text.contains('.') || parse_duration(text).is_ok(), "{text} is of another form than files have");
        }
        assert_eq!([grouped(7), grouped(1000), grouped(12_345_678)], ["7", "1,000", "12,345,678"]);
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(parse_duration("90s").unwrap(), Duration::from_secs(90));
        assert_eq!(parse_duration("1h30m").unwrap(), Duration::from_secs(5400));
        assert_eq!(format_duration(Duration::from_secs(5400)), "1h30m");
        assert_eq!(format_duration(Duration::from_millis(250)), "250ms");
        assert_eq!(format_duration(Duration::ZERO), "0s");
        for bad in ["", "90", "-5m", "PT5M", "5 parsecs", "1mo", "1y", "7d ago", "99999999999999999999d"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_day_is_24_hours() {
        assert_eq!(parse_duration("7d").unwrap(), Duration::from_secs(7 * 86_400));
        assert_eq!(parse_duration("1d12h").unwrap(), Duration::from_secs(36 * 3_600));
        assert_eq!(format_duration(parse_duration("1d12h").unwrap()), "36h");
    }

    #[test]
    fn what_was_measured_is_rounded() {
        assert_eq!(format_duration(Duration::from_nanos(80_085_613)), "80ms");
        assert_eq!(format_duration(Duration::from_nanos(85_613)), "86us");
        assert_eq!(format_duration(Duration::from_nanos(999_600)), "1ms");
        assert_eq!(format_duration(Duration::from_nanos(59_999_600_000)), "1m");
        assert_eq!(format_duration(Duration::from_nanos(499)), "0s");
    }

    proptest::proptest! {
        #[test]
        fn a_written_duration_is_read_back(seconds in 0..=u64::MAX, nanos in 0..1_000_000_000u32, short: bool) {
            let whole = if short { seconds % 100_000 } else { seconds };
            for duration in [Duration::new(whole, nanos), Duration::from_nanos(nanos.into())] {
                let text = format_duration(duration);
                let read = parse_duration(&text).unwrap();
                proptest::prop_assert_eq!(format_duration(read), text.clone());
                let step = if duration < Duration::from_millis(1) { 1 } else { 1_000 };
                let longest = jiff::SignedDuration::MAX.unsigned_abs();
                let apart = read.abs_diff(duration.min(longest));
                proptest::prop_assert!(apart <= Duration::from_micros(step), "{text}: {apart:?}");
                proptest::prop_assert!(text.is_ascii());
            }
        }
    }
}
