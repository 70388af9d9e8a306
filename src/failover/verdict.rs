//! Is a region down? Only where it is silent, by this run's own probes and by a majority of all served regions.
//!
//! Whatever is missing speaks against it: an observer that does not answer may have seen the region a moment ago, so
//! it is waited for, and a person decides meanwhile. Nothing that becomes unreachable makes a region look more down.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::RegionId;
use crate::model::policy::HealthPolicy;
use crate::model::sighting::{Evidence, Observer};
use crate::model::units;

/// All that a region's being down is judged on.
#[derive(Debug, Clone, Copy)]
pub struct Suspicion<'a> {
    /// The region.
    pub suspect: &'a RegionId,
    /// Where its resources would go.
    pub target: Option<&'a RegionId>,
    /// Every served region, the suspect among them.
    pub served: &'a BTreeSet<RegionId>,
    /// Those that a person declared gone. They count in the number all the same.
    pub gone: &'a BTreeSet<RegionId>,
    /// What this run's own probes met, and nothing that it remembers from before.
    pub own: &'a Evidence,
    /// What each served region says of it, or why nothing came back.
    pub told: &'a BTreeMap<RegionId, Result<Observer, String>>,
    /// What counts as silence.
    pub health: &'a HealthPolicy,
    /// Votes that the policy demands; it may only raise the number.
    pub quorum: Option<u32>,
}

/// A rule that a region's being down must meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// This run's own probes met nothing but silence.
    OwnProbes,
    /// Nobody has seen it lately.
    NoSighting,
    /// Every other served region was heard.
    AllHeard,
    /// A majority of all served regions meets silence.
    Majority,
    /// The target is one of them.
    TargetAgrees,
}

impl Rule {
    /// The name in every format.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OwnProbes => "own_probes",
            Self::NoSighting => "no_sighting",
            Self::AllHeard => "all_heard",
            Self::Majority => "majority",
            Self::TargetAgrees => "target_agrees",
        }
    }
}

/// A rule, and whether it is met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// The rule.
    pub rule: Rule,
    /// Whether it is met.
    pub holds: bool,
    /// What was found, in words.
    pub found: String,
}

/// What a witness's word comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// It has seen the suspect lately: that outweighs everything.
    Sighting,
    /// It meets silence, and counts.
    Vote,
    /// It meets silence, and does not count: this run itself, or a region that does not see a majority.
    Silence,
    /// It says nothing of use.
    Unclear,
    /// It did not answer.
    Unheard,
}

impl Word {
    /// The name in every format.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sighting => "sighting",
            Self::Vote => "vote",
            Self::Silence => "silence",
            Self::Unclear => "unclear",
            Self::Unheard => "unheard",
        }
    }
}

/// Who was asked about the suspect, and what that says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Witness {
    /// Who; none: this run itself.
    pub region: Option<RegionId>,
    /// What its word comes to.
    pub word: Word,
    /// Why, in words.
    pub why: String,
    /// How many served regions it sees, itself among them; none: not asked for, or not known.
    pub sees: Option<usize>,
    /// What it knows of the suspect.
    pub evidence: Option<Evidence>,
}

/// Whether a region is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "ruling")]
pub enum Ruling {
    /// It is.
    Down {
        /// For how long everybody who counts has met silence.
        #[serde(with = "units::duration")]
        #[schemars(with = "units::DurationText")]
        silent_for: Duration,
    },
    /// It is not, or that is not certain.
    NotDown {
        /// The first rule that is not met.
        why: Rule,
    },
}

/// The judgement on one region, with all that it rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Verdict {
    /// The region.
    pub suspect: RegionId,
    /// Whether it is down.
    #[serde(flatten)]
    pub ruling: Ruling,
    /// How many served regions there are, the suspect among them.
    pub served: usize,
    /// How many votes are needed.
    pub needed: usize,
    /// How many there are.
    pub votes: usize,
    /// Each rule.
    pub findings: Vec<Finding>,
    /// Each witness: this run first.
    pub witnesses: Vec<Witness>,
}

impl Verdict {
    /// Whether it is down.
    pub const fn is_down(&self) -> bool {
        match self.ruling {
            Ruling::Down { .. } => true,
            Ruling::NotDown { .. } => false,
        }
    }

