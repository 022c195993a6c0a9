-- Version 7: when contexts, endpoints and remote ports were last seen; which process wrote the configuration; the view has
-- every column. docs/schema.md explains them. migrations/version_7.rs fills what follows from records and rollups.
ALTER TABLE context ADD COLUMN last INTEGER NOT NULL DEFAULT 0;
ALTER TABLE endpoint ADD COLUMN last INTEGER NOT NULL DEFAULT 0;

CREATE TABLE port_seen (
    port INTEGER PRIMARY KEY,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL
);

ALTER TABLE event ADD COLUMN writer_pid INTEGER;
ALTER TABLE event ADD COLUMN writer_path TEXT;
ALTER TABLE event ADD COLUMN writer_name TEXT;
ALTER TABLE event ADD COLUMN writer_uid INTEGER;

DROP VIEW connection_log;

-- Programs as text. The arguments of a command line are separated by NUL in the table, by a space here.
CREATE VIEW program_text AS
SELECT id,
       CASE WHEN path = x'6d616e79' THEN 'many' ELSE path END AS path,
       CASE WHEN name = x'6d616e79' THEN 'many' ELSE name END AS name,
       CASE WHEN command_line = x'6d616e79' THEN 'many'
            WHEN typeof(command_line) = 'blob' AND instr(command_line, x'00') > 0 THEN (
                WITH RECURSIVE arguments (text, rest) AS (
                    SELECT CAST(substr(command_line, 1, instr(command_line, x'00') - 1) AS TEXT),
                           substr(command_line, instr(command_line, x'00') + 1)
                    UNION ALL
                    SELECT text || ' ' || CASE instr(rest, x'00') WHEN 0 THEN CAST(rest AS TEXT)
                               ELSE CAST(substr(rest, 1, instr(rest, x'00') - 1) AS TEXT) END,
                           CASE instr(rest, x'00') WHEN 0 THEN NULL ELSE substr(rest, instr(rest, x'00') + 1) END
                    FROM arguments WHERE rest IS NOT NULL
                )
                SELECT text FROM arguments WHERE rest IS NULL)
            ELSE command_line END AS command_line,
       lower(hex(sha256)) AS sha256
FROM program;

CREATE VIEW connection_log AS
SELECT p.path AS executable,
       p.name AS name,
       p.command_line AS cmdline,
       p.sha256 AS sha256,
       r.time AS time,
       CASE WHEN d.name = x'6d616e79' THEN 'many' ELSE d.name END AS domain,
       coalesce(ra.text, '') AS ip,
       CASE r.remote_port WHEN -2 THEN 'many' ELSE r.remote_port END AS port,
       c.uid AS uid,
       pp.path AS parent_exe,
       pp.name AS parent_name,
       pp.command_line AS parent_cmdline,
       pp.sha256 AS parent_sha256,
       r.connections AS conns,
       r.sent AS sent,
       r.received AS received,
       gp.path AS gpexe,
       gp.name AS gpname,
       gp.command_line AS gpcmdline,
       gp.sha256 AS gpsha256,
       CASE e.domain_source
            WHEN 1 THEN 'resolver' WHEN 2 THEN 'dns' WHEN 3 THEN 'tls' WHEN 4 THEN 'quic' WHEN 5 THEN 'http'
            WHEN 6 THEN 'namespace' WHEN 7 THEN 'reverse' WHEN 8 THEN 'many' ELSE 'unknown' END AS domain_source,
       coalesce(la.text, '') AS laddress,
       CASE r.local_port WHEN -2 THEN 'many' ELSE r.local_port END AS lport,
       e.protocol AS protocol,
       e.family AS family,
       c.network_namespace AS netns,
       g.path AS cgroup,
       g.unit AS unit,
       g.container AS container,
       g.app AS app,
       co.name AS country,
       n.number AS asn,
       n.name AS network,
       r.folded AS folded
FROM record AS r
JOIN context AS c ON c.id = r.context
JOIN program_text AS p ON p.id = c.program
JOIN program_text AS pp ON pp.id = c.parent
JOIN program_text AS gp ON gp.id = c.grandparent
JOIN cgroup AS g ON g.id = c.cgroup
JOIN endpoint AS e ON e.id = r.endpoint
JOIN domain AS d ON d.id = e.domain
JOIN country AS co ON co.id = e.country
JOIN network AS n ON n.id = e.network
LEFT JOIN address AS ra ON ra.id = e.remote_address
LEFT JOIN address AS la ON la.id = e.local_address;
