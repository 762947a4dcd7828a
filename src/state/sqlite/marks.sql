-- Since when each active job has been, and with which times: what was missed since then may be caught up.
CREATE TABLE marks (job TEXT PRIMARY KEY, since INTEGER NOT NULL, times TEXT NOT NULL) STRICT;
ALTER TABLE runs ADD COLUMN attempts INTEGER NOT NULL DEFAULT 1;
ALTER TABLE runs ADD COLUMN output TEXT;
