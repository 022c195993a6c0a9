-- Version 2: rollups. docs/schema.md explains them; crates/store/src/rollup/ reads and writes `traffic` and `ports`.
CREATE TABLE rollup_quarter_hour (
    start INTEGER PRIMARY KEY,
    connections INTEGER NOT NULL,
    sent INTEGER NOT NULL,
    received INTEGER NOT NULL,
    traffic BLOB NOT NULL
);

CREATE TABLE rollup_day (
    start INTEGER PRIMARY KEY,
    connections INTEGER NOT NULL,
    sent INTEGER NOT NULL,
    received INTEGER NOT NULL,
    traffic BLOB NOT NULL
);

CREATE TABLE rollup_four_weeks (
    start INTEGER PRIMARY KEY,
    connections INTEGER NOT NULL,
    sent INTEGER NOT NULL,
    received INTEGER NOT NULL,
    traffic BLOB NOT NULL
);

CREATE TABLE local_ports_day (
    start INTEGER PRIMARY KEY,
    ports BLOB NOT NULL
);

CREATE TABLE local_ports_four_weeks (
    start INTEGER PRIMARY KEY,
    ports BLOB NOT NULL
);
