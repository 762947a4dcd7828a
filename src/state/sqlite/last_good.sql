-- The files of the last declaration that could be used.
CREATE TABLE last_good (name TEXT PRIMARY KEY, position INTEGER NOT NULL, text TEXT NOT NULL) STRICT;
