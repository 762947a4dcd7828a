-- What programs printed, apart from the runs: it is read of one run at a time.
CREATE TABLE outputs (run INTEGER PRIMARY KEY, job TEXT NOT NULL, succeeded INTEGER NOT NULL, text TEXT NOT NULL) STRICT;
CREATE INDEX outputs_of_job ON outputs (job, succeeded, run);
CREATE TRIGGER outputs_go_with_runs AFTER DELETE ON runs BEGIN DELETE FROM outputs WHERE run = old.id; END;
ALTER TABLE runs RENAME COLUMN output TO statistics;
-- The run that was cut off, where this one repeats it.
ALTER TABLE runs ADD COLUMN repeats INTEGER;
