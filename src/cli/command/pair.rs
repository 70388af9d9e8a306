//! `replication setup`, `pause`, `resume` and `remove`: declaring pairs of regions.

use std::sync::Arc;
use std::time::Duration;

use clap::{ArgAction, Args};

use super::super::args::duration;
use super::super::declare::{Declaration, How, declare, ground, not_declared};
use super::super::error::CliError;
use super::super::exit::Exit;
use super::super::session::Session;
use crate::config::edit::{Edit, PairEdit};
use crate::model::{Address, BitRate, PairId, RegionId, ResourceType};

/// A duration with its unit, or a number of seconds.
fn interval(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(0) => Err("an interval of 0 would make everything due all the time".to_owned()),
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
        Err(_) => duration(text),
    }
}

/// Declare what is copied from one region to another
///
/// Edits the topology's file in place and shows the diff. A pair that is declared already carries exactly TYPES from
/// then on; settings that are not said stay.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region replication setup us-east-1 us-west-1 vm,config
  debvisor-region replication setup us-east-1 eu-west-1 vm --interval 600
  debvisor-region replication setup berlin munich vm --bidirectional --apply")]
pub(crate) struct Setup {
    /// The region that is copied from
    #[arg(value_name = "SOURCE")]
    source: RegionId,
    /// The region that is copied to
    #[arg(value_name = "TARGET")]
    target: RegionId,
    /// What is copied: vm, storage, network, config, state
    #[arg(value_name = "TYPE,…", value_delimiter = ',', num_args = 1, required = true)]
    types: Vec<ResourceType>,
    /// A resource is due again after so long: seconds, or such as 5m [default: 5m]
    #[arg(long, value_name = "DUR", value_parser = interval)]
    interval: Option<Duration>,
    /// Also serve resources born at the target, in the other direction
    #[arg(
        long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        action = ArgAction::Set
    )]
    bidirectional: Option<bool>,
    /// Lower goes first [default: 1]
    #[arg(long, value_name = "N")]
    priority: Option<u32>,
    /// So many resources in one request [default: 100]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    batch_size: Option<u32>,
    /// Compress blocks on the way [default: true]
    #[arg(
        long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        action = ArgAction::Set
    )]
    compression: Option<bool>,
    /// Use at most so much of the link, such as "200 Mbit/s" [default: all of it]
    #[arg(long, value_name = "RATE")]
    bandwidth_limit: Option<BitRate>,
    /// What becomes of it.
    #[command(flatten)]
    how: How,
}

impl Setup {
    pub(super) async fn run(self, session: &Arc<Session>) -> Result<Exit, CliError> {
        let Self {
            source,
            target,
            types,
            interval,
            bidirectional,
            priority,
            batch_size,
            compression,
            bandwidth_limit,
            how,
        } = self;
        let id = PairId { source, target };
        let declaration = Declaration {
            concerns: vec![Address::Replication(id.clone())],
            gone: false,
            already: format!("the pair {id} is declared so already"),
            edits: vec![Edit::Pair(PairEdit {
                id,
                resource_types: Some(types.into_iter().collect()),
                sync_interval: interval,
                batch_size,
                priority,
                enabled: None,
                bidirectional,
                compression,
                bandwidth_limit,
                paused: None,
            })],
        };
        declare(session, ground(session)?, declaration, how).await
    }
}

/// Let a pair's copies rest, in the topology's files
///
/// Writes `paused = true`. The pair stays what feeds its target, whose points grow older; `status` and `plan` say so.
/// `replication sync` still copies by hand, and failovers go on.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region replication pause us-east-1 eu-west-1
  debvisor-region replication pause us-east-1 eu-west-1 --apply")]
pub(crate) struct Pause {
    /// Which
    #[command(flatten)]
    pair: Pair,
}

/// Let a paused pair go on, in the topology's files
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region replication resume us-east-1 eu-west-1 --apply")]
pub(crate) struct Resume {
    /// Which
    #[command(flatten)]
    pair: Pair,
}

/// A pair, and what becomes of the edit.
#[derive(Debug, Args)]
struct Pair {
    /// The region that is copied from
    #[arg(value_name = "SOURCE")]
    source: RegionId,
    /// The region that is copied to
    #[arg(value_name = "TARGET")]
    target: RegionId,
    /// What becomes of it.
    #[command(flatten)]
    how: How,
}

impl Pause {
    pub(super) async fn run(self, session: &Arc<Session>) -> Result<Exit, CliError> {
        self.pair.rests(session, true).await
    }
}

impl Resume {
    pub(super) async fn run(self, session: &Arc<Session>) -> Result<Exit, CliError> {
        self.pair.rests(session, false).await
    }
}

impl Pair {
    async fn rests(self, session: &Arc<Session>, paused: bool) -> Result<Exit, CliError> {
        let Self { source, target, how } = self;
        let id = PairId { source, target };
        let already = if paused { "paused already" } else { "not paused" };
        let declaration = Declaration {
            concerns: vec![Address::Replication(id.clone())],
            gone: false,
            already: format!("the pair {id} is {already}"),
            edits: vec![Edit::Pair(PairEdit { paused: Some(paused), ..PairEdit::of(id) })],
        };
        declare(session, ground(session)?, declaration, how).await
    }
}

/// Take a pair out of the topology's files
///
/// A pair that feeds a replica stays: what lacks it then is told line by line. No data is deleted.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region replication remove us-east-1 eu-west-1
  debvisor-region replication remove us-east-1 eu-west-1 --apply")]
pub(crate) struct Remove {
    /// Which
    #[command(flatten)]
    pair: Pair,
}

impl Remove {
    pub(super) async fn run(self, session: &Arc<Session>) -> Result<Exit, CliError> {
        let Pair { source, target, how } = self.pair;
        let ground = ground(session)?;
        let known: Vec<String> = ground.loaded.topology.pairs.keys().map(ToString::to_string).collect();
        let id = PairId { source, target };
        let declaration = Declaration {
            concerns: vec![Address::Replication(id.clone())],
            gone: true,
            already: not_declared(&format!("the pair {id}"), &id.to_string(), known.iter().map(String::as_str)),
            edits: vec![Edit::NoPair(id)],
        };
        declare(session, ground, declaration, how).await
    }
}
