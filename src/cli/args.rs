//! The command line as a type. Doc comments here and in `command` are the help texts: imperative, without a full
//! stop.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::Styles;
use clap::builder::styling::{AnsiColor, Style};
use clap::{Arg, ArgAction, Args, CommandFactory, Parser, ValueEnum};

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
  debvisor-region init     # write a first topology
  debvisor-region plan     # show what would be done
  debvisor-region apply    # do it, after a question
  debvisor-region          # show what is wrong, and how far replicas lag

Exit codes:
  0  done, or nothing to do        4  the state is locked by another run
  1  failed                        5  refused for safety
  2  plan --detailed-exitcode     64  the command line is wrong
  3  partly done; the rest stands 130  interrupted"
)]
pub(crate) struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub(crate) globals: Globals,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options everywhere")]
pub(crate) struct Globals {
    /// Read the topology from this file, or from the TOML files of this directory [default: topology.toml, else
    /// topology/]
    #[arg(long, global = true, value_name = "PATH", env = "DEBVISOR_REGION_TOPOLOGY", hide_env_values = true)]
    pub(crate) topology: Option<PathBuf>,
    /// Keep the state in this file [default: debvisor-region.state.db beside the topology file, or inside the
    /// topology directory]
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) state: Option<PathBuf>,
    /// Show regions the credentials of this file [default: /etc/debvisor/region/credentials.toml where it exists]
    #[arg(long, global = true, value_name = "FILE", env = "DEBVISOR_REGION_CREDENTIALS", hide_env_values = true)]
    pub(crate) credentials: Option<PathBuf>,
    /// Send `DEBVISOR_REGION_TOKEN_<REGION>` to this origin though the state does not record it yet; may be repeated
    #[arg(long, global = true, value_name = "ORIGIN")]
    pub(crate) trust_origin: Vec<String>,
    /// Print results in this format
    #[arg(long, global = true, value_enum, value_name = "FORMAT", default_value_t)]
    pub(crate) format: Format,
    /// Use colours
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t)]
    pub(crate) color: Color,
    /// Never ask; refuse what would need an answer
    #[arg(long, global = true)]
    pub(crate) no_input: bool,
    /// Print results and errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Print every entry and every reason; with JSON, words for people too
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
    /// Run so many actions at once
    #[arg(
        long, global = true, value_name = "N", default_value_t = Settings::DEFAULT_PARALLELISM as u32,
        value_parser = clap::value_parser!(u32).range(1..=1000)
    )]
    pub(crate) parallelism: u32,
    /// Wait so long for the lock of the state, such as 90s or 5m [default: 0s]
    #[arg(long, global = true, value_name = "DUR", value_parser = duration)]
    pub(crate) lock_timeout: Option<Duration>,
}

/// A format of results.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
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
pub(crate) enum Color {
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

impl Cli {
    /// The command line, as it is parsed and as its help is printed: `--help` is as short as `-h`, and says first what
    /// the command is for.
    pub(super) fn shaped() -> clap::Command {
        let plain = Style::new();
        let styles = Styles::styled()
            .header(plain.bold())
            .usage(plain.bold())
            .literal(plain)
            .placeholder(plain.dimmed())
            .error(plain.fg_color(Some(AnsiColor::Red.into())))
            .valid(plain.fg_color(Some(AnsiColor::Green.into())))
            .invalid(plain.fg_color(Some(AnsiColor::Yellow.into())));
        shape(Self::command().styles(styles))
    }

    /// The same where no variable of the environment is heard.
    pub(super) fn without_environment() -> clap::Command {
        ["topology", "credentials"]
            .into_iter()
            .fold(Self::shaped(), |command, id| command.mut_arg(id, |arg| arg.env(None)))
    }
}

fn shape(mut command: clap::Command) -> clap::Command {
    let names: Vec<String> = command.get_subcommands().map(|inner| inner.get_name().to_owned()).collect();
    for name in names {
        command = command.mut_subcommand(name, shape);
    }
    // The first paragraph is the summary, which stands there already.
    let more = command.get_long_about().map(ToString::to_string);
    let more = more.and_then(|text| text.split_once("\n\n").map(|(_, more)| more.to_owned()));
    let help = Arg::new("help").short('h').long("help").action(ArgAction::HelpShort);
    let help = help.help("Print help").help_heading(None::<&str>);
    if let Some(more) = more {
        // An empty one would still leave its empty lines.
        command = command.before_help(more);
    }
    command
        .disable_help_flag(true)
        .arg(help)
        .help_template("{about-with-newline}\n{before-help}{usage-heading} {usage}\n\n{all-args}{after-help}")
}

/// Reads a duration with its unit.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

/// Between two rounds somebody else must find time for theirs.
const INTERVAL_MIN: Duration = Duration::from_secs(1);

/// Reads the time between two rounds of what goes on until a signal comes.
pub(super) fn interval(text: &str) -> Result<Duration, String> {
    let interval = duration(text)?;
    if interval < INTERVAL_MIN { Err("the least interval is 1s".to_owned()) } else { Ok(interval) }
}
