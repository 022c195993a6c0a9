//! Tests of the limit of growth by one user.

use std::net::Ipv4Addr;

use model::{DomainSource, PORT_MANY};

use super::*;
use crate::growth_budget::{Allowance, GrowthLimit};

const LIMIT: GrowthLimit = GrowthLimit {
    detail: Allowance { bytes_per_hour: 3_600_000, burst: 200_000 },
    programs: Allowance { bytes_per_hour: 3_600_000, burst: 200_000 },
};

/// A record of a user to an address that follows from a number.
fn of_user(uid: u32, path: &str, number: u32) -> Record {
    let mut record = record(path.as_bytes(), "192.0.2.1", 443, 10, 1);
    record.tuple.remote_address = Some(Ipv4Addr::from(0x0a00_0000 + number).into());
    record.geo = GeoInfo::default();
    Arc::make_mut(&mut record.context).uid = uid;
    record
}

/// Writes windows of ten seconds, whose records `records` makes, and returns the bytes that the log has grown by from the
/// tenth to the last.
fn grow(path: &Path, windows: i64, mut records: impl FnMut(i64) -> Vec<Record>) -> u64 {
    let mut writer = Writer::open(path).unwrap();
    writer.limit_growth(LIMIT);
    let mut before = 0;
    for number in 0..windows {
        let uptime = 1000 + number * 10;
        writer.write(&Window { uptime, ..window(1_700_000_000 + number * 10, records(number)) }).unwrap();
        if number == 10 {
            before = writer.used_bytes().unwrap();
        }
    }
    writer.used_bytes().unwrap() - before
}

#[test]
fn new_peers_of_one_user_are_summed_and_another_user_keeps_the_detail() {
    let (_directory, path) = new_log();
    let grown = grow(&path, 200, |window| {
        let mut records: Vec<Record> =
            (0..193).map(|peer| of_user(1000, "/flood", window as u32 * 1000 + peer)).collect();
        let mut large = of_user(1000, "/flood", 77);
        large.counters.sent = 1_000_000;
        records.push(large);
        records.push(of_user(1001, "/quiet", window as u32));
        records
    });
    // 190 windows of 10 seconds at 1 kB a second; the other user takes some 400 bytes a window.
    assert!(grown < 190 * (10_000 + 500) * 5 / 4, "{grown}");
    let exe = |path: &str| typed(Dimension::Executable, path.as_bytes(), false).remove(0);
    let sum = |filters: Vec<Filter>| rows(&path, &[], filters)[0].counters;
    assert_eq!(sum(vec![exe("/flood")]).connections, 200 * 194);
    assert_eq!(sum(vec![exe("/flood")]).sent, 200 * (193 * 10 + 1_000_000));
    assert_eq!(
        rows(&path, &[Dimension::Address], vec![exe("/quiet")]).len(),
        200,
        "every peer of the other user"
    );
    let many = typed(Dimension::Address, b"many", false).remove(0);
    let folded = sum(vec![exe("/flood"), many.clone()]);
    assert!(folded.connections > 100 * 193, "{folded:?}");
    let upload = typed(Dimension::Address, b"10.0.0.77", false).remove(0);
    assert!(sum(vec![upload]).sent >= 199 * 1_000_000, "the largest keep their detail");
    assert_eq!(rows(&path, &[Dimension::Address], vec![many]).len(), 1);
    let events = Reader::open(&path).unwrap().events(Range::default(), &[EventKind::Fold], 10).unwrap();
    assert!(!events.is_empty() && events.len() <= 2, "one an hour: {events:?}");
    assert!(events.iter().all(|event| event.uid == Some(1000)), "{events:?}");
}

