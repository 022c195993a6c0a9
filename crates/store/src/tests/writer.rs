//! Tests of the writer: what a window becomes in the file.

use std::{os::unix::fs::PermissionsExt, time::Instant};

use super::*;

#[test]
fn a_new_log_is_private_and_in_write_ahead_mode() {
    let (_directory, path) = new_log();
    let mut writer = Writer::open(&path).unwrap();
    writer.write(&window(100, vec![record(b"/a", "192.0.2.1", 443, 1, 2)])).unwrap();
    let mode: String = writer.connection.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
    assert_eq!(mode, "wal");
    for suffix in ["", "-wal", "-shm"] {
        let file = format!("{}{suffix}", path.display());
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640, "{file}");
    }
    drop(writer);
    // The file stays: a user who may not write to the directory needs it to open a log that is not open.
    assert!(fs::exists(format!("{}-wal", path.display())).unwrap());
    assert_eq!(total(&path), Counters { connections: 1, sent: 1, received: 2 });
}

#[test]
fn utf8_is_text_and_everything_else_a_blob() {
    let (_directory, path) = new_log();
    let mut writer = Writer::open(&path).unwrap();
    let records =
        [&b"/plain/\xc3\xa4"[..], b"/bad\xff", b"/nul\0"].map(|path| record(path, "192.0.2.1", 1, 0, 0));
    writer.write(&window(100, records.to_vec())).unwrap();
    let sql = "SELECT typeof(path) FROM program WHERE name = 'tool' ORDER BY id";
    let mut statement = writer.connection.prepare(sql).unwrap();
    let types: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert_eq!(types, ["text", "blob", "blob"]);
}

#[test]
fn two_windows_of_the_same_second_are_both_kept() {
    let (_directory, path) = new_log();
    for _ in 0..2 {
        let mut writer = Writer::open(&path).unwrap();
        writer.write(&window(100, vec![record(b"/a", "192.0.2.1", 443, 5, 0); 2])).unwrap();
    }
    assert_eq!(total(&path).sent, 20);
    assert_eq!((count(&path, "context"), count(&path, "endpoint")), (1, 1));
}

#[test]
fn the_view_has_the_columns_of_conn_log() {
    let (_directory, path) = new_log();
    let mut writer = Writer::open(&path).unwrap();
    let mut first = record(b"/a", "2001:db8::1", 443, 5, 6);
    Arc::make_mut(&mut first.context).parent.sha256 = None;
    writer.write(&window(100, vec![first])).unwrap();
    let mut statement = writer.connection.prepare("SELECT * FROM connection_log").unwrap();
    assert_eq!(
        statement.column_names().collect::<Vec<_>>().join(","),
        "executable,name,cmdline,sha256,time,domain,ip,port,uid,parent_exe,parent_name,parent_cmdline,\
         parent_sha256,conns,sent,received"
    );
    let line: String = statement
        .query_row([], |row| {
            let cell = |index| {
                row.get::<_, rusqlite::types::Value>(index).map(|value| match value {
                    rusqlite::types::Value::Text(text) => text,
                    rusqlite::types::Value::Integer(number) => number.to_string(),
                    other => format!("{other:?}"),
                })
            };
            (0..16).map(cell).collect::<Result<Vec<_>, _>>().map(|cells| cells.join(","))
        })
        .unwrap();
    let digest = "02".repeat(32);
    let expected = format!(
        "/a,tool,/a -x,{digest},100,example.com,2001:db8::1,443,4294967294,/bin/sh,sh,/bin/sh -x,,1,5,6"
    );
    assert_eq!(line, expected);
}

#[test]
fn a_reader_sees_whole_windows_while_the_writer_writes() {
    let (_directory, path) = new_log();
    let mut writer = Writer::open(&path).unwrap();
    let reader = Reader::open(&path).unwrap();
    let sum = |reader: &Reader| reader.query(&Query::default()).unwrap()[0].counters.connections;
    writer.write(&window(100, vec![record(b"/a", "192.0.2.1", 443, 1, 0); 100])).unwrap();
    assert_eq!(sum(&reader), 100);
    let open = writer.connection.unchecked_transaction().unwrap();
    open.execute("UPDATE record SET connections = 50", []).unwrap();
    assert_eq!(sum(&reader), 100);
    open.commit().unwrap();
    assert_eq!(sum(&reader), 5000);
}

#[test]
fn records_are_small_and_written_quickly() {
    let (_directory, path) = new_log();
    let mut writer = Writer::open(&path).unwrap();
    const WINDOWS: i64 = 2000;
    const RECORDS: u64 = 100;
    let start = Instant::now();
    for time in 0..WINDOWS {
        let records = (0..RECORDS).map(|n| {
            let mixed = (time as u64 * RECORDS + n).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
            let program = format!("/usr/lib/application/{}/bin", mixed % 40);
            let address = format!("198.51.{}.{}", mixed / 64 % 20, mixed / 1280 % 250);
            let mut record = record(program.as_bytes(), &address, 443, mixed % 5000, mixed % 300_000);
            record.tuple.domain = format!("host-{}.example.com", mixed / 64 % 5000).into_bytes();
            record.tuple.local_port = 32_768 + (mixed % 28_000) as i64;
            record
        });
        writer.write(&window(1_800_000_000 + time * 10, records.collect())).unwrap();
    }
    let elapsed = start.elapsed();
    writer.checkpoint().unwrap();
    drop(writer);
    let bytes = fs::metadata(&path).unwrap().len() as f64 / (WINDOWS as u64 * RECORDS) as f64;
    println!("{} records in {elapsed:.2?}, {bytes:.1} bytes a record", WINDOWS as u64 * RECORDS);
    assert!(bytes <= 60.0, "{bytes:.1} bytes a record");
}
