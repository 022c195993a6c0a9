//! Tests of the salvage of damaged logs: what is brought over is a part of what was there, and a large one.

use std::collections::HashMap;

use rusqlite::types::Value as SqlValue;

use super::{older_versions::rewrite_as_version, random::Random, *};

const PAGE: usize = 4096;

/// The records of a log as flat rows, with the number of times that each is there.
fn content(path: &Path) -> HashMap<String, i64> {
    let columns = "r.time, r.local_port, r.remote_port, r.connections, r.sent, r.received, r.folded, c.uid, \
        c.network_namespace, p.path, p.name, p.command_line, p.sha256, pp.path, pp.name, pp.sha256, gp.path, gp.name, \
        g.path, g.unit, g.container, g.app, e.family, e.protocol, e.domain_source, d.name, ra.bytes, ra.text, la.bytes, \
        co.name, n.number, n.name";
    let sql = format!(
        "SELECT {columns} FROM record AS r JOIN context AS c ON c.id = r.context JOIN program AS p ON p.id = c.program \
         JOIN program AS pp ON pp.id = c.parent JOIN program AS gp ON gp.id = c.grandparent \
         JOIN cgroup AS g ON g.id = c.cgroup JOIN endpoint AS e ON e.id = r.endpoint JOIN domain AS d ON d.id = e.domain \
         LEFT JOIN address AS ra ON ra.id = e.remote_address LEFT JOIN address AS la ON la.id = e.local_address \
         JOIN country AS co ON co.id = e.country JOIN network AS n ON n.id = e.network"
    );
    let connection = Connection::open(path).unwrap();
    let mut statement = connection.prepare(&sql).unwrap();
    let count = statement.column_count();
    let mut found = HashMap::new();
    let mut rows = statement.query([]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        let values: Vec<SqlValue> = (0..count).map(|column| row.get(column).unwrap()).collect();
        *found.entry(format!("{values:?}")).or_default() += 1;
    }
    found
}

/// A log of some days with `windows` windows, folded records and events; all of it is in the file itself.
fn healthy(path: &Path, windows: usize) {
    let mut random = Random(0x5a17_a9e0);
    let mut writer = Writer::open(path).unwrap();
    let mut time = 1_700_000_000;
    for number in 0..windows {
        time += 10;
        let mut records: Vec<Record> = (0..1 + random.below(12)).map(|_| random.record()).collect();
        // Each record differs from all others, so that a double one is noticed.
        for (index, record) in records.iter_mut().enumerate() {
            record.counters.sent = (number * 100 + index) as u64;
        }
        let mut folded = random.record();
        folded.tuple.fold(&FlowTuple { remote_port: 1, ..random.record().tuple });
        folded.tuple.domain_source = model::DomainSource::Many;
        folded.tuple.domain.clear();
        folded.folded = 7;
        folded.counters.sent = (number * 100 + 99) as u64;
        records.push(folded);
        let losses = match random.below(9) {
            0 => vec![Loss { kind: LossKind::Names, count: 1 + number as u64 }],
            _ => vec![],
        };
        writer.write(&Window { losses, ..window(time, records) }).unwrap();
    }
    let alert = Event {
        writer: Some(model::Writer { pid: 7, path: b"/w".to_vec(), ..model::Writer::default() }),
        ..Event::new(EventKind::Alert, time, "changed")
    };
    writer.write(&Window { events: vec![alert], ..window(time, vec![]) }).unwrap();
    while writer.catch_up().unwrap() {}
    writer.checkpoint().unwrap();
    drop(writer);
    remove_others(path);
}

fn remove_others(path: &Path) {
    for suffix in ["-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{suffix}", path.display()));
    }
}

/// Salvages twice into a new log, and checks that nothing is there that was not there before. Returns the report of the
/// first time, and the share of the records that were brought over, in percent.
fn salvage_all(damaged: &Path, before: &HashMap<String, i64>) -> (Salvaged, i64) {
    let (_directory, path) = new_log();
    let mut writer = Writer::open(&path).unwrap();
    let result = salvage(damaged, &mut writer).unwrap();
    let again = salvage(damaged, &mut writer).unwrap();
    assert_eq!((again.records, again.events), (0, 0), "{again:?}");
    assert_eq!(again.known_records, result.records);
    // Another copy of which more is readable adds what is missing, and doubles nothing.
    let healthy = damaged.with_extension("healthy");
    if healthy.exists() {
        let (_other, copy) = new_log();
        let mut both = Writer::open(&copy).unwrap();
        let first = salvage(damaged, &mut both).unwrap();
        let second = salvage(&healthy, &mut both).unwrap();
        assert_eq!(second.known_records, first.records, "{first:?}");
        assert_eq!((first.records + second.records) as i64, before.values().sum::<i64>());
    }
    drop(writer);
    let after = content(&path);
    let brought: i64 = after.values().sum();
    assert_eq!(brought, result.records as i64);
    let known: i64 =
        after.iter().map(|(row, count)| (*count).min(before.get(row).copied().unwrap_or(0))).sum();
    // What is unknown may have been unknown before.
    assert!(brought - known <= result.incomplete as i64, "{result:?}");
    assert!(result.incomplete > 0 || after.iter().all(|(row, count)| before[row] >= *count));
    checks::check_totals(&path);
    checks::check_quarters(&path);
    let all: i64 = before.values().sum();
    assert!(!result.is_complete() || known == all, "{result:?}");
    assert!(!path.with_extension("db.salvage").exists());
    (result, known * 100 / all)
}

