//! `failover drill`: whether the copies that are kept can be read, and whether machines would start from them.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::super::super::args::duration;
use super::super::super::error::CliError;
use super::super::super::exit::Exit;
use super::super::super::session::Session;
use crate::fleet::DrillOptions;
use crate::model::{RegionId, ResourceId};
use crate::render::drill;

/// Read the copies that are kept, start machines from them, and say whether all is well
///
/// Every byte of each newest copy is read. Where a region has a `drill_start`, a VM's copy is laid at a place of its own,
/// started under the id `drill-ID`, watched for a while, stopped and removed. No role and no machine is touched; a failover
/// ends a drill. Exit 3: not all is well; 1: nothing is.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region failover drill us-east-1
  debvisor-region failover drill us-east-1 --to us-west-1 --for 1m
  debvisor-region failover drill --vm web-vm-1 --format json")]
pub(crate) struct Drill {
    /// Only what this region holds [default: everything]
    #[arg(value_name = "REGION")]
    from: Option<RegionId>,
    /// Only this VM; may be repeated
    #[arg(long, value_name = "ID")]
    vm: Vec<ResourceId>,
    /// Look at the copies that this region keeps [default: each one's freshest]
    #[arg(long, value_name = "REGION")]
    to: Option<RegionId>,
    /// Each machine must go on running for so long
    #[arg(long = "for", value_name = "DUR", default_value = "5s", value_parser = duration)]
    watched: Duration,
}

impl Drill {
    pub(super) async fn run(self, session: &Arc<Session>) -> Result<Exit, CliError> {
        let Self { from, vm, to, watched } = self;
        let fleet = session.fleet()?;
        let (watch, feed) = session.watch_for_people();
        let options = DrillOptions { from, only: vm.into_iter().collect(), to: to.clone(), watched };
        let report = fleet.drill(&options, &watch).await;
        feed.end();
        let report = report?;
        session.print(&report, |look| drill::report(&report, to.as_ref(), look))?;
        Ok(report.class().into())
    }
}
