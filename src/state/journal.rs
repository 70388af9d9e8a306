//! Writing a state file: runs and their actions, before and after each effect.
//!
//! Guarantee: an intent stands before its effect begins; a result stands together with what is remembered of its
//! object. Assumption: the lock is held, which [`State`] does as long as it lives. A crash between an effect and its
//! result leaves an intent without a result, which history tells as `unknown` once the run has ended or was killed;
//! the next plan sees at the regions what became of it.

use std::fmt;

use rusqlite::{Connection, OptionalExtension};

use super::column;
use super::error::StateError;
use super::memory::{Note, grow_serial, position, remember_object};
use super::reader::StateReader;
use super::record::{ActionOutcome, Conclusion, HealthObservation, Intent, RunEnd, RunOutcome, RunStart};
use super::retention::{HistoryRetention, PastRun};
use crate::host::{FileLock, Host};
use crate::model::recorded::Recorded;
use crate::model::{Lineage, RunId, Timestamp, World};
use crate::plan::document::Kind;

/// A state file, open for writing. It holds the lock until it is dropped.
pub struct State {
    pub(super) reader: StateReader,
    pub(super) world: World,
    pub(super) host: Host,
    retention: HistoryRetention,
    /// The place of the next action in its run's order.
    next: i64,
    /// Whether what nothing depends on yet waits for the next change.
    pub(super) gathers: bool,
    pub(super) notes: Vec<Note>,
    /// Dropped last: nobody else may write before the connection is closed.
    _lock: FileLock,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("reader", &self.reader).field("notes", &self.notes.len()).finish_non_exhaustive()
    }
}

impl Drop for State {
    fn drop(&mut self) {
        // Whoever let it go without an end has told why, or is a mistake of the program's that is told elsewhere.
        let _ = self.write_notes();
    }
}

/// So many names of what was under way are told.
const NAMED: usize = 5;

impl State {
    pub(super) fn new(reader: StateReader, lock: FileLock, world: World, host: Host) -> Self {
        let retention = HistoryRetention::default();
        Self { reader, world, host, retention, next: 0, gathers: false, notes: Vec::new(), _lock: lock }
    }

    /// Keeps another amount of history than by default.
    pub const fn set_retention(&mut self, retention: HistoryRetention) {
        self.retention = retention;
    }

    /// Reading what is written here.
    pub const fn reader(&self) -> &StateReader {
        &self.reader
    }

    /// What planning needs of it.
    ///
    /// # Errors
    /// [`StateError::Database`]
    pub fn recorded(&self) -> Result<Recorded, StateError> {
        self.reader.recorded()
    }

    pub(super) fn now(&self) -> Timestamp {
        self.world.clock.now()
    }

    /// Gives a new file its lineage, and ends the runs that were killed.
    pub(super) fn settle_in(&mut self, if_new: Lineage) -> Result<(), StateError> {
        if !self.reader.has_lineage()? {
            let now = self.now().as_micros();
            self.change(|transaction| {
                let sql = "INSERT INTO meta (only, lineage, serial, created_at) VALUES (1, ?1, 0, ?2)";
                transaction.execute(sql, (if_new.to_string(), now)).map(|_| ())
            })?;
        }
        let killed = self.reader.rows("SELECT position FROM runs WHERE outcome IS NULL", [], |row| row.get(0))?;
        if !killed.is_empty() {
            self.change(|transaction| killed.into_iter().try_for_each(|run| abandon(transaction, run)))?;
        }
        self.reader.busy = true;
        Ok(())
    }

    /// Begins a run: it is in the history from now on, whatever becomes of it; where notes are gathered, from the next
    /// change on.
    ///
    /// # Errors
    /// [`StateError::Database`]
    pub fn begin_run(&mut self, start: &RunStart) -> Result<RunId, StateError> {
        let run = RunId(self.world.ids.ordered());
        let now = self.now().as_micros();
        let RunStart { command, who, host, pid, topology } = start.clone();
        let topology = topology.as_ref().map(ToString::to_string);
        self.note(move |transaction| {
            let sql = "INSERT INTO runs (id, command, who, host, pid, started_at, topology) \
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
            transaction.execute(sql, (run.to_string(), &command, &who, &host, pid, now, &topology)).map(|_| ())
        })?;
        Ok(run)
    }

