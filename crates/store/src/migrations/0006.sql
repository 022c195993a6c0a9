-- Version 6: the log has an identity, windows and events; "many" is a value; when things were first seen. docs/schema.md
-- explains every column. migrations/version_6.rs fills the tables and columns that follow from the records.
CREATE TABLE log (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    uuid BLOB NOT NULL,
    epoch INTEGER NOT NULL,
    created INTEGER NOT NULL,
    last_window INTEGER NOT NULL,
    time INTEGER NOT NULL,
    boot INTEGER NOT NULL,
    uptime INTEGER NOT NULL,
    trusted_time INTEGER NOT NULL,
    doubted_seconds INTEGER,
    doubt_credit INTEGER NOT NULL,
    detail_since INTEGER,
    configuration TEXT NOT NULL
);
INSERT INTO log VALUES (1, randomblob(16), 1, CAST(strftime('%s', 'now') AS INTEGER), 0, 0, 0, 0, 0, NULL, 0, NULL, '');

CREATE TABLE boot (id INTEGER PRIMARY KEY, boot_id TEXT NOT NULL UNIQUE);

CREATE TABLE window (
    id INTEGER PRIMARY KEY,
    time INTEGER NOT NULL,
    boot INTEGER NOT NULL,
    uptime INTEGER NOT NULL,
    first_sequence INTEGER NOT NULL,
    count INTEGER NOT NULL
);
CREATE INDEX window_time ON window (time);

CREATE TABLE event (
    id INTEGER PRIMARY KEY,
    time INTEGER NOT NULL,
    "begin" INTEGER,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    uid INTEGER,
    path TEXT NOT NULL,
    name TEXT NOT NULL,
    sha256 BLOB,
    count INTEGER NOT NULL,
    text TEXT NOT NULL
);
INSERT INTO event (time, kind, subject, path, name, count, text)
SELECT time, 'loss', CASE kind
        WHEN 1 THEN 'process_events' WHEN 2 THEN 'flow_table_full' WHEN 3 THEN 'channel' WHEN 4 THEN 'log'
        WHEN 5 THEN 'uncountable_socket' WHEN 6 THEN 'flow_table_bytes' WHEN 7 THEN 'release_events'
        WHEN 8 THEN 'skipped_calls' WHEN 9 THEN 'names' ELSE CAST(kind AS TEXT) END, '', '', count, ''
FROM loss ORDER BY time, kind;
DROP TABLE loss;
CREATE INDEX event_time ON event (time);
CREATE INDEX event_kind ON event (kind, time);

CREATE TABLE program_seen (
    path TEXT NOT NULL,
    sha256 BLOB NOT NULL,
    uid INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    PRIMARY KEY (path, sha256, uid)
) WITHOUT ROWID;
CREATE INDEX program_seen_last ON program_seen (last);

ALTER TABLE context ADD COLUMN first INTEGER NOT NULL DEFAULT 0;
ALTER TABLE endpoint ADD COLUMN first INTEGER NOT NULL DEFAULT 0;
ALTER TABLE record ADD COLUMN folded INTEGER NOT NULL DEFAULT 0;

DROP VIEW connection_log;
CREATE VIEW connection_log AS
SELECT CASE WHEN p.path = x'6d616e79' THEN 'many' ELSE p.path END AS executable,
       CASE WHEN p.name = x'6d616e79' THEN 'many' ELSE p.name END AS name,
       CASE WHEN p.command_line = x'6d616e79' THEN 'many' ELSE p.command_line END AS cmdline,
       lower(hex(p.sha256)) AS sha256,
       r.time AS time,
       CASE WHEN d.name = x'6d616e79' THEN 'many' ELSE d.name END AS domain,
       coalesce(a.text, '') AS ip,
       CASE r.remote_port WHEN -2 THEN 'many' ELSE r.remote_port END AS port,
       c.uid AS uid,
       CASE WHEN pp.path = x'6d616e79' THEN 'many' ELSE pp.path END AS parent_exe,
       CASE WHEN pp.name = x'6d616e79' THEN 'many' ELSE pp.name END AS parent_name,
       CASE WHEN pp.command_line = x'6d616e79' THEN 'many' ELSE pp.command_line END AS parent_cmdline,
       lower(hex(pp.sha256)) AS parent_sha256,
       r.connections AS conns,
       r.sent AS sent,
       r.received AS received
FROM record AS r
JOIN context AS c ON c.id = r.context
JOIN program AS p ON p.id = c.program
JOIN program AS pp ON pp.id = c.parent
JOIN endpoint AS e ON e.id = r.endpoint
JOIN domain AS d ON d.id = e.domain
LEFT JOIN address AS a ON a.id = e.remote_address;
