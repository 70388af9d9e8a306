//! What one region knows of another from asking it: when it was last seen, since when it is silent, how it looks.
//!
//! Only silence counts against a region. Any answer, however slow and whatever it says, is a sighting. What says nothing
//! of the region, such as a certificate that does not hold or a name that does not resolve, is neither.
//!
//! Pure: what was met goes in, with the moments at which the asking began and ended; what is known then comes out. The
//! moments are those of one observer's clock, which never goes back while it runs. Between machines they travel as
//! ages, so that clocks that differ say nothing false.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::id::RegionId;
use super::observed::RegionStatus;
use super::policy::HealthPolicy;
use super::time::Timestamp;
use super::units;

/// What came of asking a region whether it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// It answered.
    Answered {
        /// How long the answer took.
        latency: Duration,
        /// What it said, where that was not that it is well.
        complaint: Option<String>,
    },
    /// Nothing came back: no answer in time, no way there, refused, reset.
    Silent(Unheard),
    /// What came back says nothing of the region: a TLS or DNS error.
    Unclear(Unheard),
}

/// Why a region was not heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unheard {
    /// In words.
    pub reason: String,
    /// What to do next.
    pub help: Option<String>,
}

impl<T: Into<String>> From<T> for Unheard {
    fn from(reason: T) -> Self {
        Self { reason: reason.into(), help: None }
    }
}

/// How the last probe that counted ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Met {
    /// There was none.
    #[default]
    Never,
    /// With an answer.
    Answered,
    /// With silence.
    Silent,
    /// With what says nothing.
    Unclear,
}

impl Met {
    /// Every way.
    pub const ALL: [Self; 4] = [Self::Never, Self::Answered, Self::Silent, Self::Unclear];

    /// The name in stores.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Answered => "answered",
            Self::Silent => "silent",
            Self::Unclear => "unclear",
        }
    }
}

/// How a region is displayed. What counts as down is another question: see [`Sighting::is_lost`].
pub fn status(met: Met, latency: Option<Duration>, returning: bool, policy: &HealthPolicy) -> RegionStatus {
    match (met, latency) {
        (Met::Never | Met::Unclear, _) | (Met::Answered, None) => RegionStatus::Unknown,
        (Met::Silent, _) => RegionStatus::Unreachable,
        (Met::Answered, Some(latency)) if latency > policy.unreachable_latency => RegionStatus::Unreachable,
        (Met::Answered, Some(_)) if returning => RegionStatus::Recovering,
        (Met::Answered, Some(latency)) if latency > policy.degraded_latency => RegionStatus::Degraded,
        (Met::Answered, Some(_)) => RegionStatus::Healthy,
    }
}

/// What an observer knows of one region.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sighting {
    /// How the last probe ended.
    pub met: Met,
    /// When it ended.
    pub probed_at: Option<Timestamp>,
    /// When the region last answered.
    pub seen_at: Option<Timestamp>,
    /// How long that answer took.
    pub latency: Option<Duration>,
    /// Since when it is silent: when the first probe of the row began that met silence. None while it is not.
    pub silent_since: Option<Timestamp>,
    /// How many probes in a row met silence, those that came before their time not counted.
    pub failures: u32,
    /// When the last of them began.
    pub counted_at: Option<Timestamp>,
    /// What the last probe that brought no good answer met. Kept after the region is well again.
    pub failure: Option<String>,
    /// Since when it answers again after it was lost; none once its replicas are in sync.
    pub returned_at: Option<Timestamp>,
}

/// What an observer says of a region, in ages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    /// How it looks from there.
    pub status: RegionStatus,
    /// How long ago it last answered; none: never.
    #[serde(default, with = "units::optional_duration")]
    #[schemars(with = "Option<units::DurationText>")]
    pub last_seen: Option<Duration>,
    /// How long it has been silent; none: it is not.
    #[serde(default, with = "units::optional_duration")]
    #[schemars(with = "Option<units::DurationText>")]
    pub silent_for: Option<Duration>,
    /// How many probes in a row met silence.
    pub failures: u32,
    /// Whether that is enough, and long enough, to count as lost.
    pub lost: bool,
    /// How long the last answer took.
    #[serde(default, with = "units::optional_duration")]
    #[schemars(with = "Option<units::DurationText>")]
    pub latency: Option<Duration>,
    /// How long ago it was last asked; none: never.
    #[serde(default, with = "units::optional_duration")]
    #[schemars(with = "Option<units::DurationText>")]
    pub last_probe: Option<Duration>,
    /// What the last probe that brought no good answer met.
    pub failure: Option<String>,
}

