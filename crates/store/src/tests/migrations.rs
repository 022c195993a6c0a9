//! Tests of migrations: logs of older versions keep their content.

use std::collections::BTreeMap;

use rusqlite::types::{Value as SqlValue, ValueRef};

use super::{
    checks::{check_quarters, check_totals, compare, rollup_counts, write_randomly, write_records},
    older_versions::{Table, current_column, current_table, rewrite_as_version, tables},
    random::Random,
    *,
};
use crate::{migrations, rollup::MAX_ROLLUP_ROWS};

#[test]
fn migrations_run_one_by_one_from_the_version_of_the_file() {
    let (_directory, path) = new_log();
    Writer::open(&path).unwrap().write(&window(100, vec![record(b"/a", "192.0.2.1", 443, 1, 0)])).unwrap();
    let mut connection = Connection::open(&path).unwrap();
    assert_eq!(schema::version(&connection, &path).unwrap(), MIGRATIONS.len() as i64);
    let version = |connection: &Connection| {
        connection.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0)).unwrap()
    };
    let next = "CREATE TABLE added (x)";
    let steps = [MIGRATIONS, &[next, "INSERT INTO nowhere VALUES (1)"]].concat();
    let start = version(&connection);
    // A migration that fails leaves the file at the version before it.
    schema::migrate(&mut connection, &path, start, &steps).unwrap_err();
    assert_eq!(version(&connection), start + 1);
    let steps =
        [MIGRATIONS, &[next, "ALTER TABLE added ADD COLUMN y; UPDATE record SET sent = sent + 1"]].concat();
    schema::migrate(&mut connection, &path, start + 1, &steps).unwrap();
    assert_eq!(version(&connection), start + 2);
    let sent: i64 = connection.query_row("SELECT sum(sent) FROM record", [], |row| row.get(0)).unwrap();
    assert_eq!(sent, 2);
    // The file has the version of a newer picosnitch now.
    drop(connection);
    assert!(matches!(Writer::open(&path), Err(StoreError::Newer { .. })));
}

#[test]
fn a_log_of_version_1_gets_its_rollups_and_answers_queries_meanwhile() {
    let (_directory, path) = new_log();
    let mut random = Random(77);
    write_randomly(&mut Writer::open(&path).unwrap(), &mut random, 1_700_000_000, 3000);
    rewrite_as_version(&path, 1);
    assert!(matches!(Reader::open(&path), Err(StoreError::Older { found: 1, .. })));
    let mut writer = Writer::open(&path).unwrap();
    assert!(rollup_counts(&path).iter().all(|count| *count == 0), "{:?}", rollup_counts(&path));
    compare(&path, &mut random, 10);
    let mut steps = 0;
    while writer.catch_up().unwrap() {
        steps += 1;
        if steps % 30 == 0 {
            // The daemon was killed and starts again.
            drop(writer);
            writer = Writer::open(&path).unwrap();
            compare(&path, &mut random, 5);
        }
    }
    assert!(steps > 100, "{steps}");
    check_totals(&path);
    check_quarters(&path);
    compare(&path, &mut random, 50);
    assert!(rollup_counts(&path)[1..].iter().all(|count| *count > 0), "{:?}", rollup_counts(&path));
}

#[test]
fn a_log_of_version_3_gets_new_rollups() {
    let (_directory, path) = new_log();
    let mut random = Random(99);
    write_randomly(&mut Writer::open(&path).unwrap(), &mut random, 1_700_000_000, 1500);
    rewrite_as_version(&path, 3);
    let mut writer = Writer::open(&path).unwrap();
    assert!(rollup_counts(&path).iter().all(|count| *count == 0), "{:?}", rollup_counts(&path));
    compare(&path, &mut random, 20);
    while writer.catch_up().unwrap() {}
    assert!(rollup_counts(&path)[1..].iter().all(|count| *count > 0), "{:?}", rollup_counts(&path));
    check_totals(&path);
    check_quarters(&path);
    compare(&path, &mut random, 100);
}

