//! The one question before a resource runs anywhere: may it?

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::book::Book;
use super::order::Mandate;
use crate::model::failover::{Attempt, Bid, Direction, Inert, Met, Open, Part, Standings};
use crate::model::region::{Epoch, Role};
use crate::model::{Life, OperationId, RegionId, ResourceKey};

/// What a region's agent knows in this life of it, and forgets with its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// This life.
    pub life: Life,
    /// What the other regions said in it, the latest of each.
    heard: BTreeMap<RegionId, Arc<Standings>>,
    /// Which regions this one knew then: with others it all begins anew.
    registry: BTreeSet<RegionId>,
    /// The latest state in which each of their stores was met.
    met: BTreeMap<RegionId, Met>,
    /// Of which resources every other region has said that it knows no later holder and no open operation. From then
    /// on an operation needs this region's acceptance, or ends this life by a fence.
    abreast: BTreeSet<ResourceKey>,
    /// Of which resources every other region has said besides that they don't run there.
    cleared: BTreeSet<ResourceKey>,
}

impl Agent {
    /// A life that has heard nothing.
    pub const fn new(life: Life) -> Self {
        Self {
            life,
            heard: BTreeMap::new(),
            registry: BTreeSet::new(),
            met: BTreeMap::new(),
            abreast: BTreeSet::new(),
            cleared: BTreeSet::new(),
        }
    }

    /// Takes what other regions said when they were asked in this life, and what follows from all of it.
    ///
    /// Looks only at what this region has a part in and is not clear of yet: once it is clear of everything, another
    /// answer costs no more than to keep it, however many regions and resources there are.
    pub fn hear(&mut self, book: &Book, told: impl IntoIterator<Item = (RegionId, Arc<Standings>)>) {
        if self.registry != book.registry {
            self.registry = book.registry.clone();
            self.heard.clear();
            self.abreast.clear();
            self.cleared.clear();
        }
        for (region, told) in told {
            // A store that went back, or another one, is met in its turn once it was readmitted: its serial is higher
            // then.
            let met = self.met.entry(region.clone()).or_insert(told.met);
            if told.met.serial > met.serial {
                *met = told.met;
            }
            self.heard.insert(region, told);
        }
        let unclear: Vec<&ResourceKey> = book.parts.keys().filter(|key| !self.cleared.contains(*key)).collect();
        if unclear.is_empty() || self.unheard(book).is_some() {
            return;
        }
        for key in unclear {
            match self.obstacle_to(book, key) {
                None => {
                    self.abreast.insert(key.clone());
                    self.cleared.insert(key.clone());
                }
                Some(Hold::RunsAt(_)) => {
                    self.abreast.insert(key.clone());
                }
                Some(_) => {}
            }
        }
    }

    /// Whether every other region has said in this life that nothing speaks against this one's running a resource.
    pub fn is_clear(&self, key: &ResourceKey) -> bool {
        self.cleared.contains(key)
    }

    /// Whether every other region has said in this life that it knows no later holder and no open operation.
    pub fn is_abreast(&self, key: &ResourceKey) -> bool {
        self.abreast.contains(key)
    }

    /// A later attempt at an operation that another region said it accepted. Two attempts may each have passed over the
    /// regions of the other: whoever hears of both goes with the later one, and says so: whoever made it may be gone, and
    /// only one above it leads on. What takes no part in anything is not heard.
    pub(super) fn overtaken<'a>(&'a self, book: &'a Book, operation: OperationId, attempt: Attempt) -> Option<&'a Bid> {
        let known = self.heard_open(book).filter(|(id, _)| **id == operation).map(|(_, open)| &open.bid);
        known.filter(|bid| bid.attempt.number > attempt.number).max_by_key(|bid| bid.attempt.number)
    }

    /// The highest attempts at what is open elsewhere: whoever offers a lower one is refused.
    pub(super) fn heard_of(&self, book: &Book) -> BTreeMap<OperationId, u32> {
        let mut highest: BTreeMap<OperationId, u32> = BTreeMap::new();
        for (id, open) in self.heard_open(book) {
            let known = highest.entry(*id).or_default();
            *known = open.bid.attempt.number.max(*known);
        }
        highest
    }

    /// What is open at the regions that it heard, and which take part.
    fn heard_open<'a>(&'a self, book: &'a Book) -> impl Iterator<Item = (&'a OperationId, &'a Open)> {
        let counts = move |told: &&Arc<Standings>| told.inert.is_none() && !book.gone.contains_key(&told.region);
        self.heard.values().filter(counts).flat_map(|told| &told.open)
    }

    /// The latest states in which the other regions' stores were met.
    pub(super) fn met(&self) -> BTreeMap<RegionId, Met> {
        self.met.clone()
    }

    /// What stands in the way of being clear of a resource; that it runs elsewhere comes last.
    fn obstacle(&self, book: &Book, key: &ResourceKey) -> Option<Hold> {
        self.unheard(book).or_else(|| self.obstacle_to(book, key))
    }

    /// What stands in the way of being clear of anything: a region that was not heard, or whose word does not count.
    fn unheard(&self, book: &Book) -> Option<Hold> {
        others(book).find_map(|region| {
            let counts = |heard: &&Arc<Standings>| heard.inert.is_none() && !self.went_back(heard);
            let Some(heard) = self.heard.get(region).filter(counts) else {
                return Some(Hold::Unheard(region.clone()));
            };
            if heard.registry != book.registry {
                return Some(Hold::OtherRegistry(region.clone()));
            }
            heard.cut_off.contains_key(&book.region).then(|| Hold::CutOff(region.clone()))
        })
    }

    /// Whether it is the word of a store that was met in a later state, or of another one: such a region takes no part in
    /// anything once it hears of that, and until then it may have forgotten what it agreed to.
    fn went_back(&self, told: &Standings) -> bool {
        self.met.get(&told.region).is_some_and(|met| met.store != told.met.store || met.serial > told.met.serial)
    }

    /// What stands in the way of being clear of a resource, where every region was heard.
    fn obstacle_to(&self, book: &Book, key: &ResourceKey) -> Option<Hold> {
        let own = book.parts.get(key).map(Part::age);
        let mut runs = None;
        for region in others(book) {
            let Some(standing) = self.heard.get(region).and_then(|heard| heard.resources.get(key)) else { continue };
            if let Some(operation) = standing.operation {
                return Some(Hold::OpenAt(region.clone(), operation));
            }
            if let Some(theirs) = standing.part.as_ref().filter(|theirs| own.is_some_and(|own| theirs.age() > own)) {
                return Some(Hold::Later(region.clone(), theirs.epoch));
            }
            if standing.running {
                runs = Some(Hold::RunsAt(region.clone()));
            }
        }
        runs
    }
}

