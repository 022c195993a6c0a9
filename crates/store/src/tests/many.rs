//! Tests of folded records: "many" is a value of its own, in records and in rollups.

use model::{DomainSource, PORT_MANY};

use super::*;
use crate::growth_budget::Allowance;

/// Writes a folded record, one that only looks like it, and the sum of many programs, each with other bytes.
fn write_many(writer: &mut Writer, time: i64) {
    let mut folded = record(b"/folded", "192.0.2.1", 443, 1, 0);
    folded.tuple.fold(&record(b"/folded", "192.0.2.2", 80, 0, 0).tuple);
    folded.tuple.domain.clear();
    (folded.tuple.domain_source, folded.tuple.local_port, folded.folded) = (DomainSource::Many, PORT_MANY, 9);
    folded.tuple.local_address = Some(Address::Many);
    let mut named = record(b"many", "192.0.2.1", 443, 2, 0);
    let program = &mut Arc::make_mut(&mut named.context).program;
    (program.name, program.command_line) = (b"many".to_vec(), b"many".to_vec());
    named.tuple.domain = b"many".to_vec();
    writer.write(&window(time, vec![folded, named])).unwrap();
    let nothing = Allowance { bytes_per_hour: 0, burst: 0 };
    writer.limit_growth(GrowthLimit { detail: nothing, programs: nothing });
    writer.write(&window(time, vec![record(b"/poor", "192.0.2.3", 22, 4, 0)])).unwrap();
    writer.limit_growth(GrowthLimit::DEFAULT);
}

#[test]
fn many_can_be_filtered_and_shown() {
    let (_directory, path) = new_log();
    let mut writer = Writer::open(&path).unwrap();
    for day in 0..3 {
        write_many(&mut writer, 1_700_000_000 + day * 86_400);
    }
    assert!(count(&path, "rollup_day") >= 2);
    let sent = |dimension: Dimension, filter: Filter| {
        let found = rows(&path, &[dimension], vec![filter]);
        found.iter().map(|row| row.counters.sent).sum::<u64>()
    };
    for (name, value, expected) in [
        ("port", "many", 3),
        ("lport", "many", 3),
        ("address", "many", 3),
        ("laddress", "many", 3),
        ("domain-source", "many", 3),
        ("domain", "many", 3),
        ("exe", "many", 12),
        ("pexe", "many", 12),
        ("gpexe", "many", 12),
        // Other values may be called so.
        ("name", "many", 6),
        ("cmdline", "many", 6),
        ("exe", "/folded", 3),
    ] {
        let dimension: Dimension = name.parse().unwrap();
        let filter = |exclude| typed(dimension, value.as_bytes(), exclude).remove(0);
        assert_eq!(sent(dimension, filter(false)), expected, "{name}={value}");
        assert_eq!(sent(Dimension::Time, filter(false)), expected, "{name}={value}");
        assert_eq!(sent(dimension, filter(true)), 21 - expected, "not {name}={value}");
        // What is shown is found.
        for row in rows(&path, &[dimension], Vec::new()) {
            let filter = Filter::equal(dimension, row.values[0].clone(), false);
            assert_eq!(sent(dimension, filter), row.counters.sent, "{name} {:?}", row.values);
        }
    }
    let shown = |dimension: Dimension| {
        let rows = rows(&path, &[dimension], Vec::new());
        rows.iter()
            .map(|row| String::from_utf8(values::bytes(dimension, &row.values[0])).unwrap())
            .collect::<Vec<_>>()
    };
    assert!(shown(Dimension::Port).contains(&"many".to_owned()));
    assert!(shown(Dimension::Address).contains(&"many".to_owned()));
    assert_eq!(shown(Dimension::Executable), ["many", "many", "/folded"]);
}
