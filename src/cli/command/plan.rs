//! `plan`: what would be done.

use std::path::{Path, PathBuf};

use clap::Args;

use super::super::args::Format;
use super::super::error::CliError;
use super::super::exit::Exit;
use super::super::session::Session;
use super::super::write::replace;
use crate::fleet::PlanOptions;
use crate::model::Address;
use crate::plan::document::Plan as Document;
use crate::plan::saved;
use crate::render::{document, plan};

/// Show what would be done; take no lock, write nothing
///
/// Compares what the files say, what was applied last, and what is live. A region that does not answer is listed as
/// unobserved, and what depends on it waits.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region plan
  debvisor-region plan --target vm.web-vm-1 --verbose
  debvisor-region plan --out plan.json --format markdown > comment.md
  debvisor-region plan --detailed-exitcode --format json")]
pub(crate) struct Plan {
    /// Save the plan in this file, for `apply FILE`; no file but a saved plan is overwritten
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Exit with 2 where there is something to do, or something that cannot be done now
    #[arg(long)]
    detailed_exitcode: bool,
    /// What to plan for.
    #[command(flatten)]
    scope: Scope,
    /// Plan how the state's record becomes what is live; leave the regions alone
    #[arg(long)]
    refresh_only: bool,
}

/// What a plan takes in. The same for `plan` and `apply`, so that both mean the same.
#[derive(Debug, Clone, Args)]
pub(super) struct Scope {
    /// Only this object and what it needs, such as vm.web-vm-1; may be repeated
    #[arg(long, value_name = "ADDRESS")]
    target: Vec<Address>,
    /// Remove what was managed and is no longer declared; data always stays
    #[arg(long)]
    prune: bool,
    /// Remove so many objects at most [default: 10]
    #[arg(long, value_name = "N")]
    max_prune: Option<u32>,
    /// Take over declared objects that another topology manages
    #[arg(long)]
    adopt: bool,
}

impl Scope {
    pub(super) const fn max_prune(&self) -> Option<u32> {
        self.max_prune
    }

    pub(super) fn options(self, refresh_only: bool) -> PlanOptions {
        let Self { target, prune, max_prune, adopt } = self;
        PlanOptions { targets: target, prune, max_prune, adopt, take_over: false, refresh_only }
    }
}

impl Plan {
    pub(super) async fn run(self, session: &Session) -> Result<Exit, CliError> {
        let Self { out, detailed_exitcode, scope, refresh_only } = self;
        if let Some(path) = &out {
            expect_free(path)?;
        }
        let planned = session.fleet()?.plan(&scope.options(refresh_only)).await?.plan;
        if let Some(path) = &out {
            replace(path, saved::write(&planned).as_bytes())?;
        }
        print(session, &planned)?;
        if let Some(path) = &out {
            session.say(&format!("saved; `debvisor-region apply {}` carries out exactly this", path.display()));
        }
        Ok(if detailed_exitcode && !planned.is_settled() { Exit::Changes } else { Exit::Done })
    }
}

/// Refuses to overwrite a file that is no saved plan.
fn expect_free(path: &Path) -> Result<(), CliError> {
    // A device or a pipe has nothing to lose.
    if !std::fs::metadata(path).is_ok_and(|known| known.is_file()) {
        return Ok(());
    }
    let failed = |source| CliError::File { action: "read", path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(failed)?;
    if saved::is_plan(std::io::BufReader::new(file)) {
        return Ok(());
    }
    Err(CliError::Unfit {
        message: format!("{} is there already and is no saved plan", path.display()),
        help: Some("Name another file, or move this one away: only a saved plan is overwritten.".to_owned()),
    })
}

/// Prints a plan in any format, markdown too.
pub(super) fn print(session: &Session, planned: &Document) -> Result<(), CliError> {
    let text = match session.globals.format {
        Format::Table => plan::people(planned, session.printer.output_look(), session.globals.verbose),
        Format::Json => document::json(planned)?,
        Format::Yaml => document::yaml(planned)?,
        Format::Markdown => plan::markdown(planned),
    };
    session.printer.result(&text);
    Ok(())
}
