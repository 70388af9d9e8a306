//! Moments and ages, for people. Programs get RFC 3339 and durations from the documents.

use std::time::Duration;

use super::text;
use crate::model::Timestamp;

/// `2026-11-22 12:00:05Z`.
pub(super) fn moment(at: Timestamp) -> String {
    at.for_people()
}

/// `3m5s ago`, `now` within the second.
pub(super) fn ago(at: Timestamp, now: Timestamp) -> String {
    match now.since(at) {
        age if age < Duration::from_secs(1) => "now".to_owned(),
        age => format!("{} ago", text::brief(age)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_read_like_a_log() {
        let at: Timestamp = "2026-11-22T12:00:05.123456Z".parse().unwrap();
        assert_eq!(moment(at), "2026-11-22 12:00:05Z");
        assert_eq!(moment("2026-11-22T12:00:05Z".parse().unwrap()), "2026-11-22 12:00:05Z");
        assert_eq!(ago(at, at), "now");
        assert_eq!(ago(at, at.plus(Duration::from_secs(3725))), "1h2m ago");
    }
}
