-- Version 5: a talker is called context, the field's word. Nothing but names changes.
DROP VIEW connection_log;
ALTER TABLE talker RENAME TO context;
ALTER TABLE record RENAME COLUMN talker TO context;
ALTER TABLE talkers_day RENAME TO contexts_day;
ALTER TABLE talkers_four_weeks RENAME TO contexts_four_weeks;

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