    /// Notes that these actions are about to begin. To be called before their first effect.
    ///
    /// # Errors
    /// [`StateError::UnknownRun`]; [`StateError::Database`]: none of them may begin then.
    pub fn actions_started(&mut self, run: RunId, intents: &[Intent], at: Timestamp) -> Result<(), StateError> {
        let first = self.next;
        self.next += column::count(intents.len() as u64);
        self.change_in(run, |transaction, run| {
            for (place, intent) in (first..).zip(intents) {
                let Intent { id, address, kind, action, regions } = intent;
                // The same one again is another attempt.
                let sql = "INSERT INTO actions (run, id, position, address, kind, action, regions, started_at) \
                           VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (run, id) DO UPDATE SET \
                           started_at = excluded.started_at, finished_at = NULL, outcome = NULL";
                transaction.prepare_cached(sql)?.execute((
                    run,
                    id,
                    place,
                    address.to_string(),
                    column::to_word(kind),
                    column::to_word(action),
                    column::to_json(regions),
                    at.as_micros(),
                ))?;
            }
            Ok(())
        })
    }

    /// Notes how these actions ended, together with what is remembered of their objects. An action that never began
    /// needs no intent.
    ///
    /// # Errors
    /// [`StateError::UnknownRun`]; [`StateError::Database`]: nothing of it stands then.
    pub fn actions_finished(&mut self, run: RunId, conclusions: &[Conclusion]) -> Result<(), StateError> {
        let first = self.next;
        self.next += column::count(conclusions.len() as u64);
        self.change_in(run, |transaction, position| write_conclusions(transaction, (run, position), first, conclusions))
    }

    /// The same of the last ones that were under way: what comes next is another intent or the run's end, at once.
    /// Where notes are gathered these wait for that.
    ///
    /// # Errors
    /// As [`Self::actions_finished`]; where it waits, the next change has them.
    pub fn last_actions_finished(&mut self, run: RunId, conclusions: Vec<Conclusion>) -> Result<(), StateError> {
        if !self.gathers {
            return self.actions_finished(run, &conclusions);
        }
        let first = self.next;
        self.next += column::count(conclusions.len() as u64);
        self.note(move |transaction| match position(transaction, run)? {
            Some(position) => write_conclusions(transaction, (run, position), first, &conclusions),
            None => Err(rusqlite::Error::QueryReturnedNoRows),
        })
    }

    /// Notes what was observed of regions' health.
    ///
    /// # Errors
    /// [`StateError::Database`]
    pub fn observe_health(&mut self, observations: &[HealthObservation]) -> Result<(), StateError> {
        if observations.is_empty() {
            return Ok(());
        }
        let observations = observations.to_vec();
        self.note(move |transaction| {
            for HealthObservation { region_id, at, status, latency, detail } in &observations {
                let sql = "INSERT INTO health (region, at, status, latency, detail) VALUES (?1, ?2, ?3, ?4, ?5)";
                let latency = latency.map(column::micros);
                transaction.prepare_cached(sql)?.execute((
                    region_id.as_str(),
                    at.as_micros(),
                    status.as_str(),
                    latency,
                    detail,
                ))?;
            }
            Ok(())
        })
    }

    /// Ends a run, and drops what retention no longer keeps. Actions that have no end then are told as `unknown`.
    ///
    /// # Errors
    /// [`StateError::UnknownRun`]; [`StateError::Database`]
    pub fn finish_run(&mut self, run: RunId, end: &RunEnd) -> Result<(), StateError> {
        let now = self.now();
        let retention = self.retention;
        let RunEnd { outcome, exit_code, message } = end;
        self.change_in(run, |transaction, position| {
            let sql =
                "UPDATE runs SET finished_at = ?2, outcome = ?3, exit_code = ?4, message = ?5 WHERE position = ?1";
            transaction.execute(sql, (position, now.as_micros(), column::to_word(outcome), exit_code, message))?;
            retain(transaction, &retention, now)
        })
    }
}

impl State {
    /// Takes a run back that did nothing and ends as the last one of the same command did: rounds that find nothing
    /// would bury those that found something. False: it is to be ended like any other.
    ///
    /// # Errors
    /// [`StateError::UnknownRun`]; [`StateError::Database`]
    pub fn withdraw_repeat(&mut self, run: RunId, end: &RunEnd) -> Result<bool, StateError> {
        let now = self.now();
        let retention = self.retention;
        let RunEnd { outcome, exit_code, message } = end;
        let mut withdrawn = false;
        self.change_in(run, |transaction, position| {
            let sql = "SELECT outcome = ?2 AND exit_code IS ?3 AND message IS ?4 FROM runs WHERE position < ?1 \
                       AND command = (SELECT command FROM runs WHERE position = ?1) ORDER BY position DESC LIMIT 1";
            let alike = transaction
                .prepare_cached(sql)?
                .query_row((position, column::to_word(outcome), exit_code, message), |row| row.get(0))
                .optional()?;
            let sql = "DELETE FROM runs WHERE position = ?1 AND NOT EXISTS (SELECT 1 FROM actions WHERE run = ?1)";
            withdrawn = alike == Some(true) && transaction.execute(sql, [position])? == 1;
            retain(transaction, &retention, now)
        })?;
        Ok(withdrawn)
    }
}