/// The regions that must agree before this one starts anything.
fn others(book: &Book) -> impl Iterator<Item = &RegionId> {
    book.registry.iter().filter(|region| **region != book.region && !book.gone.contains_key(*region))
}

/// Why a resource may not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// This region is not its holder.
    Role(Option<Role>),
    /// An operation is open on it here.
    Open(OperationId),
    /// A registered region has not answered in this life.
    Unheard(RegionId),
    /// A region knows other regions.
    OtherRegistry(RegionId),
    /// A region knows that a person cut this one off by hand, and did not let it in since.
    CutOff(RegionId),
    /// A region knows it to be held since a later epoch.
    Later(RegionId, Epoch),
    /// An operation is open on it there.
    OpenAt(RegionId, OperationId),
    /// It runs there, or may.
    RunsAt(RegionId),
    /// This region takes no part in anything.
    Inert(Inert),
    /// The order is another attempt's, or leads to another region.
    Misfit,
    /// The order was made for an earlier life of this region's agent.
    OtherLife,
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Role(Some(role)) => write!(f, "this region's role is {}", role.as_str()),
            Self::Role(None) => f.write_str("this region has no part in it"),
            Self::Open(id) => write!(f, "operation {id} is open on it"),
            Self::Unheard(region) => write!(f, "{region} has not answered since this region's agent started"),
            Self::OtherRegistry(region) => write!(f, "{region} knows other regions"),
            Self::CutOff(region) => {
                write!(f, "{region} knows that this region was cut off by hand, and was not let in since")
            }
            Self::Later(region, epoch) => write!(f, "{region} knows a holder since epoch {epoch}"),
            Self::OpenAt(region, id) => write!(f, "operation {id} is open on it at {region}"),
            Self::RunsAt(region) => write!(f, "it runs at {region}, or may"),
            Self::Inert(inert) => inert.fmt(f),
            Self::Misfit => f.write_str("the order does not fit the attempt that was accepted"),
            Self::OtherLife => f.write_str("the order was made before this region's agent started"),
        }
    }
}

/// Whether a resource may run at the region whose book this is: by an operation's order or, without one, by the
/// region's own decision, after a boot of its host or a start of its agent.
///
/// # Errors
/// [`Hold`]: why not.
pub fn may_run(book: &Book, agent: &Agent, key: &ResourceKey, mandate: Option<&Mandate>) -> Result<(), Hold> {
    if let Some(inert) = book.inert {
        return Err(Hold::Inert(inert));
    }
    match mandate {
        Some(mandate) => ordered(book, agent, key, mandate),
        None => unasked(book, agent, key),
    }
}

/// Every region that is required has accepted the very attempt that orders it, after this life began. The orderer
/// vouches for that; but of a source that was cut off it has no word, and a region that has not heard everybody in this
/// life may itself have been cut off by whoever that source agreed with meanwhile. Such a one needs everybody's word.
fn ordered(book: &Book, agent: &Agent, key: &ResourceKey, mandate: &Mandate) -> Result<(), Hold> {
    let Some(open) = book.open.get(&mandate.operation) else { return Err(Hold::Misfit) };
    if open.bid.attempt != mandate.attempt || *open.bid.starter() != book.region {
        return Err(Hold::Misfit);
    }
    if mandate.life != agent.life {
        return Err(Hold::OtherLife);
    }
    if !book.parts.contains_key(key) {
        return Err(Hold::Role(None));
    }
    if agent.registry != book.registry || !agent.abreast.contains(key) {
        let unheard = others(book).find(|region| !mandate.accepted.contains(*region));
        return unheard.map_or(Ok(()), |region| Err(Hold::Unheard(region.clone())));
    }
    Ok(())
}

/// Every registered region has said in this life that it knows no later holder and no open operation, and does not
/// run it.
fn unasked(book: &Book, agent: &Agent, key: &ResourceKey) -> Result<(), Hold> {
    match book.parts.get(key) {
        Some(part) if part.role == Role::Holder => {}
        other => return Err(Hold::Role(other.map(|part| part.role))),
    }
    if let Some(open) = book.open_on(key) {
        return Err(Hold::Open(open));
    }
    let clear = agent.registry == book.registry && agent.is_clear(key);
    if clear { Ok(()) } else { agent.obstacle(book, key).map_or(Ok(()), Err) }
}

impl Direction {
    /// The name in every format.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Abort => "abort",
        }
    }
}
