//! Whether a region is down, found out now: by this run's own probes, and by asking every other served region.
//!
//! Nothing that was known before counts: a run that has just begun stays up until its own probes have met silence for
//! as long as the policy says, and comes back at once where any of them met something else. The others are asked when
//! it has; one that counts silences as well, and has not counted enough, is given the time to.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt};

use crate::config::resolve_endpoint;
use crate::failover::{Suspicion, Verdict};
use crate::fleet::error::FleetError;
use crate::fleet::manager::MultiRegionManager;
use crate::fleet::options::Watch;
use crate::fleet::road::Sight;
use crate::live::{Deadlines, HttpRegion};
use crate::model::observed::Observation;
use crate::model::policy::HealthPolicy;
use crate::model::sighting::{Evidence, Met, Observer, Probe, Sighting};
use crate::model::topology::Endpoint;
use crate::model::{RegionId, Timestamp, World};

/// No policy makes it ask more often.
const PACE_MIN: Duration = Duration::from_millis(50);

/// What the others say of a region, or why one says nothing.
type Told = BTreeMap<RegionId, Result<Observer, String>>;
type Asking<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl MultiRegionManager {
    /// Judges whether `suspect` is down; none where it is no served region, which nobody observes.
    ///
    /// # Errors
    /// [`FleetError::Interrupted`].
    pub(super) async fn find_out(
        &self,
        sight: &Sight,
        suspect: &RegionId,
        gone: &BTreeSet<RegionId>,
        watch: &Watch,
    ) -> Result<Option<Verdict>, FleetError> {
        let Some(Endpoint::Http(origin)) = self.desired.topology.endpoints.get(suspect) else { return Ok(None) };
        let policy = &self.desired.topology.policy;
        let health = &policy.health;
        // A connection that takes long is no silence either.
        let patience = health.detect_for.max(health.timeout);
        let deadlines = Deadlines { connect: patience, ..Deadlines::of(health.timeout) };
        let credential = self.credential(suspect, origin);
        let port = HttpRegion::new(suspect.clone(), origin.clone(), deadlines, credential, self.world.clone());
        let served = self.served(sight);
        let mut probes = Probes::new(self.world.clone(), Arc::new(port), health.clone());
        let patience_with_others = (health.detect_for + pace(health) * (health.failures + 2)) * 2;
        let until = self.world.clock.since_boot() + patience_with_others;
        let told = loop {
            tokio::select! {
                () = watch.cancel.cancelled() => return Err(FleetError::Interrupted),
                () = probes.go_on() => {}
            }
            let own = probes.evidence();
            let is_silence = own.is_silence(health);
            if is_silence || probes.known.met != Met::Silent {
                let told = self.ask_others(sight, suspect, &served).await;
                let late = self.world.clock.since_boot() >= until;
                if !is_silence || late || !told.values().any(|told| counts_still(told, health)) {
                    break told;
                }
            }
        };
        // Asking took its time, in which it may have answered after all.
        probes.settle().await;
        let verdict = Suspicion {
            suspect,
            target: None,
            served: &served,
            gone,
            own: &probes.evidence(),
            told: &told,
            health,
            quorum: policy.failover.quorum,
        }
        .judge();
        Ok(Some(verdict))
    }

    /// Every served region: of the topology, and of the registry of any region that answers.
    fn served(&self, sight: &Sight) -> BTreeSet<RegionId> {
        let is_http = |endpoint: &Endpoint| matches!(endpoint, Endpoint::Http(_));
        let declared = self.desired.topology.endpoints.iter().filter(|(_, endpoint)| is_http(endpoint));
        let registered = sight.observed.answering().flat_map(|(_, seen)| &seen.regions).filter(|(_, record)| {
            resolve_endpoint(&record.spec.api_endpoint, &self.desired.base).as_ref().is_some_and(is_http)
        });
        declared.map(|(region, _)| region).chain(registered.map(|(region, _)| region)).cloned().collect()
    }

    async fn ask_others(&self, sight: &Sight, suspect: &RegionId, served: &BTreeSet<RegionId>) -> Told {
        let others = served.iter().filter(|region| *region != suspect);
        let asked = others.map(|region| async move {
            let why = match (sight.observed.regions.get(region), sight.ports.get(region)) {
                // It had its time to answer a moment ago.
                (Some(Observation::Silent(silence)), _) => silence.reason.clone(),
                (Some(Observation::Answered { .. }) | None, None) => "it is not declared here".to_owned(),
                (Some(Observation::Answered { .. }) | None, Some(port)) => match port.look_at(suspect).await {
                    Ok(Some(health)) => {
                        let observer = Observer { evidence: health.evidence, sees: health.sees };
                        return (region.clone(), Ok(observer));
                    }
                    Ok(None) => "it observes nobody".to_owned(),
                    Err(error) => error.to_string(),
                },
            };
            (region.clone(), Err(why))
        });
        join_all(asked).await.into_iter().collect()
    }
}