#[test]
fn long_command_lines_of_one_user_become_many() {
    let (_directory, path) = new_log();
    let grown = grow(&path, 200, |window| {
        (0..100)
            .map(|number| {
                let mut record = of_user(1000, "/bin/x", 1);
                let line = format!("/bin/x {window} {number} {}", "a".repeat(4000));
                Arc::make_mut(&mut record.context).program.command_line = line.into_bytes();
                record
            })
            .collect()
    });
    assert!(grown < 190 * 20_000, "{grown}");
    let lines = rows(&path, &[Dimension::CommandLine], Vec::new());
    let many = lines.iter().find(|row| row.values[0] == Value::Many).unwrap();
    assert!(many.counters.connections > 15_000, "{many:?}");
    assert_eq!(total(&path).connections, 20_000);
    // The program itself is known.
    let exe = typed(Dimension::Executable, b"/bin/x", false).remove(0);
    assert_eq!(rows(&path, &[], vec![exe])[0].counters.connections, 20_000);
}

#[test]
fn new_programs_of_one_user_become_many() {
    let (_directory, path) = new_log();
    let grown = grow(&path, 200, |window| {
        (0..500).map(|number| of_user(1000, &format!("/tmp/{window}/{number}"), number)).collect()
    });
    assert!(grown < 190 * 20_000, "{grown}");
    assert_eq!(total(&path).connections, 100_000);
    let programs = rows(&path, &[Dimension::Executable, Dimension::Uid], Vec::new());
    let many = programs.iter().find(|row| row.values[0] == Value::Many).unwrap();
    assert_eq!(many.values[1], Value::Integer(1000));
    assert!(many.counters.connections > 90_000, "{many:?}");
    let view = "SELECT DISTINCT executable FROM connection_log WHERE executable = 'many'";
    assert!(Connection::open(&path).unwrap().prepare(view).unwrap().exists([]).unwrap());
}

#[test]
fn a_quiet_time_gives_the_detail_back() {
    let (_directory, path) = new_log();
    let mut writer = Writer::open(&path).unwrap();
    writer.limit_growth(LIMIT);
    let mut write = |uptime: i64, base: u32| {
        let records = (0..400).map(|peer| of_user(1000, "/x", base + peer)).collect();
        let time = 1_700_000_000 + uptime;
        writer.write(&Window { uptime, ..window(time, records) }).unwrap();
        let range = Range { since: Some(time), until: Some(time) };
        let query = Query { range, group_by: vec![Dimension::Address], ..Query::default() };
        Reader::open(&path).unwrap().query(&query).unwrap().len()
    };
    assert_eq!(write(10, 0), 400);
    assert!(write(20, 1000) < 400);
    assert_eq!(write(20 + 3600, 2000), 400);
}

#[test]
fn what_is_folded_keeps_what_all_have_in_common() {
    let (_directory, path) = new_log();
    let mut writer = Writer::open(&path).unwrap();
    let nothing = Allowance { bytes_per_hour: 0, burst: 0 };
    writer.limit_growth(GrowthLimit { detail: nothing, programs: nothing });
    let mut records: Vec<Record> = (0..50).map(|peer| of_user(1000, "/x", peer)).collect();
    for (number, record) in records.iter_mut().enumerate() {
        record.tuple.local_port = 40_000 + number as i64;
        record.tuple.domain_source = DomainSource::Tls;
        record.opened = number % 2 == 0;
    }
    writer.write(&Window { uptime: 1, ..window(100, records) }).unwrap();
    let by = [Dimension::Address, Dimension::Port, Dimension::LocalPort, Dimension::Domain];
    let found = rows(&path, &by, Vec::new());
    assert_eq!(found.len(), 1);
    let domain = Value::Bytes(b"example.com".to_vec());
    let expected = [Value::Address(Address::Many), Value::Integer(443), Value::Integer(PORT_MANY), domain];
    assert_eq!(found[0].values, expected);
    let sql = "SELECT count(*), sum(folded) FROM record";
    let folded: (i64, i64) =
        writer.connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    assert_eq!(folded, (2, 50), "one for each direction");
}