impl Sighting {
    /// What is known after a probe that began and ended then.
    #[must_use]
    pub fn after(&self, probe: &Probe, began: Timestamp, ended: Timestamp, policy: &HealthPolicy) -> Self {
        let probed_at = self.probed_at.max(Some(ended));
        match probe {
            Probe::Answered { latency, complaint } => {
                let returned_at = if self.failures >= policy.failures { Some(ended) } else { self.returned_at };
                Self {
                    met: Met::Answered,
                    probed_at,
                    seen_at: Some(ended),
                    latency: Some(*latency),
                    silent_since: None,
                    failures: 0,
                    counted_at: None,
                    failure: complaint.clone().or_else(|| self.failure.clone()),
                    returned_at,
                }
            }
            // It was seen after this one began, or learnt of since: the older question says nothing more.
            Probe::Silent(_) if self.seen_at.is_some_and(|seen| seen >= began) => self.clone(),
            Probe::Silent(why) => {
                let streak = self.met == Met::Silent && !self.was_interrupted(began, policy);
                let (since, failures, counted_at) = match (self.silent_since, self.counted_at) {
                    (Some(since), Some(counted)) if streak && is_too_soon(counted, began, policy) => {
                        (since, self.failures, counted)
                    }
                    (Some(since), Some(_)) if streak => (since, self.failures.saturating_add(1), began),
                    _ => (began, 1, began),
                };
                Self {
                    met: Met::Silent,
                    probed_at,
                    silent_since: Some(since),
                    failures,
                    counted_at: Some(counted_at),
                    failure: Some(why.reason.clone()),
                    seen_at: self.seen_at,
                    latency: self.latency,
                    returned_at: self.returned_at,
                }
            }
            // It may well be alive, so the row is broken; it was not seen either.
            Probe::Unclear(why) => Self {
                met: Met::Unclear,
                probed_at,
                silent_since: None,
                failures: 0,
                counted_at: None,
                failure: Some(why.reason.clone()),
                seen_at: self.seen_at,
                latency: self.latency,
                returned_at: self.returned_at,
            },
        }
    }

    /// Whether nobody asked for so long that what was met before belongs to another row: the observer was not there.
    fn was_interrupted(&self, began: Timestamp, policy: &HealthPolicy) -> bool {
        let longest = policy.detect_for.max(policy.probe_interval * 3);
        self.probed_at.is_none_or(|probed| began.since(probed) > longest)
    }

    /// Whether the region has been silent over enough probes, and for long enough, to be a candidate for down.
    pub fn is_lost(&self, now: Timestamp, policy: &HealthPolicy) -> bool {
        let lasted = self.silent_since.is_some_and(|since| now.since(since) >= policy.detect_for);
        self.met == Met::Silent && self.failures >= policy.failures && lasted
    }

    /// How the region looks.
    pub fn status(&self, policy: &HealthPolicy) -> RegionStatus {
        status(self.met, self.latency, self.returned_at.is_some(), policy)
    }

    /// What others are told.
    pub fn evidence(&self, now: Timestamp, policy: &HealthPolicy) -> Evidence {
        let age = |moment: Option<Timestamp>| moment.map(|moment| now.since(moment));
        Evidence {
            status: self.status(policy),
            last_seen: age(self.seen_at),
            silent_for: age(self.silent_since),
            failures: self.failures,
            lost: self.is_lost(now, policy),
            latency: self.latency,
            last_probe: age(self.probed_at),
            failure: self.failure.clone(),
        }
    }

    /// Whether what is known now differs from what is `kept` in more than figures that change with every probe.
    pub fn is_news_to(&self, kept: &Self) -> bool {
        (self.met, self.silent_since, self.returned_at, &self.failure)
            != (kept.met, kept.silent_since, kept.returned_at, &kept.failure)
    }

    /// The same after the observer was away: nothing that was kept lies in the future of its clock.
    #[must_use]
    pub fn not_after(self, now: Timestamp) -> Self {
        let past = |moment: Option<Timestamp>| moment.map(|moment| moment.min(now));
        Self {
            probed_at: past(self.probed_at),
            seen_at: past(self.seen_at),
            silent_since: past(self.silent_since),
            counted_at: past(self.counted_at),
            returned_at: past(self.returned_at),
            ..self
        }
    }
}

/// Another region's word on one that is suspected to be down, and what speaks for that word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Observer {
    /// How the suspect looks from there.
    pub evidence: Evidence,
    /// The other regions of which it has a fresh sighting.
    pub sees: BTreeSet<RegionId>,
}

