-- Version 1. docs/schema.md explains every column.
-- TEXT columns hold text where the bytes are UTF-8, and a BLOB where they are not.
CREATE TABLE program (
    id INTEGER PRIMARY KEY,
    lookup INTEGER NOT NULL,
    path TEXT NOT NULL,
    name TEXT NOT NULL,
    command_line TEXT NOT NULL,
    sha256 BLOB
);
CREATE INDEX program_lookup ON program (lookup);

CREATE TABLE cgroup (
    id INTEGER PRIMARY KEY,
    lookup INTEGER NOT NULL,
    path TEXT NOT NULL,
    unit TEXT NOT NULL
);
CREATE INDEX cgroup_lookup ON cgroup (lookup);

CREATE TABLE domain (
    id INTEGER PRIMARY KEY,
    lookup INTEGER NOT NULL,
    name TEXT NOT NULL
);
CREATE INDEX domain_lookup ON domain (lookup);

CREATE TABLE address (
    id INTEGER PRIMARY KEY,
    bytes BLOB NOT NULL UNIQUE,
    text TEXT NOT NULL
);

CREATE TABLE talker (
    id INTEGER PRIMARY KEY,
    program INTEGER NOT NULL REFERENCES program (id),
    parent INTEGER NOT NULL REFERENCES program (id),
    grandparent INTEGER NOT NULL REFERENCES program (id),
    uid INTEGER NOT NULL,
    network_namespace INTEGER NOT NULL,
    cgroup INTEGER NOT NULL REFERENCES cgroup (id),
    UNIQUE (program, parent, grandparent, uid, network_namespace, cgroup)
);

-- An address of 0 is none: so that the unique index sees it (NULLs are never equal).
CREATE TABLE endpoint (
    id INTEGER PRIMARY KEY,
    remote_address INTEGER NOT NULL,
    local_address INTEGER NOT NULL,
    domain INTEGER NOT NULL REFERENCES domain (id),
    domain_source INTEGER NOT NULL,
    family INTEGER NOT NULL,
    protocol INTEGER NOT NULL,
    UNIQUE (remote_address, local_address, domain, domain_source, family, protocol)
);

CREATE TABLE record (
    time INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    talker INTEGER NOT NULL REFERENCES talker (id),
    endpoint INTEGER NOT NULL REFERENCES endpoint (id),
    local_port INTEGER NOT NULL,
    remote_port INTEGER NOT NULL,
    connections INTEGER NOT NULL,
    sent INTEGER NOT NULL,
    received INTEGER NOT NULL,
    PRIMARY KEY (time, sequence)
) WITHOUT ROWID;

CREATE TABLE loss (
    time INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    count INTEGER NOT NULL
);
CREATE INDEX loss_time ON loss (time);

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
