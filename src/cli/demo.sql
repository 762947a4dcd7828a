-- A sample in the shape of the application's database, as far as the shipped jobs use it.
PRAGMA journal_mode = wal;
CREATE TABLE configurations (key TEXT PRIMARY KEY NOT NULL, value TEXT);
CREATE TABLE servers (id TEXT PRIMARY KEY, name TEXT NOT NULL, server_url TEXT DEFAULT '', alias TEXT DEFAULT '', note TEXT DEFAULT '');
CREATE TABLE backups (
    id TEXT PRIMARY KEY, server_id TEXT NOT NULL REFERENCES servers (id), backup_name TEXT NOT NULL,
    backup_id TEXT NOT NULL, date DATETIME NOT NULL, status TEXT NOT NULL
);
CREATE TABLE sessions (id TEXT PRIMARY KEY, user_id TEXT, expires_at DATETIME NOT NULL);
CREATE TABLE audit_log (
    id INTEGER PRIMARY KEY AUTOINCREMENT, timestamp DATETIME DEFAULT CURRENT_TIMESTAMP, user_id TEXT, username TEXT,
    action TEXT NOT NULL, category TEXT NOT NULL, details TEXT, status TEXT NOT NULL, error_message TEXT
);
CREATE INDEX idx_backups_date ON backups (date);
CREATE INDEX idx_sessions_expires_at ON sessions (expires_at);
CREATE INDEX idx_audit_timestamp ON audit_log (timestamp);

INSERT INTO configurations VALUES ('audit_retention_days', '90'), ('overdue_tolerance', '2h');
INSERT INTO servers (id, name, alias) VALUES ('s1', 'db-01', 'Production database'), ('s2', 'web-02', '');
INSERT INTO backups
SELECT server || '-' || day, server, name, name, strftime('%Y-%m-%dT08:00:00.000Z', 'now', '-' || day || ' days'), 'Success'
FROM (SELECT 's1' AS server, 'Daily Files' AS name, 3 AS newest UNION ALL SELECT 's2', 'Website', 1),
     (WITH RECURSIVE days (day) AS (SELECT 1 UNION ALL SELECT day + 1 FROM days WHERE day < 20) SELECT day FROM days)
WHERE day >= newest;
INSERT INTO sessions
WITH RECURSIVE hours (hour) AS (SELECT -60 UNION ALL SELECT hour + 1 FROM hours WHERE hour < 12)
SELECT 'session' || hour, 'admin', datetime('now', hour || ' hours') FROM hours;
INSERT INTO audit_log (timestamp, username, action, category, status)
WITH RECURSIVE days (day) AS (SELECT 0 UNION ALL SELECT day + 1 FROM days WHERE day < 400)
SELECT datetime('now', '-' || day || ' days'), 'admin', 'login', 'auth', 'success' FROM days;
