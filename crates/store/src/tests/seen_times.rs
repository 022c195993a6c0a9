//! Tests of when contexts, endpoints and ports were seen.

use std::collections::BTreeMap;

use super::{checks::write_randomly, older_versions::rewrite_as_version, random::Random, *};
use crate::seen_times::UNSETTLED;

/// First and last time by id.
type Times = BTreeMap<i64, (i64, i64)>;

fn times(path: &Path, sql: &str) -> Times {
    let connection = Connection::open(path).unwrap();
    let mut statement = connection.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?)))).unwrap();
    rows.map(Result::unwrap).collect()
}

/// What the table says, by its ids.
fn stored(path: &Path, table: &str) -> Times {
    let id = if table == "port_seen" { "port" } else { "id" };
    times(path, &format!("SELECT {id}, first, last FROM {table}"))
}

/// What the records say.
fn by_records(path: &Path, table: &str) -> Times {
    records_with(path, table, "true")
}

fn records_with(path: &Path, table: &str, selected: &str) -> Times {
    let column = match table {
        "port_seen" => "remote_port",
        column => column,
    };
    let sql = format!("SELECT {column}, min(time), max(time) FROM record WHERE {selected} GROUP BY 1");
    times(path, &sql)
}

/// What a reader knows: the table, and the records that it does not know yet.
fn known(path: &Path, table: &str) -> Times {
    let mut known = stored(path, table);
    for (id, (first, last)) in records_with(path, table, UNSETTLED) {
        let seen = known.entry(id).or_insert((first, last));
        *seen = (seen.0.min(first), seen.1.max(last));
    }
    known
}

const TABLES: [&str; 3] = ["context", "endpoint", "port_seen"];

#[test]
fn a_reader_knows_the_times_of_the_records() {
    let (_directory, path) = new_log();
    let mut random = Random(0x5ee_4e5);
    let mut time = 1_700_000_000;
    for _ in 0..5 {
        // The clock is set back sometimes, and the writer starts again.
        let mut writer = Writer::open(&path).unwrap();
        time = write_randomly(&mut writer, &mut random, time, 400);
        drop(writer);
        for table in TABLES {
            let records = by_records(&path, table);
            assert!(records.len() > 5, "{table}");
            assert_eq!(known(&path, table), records, "{table}");
        }
    }
    assert!(known(&path, "port_seen").contains_key(&-2));
}

#[test]
fn a_row_is_written_once_in_a_quarter_of_an_hour() {
    let (_directory, path) = new_log();
    let mut writer = Writer::open(&path).unwrap();
    writer
        .connection
        .execute_batch(
            "CREATE TEMP TABLE written (what); \
             CREATE TEMP TRIGGER c AFTER UPDATE ON main.context BEGIN INSERT INTO written VALUES ('context'); END; \
             CREATE TEMP TRIGGER e AFTER UPDATE ON main.endpoint BEGIN INSERT INTO written VALUES ('endpoint'); END; \
             CREATE TEMP TRIGGER i AFTER INSERT ON main.port_seen BEGIN INSERT INTO written VALUES ('port_seen'); END; \
             CREATE TEMP TRIGGER p AFTER UPDATE ON main.port_seen BEGIN INSERT INTO written VALUES ('port_seen'); END",
        )
        .unwrap();
    // The start of a quarter.
    let start = 1_700_000_100;
    for number in 0..400 {
        let records = vec![record(b"/a", "192.0.2.1", 443, 1, 0); 3];
        writer.write(&window(start + number * 10, records)).unwrap();
    }
    for table in TABLES {
        let sql = "SELECT count(*) FROM written WHERE what = ?1";
        let written: i64 = writer.connection.query_row(sql, [table], |row| row.get(0)).unwrap();
        // At 900, 1800, 2700 and 3600 s.
        assert_eq!(written, 4, "{table}");
        assert_eq!(stored(&path, table).values().next(), Some(&(start, start + 3590)), "{table}");
    }
    // A window that is not written leaves no time in the tables.
    writer
        .connection
        .execute_batch(
            "CREATE TEMP TRIGGER fail BEFORE INSERT ON main.event BEGIN SELECT raise(ABORT, 'test'); END",
        )
        .unwrap();
    let later = start + 100_000;
    let losses = vec![Loss { kind: LossKind::Log, count: 1 }];
    let failing = window(later, vec![record(b"/a", "192.0.2.1", 443, 1, 0)]);
    writer.write(&Window { losses, ..failing }).unwrap_err();
    writer.connection.execute_batch("DROP TRIGGER fail").unwrap();
    for table in TABLES {
        assert_eq!(stored(&path, table).values().next(), Some(&(start, start + 3590)), "{table}");
    }
    writer.write(&window(later + 1, vec![record(b"/a", "192.0.2.1", 443, 1, 0)])).unwrap();
    for table in TABLES {
        assert_eq!(stored(&path, table).values().next(), Some(&(start, start + 3990)), "{table}");
        assert_eq!(known(&path, table).values().next(), Some(&(start, later + 1)), "{table}");
    }
}

