//! Tests of the limit of the log's size: what goes, what stays, and what the answers are then.

use std::collections::BTreeMap;

use super::{
    checks::{check_totals, write_randomly},
    random::Random,
    *,
};
use crate::rollup::{QUARTER_HOUR, quarter_start};

/// Bytes of a file of the log, without its write-ahead log.
fn bytes(writer: &mut Writer, path: &Path) -> u64 {
    writer.checkpoint().unwrap();
    fs::metadata(path).unwrap().len()
}

/// The rows with the times before `since` in whole quarters, and rows that are equal then added up.
fn in_quarters(rows: Vec<Row>, query: &Query, since: i64) -> BTreeMap<Vec<Value>, (u64, u64, u64)> {
    let time = query.group_by.iter().position(|dimension| *dimension == Dimension::Time);
    let mut sums = BTreeMap::new();
    for mut row in rows {
        if let Some(Value::Integer(time)) = time.map(|at| &mut row.values[at])
            && *time < since
        {
            *time = quarter_start(*time);
        }
        let sum: &mut (u64, u64, u64) = sums.entry(row.values).or_default();
        let Counters { connections, sent, received } = row.counters;
        *sum = (sum.0 + connections, sum.1 + sent, sum.2 + received);
    }
    sums
}

/// Compares answers of a log whose detail before `since` is gone with those of the records of a complete copy.
pub(super) fn compare(path: &Path, complete: &Path, random: &mut Random, count: usize) {
    let reader = Reader::open(path).unwrap();
    let since = reader.detail_since().unwrap().unwrap();
    let connection = Connection::open(complete).unwrap();
    let (first, last) = reader.extent().unwrap().unwrap();
    for _ in 0..count {
        let query = random.query(first, last);
        let mut in_grain = query.clone();
        let Range { since: from, until } = &mut in_grain.range;
        *from = from.map(|from| if from < since { quarter_start(from) } else { from });
        let quarter_end = |until: i64| match (until + 1) % QUARTER_HOUR {
            0 => until,
            _ => quarter_start(until) + QUARTER_HOUR - 1,
        };
        *until = until.map(|until| if until + 1 < since { quarter_end(until) } else { until });
        let answer = in_quarters(reader.query(&query).unwrap(), &query, since);
        let expected = in_quarters(oracle::answer(&connection, &in_grain), &query, since);
        let wrong: Vec<_> = answer.iter().filter(|(key, sum)| expected.get(*key) != Some(sum)).collect();
        let missing: Vec<_> = expected.iter().filter(|(key, _)| !answer.contains_key(*key)).collect();
        assert!(wrong.is_empty() && missing.is_empty(), "{since} {wrong:?} {missing:?} {query:?}");
    }
}

#[test]
fn above_the_limit_the_detail_of_old_windows_goes_and_all_sums_stay() {
    let (directory, path) = new_log();
    let complete = directory.path().join("complete.db");
    let mut random = Random(12);
    let (mut writer, mut copy) = (Writer::open(&path).unwrap(), Writer::open(&complete).unwrap());
    // The same windows in both.
    let mut write = |writer: &mut Writer, copy: &mut Writer, time, windows| {
        let seed = random.below(u64::MAX >> 12) + 1;
        write_randomly(copy, &mut Random(seed), time, windows);
        write_randomly(writer, &mut Random(seed), time, windows)
    };
    let mut time = write(&mut writer, &mut copy, 1_700_000_000, 4000);
    let before = count(&path, "record");
    let sum = total(&path);
    for round in 1..4 {
        while writer.catch_up().unwrap() {}
        let records = count(&path, "record");
        assert!(writer.cut_detail(writer.used_bytes().unwrap() - 100_000).unwrap());
        writer.delete_orphans().unwrap();
        let left = count(&path, "record");
        println!("round {round}: {records} records before, {left} after");
        assert!(0 < left && left < records && left < before);
        if round == 1 {
            assert_eq!(total(&path), sum);
            assert!(left > records / 2, "{left}");
        }
        let mut random = Random(round);
        compare(&path, &complete, &mut random, 150);
        time = write(&mut writer, &mut copy, time + 10, 300);
        compare(&path, &complete, &mut random, 150);
        // Missing rollups are made from what is there.
        while writer.catch_up().unwrap() {}
        drop(writer);
        writer = Writer::open(&path).unwrap();
        while writer.catch_up().unwrap() {}
        compare(&path, &complete, &mut random, 150);
    }
    assert_eq!(total(&path), total(&complete));
    let limit = writer.used_bytes().unwrap() - 1;
    while writer.limit_size(limit).unwrap() {}
    assert!(writer.used_bytes().unwrap() <= limit);
    assert!(writer.take_notices().iter().any(|notice| notice.contains("size limit")));
}

#[test]
fn a_log_below_its_limit_is_left_alone_and_the_last_hour_stays() {
    let (_directory, path) = new_log();
    let mut writer = Writer::open(&path).unwrap();
    for time in 0..100 {
        let records = (0..1000).map(|n| record(b"/a", "192.0.2.1", n, 1, 0));
        writer.write(&window(1_700_000_000 + time, records.collect())).unwrap();
    }
    assert!(!writer.limit_size(1 << 30).unwrap());
    assert!(matches!(writer.limit_size(1000), Err(StoreError::SizeLimit { .. })));
    assert_eq!(total(&path).sent, 100_000);
    check_totals(&path);
}

#[test]
fn when_sums_alone_are_too_large_the_oldest_days_go() {
    let (_directory, path) = new_log();
    let mut writer = Writer::open(&path).unwrap();
    for day in 0..60 {
        for quarter in 0..20 {
            let records = (0..50).map(|n| record(b"/a", &format!("10.{day}.{quarter}.{n}"), n, 1, 0));
            writer.write(&window(1_700_006_400 + day * 86_400 + quarter * 900, records.collect())).unwrap();
        }
    }
    let all = bytes(&mut writer, &path);
    while writer.limit_size(all / 3).unwrap() {}
    assert!(bytes(&mut writer, &path) <= all / 3);
    let reader = Reader::open(&path).unwrap();
    let (first, _) = reader.extent().unwrap().unwrap();
    let days = (first - 1_700_006_400) / 86_400;
    assert!(days > 0, "{first}");
    assert_eq!(total(&path).sent, 60_000 - days as u64 * 1000);
    assert!(writer.take_notices().iter().any(|notice| notice.contains("oldest days were deleted")));
    // What is left goes on.
    writer.write(&window(1_700_006_400 + 61 * 86_400, vec![record(b"/a", "192.0.2.1", 443, 7, 0)])).unwrap();
    while writer.catch_up().unwrap() {}
    assert_eq!(total(&path).sent, 60_007 - days as u64 * 1000);
}
