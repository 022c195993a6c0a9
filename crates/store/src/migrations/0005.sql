-- Version 5: tables and columns get the field's names. Only names change; docs/schema.md explains every column.
DROP VIEW connection_log;

ALTER TABLE talker RENAME TO context;
ALTER TABLE record RENAME COLUMN talker TO context;

DROP INDEX program_lookup;
ALTER TABLE program RENAME COLUMN lookup TO content_hash;
CREATE INDEX program_content_hash ON program (content_hash);
DROP INDEX cgroup_lookup;
ALTER TABLE cgroup RENAME COLUMN lookup TO content_hash;
CREATE INDEX cgroup_content_hash ON cgroup (content_hash);
DROP INDEX domain_lookup;
ALTER TABLE domain RENAME COLUMN lookup TO content_hash;
CREATE INDEX domain_content_hash ON domain (content_hash);

ALTER TABLE rollup_quarter_hour RENAME COLUMN traffic TO packed_rows;
ALTER TABLE rollup_day RENAME COLUMN traffic TO packed_rows;
ALTER TABLE rollup_four_weeks RENAME COLUMN traffic TO packed_rows;

ALTER TABLE quarters_day RENAME TO rollup_day_by_quarter_hour;
ALTER TABLE rollup_day_by_quarter_hour RENAME COLUMN sums TO packed_rows;
ALTER TABLE talkers_day RENAME TO rollup_day_by_context;
ALTER TABLE rollup_day_by_context RENAME COLUMN sums TO packed_rows;
ALTER TABLE endpoints_day RENAME TO rollup_day_by_endpoint;
ALTER TABLE rollup_day_by_endpoint RENAME COLUMN sums TO packed_rows;
ALTER TABLE ports_day RENAME TO rollup_day_by_remote_port;
ALTER TABLE rollup_day_by_remote_port RENAME COLUMN sums TO packed_rows;

ALTER TABLE talkers_four_weeks RENAME TO rollup_four_weeks_by_context;
ALTER TABLE rollup_four_weeks_by_context RENAME COLUMN sums TO packed_rows;
ALTER TABLE endpoints_four_weeks RENAME TO rollup_four_weeks_by_endpoint;
ALTER TABLE rollup_four_weeks_by_endpoint RENAME COLUMN sums TO packed_rows;
ALTER TABLE ports_four_weeks RENAME TO rollup_four_weeks_by_remote_port;
ALTER TABLE rollup_four_weeks_by_remote_port RENAME COLUMN sums TO packed_rows;
ALTER TABLE local_ports_four_weeks RENAME TO rollup_four_weeks_by_local_port;
ALTER TABLE rollup_four_weeks_by_local_port RENAME COLUMN sums TO packed_rows;

CREATE VIEW connection_log AS
SELECT p.path AS executable,
       p.name AS name,
       p.command_line AS cmdline,
       lower(hex(p.sha256)) AS sha256,
       r.time AS time,
       d.name AS domain,
       coalesce(a.text, '') AS ip,
       r.remote_port AS port,
       c.uid AS uid,
       pp.path AS parent_exe,
       pp.name AS parent_name,
       pp.command_line AS parent_cmdline,
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