#[test]
fn a_healthy_log_is_brought_over_whole() {
    let (_directory, path) = new_log();
    healthy(&path, 400);
    let before = content(&path);
    let (result, share) = salvage_all(&path, &before);
    assert_eq!((share, result.opened, result.missing), (100, Opened::Whole, Some(0)));
    assert!(result.events > 20 && result.programs > 3);
}

#[test]
fn damaged_pages_cost_what_they_hold() {
    let (_directory, path) = new_log();
    healthy(&path, 400);
    let before = content(&path);
    let bytes = fs::read(&path).unwrap();
    let pages = bytes.len() / PAGE;
    let mut random = Random(0xdead_beef);
    let (mut shares, mut complete) = (Vec::new(), 0);
    for round in 0..30 {
        let mut damaged = bytes.clone();
        for _ in 0..1 + random.below(3) {
            // Not the first page: that is another test.
            let page = 1 + random.below(pages as u64 - 1) as usize;
            match round % 3 {
                0 => damaged[page * PAGE..(page + 1) * PAGE].fill(0),
                1 => {
                    let sector = page * PAGE + 512 * random.below(8) as usize;
                    damaged[sector..sector + 512].iter_mut().for_each(|byte| *byte = random.below(256) as u8);
                }
                _ => {
                    let from = page * PAGE;
                    damaged[from..from + PAGE].iter_mut().for_each(|byte| *byte = random.below(256) as u8);
                }
            }
        }
        let (_directory, path) = new_log();
        fs::write(&path, &damaged).unwrap();
        if round % 5 == 0 {
            fs::write(path.with_extension("healthy"), &bytes).unwrap();
        }
        let (result, share) = salvage_all(&path, &before);
        complete += i32::from(result.is_complete());
        shares.push(share);
    }
    shares.sort_unstable();
    println!("{shares:?}, {complete} complete");
    assert!(shares[shares.len() / 2] >= 95, "{shares:?}");
}

#[test]
fn records_below_a_destroyed_root_are_found() {
    let (_directory, path) = new_log();
    healthy(&path, 400);
    let before = content(&path);
    let connection = Connection::open(&path).unwrap();
    let sql = "SELECT rootpage FROM sqlite_schema WHERE name = 'record'";
    let root: usize = connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap() as usize;
    drop(connection);
    remove_others(&path);
    let mut bytes = fs::read(&path).unwrap();
    bytes[(root - 1) * PAGE..root * PAGE].fill(0);
    fs::write(&path, &bytes).unwrap();
    let (result, share) = salvage_all(&path, &before);
    assert!(share >= 98 && !result.is_complete(), "{share} {result:?}");
    // What was deleted does not come back.
    let (_other, path) = new_log();
    healthy(&path, 400);
    let mut writer = Writer::open(&path).unwrap();
    let middle = 1_700_002_000;
    writer.purge(middle).unwrap();
    writer.checkpoint().unwrap();
    drop(writer);
    remove_others(&path);
    let before = content(&path);
    let mut bytes = fs::read(&path).unwrap();
    bytes[(root - 1) * PAGE..root * PAGE].fill(0);
    fs::write(&path, &bytes).unwrap();
    let (_, share) = salvage_all(&path, &before);
    assert!(share >= 97, "{share}");
}

/// The number of records on pages in the first `bytes` of a log.
fn records_up_to(path: &Path, bytes: usize) -> u64 {
    let sql = "SELECT sum(ncell) FROM dbstat WHERE name = 'record' AND pgoffset + pgsize <= ?1";
    let connection = Connection::open(path).unwrap();
    let records: i64 = connection.query_row(sql, [bytes as i64], |row| row.get(0)).unwrap();
    records as u64
}

#[test]
fn truncated_logs_and_missing_write_ahead_logs_keep_the_rest() {
    let (_directory, whole) = new_log();
    healthy(&whole, 1200);
    let before = content(&whole);
    let bytes = fs::read(&whole).unwrap();
    for part in [1, 2, 3] {
        let (_directory, path) = new_log();
        fs::write(&path, &bytes[..bytes.len() * part / 4 + 77]).unwrap();
        let (result, _) = salvage_all(&path, &before);
        // Where the pages of the records lie depends on everything else that is in the file.
        let left = records_up_to(&whole, bytes.len() * part / 4);
        let share = result.records * 100 / left;
        println!("{part} quarters: {left} records left, {share} percent found");
        assert!(!result.is_complete() && left > 100 && share >= 98, "{part}: {share} {result:?}");
        assert_eq!(result.opened, Opened::Whole);
    }
    // The last windows are in the write-ahead log only.
    let mut writer = Writer::open(&whole).unwrap();
    writer.write(&window(1_700_100_000, vec![record(b"/last", "192.0.2.1", 443, 1, 2)])).unwrap();
    let (_other, copy) = new_log();
    fs::copy(&whole, &copy).unwrap();
    let (_, share) = salvage_all(&copy, &before);
    assert_eq!(share, 100);
    fs::copy(whole.with_extension("db-wal"), copy.with_extension("db-wal")).unwrap();
    let (result, _) = salvage_all(&copy, &content(&whole));
    assert!(result.is_complete(), "{result:?}");
    // Half of it: whole transactions are read.
    let wal = fs::read(whole.with_extension("db-wal")).unwrap();
    fs::write(copy.with_extension("db-wal"), &wal[..wal.len() / 2]).unwrap();
    let (_, share) = salvage_all(&copy, &before);
    assert_eq!(share, 100);
}