#[test]
fn a_window_without_records_is_a_window() {
    let (_directory, path) = new_log();
    let mut writer = Writer::open(&path).unwrap();
    writer.write(&window(1_700_000_100, vec![record(b"/a", "192.0.2.1", 443, 1, 0)])).unwrap();
    writer.write(&window(1_700_000_200, vec![record(b"/a", "192.0.2.1", 443, 1, 0)])).unwrap();
    let losses = vec![Loss { kind: LossKind::Log, count: 1 }];
    writer.write(&Window { losses, ..window(1_700_005_000, Vec::new()) }).unwrap();
    for table in TABLES {
        assert_eq!(known(&path, table), by_records(&path, table), "{table}");
    }
}

#[test]
fn the_last_quarter_of_a_day_that_is_cut_is_known() {
    let (_directory, path) = new_log();
    let mut writer = Writer::open(&path).unwrap();
    let day = 1_700_006_400;
    for quarter in 0..90 {
        writer.write(&window(day + quarter * 900, vec![record(b"/a", "192.0.2.1", 443, 1, 0)])).unwrap();
    }
    while writer.cut_detail(0).unwrap() {}
    let since = writer.detail_since.unwrap();
    assert!(day < since && since < day + 86_400, "{since}");
    let late = day + 86_400 - 300;
    writer.write(&window(late, vec![record(b"/a", "192.0.2.1", 8443, 1, 0)])).unwrap();
    writer.write(&window(day + 86_400 + 10, vec![record(b"/a", "192.0.2.1", 443, 1, 0)])).unwrap();
    assert_eq!(writer.detail_since, Some(day + 86_400));
    assert_eq!(stored(&path, "port_seen").get(&8443), Some(&(late, late)));
    assert_eq!(stored(&path, "context").values().next(), Some(&(day, late)));
}

#[test]
fn folded_and_limited_traffic_is_seen_too() {
    let (_directory, path) = new_log();
    let mut writer = Writer::open(&path).unwrap();
    let little = Allowance { bytes_per_hour: 2000, burst: 500 };
    writer.limit_growth(GrowthLimit { detail: little, programs: little });
    let start = 1_700_000_000;
    for number in 0..1200 {
        let records = (0..20)
            .map(|host| record(b"/a", &format!("10.0.{}.{host}", number % 200), 1000 + number % 50, 1, 0))
            .collect();
        writer.write(&Window { uptime: number * 10, ..window(start + number * 10, records) }).unwrap();
    }
    for table in TABLES {
        assert_eq!(known(&path, table), by_records(&path, table), "{table}");
    }
}

