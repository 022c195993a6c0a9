-- Version 3: containers, applications, countries, networks. docs/schema.md explains every column.
ALTER TABLE cgroup ADD COLUMN container TEXT NOT NULL DEFAULT '';
ALTER TABLE cgroup ADD COLUMN app TEXT NOT NULL DEFAULT '';

CREATE TABLE country (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);
INSERT INTO country (id, name) VALUES (1, '');

-- Number 0 is an unknown one.
CREATE TABLE network (
    id INTEGER PRIMARY KEY,
    number INTEGER NOT NULL,
    name TEXT NOT NULL,
    UNIQUE (number, name)
);
INSERT INTO network (id, number, name) VALUES (1, 0, '');

-- What is known of an address changes: the same one has another row then.
DROP VIEW connection_log;
CREATE TABLE new_endpoint (
    id INTEGER PRIMARY KEY,
    remote_address INTEGER NOT NULL,
    local_address INTEGER NOT NULL,
    domain INTEGER NOT NULL REFERENCES domain (id),
    domain_source INTEGER NOT NULL,
    family INTEGER NOT NULL,
    protocol INTEGER NOT NULL,
    country INTEGER NOT NULL REFERENCES country (id),
    network INTEGER NOT NULL REFERENCES network (id),
    UNIQUE (remote_address, local_address, domain, domain_source, family, protocol, country, network)
);
INSERT INTO new_endpoint
SELECT id, remote_address, local_address, domain, domain_source, family, protocol, 1, 1 FROM endpoint;
DROP TABLE endpoint;
ALTER TABLE new_endpoint RENAME TO endpoint;

CREATE VIEW connection_log AS
SELECT p.path AS executable,
       p.name AS name,
       p.command_line AS cmdline,
       lower(hex(p.sha256)) AS sha256,
       r.time AS time,
       d.name AS domain,
       coalesce(a.text, '') AS ip,
       r.remote_port AS port,
       t.uid AS uid,
       pp.path AS parent_exe,
       pp.name AS parent_name,
       pp.command_line AS parent_cmdline,
       lower(hex(pp.sha256)) AS parent_sha256,
       r.connections AS conns,
       r.sent AS sent,
       r.received AS received
FROM record AS r
JOIN talker AS t ON t.id = r.talker
JOIN program AS p ON p.id = t.program
JOIN program AS pp ON pp.id = t.parent
JOIN endpoint AS e ON e.id = r.endpoint
JOIN domain AS d ON d.id = e.domain
LEFT JOIN address AS a ON a.id = e.remote_address;