fn write_conclusions(
    connection: &Connection,
    (run, position): (RunId, i64),
    first: i64,
    conclusions: &[Conclusion],
) -> rusqlite::Result<()> {
    let mut changed = false;
    for (place, conclusion) in (first..).zip(conclusions) {
        write_conclusion(connection, position, place, conclusion)?;
        count_sync(connection, conclusion)?;
        let Conclusion { intent, finished_at, remember, .. } = conclusion;
        changed |= remember_object(connection, Some(run), *finished_at, &intent.address, remember)?;
    }
    if changed { grow_serial(connection) } else { Ok(()) }
}

fn write_conclusion(connection: &Connection, run: i64, place: i64, conclusion: &Conclusion) -> rusqlite::Result<()> {
    let Conclusion { intent, outcome, started_at, finished_at, duration, bytes, message, remember: _ } = conclusion;
    let Intent { id, address, kind, action, regions } = intent;
    let sql = "INSERT INTO actions (run, id, position, address, kind, action, regions, started_at, finished_at, duration, \
               outcome, bytes, message) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13) \
               ON CONFLICT (run, id) DO UPDATE SET started_at = coalesce(excluded.started_at, started_at), \
               finished_at = excluded.finished_at, duration = excluded.duration, outcome = excluded.outcome, \
               bytes = excluded.bytes, message = excluded.message";
    connection
        .prepare_cached(sql)?
        .execute((
            run,
            id,
            place,
            address.to_string(),
            column::to_word(kind),
            column::to_word(action),
            column::to_json(regions),
            started_at.map(Timestamp::as_micros),
            finished_at.as_micros(),
            column::micros(*duration),
            column::to_word(outcome),
            column::count(bytes.0),
            message,
        ))
        .map(|_| ())
}

/// Counts a copy that was made, or found to be as its source.
fn count_sync(connection: &Connection, conclusion: &Conclusion) -> rusqlite::Result<()> {
    let synced = match conclusion.outcome {
        ActionOutcome::Done | ActionOutcome::Unchanged => conclusion.intent.kind == Kind::Sync,
        ActionOutcome::Running
        | ActionOutcome::Failed
        | ActionOutcome::Blocked
        | ActionOutcome::Skipped
        | ActionOutcome::Interrupted
        | ActionOutcome::Unknown => false,
    };
    for region in conclusion.intent.regions.iter().filter(|_| synced) {
        let sql =
            "INSERT INTO syncs (region, count) VALUES (?1, 1) ON CONFLICT (region) DO UPDATE SET count = count + 1";
        connection.prepare_cached(sql)?.execute([region.as_str()])?;
    }
    Ok(())
}

/// Ends a run whose process is gone.
fn abandon(connection: &Connection, run: i64) -> rusqlite::Result<()> {
    let mut statement =
        connection.prepare("SELECT id FROM actions WHERE run = ?1 AND outcome IS NULL ORDER BY position")?;
    let open = statement.query_map([run], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
    let message = match open.len() {
        0 => "killed; nothing was under way".to_owned(),
        count if count <= NAMED => format!("killed; under way: {}", open.join(", ")),
        count => format!("killed; under way: {} and {} more", open[..NAMED].join(", "), count - NAMED),
    };
    let sql = "UPDATE runs SET outcome = ?2, message = ?3 WHERE position = ?1";
    connection.execute(sql, (run, column::to_word(&RunOutcome::Abandoned), message)).map(|_| ())
}

/// Drops what is no longer kept.
fn retain(connection: &Connection, retention: &HistoryRetention, now: Timestamp) -> rusqlite::Result<()> {
    let sql = "SELECT id, started_at, outcome = ?1 AND message IS NULL AND NOT EXISTS \
               (SELECT 1 FROM actions WHERE run = runs.position) FROM runs \
               WHERE outcome IS NOT NULL ORDER BY position DESC";
    let past = connection
        .prepare_cached(sql)?
        .query_map([column::to_word(&RunOutcome::Done)], |row| {
            Ok(PastRun { run: column::parsed(row, 0)?, started_at: column::time(row, 1)?, idle: row.get(2)? })
        })?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    for run in retention.expired(now, &past) {
        connection.prepare_cached("DELETE FROM runs WHERE id = ?1")?.execute([run.to_string()])?;
    }
    connection.execute("DELETE FROM health WHERE at < ?1", [retention.observations_since(now).as_micros()])?;
    let sql = "DELETE FROM health WHERE position <= (SELECT max(position) FROM health) - ?1";
    connection.execute(sql, [column::count(retention.observations as u64)]).map(|_| ())
}
