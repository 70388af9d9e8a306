//! From the command line to the exit code.

use std::ffi::OsString;
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use clap::FromArgMatches;
use clap::error::ErrorKind;
use tokio_util::sync::CancellationToken;

use super::args::{Cli, Format};
use super::command::Command;
use super::error::CliError;
use super::exit::Exit;
use super::finish;
use super::panic::{self, words};
use super::session::Session;
use super::signal::Signals;
use crate::host::Host;
use crate::model::World;
use crate::render::{ColorChoice, Printer, Report, Streams, Talk, report};

/// Runs the program: `args` with its own name first, in `world`, on `streams`.
///
/// Prints nothing that is not on `streams`, and always comes back: the caller ends the process.
pub fn run(args: Vec<OsString>, world: World, streams: Streams) -> ExitCode {
    start(&args, world, streams).into()
}

fn start(args: &[OsString], world: World, streams: Streams) -> Exit {
    let cli = match parse(args, &streams) {
        Ok(cli) => cli,
        Err(error) => return unparsed(&error, args, streams),
    };
    let Cli { globals, command } = cli;
    let talk = match (globals.quiet, globals.verbose, globals.format) {
        (true, ..) => Talk::Errors,
        (false, true, _) => Talk::More,
        (false, false, Format::Json) => Talk::Errors,
        (false, false, Format::Table | Format::Yaml | Format::Markdown) => Talk::Normal,
    };
    let (printer, input) = Printer::new(streams, globals.color.into(), talk);
    let session = Arc::new(Session {
        globals,
        world,
        host: Host::current(),
        printer: Arc::new(printer),
        cancel: CancellationToken::new(),
        command_line: typed(args),
        input: Mutex::new(Some(input)),
        loaded: Mutex::default(),
        feed: Mutex::default(),
    });
    let command = command.unwrap_or_else(Command::when_bare);
    let result = std::panic::catch_unwind(AssertUnwindSafe(|| drive(command, &session)))
        .unwrap_or_else(|panic| Err(CliError::Bug(words(&*panic))));
    session.end_feed();
    let result = match (result, panic::take()) {
        (Ok(Exit::Done) | Err(CliError::Bug(_)), Some(bug)) => Err(CliError::Bug(bug)),
        (result, Some(bug)) => {
            finish::tell(&session, &CliError::Bug(bug).reports(None));
            result
        }
        (result, None) => result,
    };
    let exit = result.unwrap_or_else(|error| {
        finish::tell(&session, &error.reports(session.loaded().as_deref()));
        error.exit()
    });
    match session.printer.take_failure() {
        Some(error) => {
            let report = Report::new("output", format!("the result could not be written: {error}"));
            finish::tell(&session, &[report]);
            if exit == Exit::Done { Exit::Failed } else { exit }
        }
        None => exit,
    }
}

/// Runs the command beside the signals, and leaves what does not come to an end behind.
fn drive(command: Command, session: &Arc<Session>) -> Result<Exit, CliError> {
    let failed = |error: std::io::Error| CliError::Unfit {
        message: format!("the program cannot start here: {error}"),
        help: Some("It needs threads and timers; look at the limits of this process.".to_owned()),
    };
    let command = match command {
        // It becomes another program, and needs nothing until then.
        Command::ExecGuard(command) => return Ok(command.run(session)),
        command => command,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(failed)?;
    let result = runtime.block_on(async {
        if command.minds_signals() {
            return command.run(Arc::clone(session)).await;
        }
        let signals = Signals::install().map_err(failed)?;
        let running = tokio::spawn(command.run(Arc::clone(session)));
        tokio::select! {
            ended = running => ended.unwrap_or_else(|error| Err(CliError::Bug(match error.try_into_panic() {
                Ok(panic) => words(&*panic),
                Err(error) => error.to_string(),
            }))),
            () = signals.forced(Arc::clone(session)) => Ok(Exit::Interrupted),
        }
    });
    // What is still running was told to stop, and what it left is made for being left.
    runtime.shutdown_background();
    result
}

fn parse(args: &[OsString], streams: &Streams) -> Result<Cli, clap::Error> {
    // Through a pager, the window is the one that messages go to.
    let terminal = &streams.terminal;
    let window = || terminal.error_look(ColorChoice::Never).width;
    let width = terminal.output_look(ColorChoice::Never).width.or_else(window).unwrap_or(100).clamp(40, 100);
    let mut command = Cli::shaped().term_width(width);
    let matches = command.try_get_matches_from_mut(args).map_err(|error| {
        // What the environment gives is no part of what must be written.
        let again = Cli::without_environment().term_width(width).try_get_matches_from(args);
        again.err().unwrap_or(error)
    });
    let cli = Cli::from_arg_matches(&matches?)?;
    let markdown = matches!(cli.command, Some(Command::Plan(_) | Command::Show(_)));
    if cli.globals.format == Format::Markdown && !markdown {
        return Err(command.error(ErrorKind::InvalidValue, "markdown is a format of `plan` and `show` only"));
    }
    Ok(cli)
}

/// Help and version are results; anything else is a mistake on the command line, which ends with 64 because 2 means
/// that there are changes.
fn unparsed(error: &clap::Error, args: &[OsString], streams: Streams) -> Exit {
    // The line was not understood, but what it says of presentation counts as far as it can be seen.
    let says = |option: &str, value: &str| {
        let joined = format!("{option}={value}");
        args.windows(2).any(|pair| pair[0] == option && pair[1] == value) || args.iter().any(|arg| *arg == *joined)
    };
    let color = match (says("--color", "always"), says("--color", "never")) {
        (true, _) => ColorChoice::Always,
        (false, true) => ColorChoice::Never,
        (false, false) => ColorChoice::Auto,
    };
    let (printer, _) = Printer::new(streams, color, Talk::Normal);
    let text = error.render().ansi().to_string();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            printer.result(&text);
            Exit::Done
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            printer.error(&text);
            Exit::Usage
        }
        _ if says("--format", "json") => {
            let plain = error.render().to_string();
            // The mistake; how the command is used stands after an empty line.
            let said = plain.lines().map(str::trim).take_while(|line| !line.is_empty());
            let message = said.collect::<Vec<_>>().join(" ");
            let message = message.trim_start_matches("error: ");
            let help = "`--help` shows what the command takes.";
            printer.error(&report::json(&[Report::new("usage", message).with_help(help)]));
            Exit::Usage
        }
        _ => {
            printer.error(&text);
            Exit::Usage
        }
    }
}

/// The command line as a person would type it.
fn typed(args: &[OsString]) -> String {
    let words = args.iter().skip(1).map(|arg| {
        let arg = arg.to_string_lossy();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@+%".contains(c);
        if !arg.is_empty() && arg.chars().all(plain) {
            arg.into_owned()
        } else {
            format!("'{}'", arg.replace('\'', r"'\''"))
        }
    });
    std::iter::once("debvisor-region".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_can_be_typed_again() {
        let args = ["/usr/bin/x", "apply", "--target", "vm.a", "it's"].map(OsString::from);
        assert_eq!(typed(&args), r"debvisor-region apply --target vm.a 'it'\''s'");
    }
}