/// All rows of all tables, with the tables and columns by their current names.
fn dump(connection: &Connection) -> BTreeMap<String, Vec<Vec<SqlValue>>> {
    let table = |table: Table| {
        let mut columns: Vec<&String> = table.columns.iter().collect();
        columns.sort_by_key(|column| current_column(column));
        let names: Vec<&str> = columns.iter().map(|column| current_column(column)).collect();
        let list = columns.iter().map(|column| column.as_str()).collect::<Vec<_>>().join(", ");
        let sql = format!("SELECT {list} FROM {} ORDER BY {list}", table.name);
        let mut statement = connection.prepare(&sql).unwrap();
        let rows = statement.query_map([], |row| (0..columns.len()).map(|index| row.get(index)).collect());
        let rows = rows.unwrap().map(Result::unwrap).collect();
        (format!("{} ({})", current_table(&table.name), names.join(", ")), rows)
    };
    tables(connection, "main").into_iter().map(table).collect()
}

/// The columns of the view that all versions have. Arguments of command lines are separated by spaces from version 7 on.
fn connection_log(connection: &Connection) -> Vec<Vec<SqlValue>> {
    let sql = "SELECT executable, name, cmdline, sha256, time, domain, ip, port, uid, parent_exe, parent_name, parent_cmdline, \
               parent_sha256, conns, sent, received FROM connection_log";
    let mut statement = connection.prepare(sql).unwrap();
    let value = |row: &rusqlite::Row<'_>, index: usize| {
        let mut bytes = match row.get_ref(index).unwrap() {
            ValueRef::Blob(bytes) | ValueRef::Text(bytes) => bytes.to_vec(),
            other => return other.try_into().unwrap(),
        };
        if index == 2 || index == 11 {
            bytes.iter_mut().filter(|byte| **byte == 0).for_each(|byte| *byte = b' ');
        }
        String::from_utf8(bytes).map_or_else(|error| SqlValue::Blob(error.into_bytes()), SqlValue::Text)
    };
    let rows = statement.query_map([], |row| Ok((0..16).map(|index| value(row, index)).collect::<Vec<_>>()));
    let mut rows: Vec<Vec<SqlValue>> = rows.unwrap().map(Result::unwrap).collect();
    rows.sort_by_cached_key(|row| format!("{row:?}"));
    rows
}

/// Makes a log of version 4 with rows in each table, and a copy of it with the current version. Returns the directory, the
/// path and that of the copy.
fn log_of_version_4() -> (TempDir, PathBuf, PathBuf) {
    let (directory, path) = new_log();
    let copy = directory.path().join("current.db");
    let mut random = Random(4);
    let mut writer = Writer::open(&path).unwrap();
    // Some days get rollups without local ports, so that their quarters of an hour keep theirs.
    writer.max_rollup_rows = 60;
    let time = write_records(&mut writer, &mut random, 1_700_000_000, 300, Random::plain_record);
    writer.max_rollup_rows = MAX_ROLLUP_ROWS;
    let mut time = write_records(&mut writer, &mut random, time, 700, Random::plain_record) + 60 * 86_400;
    for kind in LossKind::ALL {
        time += 10;
        let losses = vec![Loss { kind, count: 1 + random.below(1 << 40) }];
        let mut record = random.plain_record();
        record.counters = Counters { connections: u64::MAX, sent: u64::MAX, received: 1 << 40 };
        let context = Arc::make_mut(&mut record.context);
        context.program.command_line = b"\xc3\x28 \0 \xff\xfe".to_vec();
        context.cgroup.app = b"odd \xe2\x80\xae \xff".to_vec();
        record.tuple.domain = b"\xff.example".to_vec();
        writer.write(&Window { losses, ..window(time, vec![record]) }).unwrap();
    }
    assert!(rollup_counts(&path).iter().all(|count| *count > 0), "{:?}", rollup_counts(&path));
    writer.checkpoint().unwrap();
    drop(writer);
    fs::copy(&path, &copy).unwrap();
    rewrite_as_version(&path, 4);
    (directory, path, copy)
}

