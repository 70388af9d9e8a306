//! Asking the history: what was done, by whom, when, and how it ended.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{OptionalExtension, Row};

use super::column;
use super::error::StateError;
use super::reader::StateReader;
use super::record::{ActionOutcome, ActionRecord, HistoryEntry, RunOutcome, RunRecord};
use crate::model::event::{FailoverEvent, FailoverOutcome};
use crate::model::{Address, ByteCount, RegionId, ResourceKey, RunId, Timestamp};
use crate::plan::document::{Action, Kind};

/// Which part of the history. Nothing set: all of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HistoryFilter {
    /// At most so many runs, the newest ones.
    pub limit: Option<usize>,
    /// Only this run.
    pub run: Option<RunId>,
    /// Only runs with actions at this region, and of them only those actions.
    pub region: Option<RegionId>,
    /// Only runs with actions on this object, under the names that it had too, and of them only those actions.
    pub address: Option<Address>,
    /// Only runs that ended so.
    pub outcome: Option<RunOutcome>,
    /// Only runs of this command: its words must follow each other in the command line.
    pub command: Option<String>,
    /// Only runs that began at this moment or later.
    pub since: Option<Timestamp>,
}

impl HistoryFilter {
    /// What the columns that need more than SQL say.
    fn takes(&self, run: &RunRecord) -> bool {
        self.outcome.is_none_or(|outcome| run.outcome == outcome)
            && self.command.as_deref().is_none_or(|command| has_words(&run.command, command))
    }

    /// A failover as far as it is asked for, with those of its actions that are.
    fn of_failover(&self, mut entry: HistoryEntry) -> Option<HistoryEntry> {
        let HistoryEntry { run, actions } = &mut entry;
        actions.retain(|action| {
            self.address.as_ref().is_none_or(|address| action.address == *address)
                && self.region.as_ref().is_none_or(|region| action.regions.contains(region))
        });
        let asked = (self.address.is_none() && self.region.is_none()) || !actions.is_empty();
        let takes = asked
            && self.run.is_none_or(|asked| run.run == asked)
            && self.since.is_none_or(|since| run.started_at >= since)
            && self.takes(run);
        takes.then_some(entry)
    }
}

fn has_words(line: &str, words: &str) -> bool {
    let line: Vec<&str> = line.split_whitespace().collect();
    let words: Vec<&str> = words.split_whitespace().collect();
    words.is_empty() || line.windows(words.len()).any(|window| window == words)
}

const RUN: &str = "runs.id, command, who, host, pid, runs.started_at, runs.finished_at, topology, runs.outcome, \
                   exit_code, runs.message, \
                   (SELECT count(*) FROM actions WHERE run = runs.position), \
                   (SELECT coalesce(sum(bytes), 0) FROM actions WHERE run = runs.position), \
                   runs.position";
const ACTION: &str = "id, address, kind, action, regions, started_at, finished_at, duration, outcome, bytes, message";
/// `?2` is a list of addresses, each with the run before which it counts.
const MATCHING_ACTION: &str = "(?2 IS NULL OR EXISTS (SELECT 1 FROM json_each(?2) AS name WHERE \
                               actions.address = name.value ->> 0 AND actions.run < name.value ->> 1)) AND (?3 IS NULL OR EXISTS (SELECT 1 FROM \
                               json_each(actions.regions) AS place WHERE place.value = ?3))";

