-- Jobs whose last run failed, for telling it once.
CREATE TABLE failing (
    job TEXT PRIMARY KEY,
    cause TEXT NOT NULL,
    since INTEGER NOT NULL,
    told_at INTEGER,
    failures INTEGER NOT NULL
) STRICT;