impl Observer {
    /// An observer's word, by all that it knows of others.
    pub fn new(evidence: Evidence, sightings: &BTreeMap<RegionId, Evidence>, policy: &HealthPolicy) -> Self {
        let seen = sightings.iter().filter(|(_, evidence)| evidence.is_sighting(policy));
        Self { evidence, sees: seen.map(|(region, _)| region.clone()).collect() }
    }
}

impl Evidence {
    /// How old a probe may be to speak of the present.
    fn window(policy: &HealthPolicy) -> Duration {
        policy.detect_for.max(policy.probe_interval * 3)
    }

    /// Whether the region was seen so lately that it counts as being there, whatever it answered. One glance is
    /// outweighed only by a whole row of silences after it.
    pub fn is_sighting(&self, policy: &HealthPolicy) -> bool {
        let fresh = self.last_seen.is_some_and(|age| age <= Self::window(policy));
        fresh && !self.is_silence(policy)
    }

    /// Whether it has been silent for so long, over so many probes, and until so lately that this speaks for its being
    /// down: by the observer's own policy, and by this one.
    pub fn is_silence(&self, policy: &HealthPolicy) -> bool {
        let lasted = self.silent_for.is_some_and(|lasted| lasted >= policy.detect_for);
        let asked = self.last_probe.is_some_and(|age| age <= Self::window(policy));
        self.lost && lasted && self.failures >= policy.failures && asked
    }
}

/// Whether a probe began so soon after the last one that was counted that it says nothing more: silences count when
/// they are a probe's interval apart. Timers are not exact, so a tenth of it is let pass.
fn is_too_soon(counted: Timestamp, began: Timestamp, policy: &HealthPolicy) -> bool {
    began.since(counted) < policy.probe_interval.mul_f64(0.9)
}