#[test]
fn a_destroyed_first_page_is_made_anew() {
    for version in [4, 5, 6, 7] {
        let (_directory, path) = new_log();
        healthy(&path, 300);
        let before = content(&path);
        if version < 7 {
            rewrite_as_version(&path, version);
        }
        let mut bytes = fs::read(&path).unwrap();
        bytes[..PAGE].fill(0);
        fs::write(&path, &bytes).unwrap();
        let (result, share) = salvage_all(&path, &before_of(version, &before));
        let expected = (Opened::WithNewFirstPage, 100, version.max(5) as i64);
        assert_eq!((result.opened, share, result.version), expected, "{version}: {result:?}");
        assert!(result.gaps.is_empty() && result.events > 0, "{version}: {result:?}");
        // Only the header.
        bytes = fs::read(&path).unwrap();
        bytes[..100].fill(0xff);
        fs::write(&path, &bytes).unwrap();
        let (_, share) = salvage_all(&path, &before_of(version, &before));
        assert_eq!(share, 100, "{version}");
    }
}

#[test]
fn older_versions_are_brought_over() {
    for version in [1, 2, 3, 4, 5, 6] {
        let (_directory, path) = new_log();
        healthy(&path, 300);
        rewrite_as_version(&path, version);
        let (_other, copy) = new_log();
        fs::copy(&path, &copy).unwrap();
        // What the migration makes of it.
        drop(Writer::open(&path).unwrap());
        let (result, share) = salvage_all(&copy, &content(&path));
        assert_eq!((result.version, result.opened, share), (version as i64, Opened::Whole, 100));
        assert!(result.is_complete() && result.events > 0, "{result:?}");
    }
}

/// Older versions do not know how many groups a record has.
fn before_of(version: usize, before: &HashMap<String, i64>) -> HashMap<String, i64> {
    if version >= 6 {
        return before.clone();
    }
    let mut changed = HashMap::new();
    for (row, count) in before {
        let mut fields: Vec<&str> = row.split("), ").collect();
        fields[6] = "Integer(0";
        *changed.entry(fields.join("), ")).or_default() += count;
    }
    changed
}

#[test]
fn salvage_changes_neither_the_clock_nor_what_is_there() {
    let (_directory, damaged) = new_log();
    healthy(&damaged, 200);
    let (_other, path) = new_log();
    let mut writer = Writer::open(&path).unwrap();
    writer.set_boot("boot").unwrap();
    let now = 1_700_500_000;
    for number in 0..5 {
        let window = window(now + number, vec![record(b"/now", "192.0.2.1", 443, 1, 2)]);
        writer.write(&Window { uptime: number, ..window }).unwrap();
    }
    let clock = writer.clock;
    let result = salvage(&damaged, &mut writer).unwrap();
    assert!(result.is_complete() && result.records > 1000, "{result:?}");
    assert_eq!(writer.clock, clock);
    writer
        .write(&Window { uptime: 10, ..window(now + 10, vec![record(b"/now", "192.0.2.1", 443, 1, 2)]) })
        .unwrap();
    drop(writer);
    let connection = Connection::open(&path).unwrap();
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(number("SELECT count(*) FROM event WHERE kind = 'clock'"), 0);
    assert_eq!(number("SELECT count(*) FROM event WHERE kind = 'log' AND text LIKE '%brought over%'"), 1);
    assert_eq!(number("SELECT last_window - (SELECT max(id) FROM window) FROM log"), 0);
    assert_eq!(number("SELECT sum(count) FROM window"), number("SELECT count(*) FROM record"));
    connection.execute("ATTACH ?1 AS damaged", [damaged.to_str().unwrap()]).unwrap();
    let sql = "SELECT count(*) FROM damaged.program_seen AS d LEFT JOIN main.program_seen AS m USING (path, sha256, uid, first) \
               WHERE m.last IS NULL OR m.last < d.last";
    assert_eq!(number(sql), 0);
    connection.execute_batch("DETACH damaged").unwrap();
    assert_eq!(number("SELECT min(first) FROM context"), 1_700_000_010);
    checks::compare(&path, &mut Random(7), 100);
    assert!(matches!(
        salvage(&damaged.with_extension("none"), &mut Writer::open(&path).unwrap()),
        Err(StoreError::File { .. })
    ));
}