#[test]
fn migration_5_changes_names_only() {
    let (_directory, path, _) = log_of_version_4();
    let mut connection = Connection::open(&path).unwrap();
    let (rows, view) = (dump(&connection), connection_log(&connection));
    assert!(rows.values().all(|rows| !rows.is_empty()));
    schema::migrate(&mut connection, &path, 4, &MIGRATIONS[..5]).unwrap();
    assert_eq!(dump(&connection), rows);
    assert_eq!(connection_log(&connection), view);
    assert_eq!(view.len() as i64, count(&path, "record"));
}

/// The texts that a statement returns.
fn texts(connection: &Connection, sql: &str) -> Vec<String> {
    let mut statement = connection.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

#[test]
fn a_log_of_version_4_has_the_same_answers_as_a_current_one() {
    let (_directory, path, copy) = log_of_version_4();
    let version_4 = Connection::open(&path).unwrap();
    let view = connection_log(&version_4);
    drop(version_4);
    // A reader changes nothing and says what to do.
    let bytes = fs::read(&path).unwrap();
    let error = Reader::open(&path).err().unwrap();
    assert!(matches!(error, StoreError::Older { found: 4, known: 10, .. }), "{error}");
    assert!(error.to_string().contains("the daemon"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), bytes);

    let writer = Writer::open(&path).unwrap();
    assert_eq!(connection_log(&writer.connection), view);
    let check = |sql: &str| texts(&writer.connection, sql);
    assert_eq!(check("PRAGMA integrity_check"), ["ok"]);
    assert_eq!(check("PRAGMA foreign_key_check"), [""; 0]);
    assert_eq!(
        check("SELECT name FROM sqlite_schema WHERE sql LIKE '%talker%' OR sql LIKE '%lookup%'"),
        [""; 0]
    );
    let new = Connection::open(&copy).unwrap();
    let schema = "SELECT name || ' ' || coalesce(sql, '') FROM sqlite_schema ORDER BY name";
    let names = "SELECT type || ' ' || name FROM sqlite_schema ORDER BY type, name";
    assert_eq!(check(names), texts(&new, names));
    assert_eq!(check(schema).len(), texts(&new, schema).len());
    // What follows from the records is what the writer stored with them. The current one has its times in other windows.
    let seen =
        "SELECT hex(path) || hex(sha256) || uid || ' ' || first || ' ' || last FROM program_seen ORDER BY 1";
    let firsts = |table| format!("SELECT id || ' ' || first FROM {table} ORDER BY id");
    let windows =
        "SELECT time || ' ' || sum(count) FROM window GROUP BY time HAVING sum(count) > 0 ORDER BY time";
    let by_records = |column| {
        format!("SELECT {column} || ' ' || min(time) FROM record GROUP BY {column} ORDER BY {column}")
    };
    for table in ["context", "endpoint"] {
        assert_eq!(check(&firsts(table)), check(&by_records(table)));
    }
    assert_eq!(check(windows), texts(&new, windows));
    let expected = "SELECT hex(path) || hex(coalesce(sha256, x'')) || uid || ' ' || min(time) || ' ' || max(time) FROM record \
                    JOIN context ON context.id = record.context JOIN program ON program.id = context.program \
                    GROUP BY path, sha256, uid ORDER BY 1";
    assert_eq!(check(seen), check(expected));

    let (migrated, current) = (Reader::open(&path).unwrap(), Reader::open(&copy).unwrap());
    let losses = migrated.losses(Range::default()).unwrap();
    assert_eq!(losses, current.losses(Range::default()).unwrap());
    assert_eq!(losses.len(), LossKind::ALL.len());
    let events = migrated.events(Range::default(), &[EventKind::Loss], 1000).unwrap();
    assert!(events.iter().all(|event| !event.text.is_empty()), "{events:?}");
    let (first, last) = migrated.extent().unwrap().unwrap();
    let mut random = Random(44);
    for _ in 0..200 {
        let query = random.query(first, last);
        assert_eq!(migrated.answer(&query).unwrap(), current.answer(&query).unwrap(), "{query:?}");
    }
    compare(&path, &mut random, 100);
    // The interner finds the rows that are there.
    let programs = count(&path, "program");
    let mut writer = writer;
    let mut random = Random(4);
    write_randomly(&mut writer, &mut random, last + 10, 200);
    assert!(count(&path, "program") < programs + 5, "{programs}");
    compare(&path, &mut random, 20);
}

#[test]
fn a_crash_during_a_migration_leaves_the_version_before() {
    let (directory, path, _) = log_of_version_4();
    for version in [4, 5, 6] {
        let mut connection = Connection::open(&path).unwrap();
        schema::migrate(&mut connection, &path, version as i64, &MIGRATIONS[..version]).unwrap();
        drop(connection);
        crash_while_migrating(&path, &directory.path().join("crashed.db"), version);
        let mut connection = Connection::open(&path).unwrap();
        schema::migrate(&mut connection, &path, version as i64, &MIGRATIONS[..version + 1]).unwrap();
    }
    Writer::open(&path).unwrap();
}

/// Ends after each statement of the migration of `path` from `version`, in copies at `crashed`.
fn crash_while_migrating(path: &Path, crashed: &Path, version: usize) {
    let before = dump(&Connection::open(path).unwrap());
    let statements: Vec<&str> =
        MIGRATIONS[version].split_inclusive(';').filter(|sql| sql.contains(';')).collect();
    assert!(statements.len() > 10, "{}", statements.len());
    for executed in 1..=statements.len() {
        let mut connection = Connection::open(path).unwrap();
        // The smallest cache: changed pages are in the write-ahead log before the commit.
        connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA cache_size = 1").unwrap();
        let transaction = connection.transaction().unwrap();
        transaction.execute_batch(&statements[..executed].concat()).unwrap();
        if executed == statements.len() {
            migrations::fill(&transaction, version + 1).unwrap();
        }
        transaction.pragma_update(None, "user_version", version as i64 + 1).unwrap();
        // The files as a killed process leaves them.
        for suffix in ["", "-wal"] {
            fs::copy(format!("{}{suffix}", path.display()), format!("{}{suffix}", crashed.display()))
                .unwrap();
        }
        drop(transaction);
        let spilled = fs::metadata(format!("{}-wal", crashed.display())).unwrap().len();
        assert!(executed < statements.len() || spilled > 0, "no uncommitted page is in the file");
        let connection = Connection::open(crashed).unwrap();
        assert_eq!(schema::version(&connection, crashed).unwrap(), version as i64);
        assert_eq!(dump(&connection), before, "after {executed} statements");
        let view = connection_log(&connection);
        drop(connection);
        if executed % 10 == 0 {
            let writer = Writer::open(crashed).unwrap();
            assert_eq!(connection_log(&writer.connection), view);
        }
        for suffix in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(format!("{}{suffix}", crashed.display()));
        }
    }
}

#[test]
fn a_reader_finds_a_complete_log_or_none() {
    for _ in 0..15 {
        let (_directory, path) = new_log();
        let reader = std::thread::spawn({
            let path = path.clone();
            move || {
                let mut refusals = Vec::new();
                loop {
                    match Reader::open(&path) {
                        Ok(reader) => break (reader.query(&Query::default()), refusals),
                        Err(error) => refusals.push(error),
                    }
                }
            }
        });
        let mut writer = Writer::open(&path).unwrap();
        writer.write(&window(100, vec![record(b"/a", "192.0.2.1", 443, 1, 0)])).unwrap();
        let (answer, refusals) = reader.join().unwrap();
        assert_eq!(answer.unwrap().len(), 1);
        for error in refusals {
            assert!(matches!(error, StoreError::Missing(_) | StoreError::Empty(_)), "{error}");
            assert!(error.to_string().contains(" yet"), "{error}");
        }
    }
}