/// Whether a region that came back has caught up: nothing that it keeps, and nothing that is kept of what it holds, is
/// older than its return. Ages, each of one clock; for the display only, no decision rests on it.
pub fn has_caught_up(returned: Duration, it_keeps: Option<Duration>, kept_of_it: Option<Duration>) -> bool {
    [it_keeps, kept_of_it].into_iter().flatten().all(|oldest| oldest <= returned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000).plus(Duration::from_secs(seconds))
    }

    fn answered(millis: u64) -> Probe {
        Probe::Answered { latency: Duration::from_millis(millis), complaint: None }
    }

    fn silent() -> Probe {
        Probe::Silent("refused".into())
    }

    fn unclear() -> Probe {
        Probe::Unclear("the certificate does not hold".into())
    }

    /// Probes that began at these seconds and ended a second later.
    fn story(probes: &[(u64, Probe)]) -> Sighting {
        let policy = HealthPolicy::default();
        probes
            .iter()
            .fold(Sighting::default(), |known, (began, probe)| known.after(probe, at(*began), at(began + 1), &policy))
    }

    #[test]
    fn the_five_states() {
        use RegionStatus::{Degraded, Healthy, Recovering, Unknown, Unreachable};
        let policy = HealthPolicy::default();
        for (met, millis, returning, shown) in [
            (Met::Never, None, false, Unknown),
            (Met::Never, None, true, Unknown),
            (Met::Unclear, Some(1), false, Unknown),
            (Met::Unclear, Some(9000), true, Unknown),
            (Met::Silent, Some(1), false, Unreachable),
            (Met::Silent, None, true, Unreachable),
            (Met::Answered, Some(0), false, Healthy),
            (Met::Answered, Some(100), false, Healthy),
            (Met::Answered, Some(101), false, Degraded),
            (Met::Answered, Some(500), false, Degraded),
            (Met::Answered, Some(501), false, Unreachable),
            (Met::Answered, Some(1), true, Recovering),
            (Met::Answered, Some(500), true, Recovering),
            (Met::Answered, Some(501), true, Unreachable),
        ] {
            let latency = millis.map(Duration::from_millis);
            assert_eq!(status(met, latency, returning, &policy), shown, "{met:?} {millis:?} {returning}");
        }
    }

    #[test]
    fn only_silence_that_lasts_over_enough_probes_is_a_loss() {
        let policy = HealthPolicy::default();
        let lost = |probes: &[(u64, Probe)], now| story(probes).is_lost(at(now), &policy);
        let row = [(0, silent()), (5, silent()), (10, silent()), (15, silent())];
        assert!(!lost(&row[..2], 16), "two probes are not enough");
        assert!(!lost(&row[..3], 14), "not long enough");
        assert!(lost(&row[..3], 15));
        assert!(lost(&row, 16));
        let broken = |by: Probe| [(0, silent()), (5, silent()), (10, by), (15, silent()), (20, silent())];
        assert!(!lost(&broken(answered(9000)), 40), "however slow, it was there");
        assert!(!lost(&broken(unclear()), 40), "what says nothing is no silence");
        assert!(lost(&broken(silent()), 40));
        assert!(!lost(&[(0, unclear()), (5, unclear()), (10, unclear()), (15, unclear())], 60));
        let fast: Vec<_> = (0..20).map(|n| (n, silent())).collect();
        assert_eq!(story(&fast).failures, 4, "questions asked too often are counted once an interval");
        let late = Sighting { ..story(&row) };
        assert_eq!((late.failures, late.silent_since), (4, Some(at(0))));
    }

    #[test]
    fn a_complaint_is_a_sighting() {
        let complaint = Some("answered 503".to_owned());
        let met = story(&[
            (0, silent()),
            (5, silent()),
            (10, Probe::Answered { latency: Duration::from_millis(3), complaint }),
        ]);
        assert_eq!((met.met, met.failures, met.silent_since, met.seen_at), (Met::Answered, 0, None, Some(at(11))));
        assert_eq!(met.failure.as_deref(), Some("answered 503"));
        assert_eq!(met.returned_at, None, "two silences are no loss to come back from");
    }

    #[test]
    fn an_answer_that_came_meanwhile_outweighs_an_older_silence() {
        let policy = HealthPolicy::default();
        let seen = Sighting::default().after(&answered(1), at(3), at(4), &policy);
        assert_eq!(seen.after(&silent(), at(2), at(5), &policy), seen);
        assert_eq!(seen.after(&silent(), at(5), at(6), &policy).failures, 1);
    }

    #[test]
    fn an_observer_that_was_away_begins_a_new_row() {
        let row = [(0, silent()), (5, silent()), (10, silent())];
        let away = story(&[&row[..], &[(1000, silent())]].concat());
        assert_eq!((away.failures, away.silent_since), (1, Some(at(1000))), "nobody looked in between");
        let policy = HealthPolicy::default();
        let set_back = story(&[(0, answered(1))]).not_after(Timestamp::from_micros(7));
        assert_eq!(set_back.evidence(Timestamp::from_micros(7), &policy).last_seen, Some(Duration::ZERO));
    }

    #[test]
    fn who_was_lost_and_answers_again_is_recovering_until_it_has_caught_up() {
        let policy = HealthPolicy::default();
        let back = story(&[(0, silent()), (5, silent()), (10, silent()), (15, answered(1))]);
        assert_eq!((back.status(&policy), back.returned_at), (RegionStatus::Recovering, Some(at(16))));
        let still = back.after(&answered(1), at(20), at(21), &policy);
        assert_eq!((still.status(&policy), still.returned_at), (RegionStatus::Recovering, Some(at(16))));
        let seconds = |n| Some(Duration::from_secs(n));
        let returned = Duration::from_secs(60);
        for (it_keeps, kept_of_it, caught_up) in [
            (None, None, true),
            (seconds(60), seconds(1), true),
            (seconds(61), None, false),
            (None, seconds(61), false),
            (seconds(1), seconds(900), false),
        ] {
            assert_eq!(has_caught_up(returned, it_keeps, kept_of_it), caught_up, "{it_keeps:?} {kept_of_it:?}");
        }
    }

    #[test]
    fn evidence_travels_as_ages() {
        let policy = HealthPolicy::default();
        let known = story(&[(0, answered(2)), (5, silent()), (10, silent()), (15, silent())]);
        let said = known.evidence(at(30), &policy);
        let json = serde_json::to_value(&said).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "status": "unreachable", "last_seen": "29s", "silent_for": "25s", "failures": 3, "lost": true,
                "latency": "2ms", "last_probe": "14s", "failure": "refused"
            })
        );
        assert_eq!(serde_json::from_value::<Evidence>(json).unwrap(), said);
        // What is not known may be left out, as its description says.
        let nothing = Sighting::default().evidence(at(30), &policy);
        let mut json = serde_json::to_value(&nothing).unwrap();
        json.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        assert_eq!(serde_json::from_value::<Evidence>(json).unwrap(), nothing);
    }

    #[test]
    fn only_what_matters_is_news() {
        let policy = HealthPolicy::default();
        let known = story(&[(0, answered(2))]);
        assert!(known.is_news_to(&Sighting::default()));
        assert!(!known.after(&answered(3), at(5), at(6), &policy).is_news_to(&known));
        let down = known.after(&silent(), at(5), at(6), &policy);
        assert!(down.is_news_to(&known));
        assert!(!down.after(&silent(), at(10), at(11), &policy).is_news_to(&down));
    }
}