#[test]
fn the_table_of_ports_is_bounded() {
    let (_directory, path) = new_log();
    let mut writer = Writer::open(&path).unwrap();
    let start = 1_700_000_100;
    for number in 0..80 {
        let records =
            (0..1000).map(|port| record(b"/a", "192.0.2.1", 1 + number * 1000 + port, 1, 0)).collect();
        writer.write(&window(start + number * 10, records)).unwrap();
    }
    let port_1 = |time| window(time, vec![record(b"/a", "192.0.2.1", 1, 1, 0)]);
    writer.write(&port_1(start + 900)).unwrap();
    let ports = stored(&path, "port_seen");
    assert!((68_000..=70_000).contains(&ports.len()), "{}", ports.len());
    // The oldest are gone, and come again.
    assert!(!ports.contains_key(&1) && ports.contains_key(&80_000));
    writer.write(&port_1(start + 1800)).unwrap();
    assert_eq!(stored(&path, "port_seen")[&1], (start + 900, start + 900));
}

#[test]
fn the_migration_finds_the_times_in_records_and_in_rollups() {
    for cut in [false, true] {
        let (_directory, path) = new_log();
        let mut random = Random(7_000_007);
        let mut writer = Writer::open(&path).unwrap();
        write_randomly(&mut writer, &mut random, 1_700_000_000, 3000);
        while writer.catch_up().unwrap() {}
        let expected = TABLES.map(|table| (table, by_records(&path, table)));
        if cut {
            assert!(writer.cut_detail(writer.used_bytes().unwrap() / 2).unwrap());
        }
        let since = writer.detail_since.unwrap_or(i64::MIN);
        drop(writer);
        rewrite_as_version(&path, 6);
        drop(Writer::open(&path).unwrap());
        let mut coarse = 0;
        for (table, records) in expected {
            let stored = stored(&path, table);
            assert_eq!(stored.len(), records.len(), "{table}");
            for (id, (first, last)) in records {
                let seen = stored[&id];
                // In the time that was cut a time is that of its quarter of an hour.
                let is_near = |time, seen: i64| seen == time || time < since && seen.abs_diff(time) < 900;
                assert!(
                    is_near(first, seen.0) && is_near(last, seen.1),
                    "{table} {id} {first} {last} {seen:?}"
                );
                assert!(
                    seen.0 <= first && seen.1 >= last && (seen.1 == last || seen.1 < since),
                    "{table} {id}"
                );
                coarse += i32::from(seen != (first, last));
            }
        }
        assert_eq!(coarse > 0, cut);
        // It is current now.
        assert_eq!(Reader::open(&path).unwrap().detail_since().unwrap(), Some(since).filter(|_| cut));
    }
}

#[test]
fn salvage_brings_the_times_of_ports() {
    let (_directory, path) = new_log();
    let mut random = Random(99);
    let mut writer = Writer::open(&path).unwrap();
    let last = write_randomly(&mut writer, &mut random, 1_700_000_000, 500);
    let last = last + 1000;
    writer.write(&window(last, vec![record(b"/a", "192.0.2.1", 443, 1, 0)])).unwrap();
    let ports = stored(&path, "port_seen");
    writer.purge(last).unwrap();
    drop(writer);
    let (_other, target) = new_log();
    let mut into = Writer::open(&target).unwrap();
    salvage(&path, &mut into).unwrap();
    let mut expected = ports.clone();
    expected.entry(443).and_modify(|seen| seen.1 = last);
    assert_eq!(stored(&target, "port_seen"), expected);
    // Later traffic goes on from there.
    into.write(&window(last + 5000, vec![record(b"/a", "192.0.2.1", 443, 1, 0)])).unwrap();
    assert_eq!(known(&target, "port_seen")[&443], (ports[&443].0, last + 5000));
    for table in ["context", "endpoint"] {
        let known = known(&target, table);
        for (id, seen) in by_records(&target, table) {
            assert_eq!(known[&id], seen, "{table} {id}");
        }
    }
}
