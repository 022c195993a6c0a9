-- Version 9: which logs of the original picosnitch were imported, and how far. docs/schema.md explains every column.
CREATE TABLE import_source (
    id INTEGER PRIMARY KEY,
    last_row INTEGER NOT NULL,
    last_time INTEGER NOT NULL,
    since INTEGER NOT NULL,
    again_row INTEGER,
    again_since INTEGER
);

CREATE TABLE import_marker (
    source INTEGER NOT NULL REFERENCES import_source (id),
    "row" INTEGER NOT NULL,
    digest BLOB NOT NULL,
    PRIMARY KEY (source, "row")
) WITHOUT ROWID;
