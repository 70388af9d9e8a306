//! The tables, and how they came about.

/// What marks the file as a region's: `dvrg`.
pub(super) const APPLICATION_ID: i32 = 0x6476_7267;

/// What leads from each version to the next; those that were ever released never change.
pub(super) const MIGRATIONS: [&str; 10] = [V1, V2, V3, V4, V5, V6, V7, V8, V9, V10];

/// Structured attributes are JSON, as the plan prints them; what is looked for or compared has a column. Times are
/// microseconds since 1970.
const V1: &str = "
CREATE TABLE region (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    region_id TEXT NOT NULL,
    store TEXT NOT NULL,
    serial INTEGER NOT NULL,
    highest_epoch INTEGER NOT NULL,
    controller TEXT
) STRICT;

CREATE TABLE registry (
    region_id TEXT PRIMARY KEY,
    spec TEXT NOT NULL,
    store TEXT,
    managed_by TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE pairs (
    source TEXT NOT NULL,
    target TEXT NOT NULL,
    spec TEXT NOT NULL,
    managed_by TEXT,
    PRIMARY KEY (source, target)
) STRICT, WITHOUT ROWID;

-- Ids are unique across types. `former_id` names the directory that the files still lie in; `moving` is 1 from the
-- commit of a rename until the replica's directories bear the new name.
CREATE TABLE resources (
    id TEXT PRIMARY KEY,
    type TEXT NOT NULL,
    spec TEXT NOT NULL,
    managed_by TEXT,
    role TEXT NOT NULL,
    holder TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    operation TEXT,
    former_id TEXT,
    moving INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- Each record that is written asks whether its directory is still another's.
CREATE INDEX resources_former ON resources (former_id) WHERE former_id IS NOT NULL;

-- Requests that were carried out; kept for ever, so that a repeat does nothing twice, for ever.
CREATE TABLE operations (
    operation TEXT NOT NULL,
    request BLOB NOT NULL,
    done_at INTEGER NOT NULL,
    PRIMARY KEY (operation, request)
) STRICT, WITHOUT ROWID;

-- Of replicas, by address: `vm.web-1`. They outlive the resource's record: removing protection deletes no data.
CREATE TABLE ledgers (
    resource TEXT PRIMARY KEY,
    next_sequence INTEGER NOT NULL,
    next_file INTEGER NOT NULL,
    receiving TEXT,
    refusal TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE points (
    resource TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    record TEXT NOT NULL,
    PRIMARY KEY (resource, sequence)
) STRICT, WITHOUT ROWID;

-- In parts, so that a list of many files is never in memory as one text.
CREATE TABLE manifests (
    resource TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    part INTEGER NOT NULL,
    entries TEXT NOT NULL,
    PRIMARY KEY (resource, sequence, part)
) STRICT;

-- What was seen of other regions, by this machine's clock; `latency` in microseconds.
CREATE TABLE sightings (
    region_id TEXT PRIMARY KEY,
    met TEXT NOT NULL,
    probed_at INTEGER,
    seen_at INTEGER,
    latency INTEGER,
    silent_since INTEGER,
    failures INTEGER NOT NULL,
    counted_at INTEGER,
    failure TEXT,
    returned_at INTEGER
) STRICT, WITHOUT ROWID;

-- The last transfers from other regions.
CREATE TABLE links (
    region_id TEXT PRIMARY KEY,
    transfers TEXT NOT NULL
) STRICT, WITHOUT ROWID;
";

/// Which point is the newest, without a look into every record: the index has all that this takes. What a record that
/// cannot be read says of it is unknown.
const V2: &str = "
ALTER TABLE points ADD COLUMN standing TEXT;
ALTER TABLE points ADD COLUMN state TEXT;
UPDATE points SET standing = json_extract(record, '$.standing'), state = json_extract(record, '$.point.state')
    WHERE json_valid(record);
CREATE INDEX points_standing ON points (resource, sequence, standing, state);
";

/// Operations that move resources between regions, open here or ended, for ever; and the regions that a person declared
/// gone.
const V3: &str = "
CREATE TABLE failovers (
    operation TEXT PRIMARY KEY,
    open TEXT,
    ended TEXT
) STRICT, WITHOUT ROWID;

CREATE INDEX failovers_open ON failovers (operation) WHERE open IS NOT NULL;

CREATE TABLE gone (
    region_id TEXT PRIMARY KEY,
    words TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- The boot of the host in which this program started the machine; none: it did not, or stopped it since.
ALTER TABLE resources ADD COLUMN started TEXT;

-- Why the region takes no part in anything before it is readmitted; none: it does.
ALTER TABLE region ADD COLUMN inert TEXT;
";

/// An operation that ended here, as history tells it.
const V4: &str = "
ALTER TABLE failovers ADD COLUMN event TEXT;
";

/// Whether anything fails over without a person.
const V5: &str = "
-- Who stopped that, when and why, as JSON; none: nobody did.
ALTER TABLE region ADD COLUMN paused TEXT;
";

/// Which point's files a machine was started from.
const V6: &str = "
CREATE TABLE placed (
    resource TEXT PRIMARY KEY,
    record TEXT NOT NULL
) STRICT, WITHOUT ROWID;
";

/// The regions that a person cut off by hand, and did not let in since.
const V7: &str = "
CREATE TABLE cut_off (
    region_id TEXT PRIMARY KEY,
    record TEXT NOT NULL
) STRICT, WITHOUT ROWID;
";

/// Up to which epoch no word that a region was cut off by hand proves it stopped any more.
const V8: &str = "
CREATE TABLE unproven (
    region_id TEXT PRIMARY KEY,
    epoch INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

/// How many copies were made in each of the last minutes, since 1970.
const V9: &str = "
CREATE TABLE copies (
    minute INTEGER PRIMARY KEY,
    made INTEGER NOT NULL
) STRICT;
";

/// How far the reading back of each replica is, and what it found.
const V10: &str = "
CREATE TABLE audits (
    resource TEXT PRIMARY KEY,
    record TEXT NOT NULL
) STRICT, WITHOUT ROWID;
";
