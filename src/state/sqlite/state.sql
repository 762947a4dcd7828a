-- The service's own state. Instants are milliseconds since 1970.
CREATE TABLE runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    job TEXT NOT NULL,
    "trigger" TEXT NOT NULL,
    status TEXT NOT NULL,
    scheduled_at INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    finished_at INTEGER,
    message TEXT,
    error TEXT
) STRICT;
-- The ledger: a scheduled time is taken once, whatever the clock or the process does.
CREATE UNIQUE INDEX runs_ledger ON runs (job, scheduled_at) WHERE "trigger" <> 'manual';
CREATE INDEX runs_of_job ON runs (job, id);
CREATE INDEX runs_unfinished ON runs (status) WHERE status = 'running';
-- Jobs that an operator has stopped.
CREATE TABLE stops (job TEXT PRIMARY KEY, stopped_at INTEGER NOT NULL) STRICT;
