-- What must not depend on a clock that may be set goes by the service time; both clocks as they were last seen.
CREATE TABLE service_time (id INTEGER PRIMARY KEY CHECK (id = 1), service INTEGER NOT NULL, wall INTEGER NOT NULL) STRICT;
ALTER TABLE activations ADD COLUMN fresh_at INTEGER;
ALTER TABLE outbox ADD COLUMN posted_at INTEGER;
-- What takes one message at a time.
ALTER TABLE outbox ADD COLUMN turn TEXT;
-- Runs that wait for their turn.
CREATE INDEX runs_queued ON runs (id) WHERE status = 'queued';
