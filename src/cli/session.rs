//! What a running command has at hand: its options, its streams, the topology, the fleet.

use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::args::{Format, Globals};
use super::error::CliError;
use crate::config::{self, Loaded};
use crate::execute::event::EventSink;
use crate::fleet::{Desired, MultiRegionManager, Settings, Watch};
use crate::host::Host;
use crate::model::World;
use crate::render::document;
use crate::render::event::{Bars, Feed, JsonLines, Later, Lines, View};
use crate::render::{Look, Printer, Talk};
use crate::state::StateFile;

/// One command's surroundings.
pub(crate) struct Session {
    /// The options of every command.
    pub(crate) globals: Globals,
    /// Time and ids.
    pub(crate) world: World,
    /// Who and where we are.
    pub(crate) host: Host,
    /// Where to write.
    pub(crate) printer: Arc<Printer>,
    /// Cancelled by the first signal.
    pub(crate) cancel: CancellationToken,
    /// The command line as it was typed.
    pub(crate) command_line: String,
    pub(super) input: Mutex<Option<Box<dyn BufRead + Send>>>,
    pub(super) loaded: Mutex<Option<Arc<Loaded>>>,
    pub(super) feed: Mutex<Option<Arc<Feed>>>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("globals", &self.globals).finish_non_exhaustive()
    }
}

impl Session {
    /// Loads the topology. Once more in the same process, it is read anew.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub(crate) fn load(&self) -> Result<Arc<Loaded>, CliError> {
        let loaded = Arc::new(config::load(self.globals.topology.as_deref())?);
        *self.loaded.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&loaded));
        Ok(loaded)
    }

    /// The topology that was loaded last, for showing errors at their lines.
    pub(crate) fn loaded(&self) -> Option<Arc<Loaded>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The fleet that the topology declares.
    ///
    /// # Errors
    /// All that is wrong with the topology.
    pub(crate) fn fleet(&self) -> Result<MultiRegionManager, CliError> {
        let loaded = self.load()?;
        let settings = Settings {
            state: self.state_beside(&loaded.path),
            parallelism: usize::try_from(self.globals.parallelism).unwrap_or(Settings::DEFAULT_PARALLELISM),
            lock_timeout: self.globals.lock_timeout,
            who: self.host.who(),
            command: self.command_line.clone(),
        };
        let desired = Desired { topology: loaded.topology.clone(), path: loaded.path.display().to_string() };
        Ok(MultiRegionManager::new(self.world.clone(), settings, desired))
    }

    fn state_beside(&self, topology: &Path) -> PathBuf {
        self.globals.state.clone().unwrap_or_else(|| StateFile::default_path(topology, topology.is_dir()))
    }

    /// The state file, found without reading the topology: its history must be there on the day that the files are
    /// broken.
    ///
    /// # Errors
    /// Where neither a state file nor a topology is named or found.
    pub(crate) fn state_file(&self) -> Result<StateFile, CliError> {
        if let Some(path) = &self.globals.state {
            return Ok(StateFile::new(path));
        }
        // A named topology that is not there may still have its state beside it.
        let topology = match &self.globals.topology {
            Some(path) => path.clone(),
            None => config::locate(None)?.0,
        };
        Ok(StateFile::new(StateFile::default_path(&topology, topology.is_dir())))
    }

    /// Prints a result: for people by `people`, for programs as the document that `value` is.
    ///
    /// # Errors
    /// Where it has no form in that format.
    pub(crate) fn print<T: Serialize>(&self, value: &T, people: impl FnOnce(&Look) -> String) -> Result<(), CliError> {
        let text = match self.globals.format {
            Format::Table => people(self.printer.output_look()),
            Format::Json => document::json(value)?,
            Format::Yaml => document::yaml(value)?,
            Format::Markdown => {
                return Err(CliError::Usage("markdown is a format of `plan` and `show` only".to_owned()));
            }
        };
        self.printer.result(&text);
        Ok(())
    }

    /// Whether results are for people.
    pub(crate) fn for_people(&self) -> bool {
        self.globals.format == Format::Table
    }

    /// Whether a person can be asked.
    pub(crate) fn can_ask(&self) -> bool {
        let terminal = self.printer.terminal();
        terminal.input_tty && terminal.error.tty && !self.globals.no_input && self.for_people()
    }

    /// Watches a run: shows its events as the format and the terminal ask for. `actions` tells how many there will
    /// be, once that is known.
    pub(crate) fn watch(&self, actions: Arc<std::sync::atomic::AtomicUsize>) -> (Watch, Arc<Feed>) {
        let printer = Arc::clone(&self.printer);
        let lines = self.globals.format == Format::Json;
        let bars = self.for_people() && !printer.draw_target().is_hidden();
        let shown = self.printer.talk() >= Talk::Normal;
        let make = {
            let printer = Arc::clone(&printer);
            move || -> Box<dyn View> {
                if lines {
                    Box::new(JsonLines::new(printer))
                } else if bars {
                    Box::new(Bars::new(printer, actions.load(std::sync::atomic::Ordering::Relaxed)))
                } else {
                    Box::new(Lines::new(printer))
                }
            }
        };
        debug_assert!(shown || !bars, "hidden bars are no bars");
        let feed = Arc::new(Feed::new(Box::new(Later::new(printer, make))));
        *self.feed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&feed));
        let events: Arc<dyn EventSink> = feed.clone();
        (Watch { events, cancel: self.cancel.clone() }, feed)
    }

    /// Says a line to people, between the events of a run if one is shown.
    pub(crate) fn say(&self, line: &str) {
        match &*self.feed.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(feed) if feed.is_open() => feed.say(line),
            Some(_) | None => self.printer.note(line),
        }
    }

    /// Has everything shown that a run told.
    pub(super) fn end_feed(&self) {
        let feed = self.feed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(feed) = feed {
            feed.end();
        }
    }
}
