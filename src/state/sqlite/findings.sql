-- What the queries of alerts found, until it is gone.
CREATE TABLE findings (
    job TEXT NOT NULL,
    key TEXT NOT NULL,
    message TEXT NOT NULL,
    since INTEGER NOT NULL,
    told_at INTEGER NOT NULL,
    PRIMARY KEY (job, key)
) STRICT, WITHOUT ROWID;
