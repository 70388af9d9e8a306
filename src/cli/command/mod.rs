//! One file per command: its arguments, whose doc comments are its help, and a short run. No logic lives here; what a
//! command does is `fleet`'s, `config`'s or `state`'s, how it looks is `render`'s.

mod status;
mod init;
mod import;
mod validate;
mod fmt;
mod schema;
mod plan;
mod show;
mod apply;
mod reconcile;
mod region;
mod replication;
mod pair;
mod vm;
mod failover;
mod global;
mod graph;
mod history;
mod state;
mod completions;
mod man;
mod serve;
mod thaw_guard;
mod exec_guard;

/// Results that are nobody's but their command's.
pub(super) mod printed {
    pub(in crate::cli) use super::failover::take_over::Taken;
    pub(in crate::cli) use super::fmt::Laid;
    pub(in crate::cli) use super::init::Begun;
    pub(in crate::cli) use super::replication::{Discarded, Exported, Kept};
    pub(in crate::cli) use super::state::Copied;
    pub(in crate::cli) use super::validate::Valid;
}

use std::sync::Arc;

use clap::Subcommand;

use super::error::CliError;
use super::exit::Exit;
use super::session::Session;

/// What the program does. Each command's own type has its help.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Status(status::Status),
    Init(init::Init),
    Import(import::Import),
    Validate(validate::Validate),
    Fmt(fmt::Fmt),
    Schema(schema::Schema),
    Plan(plan::Plan),
    Show(show::Show),
    Apply(apply::Apply),
    Reconcile(reconcile::Reconcile),
    /// Declare regions, look at them and their health
    #[command(
        subcommand,
        after_help = "Examples:
  debvisor-region region list
  debvisor-region region add us-west-1 \"US West 1\" https://west.example:5000
  debvisor-region region health-check us-west-1"
    )]
    Region(region::Region),
    /// Declare what is copied where, look at replicas and their recovery points
    #[command(
        subcommand,
        after_help = "Examples:
  debvisor-region replication setup us-east-1 us-west-1 vm --interval 300
  debvisor-region replication list
  debvisor-region replication points web-vm-1"
    )]
    Replication(replication::Replication),
    /// Declare virtual machines, list them, restore one
    #[command(
        subcommand,
        after_help = "Examples:
  debvisor-region vm replicate web-vm-1 us-east-1 us-west-1
  debvisor-region vm list
  debvisor-region vm where web-vm-1"
    )]
    Vm(vm::Vm),
    /// Move what a region holds to another region, and look at such moves
    #[command(
        subcommand,
        after_help = "Examples:
  debvisor-region failover execute us-east-1 us-west-1 --dry-run
  debvisor-region failover drill
  debvisor-region failover history"
    )]
    Failover(failover::Failover),
    Graph(graph::Graph),
    Global(global::Global),
    History(history::History),
    /// Look at the state file, back it up, make it anew
    #[command(
        subcommand,
        after_help = "Examples:
  debvisor-region state show
  debvisor-region state backup state-of-today.db"
    )]
    State(state::State),
    Serve(serve::Serve),
    Completions(completions::Completions),
    Man(man::Man),
    #[command(name = super::session::GUARD)]
    ThawGuard(thaw_guard::ThawGuard),
    #[command(name = super::session::EXEC_GUARD)]
    ExecGuard(exec_guard::ExecGuard),
}

impl Command {
    /// Without a command on the command line.
    pub(crate) const fn when_bare() -> Self {
        Self::Status(status::Status::once())
    }

    /// Whether the command looks after signals by itself.
    pub(crate) const fn minds_signals(&self) -> bool {
        match self {
            Self::Status(command) => command.watches(),
            command => matches!(command, Self::ThawGuard(_) | Self::ExecGuard(_) | Self::Serve(_)),
        }
    }

    /// Does it.
    ///
    /// # Errors
    /// Where it could not be done, or was refused.
    pub(crate) async fn run(self, session: Arc<Session>) -> Result<Exit, CliError> {
        match self {
            Self::Status(command) => command.run(&session).await,
            Self::Init(command) => command.run(&session),
            Self::Import(command) => command.run(&session).await,
            Self::Validate(command) => command.run(&session),
            Self::Fmt(command) => command.run(&session),
            Self::Schema(command) => command.run(&session),
            Self::Plan(command) => command.run(&session).await,
            Self::Show(command) => command.run(&session),
            Self::Apply(command) => command.run(&session).await,
            Self::Reconcile(command) => command.run(&session).await,
            Self::Region(command) => command.run(&session).await,
            Self::Replication(command) => command.run(&session).await,
            Self::Vm(command) => command.run(&session).await,
            Self::Failover(command) => command.run(&session).await,
            Self::Graph(command) => command.run(&session),
            Self::Global(command) => command.run(&session).await,
            Self::History(command) => command.run(&session),
            Self::State(command) => command.run(&session).await,
            Self::Serve(command) => command.run(&session).await,
            Self::Completions(command) => command.run(&session),
            Self::Man(command) => command.run(&session),
            Self::ThawGuard(command) => command.run(&session).await,
            Self::ExecGuard(command) => Ok(command.run(&session)),
        }
    }
}