    /// The same for what would go to this region, which must be one of those that meet silence.
    #[must_use]
    pub fn towards(mut self, target: &RegionId) -> Self {
        let agrees = self.witnesses.iter().any(|one| one.word == Word::Vote && one.region.as_ref() == Some(target));
        let found = if agrees { "is one of them" } else { "is not one of them" };
        self.findings.retain(|finding| finding.rule != Rule::TargetAgrees);
        self.findings.push(Finding { rule: Rule::TargetAgrees, holds: agrees, found: format!("{target} {found}") });
        self.ruling = ruling(&self.findings, &self.witnesses);
        self
    }

    /// Whether this run met nothing but silence.
    pub fn is_silent_here(&self) -> bool {
        self.findings.iter().any(|finding| finding.rule == Rule::OwnProbes && finding.holds)
    }

    /// What was found of the first rule that is not met, or of the majority.
    pub fn reason(&self) -> &str {
        let rule = match self.ruling {
            Ruling::Down { .. } => Rule::Majority,
            Ruling::NotDown { why } => why,
        };
        self.findings.iter().find(|finding| finding.rule == rule).map_or("", |finding| &finding.found)
    }
}

impl Suspicion<'_> {
    /// Judges.
    pub fn judge(&self) -> Verdict {
        let majority = self.served.len() / 2 + 1;
        let quorum = self.quorum.map_or(0, |quorum| usize::try_from(quorum).unwrap_or(usize::MAX));
        let needed = majority.max(quorum);
        let own = self.this_run();
        let mut witnesses = vec![own.clone()];
        witnesses
            .extend(self.served.iter().filter(|region| *region != self.suspect).map(|id| self.asked(id, majority)));
        if let Some(answer) = self.told.get(self.suspect).filter(|answer| answer.is_ok()) {
            witnesses.push(self.suspect_itself(answer));
        }
        let of = |word: Word| witnesses.iter().filter(move |witness| witness.word == word);
        let names = |word: Word| list(of(word).map(|witness| witness.name()));
        let votes = of(Word::Vote).count();
        let mut findings = vec![
            Finding {
                rule: Rule::OwnProbes,
                holds: own.word == Word::Silence,
                found: format!("this run's own probes: {}", own.why),
            },
            match of(Word::Sighting).count() {
                0 => Finding { rule: Rule::NoSighting, holds: true, found: "nobody has seen it lately".to_owned() },
                _ => Finding { rule: Rule::NoSighting, holds: false, found: self.sighted(of(Word::Sighting)) },
            },
        ];
        let unheard: Vec<&Witness> = of(Word::Unheard).filter(|witness| !self.is_gone(witness)).collect();
        findings.push(if unheard.is_empty() {
            Finding { rule: Rule::AllHeard, holds: true, found: "every other served region was heard".to_owned() }
        } else {
            let names = list(unheard.iter().map(|witness| witness.name()));
            let found = format!("{names} did not answer, and may have seen {} a moment ago", self.suspect);
            Finding { rule: Rule::AllHeard, holds: false, found }
        });
        let voters = if votes == 0 { String::new() } else { format!(": {}", names(Word::Vote)) };
        findings.push(Finding {
            rule: Rule::Majority,
            holds: votes >= needed,
            found: format!(
                "{votes} of {} served regions meet silence, {needed} are needed{}{voters}",
                self.served.len(),
                if quorum > majority { " (quorum)" } else { "" },
            ),
        });
        let ruling = ruling(&findings, &witnesses);
        let served = self.served.len();
        let verdict = Verdict { suspect: self.suspect.clone(), ruling, served, needed, votes, findings, witnesses };
        match self.target {
            Some(target) => verdict.towards(target),
            None => verdict,
        }
    }

    fn is_gone(&self, witness: &Witness) -> bool {
        witness.region.as_ref().is_some_and(|region| self.gone.contains(region))
    }

    fn this_run(&self) -> Witness {
        let (word, why) = self.word(self.own);
        Witness { region: None, word, why, sees: None, evidence: Some(self.own.clone()) }
    }

    /// A region that answers when it is asked about itself is there.
    fn suspect_itself(&self, answer: &Result<Observer, String>) -> Witness {
        Witness {
            region: Some(self.suspect.clone()),
            word: Word::Sighting,
            why: "it answered when it was asked itself".to_owned(),
            sees: None,
            evidence: answer.as_ref().ok().map(|observer| observer.evidence.clone()),
        }
    }

    fn asked(&self, region: &RegionId, majority: usize) -> Witness {
        let unheard = |why: &str| Witness {
            region: Some(region.clone()),
            word: Word::Unheard,
            why: why.to_owned(),
            sees: None,
            evidence: None,
        };
        let observer = match self.told.get(region) {
            Some(Ok(observer)) => observer,
            Some(Err(why)) => return unheard(why),
            None => return unheard("it was not asked"),
        };
        let others = observer.sees.iter().filter(|seen| *seen != region && self.served.contains(*seen));
        let sees = others.count() + 1;
        let (word, why) = match self.word(&observer.evidence) {
            (Word::Silence, why) if sees >= majority => (Word::Vote, why),
            (Word::Silence, why) => {
                let all = self.served.len();
                let doubt = format!("{why}; but it sees only {sees} of {all} served regions: it may be cut off itself");
                (Word::Silence, doubt)
            }
            word => word,
        };
        Witness { region: Some(region.clone()), word, why, sees: Some(sees), evidence: Some(observer.evidence.clone()) }
    }

    /// What somebody's evidence comes to by itself.
    fn word(&self, evidence: &Evidence) -> (Word, String) {
        let age = |age: Duration| units::brief(Duration::from_secs(age.as_secs()));
        if evidence.is_silence(self.health) {
            let lasted = evidence.silent_for.map(age).unwrap_or_default();
            return (Word::Silence, format!("silent for {lasted} over {} probes", evidence.failures));
        }
        if let Some(seen) = evidence.last_seen.filter(|_| evidence.is_sighting(self.health)) {
            return (Word::Sighting, format!("saw it {} ago", age(seen)));
        }
        let HealthPolicy { failures, detect_for, .. } = self.health;
        let why = match (evidence.silent_for, evidence.last_probe) {
            (_, None) => "never asked".to_owned(),
            (Some(lasted), Some(probed)) if lasted >= *detect_for && evidence.failures >= *failures => {
                format!("silent for {}, but last asked {} ago", age(lasted), age(probed))
            }
            (Some(lasted), Some(_)) => format!(
                "silent for {} over {} probes, not yet {} over {failures}",
                age(lasted),
                evidence.failures,
                units::format_duration(*detect_for)
            ),
            (None, Some(_)) => match &evidence.failure {
                Some(failure) => format!("neither seen nor silent: {failure}"),
                None => "neither seen nor silent".to_owned(),
            },
        };
        (Word::Unclear, why)
    }

    fn sighted<'w>(&self, witnesses: impl Iterator<Item = &'w Witness>) -> String {
        let each = witnesses.map(|witness| match &witness.region {
            Some(region) if region == self.suspect => format!("{region} answered when it was asked itself"),
            Some(region) => format!("{region} {}", witness.why),
            None => format!("this run {}", witness.why),
        });
        list(each)
    }
}

impl Witness {
    fn name(&self) -> String {
        self.region.as_ref().map_or_else(|| "this run".to_owned(), ToString::to_string)
    }
}

fn ruling(findings: &[Finding], witnesses: &[Witness]) -> Ruling {
    match findings.iter().find(|finding| !finding.holds) {
        Some(broken) => Ruling::NotDown { why: broken.rule },
        None => Ruling::Down { silent_for: shortest(witnesses) },
    }
}

/// For how long all who count, this run among them, have met silence.
fn shortest(witnesses: &[Witness]) -> Duration {
    let counted = witnesses.iter().filter(|witness| matches!(witness.word, Word::Vote | Word::Silence));
    counted.filter_map(|witness| witness.evidence.as_ref()?.silent_for).min().unwrap_or_default()
}

fn list(names: impl Iterator<Item = String>) -> String {
    names.collect::<Vec<_>>().join(", ")
}
