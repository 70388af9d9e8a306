//! What a person takes upon themselves: the options that let a gate pass, shared by the commands that have gates.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;

use super::super::super::args::duration;
use crate::failover::Overrides;
use crate::model::RegionId;

/// How a person knows that a region is stopped, or gone for good.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Known {
    /// The old side is stopped, and this is how you know; kept in the history
    #[arg(long, value_name = "HOW YOU KNOW")]
    fenced: Option<String>,
    /// A region never comes back as it was, and this is how you know; it starts nothing before `region readmit`
    #[arg(long, value_name = "REGION=HOW YOU KNOW", value_parser = gone)]
    gone: Vec<(RegionId, String)>,
}

impl Known {
    pub(super) fn overrides(self) -> Overrides {
        Overrides { fenced: self.fenced, gone: self.gone.into_iter().collect(), ..Overrides::default() }
    }
}

/// The options that let the other gates pass.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Given {
    /// What is known.
    #[command(flatten)]
    known: Known,
    /// Lose up to this much of what was written last, where more than was promised would be lost
    #[arg(long, value_name = "DUR", value_parser = duration)]
    accept_data_loss: Option<Duration>,
    /// Let the fence stop machines that are not moved
    #[arg(long)]
    accept_collateral: bool,
    /// Let the target hold more than it is declared for
    #[arg(long)]
    ignore_capacity: bool,
    /// Let the pause after the last automatic failover count for nothing
    #[arg(long)]
    ignore_cooldown: bool,
}

impl Given {
    pub(super) fn overrides(self) -> Overrides {
        let Self { known, accept_data_loss, accept_collateral, ignore_capacity, ignore_cooldown } = self;
        Overrides { accept_data_loss, accept_collateral, ignore_capacity, ignore_cooldown, ..known.overrides() }
    }
}

/// The regions that are gone, of options that have no others.
#[derive(Debug, Clone, Default, Args)]
pub(in super::super) struct Gone {
    /// A region never comes back as it was, and this is how you know; it starts nothing before `region readmit`
    #[arg(long, value_name = "REGION=HOW YOU KNOW", value_parser = gone)]
    gone: Vec<(RegionId, String)>,
}

impl Gone {
    pub(in super::super) fn regions(self) -> BTreeMap<RegionId, String> {
        self.gone.into_iter().collect()
    }
}

fn gone(text: &str) -> Result<(RegionId, String), String> {
    let (region, how) = text.split_once('=').ok_or("say how you know: REGION=\"how you know\"")?;
    let region = region.parse().map_err(|error| format!("`{region}`: {error}"))?;
    if how.trim().is_empty() {
        return Err("say how you know: REGION=\"how you know\"".to_owned());
    }
    Ok((region, how.to_owned()))
}
