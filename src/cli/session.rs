//! What a running command has at hand: its options, its streams, the topology, the fleet.

use std::ffi::OsString;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use schemars::JsonSchema;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::args::{Format, Globals};
use super::error::CliError;
use crate::config::{self, Credentials, Loaded, credentials};
use crate::execute::event::EventSink;
use crate::fleet::{Desired, MultiRegionManager, Settings, Watch};
use crate::host::{Host, HostDisk};
use crate::model::World;
use crate::model::topology::Endpoint;
use crate::render::event::{Bars, Feed, JsonLines, Later, Lines, Tells, View};
use crate::render::{Look, Printer};
use crate::render::{document, text};
use crate::state::StateFile;

/// This program, started once more to thaw what a killed one left frozen.
pub(super) fn guard() -> Option<Vec<String>> {
    // The program that runs unit tests is another one.
    let program = std::env::current_exe().ok().filter(|_| !cfg!(test))?;
    Some(vec![program.into_os_string().into_string().ok()?, GUARD.to_owned()])
}

/// This program, started once more to run another one only while what was confirmed for it is fresh.
pub(super) fn exec_guard() -> Option<Vec<String>> {
    let [program, _] = guard()?.try_into().ok()?;
    Some(vec![program, EXEC_GUARD.to_owned()])
}

/// The credentials file where none is named.
const CREDENTIALS: &str = "/etc/debvisor/region/credentials.toml";

/// The hidden subcommand that [`guard`] starts.
pub(super) const GUARD: &str = "thaw-guard";

/// The hidden subcommand that [`exec_guard`] starts.
pub(super) const EXEC_GUARD: &str = "exec-guard";

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
        Ok(self.keep(config::load(self.globals.topology.as_deref())?))
    }

    /// Takes a topology for the one that was loaded last.
    pub(crate) fn keep(&self, loaded: Loaded) -> Arc<Loaded> {
        let loaded = Arc::new(loaded);
        *self.loaded.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&loaded));
        loaded
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
        self.fleet_of(&*self.load()?)
    }

    /// The fleet that this topology declares.
    ///
    /// # Errors
    /// Credentials that cannot be read.
    pub(crate) fn fleet_of(&self, loaded: &Loaded) -> Result<MultiRegionManager, CliError> {
        let settings = Settings {
            state: self.state_beside(&loaded.path),
            parallelism: usize::try_from(self.globals.parallelism).unwrap_or(Settings::DEFAULT_PARALLELISM),
            lock_timeout: self.globals.lock_timeout.unwrap_or_default(),
            host: self.host.clone(),
            disk: Arc::new(HostDisk),
            guard: guard(),
            exec_guard: exec_guard(),
            allowed_hooks: None,
            credentials: Arc::new(self.credentials(loaded)?),
            command: self.command_line.clone(),
        };
        let regions = loaded.topology.regions.len();
        self.printer.wait(&format!("asking {}", text::count(regions, "region", "regions")));
        Ok(MultiRegionManager::new(self.world.clone(), settings, Desired::from(loaded)))
    }

    /// What regions may see: the credentials file, tokens of the environment, and the origins that a person named.
    fn credentials(&self, loaded: &Loaded) -> Result<Credentials, CliError> {
        let served = loaded.topology.endpoints.values().any(|endpoint| matches!(endpoint, Endpoint::Http(_)));
        let usual = Path::new(CREDENTIALS);
        let mut credentials = match &self.globals.credentials {
            Some(path) => credentials::load(path)?,
            None if usual.exists() => match credentials::load(usual) {
                // Directories need none, so it may well be for others' eyes only.
                Err(_) if !served => Credentials::default(),
                loaded => loaded?,
            },
            None => Credentials::default(),
        };
        let text = |name: OsString| name.into_string().ok();
        credentials.take_variables(
            std::env::vars_os().filter_map(|(name, value)| text(name).map(|name| (name, text(value)))),
        )?;
        for origin in &self.globals.trust_origin {
            let unfit = |why: String| CliError::Usage(format!("--trust-origin {origin}: {why}"));
            credentials.trust(origin).map_err(unfit)?;
        }
        Ok(credentials)
    }

    /// The state of the topology at this place.
    pub(super) fn state_beside(&self, topology: &Path) -> PathBuf {
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

    /// Prints a result: for people by `people`, for programs as the document that `value` is. Its schema stands in
    /// `schemas`.
    ///
    /// # Errors
    /// Where it has no form in that format.
    pub(crate) fn print<T: Serialize + JsonSchema>(
        &self,
        value: &T,
        people: impl FnOnce(&Look) -> String,
    ) -> Result<(), CliError> {
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

    /// Watches a run: shows its events as lines or bars, or one JSON object a line. `actions` tells how many there
    /// will be, once that is known; `tells`, whether nobody saw the plan.
    pub(crate) fn watch(&self, actions: Arc<AtomicUsize>, tells: Tells) -> (Watch, Arc<Feed>) {
        let view: Box<dyn View> = match self.globals.format {
            Format::Json => Box::new(JsonLines::new(Arc::clone(&self.printer))),
            Format::Table | Format::Yaml | Format::Markdown => self.progress(actions, tells),
        };
        self.watched_by(view)
    }

    /// Watches a run whose result is one document: its events are for people only.
    pub(crate) fn watch_for_people(&self) -> (Watch, Arc<Feed>) {
        self.watch_with(Arc::default())
    }

    /// The same, where it is known at some time how many `actions` there will be.
    pub(crate) fn watch_with(&self, actions: Arc<AtomicUsize>) -> (Watch, Arc<Feed>) {
        self.watched_by(self.progress(actions, Tells::WhatHappens))
    }

    fn progress(&self, actions: Arc<AtomicUsize>, tells: Tells) -> Box<dyn View> {
        let printer = Arc::clone(&self.printer);
        let bars = self.for_people() && !printer.draw_target().is_hidden();
        Box::new(Later::new(Arc::clone(&self.printer), move || -> Box<dyn View> {
            if bars {
                Box::new(Bars::new(printer, actions.load(Ordering::Relaxed), tells))
            } else {
                Box::new(Lines::new(printer, tells))
            }
        }))
    }

    fn watched_by(&self, view: Box<dyn View>) -> (Watch, Arc<Feed>) {
        let feed = Arc::new(Feed::new(view));
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
