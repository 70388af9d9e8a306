//! What a target could not start: where its source gave it up, it is led back; else it is left where it was. And which
//! other ways there are for it.
//!
//! | what | guarantee | a crash here leaves behind |
//! | --- | --- | --- |
//! | lead back | as any attempt that leads back: every region has said that it is promoted nowhere | an operation that is open on the rest, shown first; `abort` does the same |

use std::collections::BTreeSet;
use std::sync::Arc;

use super::conduct::words;
use super::crew::Team;
use super::judgement::Asked;
use crate::execute::failover::{Drive, End};
use crate::failover::{Ending, Progress};
use crate::fleet::error::FleetError;
use crate::fleet::manager::MultiRegionManager;
use crate::model::failover::{Attempt, Direction, PromotedPoint};
use crate::model::listed::listed;
use crate::model::point::{Point, PointState};
use crate::model::{RegionId, ResourceKey};

impl MultiRegionManager {
    /// Leads back what the source gave up and the target did not take, after all else has arrived there.
    pub(super) async fn lead_back_rest(
        &self,
        progress: &Progress,
        team: &mut Team<'_>,
        drive: &Drive<'_>,
    ) -> Result<(), FleetError> {
        let rest = progress.left_behind();
        if rest.is_empty() || progress.bid.direction == Direction::Abort {
            return Ok(());
        }
        let Attempt { number, owner } = progress.bid.attempt;
        let (from, to) = (progress.bid.failover.from.clone(), progress.bid.to.clone());
        let mut back = progress.again(Attempt { number: number + 1, owner }, Direction::Abort, to);
        let failed = team.event.failed.clone();
        let why = match drive.go_on(&mut back, team).await? {
            End::Ended(Ending::Aborted | Ending::Past) => None,
            End::Ended(Ending::Completed | Ending::Withdrawn) => Some("it ended otherwise".to_owned()),
            End::Stuck(impasse) => Some(words(&impasse)),
            End::Behind(_) | End::Interrupted => Some("interrupted".to_owned()),
        };
        team.event.failed = failed;
        let (rest, operation) = (listed(&rest, 4), progress.bid.failover.id);
        team.event.notes.push(match why {
            None => format!("{rest} was led back, and runs at {from} again"),
            Some(why) => {
                format!("{rest} is held by nobody now: {why}; `failover abort {operation}` leads it back to {from}")
            }
        });
        Ok(())
    }

    /// How what could not be started may go elsewhere, or with another point: commands.
    pub(super) async fn other_ways(&self, progress: &Progress, team: &mut Team<'_>) -> Vec<String> {
        let (from, to) = (&progress.bid.failover.from, team.event.to_region_id.clone());
        let (ports, given) = (Arc::clone(&team.ports), given(team));
        let unstarted: Vec<ResourceKey> = team.unstarted.keys().cloned().collect();
        let mut ways = Vec::new();
        for key in &unstarted {
            let points = match ports.get(&to) {
                Some(port) => port.points(key).await.unwrap_or_default(),
                None => Vec::new(),
            };
            let execute = |to: &RegionId| format!("failover execute {from} {to} --vm {}", key.id);
            let before = ways.len();
            ways.extend(earlier(&points, progress.bid.points.get(key)).map(|sequence| {
                let command = format!("{} --point {sequence}{given}", execute(&to));
                format!("an earlier point of {key} is whole, as far as {to} knows: `{command}`")
            }));
            let whole = |region: &&RegionId| {
                let replica = team.known.sight.observed.snapshot(region).and_then(|seen| seen.replicas.get(key));
                replica.is_some_and(|replica| replica.newest.is_some() && replica.damage.is_none())
            };
            let others = ports.keys().filter(|region| *region != from && **region != to).filter(whole);
            ways.extend(others.map(|region| format!("{region} has a copy of {key}: `{}{given}`", execute(region))));
            if ways.len() == before {
                ways.push(format!("`replication points {} --region {to}` lists the points of {key} there", key.id));
            }
        }
        ways
    }

    /// What is held there now and did not start: the command that brings it back to its source, where that takes part.
    pub(super) fn way_back(
        &self,
        progress: &Progress,
        team: &Team<'_>,
        arrived: &BTreeSet<ResourceKey>,
    ) -> Option<String> {
        let (from, to) = (&progress.bid.failover.from, &progress.bid.to);
        let idle: Vec<&ResourceKey> = arrived.iter().filter(|key| team.event.failed.contains_key(*key)).collect();
        if idle.is_empty() || !progress.has_accepted(from) {
            return None;
        }
        let vms: String = idle.iter().map(|key| format!(" --vm {}", key.id)).collect();
        Some(format!(
            "what is held by {to} now and did not start there lost nothing: `failover execute {to} {from}{vms}` brings it \
             back to {from}"
        ))
    }
}

/// The newest whole point before the one that could not be started from, by its number; none asked for: the newest.
fn earlier(points: &[Point], asked: Option<&PromotedPoint>) -> Option<u64> {
    let copies = points.iter().filter(|point| point.name.is_none());
    let newest = copies.clone().map(|point| point.sequence).max();
    let tried = asked.map(|point| point.sequence).or(newest)?;
    let whole = copies.filter(|point| point.state == PointState::Complete && point.sequence < tried);
    whole.map(|point| point.sequence).max()
}

/// What was said of the regions the first time, to be said again.
fn given(team: &Team<'_>) -> String {
    let (Asked::Anew(request, _) | Asked::GoneOn(request, _)) = &team.asked;
    let mut given = String::new();
    if let Some(words) = &request.overrides.fenced {
        given.push_str(&format!(" --fenced {}", quoted(words)));
    }
    for (region, words) in &request.overrides.gone {
        given.push_str(&format!(" --gone {region}={}", quoted(words)));
    }
    given
}

/// One word to a shell, whatever is in it.
fn quoted(words: &str) -> String {
    format!("'{}'", words.replace('\'', r"'\''"))
}
