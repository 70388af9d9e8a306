//! The lines of what moves: each resource's own, ranges of those that say the same, or of those that are alike.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::failover::Move;
use crate::model::RegionId;
use crate::render::plan::rows;
use crate::render::text::brief;

/// Names, and for each step, point, age, kind and loss. More lines than `most` are put together where that can be.
pub(super) fn rows(moves: &[&Move], most: usize) -> Vec<(String, Vec<String>)> {
    let lines = |facts: &dyn Fn(&Move) -> Vec<String>| -> Vec<(String, Vec<String>)> {
        moves.iter().map(|one| (one.resource.to_string(), facts(one))).collect()
    };
    let each = lines(&facts);
    if each.len() <= most {
        return each;
    }
    let gathered = rows::gather(each);
    if gathered.len() <= most {
        return gathered;
    }
    // Ages that all differ leave every resource its line.
    let alike = Alike::of(moves);
    rows::gather(lines(&|one| alike[&Alike::key(one)].facts(one)))
}

/// A move's line but for its name: step, point, age, kind, loss.
fn facts(one: &Move) -> Vec<String> {
    let (point, age) = match &one.point {
        Some(point) => {
            let number = point.name.clone().unwrap_or_else(|| point.sequence.to_string());
            (format!("{number} at {}", point.region), brief(point.age))
        }
        None => ("none yet".to_owned(), String::new()),
    };
    let lost = one.loss.as_ref().map_or_else(String::new, |loss| lost(loss.at_most));
    vec![(one.level + 1).to_string(), point, age, kind(one).to_owned(), lost]
}

fn kind(one: &Move) -> &'static str {
    one.point.as_ref().map_or("", |point| point.kind.as_str())
}

fn lost(most: Duration) -> String {
    if most.is_zero() { "nothing".to_owned() } else { brief(most) }
}

/// Moves that differ in their point's number, its age and the loss alone, which are told by their bounds.
#[derive(Debug, Default)]
struct Alike {
    moves: usize,
    youngest: Option<Duration>,
    oldest: Option<Duration>,
    most: Option<Duration>,
}

impl Alike {
    /// Step, region of the point, its kind.
    fn key(one: &Move) -> (u32, Option<RegionId>, &'static str) {
        (one.level, one.point.as_ref().map(|point| point.region.clone()), kind(one))
    }

    fn of(moves: &[&Move]) -> BTreeMap<(u32, Option<RegionId>, &'static str), Self> {
        let mut alike: BTreeMap<_, Self> = BTreeMap::new();
        for one in moves {
            let Self { moves, youngest, oldest, most } = alike.entry(Self::key(one)).or_default();
            *moves += 1;
            if let Some(point) = &one.point {
                *youngest = Some(youngest.map_or(point.age, |age| age.min(point.age)));
                *oldest = (*oldest).max(Some(point.age));
            }
            *most = (*most).max(one.loss.as_ref().map(|loss| loss.at_most));
        }
        alike
    }

    /// The line of each of them.
    fn facts(&self, one: &Move) -> Vec<String> {
        let (Some(point), true) = (&one.point, self.moves > 1) else { return facts(one) };
        let bounds = self.youngest.zip(self.oldest).map(|(youngest, oldest)| [youngest, oldest].map(brief));
        let age = bounds.map_or_else(String::new, |[youngest, oldest]| {
            if youngest == oldest { oldest } else { format!("{youngest} to {oldest}") }
        });
        let most = self.most.map_or_else(String::new, |most| match most {
            Duration::ZERO => lost(most),
            most => format!("up to {}", lost(most)),
        });
        vec![(one.level + 1).to_string(), format!("at {}", point.region), age, kind(one).to_owned(), most]
    }
}
