//! Logs of older schema versions, made from a log of the current version.

use std::path::Path;

use super::*;

/// A table and its columns.
#[derive(Debug)]
pub(super) struct Table {
    pub name: String,
    pub columns: Vec<String>,
}

/// The tables of a log, in the order of their names.
pub(super) fn tables(connection: &Connection, schema: &str) -> Vec<Table> {
    let list = |sql: &str| {
        let mut statement = connection.prepare(sql).unwrap();
        let names = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
        names.map(Result::unwrap).collect::<Vec<_>>()
    };
    let names = list(&format!(
        "SELECT name FROM {schema}.sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
    ));
    let columns = |name: &str| list(&format!("SELECT name FROM pragma_table_info('{name}', '{schema}')"));
    names.into_iter().map(|name| Table { columns: columns(&name), name }).collect()
}

/// The current name of a table of version 4.
pub(super) fn current_table(table: &str) -> &str {
    match table {
        "talker" => "context",
        "quarters_day" => "rollup_day_by_quarter_hour",
        "talkers_day" => "rollup_day_by_context",
        "endpoints_day" => "rollup_day_by_endpoint",
        "ports_day" => "rollup_day_by_remote_port",
        "talkers_four_weeks" => "rollup_four_weeks_by_context",
        "endpoints_four_weeks" => "rollup_four_weeks_by_endpoint",
        "ports_four_weeks" => "rollup_four_weeks_by_remote_port",
        "local_ports_four_weeks" => "rollup_four_weeks_by_local_port",
        same => same,
    }
}

/// The current name of a column of version 4.
pub(super) fn current_column(column: &str) -> &str {
    match column {
        "talker" => "context",
        "lookup" => "content_hash",
        "traffic" | "sums" => "packed_rows",
        same => same,
    }
}

/// The table `loss`, which events replace from version 6 on.
const LOSSES_OF_EVENTS: &str = "INSERT INTO main.loss SELECT time, CASE subject
    WHEN 'process_events' THEN 1 WHEN 'flow_table_full' THEN 2 WHEN 'channel' THEN 3 WHEN 'log' THEN 4
    WHEN 'uncountable_socket' THEN 5 WHEN 'flow_table_bytes' THEN 6 WHEN 'release_events' THEN 7
    WHEN 'skipped_calls' THEN 8 WHEN 'names' THEN 9 END, count FROM current.event WHERE kind = 'loss' ORDER BY id";

/// Rewrites the log at `path`, which has the current version and no open connection, as a log of `version`. Rollups of
/// versions 2 and 3 get a layout that no later version reads.
pub(super) fn rewrite_as_version(path: &Path, version: usize) {
    let older = path.with_extension("older");
    let mut connection = Connection::open(&older).unwrap();
    connection.execute_batch("PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL").unwrap();
    schema::migrate(&mut connection, &older, 0, &MIGRATIONS[..version]).unwrap();
    connection.execute("ATTACH ?1 AS current", [path.to_str().unwrap()]).unwrap();
    connection.execute_batch("PRAGMA foreign_keys = OFF; BEGIN").unwrap();
    for Table { name, columns } in tables(&connection, "main") {
        let is_rollup = name.starts_with("rollup_") || name.starts_with("local_ports_");
        if is_rollup && version < 4 {
            continue;
        }
        if name == "loss" {
            connection.execute_batch(LOSSES_OF_EVENTS).unwrap();
            continue;
        }
        let current: Vec<&str> = columns.iter().map(|column| current_column(column)).collect();
        let sql = format!(
            "DELETE FROM main.{name}; INSERT INTO main.{name} ({}) SELECT {} FROM current.{}",
            columns.join(", "),
            current.join(", "),
            current_table(&name)
        );
        // Without countries and networks, endpoints are no longer unique.
        let sql = if name == "endpoint" { sql.replace("INSERT", "INSERT OR IGNORE") } else { sql };
        connection.execute_batch(&sql).unwrap();
    }
    if version < 3 {
        connection
            .execute_batch(
                "UPDATE main.record SET endpoint = (SELECT old.id FROM main.endpoint AS old \
                 JOIN current.endpoint AS new USING (remote_address, local_address, domain, domain_source, family, \
                 protocol) WHERE new.id = record.endpoint)",
            )
            .unwrap();
    }
    if version == 2 || version == 3 {
        for (table, from, columns) in [
            ("rollup_quarter_hour", "rollup_quarter_hour", "start, connections, sent, received"),
            ("rollup_day", "rollup_day", "start, connections, sent, received"),
            ("rollup_four_weeks", "rollup_four_weeks", "start, connections, sent, received"),
            ("local_ports_day", "rollup_day", "start"),
            ("local_ports_four_weeks", "rollup_four_weeks", "start"),
        ] {
            let sql = format!("INSERT INTO main.{table} SELECT {columns}, x'0101' FROM current.{from}");
            connection.execute_batch(&sql).unwrap();
        }
    }
    connection.execute_batch("COMMIT; DETACH current; PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    drop(connection);
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{suffix}", path.display()));
    }
    fs::rename(&older, path).unwrap();
}
