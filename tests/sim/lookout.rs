//! Who is taken for dead: regions that watch each other over links that are cut, one way too, slow, or unclear; hosts that
//! die and come back; and a run that judges whoever holds a machine, and has it cut off where it is found down.
//!
//! What is asserted is known from the links alone: nobody is cut off who answered a region within `detect_for` before the
//! judgement. And what is dead in calm weather is found out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::Duration;

use debvisor_region::failover::{Rule, Ruling, Suspicion};
use debvisor_region::model::policy::HealthPolicy;
use debvisor_region::model::sighting::{Evidence, Observer, Probe, Sighting};
use debvisor_region::model::{RegionId, Timestamp};

use crate::chance::Chance;

/// How long links and hosts fail.
const STORM: Duration = Duration::from_secs(600);
/// How long it may take to find out, after that.
const CALM: Duration = Duration::from_secs(120);

/// Who asks: a region; none: the run.
type Eye = Option<RegionId>;

#[derive(Debug, Clone)]
enum Event {
    /// Somebody asks a region whether it is there.
    Ask(Eye, RegionId),
    /// What came of that, and of the question's beginning.
    Met(Eye, RegionId, Probe, Duration),
    /// The run judges.
    Judge,
    /// Something goes wrong, or is mended.
    Fault,
    /// A host comes back.
    Boot(RegionId),
}

/// What happened in all.
#[derive(Debug, Default, Clone)]
pub(crate) struct Seen {
    /// Cut off because they were found down.
    pub(crate) down: u64,
    /// Alive by somebody's word alone.
    pub(crate) vetoed: u64,
    /// Not judged because a region did not answer.
    pub(crate) unheard: u64,
}

pub(crate) struct Lookout {
    chance: Chance,
    health: HealthPolicy,
    now: Duration,
    served: BTreeSet<RegionId>,
    holder: RegionId,
    dead: BTreeSet<RegionId>,
    /// Links that carry nothing, from the first to the second.
    cut: BTreeSet<(Eye, Eye)>,
    /// Links on which answers take long, or say nothing.
    slow: BTreeSet<(Eye, RegionId)>,
    unclear: BTreeSet<(Eye, RegionId)>,
    known: BTreeMap<(Eye, RegionId), Sighting>,
    /// When each last had an answer from whom.
    answered: BTreeMap<(Eye, RegionId), Duration>,
    events: BTreeMap<(Duration, u64), Event>,
    count: u64,
    story: String,
    seen: Seen,
}