/// Whether somebody meets silence, and not for long enough yet.
fn counts_still(told: &Result<Observer, String>, health: &HealthPolicy) -> bool {
    let counts = |evidence: &Evidence| evidence.silent_for.is_some() && !evidence.is_silence(health);
    told.as_ref().is_ok_and(|observer| counts(&observer.evidence))
}

fn pace(health: &HealthPolicy) -> Duration {
    health.probe_interval.max(PACE_MIN)
}

/// What a run asks a region by itself, again and again, and what it knows from that.
struct Probes {
    world: World,
    port: Arc<HttpRegion>,
    health: HealthPolicy,
    known: Sighting,
    began: (Timestamp, Duration),
    /// Those whose time is not over.
    asked: FuturesUnordered<Asking<First>>,
    /// Those that were silent for their time: however late an answer comes, it is one.
    late: FuturesUnordered<Asking<(Duration, Probe)>>,
    next: Duration,
}

/// What came of a question in its time: an answer, or the question that goes on.
enum First {
    Ended(Duration, Probe),
    Silent(Duration, Probe, Asking<(Duration, Probe)>),
}

impl Probes {
    fn new(world: World, port: Arc<HttpRegion>, health: HealthPolicy) -> Self {
        let since_boot = world.clock.since_boot();
        let began = (world.clock.now(), since_boot);
        let (asked, late) = (FuturesUnordered::new(), FuturesUnordered::new());
        Self { world, port, health, known: Sighting::default(), began, asked, late, next: since_boot }
    }

    /// A moment of a clock that never goes back.
    fn at(&self, since_boot: Duration) -> Timestamp {
        self.began.0.plus(since_boot.saturating_sub(self.began.1))
    }

    fn evidence(&self) -> Evidence {
        self.known.evidence(self.at(self.world.clock.since_boot()), &self.health)
    }

    /// Asks in time, until one question more has met something.
    async fn go_on(&mut self) {
        let before = self.known.clone();
        while self.known == before {
            let now = self.world.clock.since_boot();
            if now >= self.next {
                self.ask(now);
            }
            let pause = pin!(tokio::time::sleep(self.next.saturating_sub(now)));
            tokio::select! {
                Some(first) = self.asked.next() => self.met(first),
                Some((began, probe)) = self.late.next() => self.came_late(began, &probe),
                () = pause => {}
            }
        }
    }

    /// Takes in what has come meanwhile, and waits for nothing.
    async fn settle(&mut self) {
        loop {
            tokio::select! {
                biased;
                Some(first) = self.asked.next() => self.met(first),
                Some((began, probe)) = self.late.next() => self.came_late(began, &probe),
                () = std::future::ready(()) => return,
            }
        }
    }

    fn ask(&mut self, now: Duration) {
        self.next = now + pace(&self.health);
        let (port, health) = (Arc::clone(&self.port), self.health.clone());
        let asked = Arc::clone(&port);
        self.asked.push(Box::pin(async move {
            let (timeout, patience) = (health.timeout, health.detect_for.max(health.timeout));
            let mut asking: Asking<(Duration, Probe)> =
                Box::pin(async move { (now, port.probe_for(&health, patience).await) });
            match tokio::time::timeout(timeout, &mut asking).await {
                Ok((began, probe)) => First::Ended(began, probe),
                Err(_) => First::Silent(now, asked.not_within(timeout), asking),
            }
        }));
    }

    fn met(&mut self, first: First) {
        match first {
            First::Ended(began, probe) => self.take_in(began, &probe),
            First::Silent(began, why, asking) => {
                self.late.push(asking);
                self.take_in(began, &why);
            }
        }
    }

    fn came_late(&mut self, began: Duration, probe: &Probe) {
        // That it was silent is known.
        if matches!(probe, Probe::Answered { .. }) {
            self.take_in(began, probe);
        }
    }

    fn take_in(&mut self, began: Duration, probe: &Probe) {
        let ended = self.at(self.world.clock.since_boot());
        self.known = self.known.after(probe, self.at(began), ended, &self.health);
    }
}

/// How a line of evidence begins.
pub(super) const EVIDENCE: &str = "evidence of ";

/// What a judgement rests on, each witness in a line.
pub(super) fn evidence(verdict: &Verdict) -> Vec<String> {
    let lines = verdict.witnesses.iter().map(|witness| {
        let who = witness.region.as_ref().map_or("this run", RegionId::as_str);
        let failure = witness.evidence.as_ref().filter(|known| known.silent_for.is_some());
        let failure = failure.and_then(|known| known.failure.as_ref()).map(|why| format!(": {why}"));
        format!("{EVIDENCE}{who}: {}, {}{}", witness.word.as_str(), witness.why, failure.unwrap_or_default())
    });
    lines.collect()
}
