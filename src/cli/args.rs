//! The command line as a type. Doc comments here and in `command` are the help texts: imperative, without a full
//! stop.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, ValueEnum};

use super::command::Command;
use crate::fleet::Settings;
use crate::model::units::parse_duration;
use crate::render::ColorChoice;

/// Declarative replication and failover for regions of Debian/KVM hypervisors
///
/// Regions, pairs and protected machines are declared in TOML files. `plan` shows what differs from the live regions,
/// `apply` makes it so, `reconcile` keeps it so. Without a command: `status`.
#[derive(Debug, Parser)]
#[command(
    name = "debvisor-region",
    bin_name = "debvisor-region",
    version,
    disable_help_subcommand = true,
    after_help = "Examples:
  debvisor-region init                        # write a first topology
  debvisor-region plan                        # show what would be done
  debvisor-region apply                       # do it, after a question
  debvisor-region                             # show what is wrong, and how far replicas lag

Exit codes:
    0  done, or nothing to do             4  the state is locked by another run
    1  failed                             5  refused for safety before the first change
    2  plan --detailed-exitcode: changes  64  the command line is wrong
    3  partly done; the rest stands     130  interrupted"
)]
pub struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub globals: Globals,
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options everywhere")]
pub struct Globals {
    /// Read the topology from this file, or from the TOML files of this directory [default: topology.toml, else
    /// topology/]
    #[arg(long, global = true, value_name = "PATH", env = "DEBVISOR_REGION_TOPOLOGY", hide_env_values = true)]
    pub topology: Option<PathBuf>,
    /// Keep the state in this file [default: debvisor-region.state.db beside the topology file, or inside the
    /// topology directory]
    #[arg(long, global = true, value_name = "PATH")]
    pub state: Option<PathBuf>,
    /// Print results in this format
    #[arg(long, global = true, value_enum, value_name = "FORMAT", default_value_t)]
    pub format: Format,
    /// Use colours
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t)]
    pub color: Color,
    /// Never ask; refuse what would need an answer
    #[arg(long, global = true)]
    pub no_input: bool,
    /// Print results and errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Print every entry and every reason; with JSON, words for people too
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// Run so many actions at once
    #[arg(
        long, global = true, value_name = "N", default_value_t = Settings::DEFAULT_PARALLELISM as u32,
        value_parser = clap::value_parser!(u32).range(1..=1000)
    )]
    pub parallelism: u32,
    /// Wait so long for the lock of the state, such as 90s or 5m
    #[arg(long, global = true, value_name = "DUR", default_value = "0s", value_parser = duration)]
    pub lock_timeout: Duration,
}

/// A format of results.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Table,
    /// One JSON document; `apply` prints one object a line while it works
    Json,
    /// The same document as YAML
    Yaml,
    /// A comment for a pull request: `plan` and `show` only
    Markdown,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    /// Also into files and pipes
    Always,
    /// Not at all
    Never,
}

impl From<Color> for ColorChoice {
    fn from(color: Color) -> Self {
        match color {
            Color::Auto => Self::Auto,
            Color::Always => Self::Always,
            Color::Never => Self::Never,
        }
    }
}

/// Reads a duration with its unit.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}