impl StateReader {
    /// The history, the newest run first.
    ///
    /// # Errors
    /// [`StateError::Database`]
    pub fn history(&self, filter: &HistoryFilter) -> Result<Vec<HistoryEntry>, StateError> {
        let moment = self.connection.unchecked_transaction().map_err(|error| self.of(error))?;
        let address = filter.address.as_ref().map(|address| self.names(address)).transpose()?;
        let region = filter.region.as_ref().map(RegionId::as_str);
        let sql = format!(
            "SELECT {RUN} FROM runs WHERE (?1 IS NULL OR runs.id = ?1) AND (?4 IS NULL OR runs.started_at >= ?4) \
             AND (?2 IS NULL AND ?3 IS NULL OR EXISTS (SELECT 1 FROM actions WHERE actions.run = runs.position \
             AND {MATCHING_ACTION})) ORDER BY runs.position DESC"
        );
        let mut statement = self.connection.prepare_cached(&sql).map_err(|error| self.of(error))?;
        let run = filter.run.as_ref().map(ToString::to_string);
        let since = filter.since.map(Timestamp::as_micros);
        let mut rows = statement.query((run, &address, region, since)).map_err(|error| self.of(error))?;
        let mut entries = Vec::new();
        while filter.limit.is_none_or(|limit| entries.len() < limit) {
            let Some(row) = rows.next().map_err(|error| self.of(error))? else { break };
            let (run, position) = self.read_run(row).map_err(|error| self.of(error))?;
            if filter.takes(&run) {
                let actions = self.actions(position, address.as_deref(), region, run.outcome)?;
                entries.push(HistoryEntry { run, actions });
            }
        }
        drop(rows);
        drop(statement);
        // A failover is no run: the regions keep its journal, and several programs may carry it on.
        let moved = self.failovers(None, None)?.into_iter().map(moved);
        let moved = moved.filter_map(|entry| filter.of_failover(entry));
        entries.extend(moved);
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.run.started_at));
        entries.truncate(filter.limit.unwrap_or(usize::MAX));
        moment.finish().map_err(|error| self.of(error))?;
        Ok(entries)
    }

    /// The addresses that an object had, each with the run before which it had it, as JSON.
    fn names(&self, address: &Address) -> Result<String, StateError> {
        let mut names = vec![(address.to_string(), i64::MAX)];
        let mut at = 0;
        // Each step leads to an earlier run, so it ends.
        while let Some((present, until)) = names.get(at).cloned() {
            let sql = "SELECT former, run FROM renames WHERE present = ?1 AND run < ?2";
            names.extend(self.rows(sql, (present, until), |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))?);
            at += 1;
        }
        Ok(column::to_json(&names))
    }

    /// The last try of an action, by its object and its id in the plan, that came to an end of its own: what was
    /// skipped, stopped or killed says nothing.
    ///
    /// # Errors
    /// [`StateError::Database`]
    pub fn last_try(&self, address: &Address, id: &str) -> Result<Option<ActionRecord>, StateError> {
        let sql = format!(
            "SELECT {ACTION} FROM actions WHERE address = ?1 AND id = ?2 AND outcome NOT IN ('skipped', 'interrupted') \
             ORDER BY run DESC LIMIT 1"
        );
        let read = |row: &Row<'_>| read_action(row, ActionOutcome::Unknown);
        Ok(self.rows(&sql, (address.to_string(), id), read)?.pop())
    }

    /// How many copies runs of this state made or found to be as their source, ever, by the region that keeps them.
    ///
    /// # Errors
    /// [`StateError::Database`]
    pub fn syncs(&self) -> Result<BTreeMap<RegionId, u64>, StateError> {
        let counted = self.rows("SELECT region, count FROM syncs", [], |row| {
            Ok((column::parsed(row, 0)?, column::number(row, 1)?))
        })?;
        Ok(counted.into_iter().collect())
    }

    /// The run that began last.
    ///
    /// # Errors
    /// [`StateError::Database`]
    pub fn last_run(&self) -> Result<Option<RunRecord>, StateError> {
        let sql = format!("SELECT {RUN} FROM runs ORDER BY position DESC LIMIT 1");
        let found = self.connection.query_row(&sql, [], |row| self.read_run(row)).optional();
        found.map(|row| row.map(|(run, _)| run)).map_err(|error| self.of(error))
    }

    fn read_run(&self, row: &Row<'_>) -> rusqlite::Result<(RunRecord, i64)> {
        // A run without an end, and nobody who could be running it: it was killed, and no later one said so yet.
        let without_end = if self.busy { RunOutcome::Running } else { RunOutcome::Abandoned };
        let run = RunRecord {
            run: column::parsed(row, 0)?,
            command: row.get(1)?,
            who: row.get(2)?,
            host: row.get(3)?,
            pid: row.get(4)?,
            started_at: column::time(row, 5)?,
            finished_at: column::optional_time(row, 6)?,
            topology: column::optional(row, 7)?,
            outcome: column::optional_word(row, 8)?.unwrap_or(without_end),
            exit_code: row.get(9)?,
            message: row.get(10)?,
            action_count: row.get(11)?,
            bytes: ByteCount(column::number(row, 12)?),
        };
        Ok((run, row.get(13)?))
    }

    fn actions(
        &self,
        run: i64,
        address: Option<&str>,
        region: Option<&str>,
        of_run: RunOutcome,
    ) -> Result<Vec<ActionRecord>, StateError> {
        let without_end = match of_run {
            RunOutcome::Running => ActionOutcome::Running,
            RunOutcome::Done
            | RunOutcome::Partial
            | RunOutcome::Failed
            | RunOutcome::Refused
            | RunOutcome::Interrupted
            | RunOutcome::Abandoned => ActionOutcome::Unknown,
        };
        let sql = format!("SELECT {ACTION} FROM actions WHERE run = ?1 AND {MATCHING_ACTION} ORDER BY position");
        self.rows(&sql, (run, address, region), |row| read_action(row, without_end))
    }
}

