//! What a runbook consists of.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::writer::{Writer, moves};
use crate::model::topology::Topology;
use crate::model::{RegionId, ResourceKey};

/// Why no runbook is written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unwritten {
    /// The region is not declared.
    #[error("no region `{0}` is declared")]
    UnknownRegion(RegionId),
    /// Source and target are the same.
    #[error("{0} cannot fail over to itself")]
    SameRegion(RegionId),
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Instruction {
    /// What, in a sentence.
    pub text: String,
    /// What to type.
    pub commands: Vec<String>,
    /// What to expect then.
    pub expect: Option<String>,
}

/// One kind of night.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Chapter {
    /// Its name.
    pub title: String,
    /// How it is told from the others.
    pub when: String,
    /// What to do, in this order.
    pub steps: Vec<Instruction>,
    /// When to stop and to wake somebody else.
    pub stop: Vec<String>,
}

/// A failover from one region to another, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Runbook {
    /// The region that is left.
    pub from: RegionId,
    /// The region that takes over.
    pub to: RegionId,
    /// The topology that it was written from.
    pub topology: String,
    /// What there is, a line each.
    pub facts: Vec<String>,
    /// What moves, in the order of starting: each level after the one before it.
    pub moves: Vec<BTreeSet<ResourceKey>>,
    /// What is born at the source and has no replica at the target.
    pub stays: BTreeSet<ResourceKey>,
    /// The kinds of night.
    pub chapters: Vec<Chapter>,
}

impl Runbook {
    /// Writes it. `place`: where the topology is, as it was read.
    ///
    /// # Errors
    /// [`Unwritten`].
    pub fn write(topology: &Topology, place: &str, from: &RegionId, to: &RegionId) -> Result<Self, Unwritten> {
        if let Some(unknown) = [from, to].into_iter().find(|region| !topology.regions.contains_key(*region)) {
            return Err(Unwritten::UnknownRegion(unknown.clone()));
        }
        if from == to {
            return Err(Unwritten::SameRegion(from.clone()));
        }
        let (moves, stays) = moves(topology, from, to);
        let writer = Writer { topology, from, to, moves: &moves, stays: &stays };
        Ok(Self {
            facts: writer.facts(),
            chapters: vec![
                writer.dead(),
                writer.cut_off(),
                writer.two_regions(),
                writer.both_claim(),
                writer.half_way(),
                writer.bad_point(),
                writer.returns(),
                writer.controller_gone(),
            ],
            from: from.clone(),
            to: to.clone(),
            topology: place.to_owned(),
            moves,
            stays,
        })
    }
}
