//! The tables, version by version.
//!
//! Times are microseconds since 1970, UUIDs and digests their usual text, sets and attributes JSON. A migration that
//! was ever released never changes; the next one is added behind it.

/// Says that a database is a state file: `dvRS`.
pub(super) const APPLICATION_ID: i32 = 0x6476_5253;

/// The way from nothing to the present version.
pub(super) const MIGRATIONS: &[&str] = &[FIRST, RENAMES, SERIALS, FAILOVERS, SYNCS, LEFT_OUT];

/// The regions without which control was taken.
const LEFT_OUT: &str = "
-- Null as long as the take-over of this seat does not count.
ALTER TABLE meta ADD COLUMN seat_without TEXT;
";

/// Copies, by the region that keeps them, whatever history has dropped since: a count never goes back.
const SYNCS: &str = "
CREATE TABLE syncs (
    region TEXT PRIMARY KEY,
    count INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

/// Failovers: each operation once; its steps before their effect and after it.
const FAILOVERS: &str = "
CREATE TABLE failovers (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    operation TEXT NOT NULL UNIQUE,
    at INTEGER NOT NULL,
    from_region TEXT NOT NULL,
    to_region TEXT NOT NULL,
    finished INTEGER NOT NULL,
    record TEXT NOT NULL
) STRICT;
CREATE INDEX failovers_by_time ON failovers (at);

CREATE TABLE failover_steps (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    operation TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    step TEXT NOT NULL,
    began_at INTEGER NOT NULL,
    ended_at INTEGER,
    -- Null where nobody saw what became of it.
    outcome TEXT
) STRICT;
CREATE INDEX failover_steps_by_operation ON failover_steps (operation);
";

/// The highest serial that each store was seen with: one that comes back with a lower one lost what it knew.
const SERIALS: &str = "
ALTER TABLE stores ADD COLUMN serial INTEGER NOT NULL DEFAULT 0;
";

/// The past of a renamed object stands under its former address, up to the run that renamed it.
const RENAMES: &str = "
CREATE TABLE renames (
    run INTEGER NOT NULL REFERENCES runs (position) ON DELETE CASCADE,
    former TEXT NOT NULL,
    present TEXT NOT NULL,
    PRIMARY KEY (run, present)
) STRICT, WITHOUT ROWID;
CREATE INDEX renames_by_present ON renames (present);
";

const FIRST: &str = "
-- Who this state file is.
CREATE TABLE meta (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    lineage TEXT NOT NULL,
    serial INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    -- The controller's place: counts only on the machine and inode that it was taken on.
    seat TEXT,
    seat_term INTEGER,
    seat_machine TEXT,
    seat_inode INTEGER,
    seat_born INTEGER
) STRICT;

-- What is managed, as it was last applied.
CREATE TABLE objects (
    address TEXT PRIMARY KEY,
    spec TEXT NOT NULL,
    regions TEXT NOT NULL,
    applied_at INTEGER NOT NULL,
    run TEXT
) STRICT, WITHOUT ROWID;

-- The stores of the regions that were met: another store under the same id is another region.
CREATE TABLE stores (
    region TEXT PRIMARY KEY,
    store TEXT NOT NULL,
    origin TEXT,
    met_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Each topology that was applied, once, in the order of its last application.
CREATE TABLE topologies (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    digest TEXT NOT NULL UNIQUE,
    run TEXT,
    applied_at INTEGER NOT NULL
) STRICT;

CREATE TABLE runs (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    command TEXT NOT NULL,
    who TEXT NOT NULL,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    finished_at INTEGER,
    topology TEXT,
    -- Null while it runs.
    outcome TEXT,
    exit_code INTEGER,
    message TEXT
) STRICT;
CREATE INDEX runs_by_time ON runs (started_at);

-- Written before the effect; what became of it, after it.
CREATE TABLE actions (
    run INTEGER NOT NULL REFERENCES runs (position) ON DELETE CASCADE,
    id TEXT NOT NULL,
    position INTEGER NOT NULL,
    address TEXT NOT NULL,
    kind TEXT NOT NULL,
    action TEXT NOT NULL,
    regions TEXT NOT NULL,
    started_at INTEGER,
    finished_at INTEGER,
    duration INTEGER,
    -- Null while it runs, and for ever where its run ended without a word of it.
    outcome TEXT,
    bytes INTEGER NOT NULL DEFAULT 0,
    message TEXT,
    PRIMARY KEY (run, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX actions_by_address ON actions (address);

CREATE TABLE health (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    region TEXT NOT NULL,
    at INTEGER NOT NULL,
    status TEXT NOT NULL,
    latency INTEGER,
    detail TEXT
) STRICT;
CREATE INDEX health_by_region ON health (region, at);
CREATE INDEX health_by_time ON health (at);
";
