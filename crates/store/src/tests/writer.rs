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
fn the_view_has_the_columns_of_conn_log_and_all_others() {
    let (_directory, path) = new_log();
    let mut writer = Writer::open(&path).unwrap();
    let mut first = record(b"/a", "2001:db8::1", 443, 5, 6);
    Arc::make_mut(&mut first.context).parent.sha256 = None;
    writer.write(&window(100, vec![first])).unwrap();
    let mut statement = writer.connection.prepare("SELECT * FROM connection_log").unwrap();
    assert_eq!(
        statement.column_names().collect::<Vec<_>>().join(","),
        "executable,name,cmdline,sha256,time,domain,ip,port,uid,parent_exe,parent_name,parent_cmdline,\
         parent_sha256,conns,sent,received,gpexe,gpname,gpcmdline,gpsha256,domain_source,laddress,lport,protocol,\
         family,netns,cgroup,unit,container,app,country,asn,network,folded"
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
            (0..34).map(cell).collect::<Result<Vec<_>, _>>().map(|cells| cells.join(","))
        })
        .unwrap();
    let digest = "02".repeat(32);
    let expected = format!(
        "/a,tool,/a -x,{digest},100,example.com,2001:db8::1,443,4294967294,/bin/sh,sh,/bin/sh -x,,1,5,6,,,,,unknown,\
         192.0.2.9,50000,6,10,4026531840,/system.slice/tool.service,tool.service,docker web-1,Snap tool,NL,64496,Example,0"
    );
    assert_eq!(line, expected);
}

#[test]
fn the_view_shows_arguments_with_spaces_and_many_as_text() {
    let (_directory, path) = new_log();
    let mut writer = Writer::open(&path).unwrap();
    let lines: [(&[u8], &[u8]); 9] = [
        (b"", b""),
        (b"a", b"a"),
        (b"a b", b"a b"),
        (b"a\0b", b"a b"),
        (b"curl\0-H\0X: y\0\0https://example.com", b"curl -H X: y  https://example.com"),
        (b"\0", b" "),
        (b"\0a\0", b" a "),
        (b"caf\xc3\xa9\0\xff", b"caf\xc3\xa9 \xff"),
        (b"\xff", b"\xff"),
    ];
    for (index, (line, _)) in (0..).zip(lines) {
        let mut record = record(b"/a", "192.0.2.1", 443, 5, 6);
        let context = Arc::make_mut(&mut record.context);
        for program in [&mut context.program, &mut context.parent, &mut context.grandparent] {
            program.command_line = line.to_vec();
        }
        writer.write(&window(100 + index, vec![record])).unwrap();
    }
    let mut statement = writer
        .connection
        .prepare("SELECT cmdline, parent_cmdline, gpcmdline FROM connection_log ORDER BY time")
        .unwrap();
    let mut rows = statement.query([]).unwrap();
    for (_, expected) in lines {
        let row = rows.next().unwrap().unwrap();
        for column in 0..3 {
            let value = row.get_ref(column).unwrap();
            assert_eq!(value.as_bytes().unwrap(), expected);
            // Only what has no argument is left as it is stored.
            assert!(expected == b"\xff" || value.data_type() == rusqlite::types::Type::Text, "{expected:?}");
        }
    }
    // "Many" is a BLOB in the tables.
    let many = ["executable", "name", "cmdline", "domain", "ip", "port", "lport", "domain_source"];
    writer
        .connection
        .execute_batch(
            "UPDATE program SET path = x'6d616e79', name = x'6d616e79', command_line = x'6d616e79'; \
             UPDATE domain SET name = x'6d616e79'; UPDATE address SET text = 'many'; \
             UPDATE endpoint SET domain_source = 8; UPDATE record SET remote_port = -2, local_port = -2",
        )
        .unwrap();
    for column in many {
        let sql = format!("SELECT DISTINCT {column} FROM connection_log");
        let value: String = writer.connection.query_row(&sql, [], |row| row.get(0)).unwrap();
        assert_eq!(value, "many", "{column}");
    }
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