/// A failover in the form of a run: its name is the operation's, and each resource that was to arrive is an action.
fn moved(event: FailoverEvent) -> HistoryEntry {
    let fences = event.is_fence();
    let FailoverEvent { from_region_id: from, to_region_id: to, operation, timestamp, duration_seconds, .. } = &event;
    let command = match (fences, event.automatic) {
        (true, _) => format!("debvisor-region failover fence {from}"),
        (false, true) => format!("failover {from} {to}, by the policy"),
        (false, false) => format!("debvisor-region failover execute {from} {to}"),
    };
    let outcome = match event.outcome {
        None => RunOutcome::Running,
        Some(FailoverOutcome::Completed) if event.success => RunOutcome::Done,
        Some(FailoverOutcome::Completed) => RunOutcome::Partial,
        Some(FailoverOutcome::Aborted | FailoverOutcome::Withdrawn) => RunOutcome::Failed,
        Some(FailoverOutcome::Refused) => RunOutcome::Refused,
    };
    let ended = event.outcome.map(|_| timestamp.plus(duration_seconds.0));
    let places: BTreeSet<RegionId> = [from, to].into_iter().cloned().collect();
    let action = |key: &ResourceKey, outcome: ActionOutcome, message: Option<String>| ActionRecord {
        id: format!("failover:{key}:{to}"),
        address: Address::Resource(key.clone()),
        kind: Kind::Failover,
        action: Action::Failover,
        regions: places.clone(),
        started_at: Some(*timestamp),
        finished_at: ended,
        duration: ended.map(|_| duration_seconds.0),
        outcome,
        bytes: ByteCount(0),
        message,
    };
    let arrived = event.resources.iter().map(|key| action(key, ActionOutcome::Done, None));
    let failed = event.failed.iter().map(|(key, why)| action(key, ActionOutcome::Failed, Some(why.clone())));
    let actions: Vec<ActionRecord> = arrived.chain(failed).collect();
    let run = RunRecord {
        run: RunId(operation.0),
        command,
        who: event.by.clone(),
        host: event.by.split_once('@').map_or_else(String::new, |(_, host)| host.to_owned()),
        pid: 0,
        started_at: *timestamp,
        finished_at: ended,
        topology: None,
        outcome,
        exit_code: None,
        message: event.reason.clone().or_else(|| event.notes.first().cloned()),
        action_count: u32::try_from(actions.len()).unwrap_or(u32::MAX),
        bytes: ByteCount(0),
    };
    HistoryEntry { run, actions }
}

fn read_action(row: &Row<'_>, without_end: ActionOutcome) -> rusqlite::Result<ActionRecord> {
    Ok(ActionRecord {
        id: row.get(0)?,
        address: column::parsed(row, 1)?,
        kind: column::word(row, 2)?,
        action: column::word(row, 3)?,
        regions: column::regions(row, 4)?,
        started_at: column::optional_time(row, 5)?,
        finished_at: column::optional_time(row, 6)?,
        duration: column::optional_duration(row, 7)?,
        outcome: column::optional_word(row, 8)?.unwrap_or(without_end),
        bytes: ByteCount(column::number(row, 9)?),
        message: row.get(10)?,
    })
}

#[cfg(test)]
mod tests {
    use super::has_words;

    #[test]
    fn a_command_is_found_by_whole_words() {
        let line = "debvisor-region replication sync web-vm-1 --topology topology.toml";
        assert!(has_words(line, "sync") && has_words(line, "replication  sync") && has_words(line, ""));
        assert!(!has_words(line, "syn") && !has_words(line, "sync replication") && !has_words("", "sync"));
    }
}