impl Lookout {
    pub(crate) fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let count = 3 + chance.below(3);
        let ids: Vec<RegionId> = ["a", "b", "c", "d", "e"][..count].iter().map(|id| id.parse().unwrap()).collect();
        let mut lookout = Self {
            holder: chance.one(&ids).clone(),
            served: ids.iter().cloned().collect(),
            health: HealthPolicy::default(),
            now: Duration::from_secs(10),
            dead: BTreeSet::new(),
            cut: BTreeSet::new(),
            slow: BTreeSet::new(),
            unclear: BTreeSet::new(),
            known: BTreeMap::new(),
            answered: BTreeMap::new(),
            events: BTreeMap::new(),
            count: 0,
            story: String::new(),
            seen: Seen::default(),
            chance,
        };
        for whom in &ids {
            for eye in ids.iter().filter(|eye| *eye != whom).cloned().map(Some).chain([None]) {
                lookout.soon(Event::Ask(eye, whom.clone()), 5);
            }
        }
        lookout.soon(Event::Judge, 5);
        lookout.soon(Event::Fault, 30);
        lookout
    }

    fn at(&mut self, when: Duration, event: Event) {
        self.count += 1;
        self.events.insert((when, self.count), event);
    }

    fn soon(&mut self, event: Event, seconds: u64) {
        let when = self.now + self.chance.between(Duration::from_millis(1), Duration::from_secs(seconds));
        self.at(when, event);
    }

    fn tell(&mut self, words: impl AsRef<str>) {
        let _ = writeln!(self.story, "{:>9.3} {}", self.now.as_secs_f64(), words.as_ref());
    }

    fn moment(&self, since: Duration) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000).plus(since)
    }

    /// A storm; then everything is mended, the holder dies for good, and must be found out.
    pub(crate) fn run(mut self) -> Result<Seen, String> {
        let mut dies: Option<(RegionId, Duration)> = None;
        while let Some(((when, _), event)) = self.events.pop_first() {
            self.now = when;
            if when > STORM && dies.is_none() {
                self.cut.clear();
                self.slow.clear();
                self.unclear.clear();
                self.dead = BTreeSet::from([self.holder.clone()]);
                dies = Some((self.holder.clone(), when));
                let words = format!("calm; {}'s host dies for good", self.holder);
                self.tell(words);
            }
            if let Some((holder, at)) = &dies {
                if *holder != self.holder {
                    break;
                }
                if when > *at + CALM {
                    return Err(format!("{}{holder} IS DEAD, and nobody has found out", self.story));
                }
            }
            self.happen(event).map_err(|broken| format!("{}{broken}", self.story))?;
        }
        Ok(self.seen)
    }

    fn happen(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Ask(eye, whom) => {
                self.ask(&eye, &whom);
                let next = self.now + self.health.probe_interval;
                self.at(next, Event::Ask(eye, whom));
            }
            Event::Met(eye, whom, probe, began) => {
                if eye.as_ref().is_some_and(|eye| self.dead.contains(eye)) {
                    return Ok(());
                }
                if matches!(probe, Probe::Answered { .. }) {
                    self.answered.insert((eye.clone(), whom.clone()), self.now);
                }
                let (began, ended) = (self.moment(began), self.moment(self.now));
                let known = self.known.entry((eye, whom)).or_default();
                *known = known.after(&probe, began, ended, &self.health);
            }
            Event::Judge => {
                self.judge()?;
                self.soon(Event::Judge, 10);
            }
            Event::Fault => {
                if self.now < STORM {
                    self.fault();
                    self.soon(Event::Fault, 30);
                }
            }
            Event::Boot(region) => {
                if self.now < STORM {
                    self.dead.remove(&region);
                }
            }
        }
        Ok(())
    }

    /// Whether what is sent arrives.
    fn passes(&self, from: &Eye, to: &Eye) -> bool {
        let is_dead = |node: &Eye| node.as_ref().is_some_and(|region| self.dead.contains(region));
        !is_dead(from) && !is_dead(to) && !self.cut.contains(&(from.clone(), to.clone()))
    }

    fn ask(&mut self, eye: &Eye, whom: &RegionId) {
        let to = Some(whom.clone());
        if eye.as_ref().is_some_and(|eye| self.dead.contains(eye)) {
            return;
        }
        let link = (eye.clone(), whom.clone());
        let (began, timeout) = (self.now, self.health.timeout);
        let met = |probe| Event::Met(eye.clone(), whom.clone(), probe, began);
        if self.unclear.contains(&link) {
            self.at(began + Duration::from_millis(5), met(Probe::Unclear("no certificate".into())));
            return;
        }
        let answers = self.passes(eye, &to) && self.passes(&to, eye);
        let most = if self.slow.contains(&link) { Duration::from_secs(12) } else { Duration::from_millis(40) };
        let latency = self.chance.between(Duration::from_millis(1), most);
        if !answers || latency > timeout {
            self.at(began + timeout, met(Probe::Silent("no answer".into())));
        }
        // However late it comes, it is an answer.
        if answers {
            self.at(began + latency, met(Probe::Answered { latency, complaint: None }));
        }
    }

    fn evidence(&self, eye: &Eye, whom: &RegionId) -> Evidence {
        let known = self.known.get(&(eye.clone(), whom.clone())).cloned().unwrap_or_default();
        known.evidence(self.moment(self.now), &self.health)
    }

    /// The run asks whoever it reaches about the holder.
    fn judge(&mut self) -> Result<(), String> {
        let suspect = self.holder.clone();
        let others: Vec<RegionId> = self.served.iter().filter(|region| **region != suspect).cloned().collect();
        let told = others.iter().map(|region| {
            let eye = Some(region.clone());
            if !self.passes(&None, &eye) || !self.passes(&eye, &None) {
                return (region.clone(), Err("no answer".to_owned()));
            }
            let sightings: BTreeMap<RegionId, Evidence> = (self.served.iter().filter(|seen| *seen != region))
                .map(|seen| (seen.clone(), self.evidence(&eye, seen)))
                .collect();
            (region.clone(), Ok(Observer::new(self.evidence(&eye, &suspect), &sightings, &self.health)))
        });
        let told = told.collect();
        let verdict = Suspicion {
            suspect: &suspect,
            target: None,
            served: &self.served,
            gone: &BTreeSet::new(),
            own: &self.evidence(&None, &suspect),
            told: &told,
            health: &self.health,
            quorum: None,
        }
        .judge();
        let target = others.iter().map(|region| (region, verdict.clone().towards(region))).find(|(_, it)| it.is_down());
        let Some((target, _)) = target else {
            match verdict.ruling {
                Ruling::NotDown { why: Rule::NoSighting } => self.seen.vetoed += 1,
                Ruling::NotDown { why: Rule::AllHeard } => self.seen.unheard += 1,
                Ruling::NotDown { .. } | Ruling::Down { .. } => {}
            }
            return Ok(());
        };
        let lately = |(eye, whom): &(Eye, RegionId), at: Duration| {
            *whom == suspect && *eye != Some(suspect.clone()) && self.now - at <= self.health.detect_for
        };
        let witness = self.answered.iter().find(|(who, at)| lately(who, **at));
        if let Some(((eye, _), at)) = witness {
            let (who, ago) = (eye.as_ref().map_or("this run", RegionId::as_str), (self.now - *at).as_secs_f64());
            let now = self.now.as_secs_f64();
            return Err(format!("{now:>9.3} {suspect} IS TAKEN FOR DEAD, and answered {who} {ago:.3} s ago"));
        }
        let words = format!("{suspect} is found down and cut off; {target} takes over");
        self.tell(words);
        self.seen.down += 1;
        self.dead.insert(suspect.clone());
        self.holder = target.clone();
        self.soon(Event::Boot(suspect), 60);
        Ok(())
    }

    fn fault(&mut self) {
        let ids: Vec<RegionId> = self.served.iter().cloned().collect();
        let whom = self.chance.one(&ids).clone();
        let eyes: Vec<Eye> = ids.iter().filter(|id| **id != whom).cloned().map(Some).chain([None]).collect();
        let what = self.chance.below(6);
        let mut words = format!("fault {what} at {whom}:");
        match what {
            0 => {
                self.dead.insert(whom.clone());
                self.soon(Event::Boot(whom), 90);
            }
            1 | 2 => {
                // Some do not reach it any more, or it not them.
                let one_way = self.chance.percent(40);
                for eye in eyes {
                    if self.chance.percent(65) {
                        let _ = write!(words, " {}", eye.as_ref().map_or("run", RegionId::as_str));
                        if !one_way || self.chance.percent(50) {
                            self.cut.insert((eye.clone(), Some(whom.clone())));
                        }
                        self.cut.insert((Some(whom.clone()), eye));
                    }
                }
            }
            3 => {
                let eye = self.chance.one(&eyes).clone();
                self.slow.insert((eye, whom));
            }
            4 => {
                let eye = self.chance.one(&eyes).clone();
                self.unclear.insert((eye, whom));
            }
            _ => {
                self.cut.clear();
                self.slow.clear();
                self.unclear.clear();
            }
        }
        self.tell(words);
    }
}
