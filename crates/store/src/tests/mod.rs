//! Tests of the log: what is written comes back, and nothing is damaged by what goes wrong.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use rusqlite::Connection;
use tempfile::TempDir;

use super::{
    schema::{self, APPLICATION_ID, Found, MIGRATIONS},
    *,
};
use model::{
    CgroupInfo, Counters, FlowTuple, GeoInfo, Loss, LossKind, ProcessContext, Program, Record, Sha256, Window,
};

mod older_versions;
mod oracle;
mod rollups;
mod trouble;

fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("snitch.db");
    (directory, path)
}

fn program(path: &[u8], name: &[u8]) -> Program {
    Program {
        path: path.to_vec(),
        name: name.to_vec(),
        command_line: [path, b" -x"].concat(),
        sha256: Some(Sha256([path.len() as u8; 32])),
    }
}

fn record(path: &[u8], remote: &str, port: model::Port, sent: u64, received: u64) -> Record {
    Record {
        time: 0,
        context: Arc::new(ProcessContext {
            program: program(path, b"tool"),
            parent: program(b"/bin/sh", b"sh"),
            grandparent: Program::default(),
            uid: 4_294_967_294,
            network_namespace: 4_026_531_840,
            cgroup: CgroupInfo {
                path: b"/system.slice/tool.service".to_vec(),
                unit: b"tool.service".to_vec(),
                container: b"docker web-1".to_vec(),
                app: b"Snap tool".to_vec(),
            },
        }),
        tuple: FlowTuple {
            family: if remote.contains(':') { 10 } else { 2 },
            protocol: 6,
            local_address: Some("192.0.2.9".parse().unwrap()),
            remote_address: Some(remote.parse().unwrap()),
            local_port: 50_000,
            remote_port: port,
            domain: b"example.com".to_vec(),
            ..FlowTuple::default()
        },
        geo: GeoInfo { country: "NL".into(), network_number: 64496, network: "Example".into() },
        counters: Counters { connections: 1, sent, received },
    }
}

fn window(time: i64, records: Vec<Record>) -> Window {
    let records = records.into_iter().map(|record| Record { time, ..record }).collect();
    Window { time, records, losses: Vec::new() }
}

fn rows(path: &std::path::Path, group_by: &[Dimension], filters: Vec<Filter>) -> Vec<Row> {
    let query = Query { group_by: group_by.to_vec(), filters, ..Query::default() };
    Reader::open(path).unwrap().query(&query).unwrap()
}

fn total(path: &std::path::Path) -> Counters {
    rows(path, &[], Vec::new())[0].counters
}

fn count(path: &std::path::Path, table: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM {table}");
    Connection::open(path).unwrap().query_row(&sql, [], |row| row.get(0)).unwrap()
}

#[test]
fn a_new_log_is_private_and_in_write_ahead_mode() {
    let (_directory, path) = place();
    let mut writer = Writer::open(&path).unwrap();
    writer.write(&window(100, vec![record(b"/a", "192.0.2.1", 443, 1, 2)])).unwrap();
    let mode: String = writer.connection.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
    assert_eq!(mode, "wal");
    for suffix in ["", "-wal", "-shm"] {
        let file = format!("{}{suffix}", path.display());
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640, "{file}");
    }
    drop(writer);
    // Kept, so that a reader who may not write to the directory can open a log that nobody has open.
    assert!(fs::exists(format!("{}-wal", path.display())).unwrap());
    assert_eq!(total(&path), Counters { connections: 1, sent: 1, received: 2 });
}

#[test]
fn what_is_written_comes_back_in_every_dimension() {
    let (_directory, path) = place();
    let mut writer = Writer::open(&path).unwrap();
    let odd = b"/tmp/\xff\n\x1b[31m\0 \xe2\x80\xae";
    let mut first = record(odd, "2001:db8::1", 443, u64::from(u32::MAX) * 1000, 7);
    let context = Arc::make_mut(&mut first.context);
    context.grandparent = program(b"/init", b"init");
    context.program.sha256 = None;
    writer.write(&window(1_700_000_000, vec![first.clone()])).unwrap();
    let row = &rows(&path, &Dimension::ALL, Vec::new())[0];
    assert_eq!(row.counters, first.counters);
    let value = |dimension| {
        let index = Dimension::ALL.iter().position(|known| *known == dimension).unwrap();
        row.values[index].clone()
    };
    assert_eq!(value(Dimension::Executable), Value::Bytes(odd.to_vec()));
    assert_eq!(value(Dimension::CommandLine), Value::Bytes(first.context.program.command_line.clone()));
    assert_eq!(value(Dimension::Sha256), Value::None);
    assert_eq!(value(Dimension::Uid), Value::Integer(4_294_967_294));
    assert_eq!(value(Dimension::ParentName), Value::Bytes(b"sh".to_vec()));
    assert_eq!(value(Dimension::ParentSha256), Value::Sha256(Sha256([7; 32])));
    assert_eq!(value(Dimension::GrandparentExecutable), Value::Bytes(b"/init".to_vec()));
    assert_eq!(value(Dimension::Domain), Value::Bytes(b"example.com".to_vec()));
    assert_eq!(value(Dimension::Address), Value::Address("2001:db8::1".parse().unwrap()));
    assert_eq!(value(Dimension::LocalAddress), Value::Address("192.0.2.9".parse().unwrap()));
    assert_eq!(value(Dimension::Port), Value::Integer(443));
    assert_eq!(value(Dimension::LocalPort), Value::Integer(50_000));
    assert_eq!(value(Dimension::Protocol), Value::Integer(6));
    assert_eq!(value(Dimension::Family), Value::Integer(10));
    assert_eq!(value(Dimension::NetworkNamespace), Value::Integer(4_026_531_840));
    assert_eq!(value(Dimension::Cgroup), Value::Bytes(b"/system.slice/tool.service".to_vec()));
    assert_eq!(value(Dimension::Unit), Value::Bytes(b"tool.service".to_vec()));
    assert_eq!(value(Dimension::Container), Value::Bytes(b"docker web-1".to_vec()));
    assert_eq!(value(Dimension::App), Value::Bytes(b"Snap tool".to_vec()));
    assert_eq!(value(Dimension::Country), Value::Bytes(b"NL".to_vec()));
    assert_eq!(value(Dimension::Asn), Value::Integer(64496));
    assert_eq!(value(Dimension::Network), Value::Bytes(b"Example".to_vec()));
    assert_eq!(value(Dimension::Time), Value::Integer(1_700_000_000));
    // The same bytes find it again, and other bytes that look alike do not.
    let found = |bytes: &[u8]| {
        let filter = Filter::parse(Dimension::Executable, bytes, false).unwrap();
        rows(&path, &[Dimension::Executable], vec![filter]).len()
    };
    assert_eq!(found(odd), 1);
    assert_eq!(found(String::from_utf8_lossy(odd).as_bytes()), 0);
}

#[test]
fn utf8_is_text_and_everything_else_a_blob() {
    let (_directory, path) = place();
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
fn filters_select_exclude_and_know_networks_and_names() {
    let (_directory, path) = place();
    let mut writer = Writer::open(&path).unwrap();
    let mut nowhere = record(b"/c", "192.0.2.1", 53, 100, 0);
    (nowhere.tuple.remote_address, nowhere.tuple.family, nowhere.tuple.protocol) = (None, 17, 2048);
    let records = vec![
        record(b"/a", "192.0.2.1", 443, 1, 0),
        record(b"/a", "192.0.3.1", 80, 10, 0),
        nowhere,
        record(b"/d", "2001:db8::1", 443, 1000, 0),
    ];
    writer.write(&window(100, records)).unwrap();
    let sent = |filters: &[(&str, &str, bool)]| {
        let parse = |(name, value, exclude): &(&str, &str, bool)| {
            Filter::parse(name.parse().unwrap(), value.as_bytes(), *exclude).unwrap()
        };
        rows(&path, &[], filters.iter().map(parse).collect())[0].counters.sent
    };
    assert_eq!(sent(&[]), 1111);
    assert_eq!(sent(&[("exe", "/a", false)]), 11);
    assert_eq!(sent(&[("exe", "/a", false), ("exe", "/c", false)]), 111);
    assert_eq!(sent(&[("exe", "/a", true), ("exe", "/c", true)]), 1000);
    assert_eq!(sent(&[("exe", "/a", false), ("port", "443", false)]), 1);
    assert_eq!(sent(&[("port", "443", true)]), 110);
    assert_eq!(sent(&[("address", "192.0.2.0/24", false)]), 1);
    assert_eq!(sent(&[("address", "192.0.2.0/23", false)]), 11);
    assert_eq!(sent(&[("address", "0.0.0.0/0", false)]), 11);
    assert_eq!(sent(&[("address", "0.0.0.0/0", true)]), 1100);
    assert_eq!(sent(&[("address", "2001:db8::/32", false)]), 1000);
    assert_eq!(sent(&[("address", "::/0", true)]), 111);
    assert_eq!(sent(&[("address", "", false)]), 100);
    assert_eq!(sent(&[("address", "", true)]), 1011);
    assert_eq!(sent(&[("address", "2001:db8::1", false)]), 1000);
    assert_eq!(sent(&[("family", "packet", false)]), 100);
    assert_eq!(sent(&[("protocol", "TCP", false), ("family", "ipv4", false)]), 11);
    assert_eq!(sent(&[("protocol", "2048", false)]), 100);
    assert_eq!(sent(&[("time", "100", false)]), 1111);
    assert_eq!(sent(&[("time", "101", false)]), 0);
    assert_eq!(sent(&[("exe", "' OR 1=1 --", false)]), 0);
    for (name, value) in [("address", "10.0.0.0/33"), ("uid", "root"), ("sha256", "abc"), ("protocol", "tpc")]
    {
        let error = Filter::parse(name.parse().unwrap(), value.as_bytes(), false).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(value), "{error}");
    }
}

#[test]
fn ranges_sorting_and_limit() {
    let (_directory, path) = place();
    let mut writer = Writer::open(&path).unwrap();
    for (time, sent) in [(100, 5), (110, 50), (120, 3)] {
        writer.write(&window(time, vec![record(b"/a", "192.0.2.1", 443, sent, 100 - sent)])).unwrap();
    }
    let reader = Reader::open(&path).unwrap();
    let times = |since, until, sort, limit| {
        let group_by = vec![Dimension::Time];
        let query = Query { range: Range { since, until }, group_by, sort, limit, ..Query::default() };
        let time = |row: Row| match row.values[0] {
            Value::Integer(time) => time,
            _ => panic!("{row:?}"),
        };
        reader.query(&query).unwrap().into_iter().map(time).collect::<Vec<_>>()
    };
    let by_time = Sort::Dimension(Dimension::Time);
    assert_eq!(times(None, None, by_time, None), [100, 110, 120]);
    assert_eq!(times(Some(110), None, by_time, None), [110, 120]);
    assert_eq!(times(None, Some(110), by_time, None), [100, 110]);
    assert_eq!(times(Some(101), Some(109), by_time, None), [0i64; 0]);
    assert_eq!(times(None, None, Sort::Sent, None), [110, 100, 120]);
    assert_eq!(times(None, None, Sort::Received, Some(2)), [120, 100]);
    assert_eq!(times(None, None, Sort::Connections, Some(0)), [0i64; 0]);
    // Not grouped by: the order of counters.
    assert_eq!(times(None, None, Sort::Dimension(Dimension::Name), None).len(), 3);
}

#[test]
fn two_windows_of_the_same_second_are_both_kept() {
    let (_directory, path) = place();
    for _ in 0..2 {
        let mut writer = Writer::open(&path).unwrap();
        writer.write(&window(100, vec![record(b"/a", "192.0.2.1", 443, 5, 0); 2])).unwrap();
    }
    assert_eq!(total(&path).sent, 20);
    assert_eq!((count(&path, "context"), count(&path, "endpoint")), (1, 1));
}

#[test]
fn losses_are_added_up_by_kind() {
    let (_directory, path) = place();
    let mut writer = Writer::open(&path).unwrap();
    let loss = |kind, count| Loss { kind, count };
    for (time, count) in [(100, 1), (110, 2), (120, 4)] {
        let losses = vec![loss(LossKind::Channel, count), loss(LossKind::UncountableSocket, 1)];
        writer.write(&Window { time, records: Vec::new(), losses }).unwrap();
    }
    let losses = Reader::open(&path).unwrap().losses(Range { since: Some(105), until: None }).unwrap();
    assert_eq!(losses, [loss(LossKind::Channel, 6), loss(LossKind::UncountableSocket, 2)]);
}

#[test]
fn the_view_has_the_columns_of_conn_log() {
    let (_directory, path) = place();
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
fn purging_deletes_old_windows_and_what_only_they_needed() {
    let (_directory, path) = place();
    let mut writer = Writer::open(&path).unwrap();
    for time in 0..30 {
        let records = (0..1000).map(|n| {
            let path = if time < 20 { format!("/old/{n}") } else { format!("/new/{n}") };
            record(path.as_bytes(), &format!("10.0.{}.{}", time, n % 250), 443, 1, 0)
        });
        let losses = vec![Loss { kind: LossKind::Log, count: 1 }];
        writer.write(&Window { losses, ..window(1000 + time, records.collect()) }).unwrap();
    }
    let purged = writer.purge(1020).unwrap();
    assert_eq!(purged.records, 20_000);
    assert_eq!((count(&path, "record"), count(&path, "loss")), (10_000, 10));
    assert_eq!((count(&path, "context"), count(&path, "program")), (1000, 1002));
    assert_eq!((count(&path, "endpoint"), count(&path, "address")), (2500, 2501));
    assert_eq!(writer.purge(1020).unwrap(), Purged::default());
    // Ids are given out again, and must lead to the right rows.
    writer.write(&window(1030, vec![record(b"/old/1", "192.0.2.77", 443, 7, 0)])).unwrap();
    let filter = Filter::parse(Dimension::Executable, b"/old/1", false).unwrap();
    let found = rows(&path, &[Dimension::Address], vec![filter]);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].values, [Value::Address("192.0.2.77".parse().unwrap())]);
    assert_eq!(total(&path).sent, 10_007);
}

#[test]
fn a_large_purge_gives_its_room_back() {
    let (_directory, path) = place();
    let mut writer = Writer::open(&path).unwrap();
    for time in 0..40 {
        let records = (0..1000).map(|n| record(b"/a", "192.0.2.1", n, 1, 0));
        writer.write(&window(1000 + time, records.collect())).unwrap();
    }
    let mut bytes = || {
        writer.checkpoint().unwrap();
        fs::metadata(&path).unwrap().len()
    };
    let before = bytes();
    // A daily purge: what it leaves is used again.
    Writer::open(&path).unwrap().purge(1002).unwrap();
    assert_eq!(bytes(), before);
    Writer::open(&path).unwrap().purge(1030).unwrap();
    assert!(bytes() < before / 2, "{} of {before}", bytes());
    let connection = Connection::open(&path).unwrap();
    let check: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
    assert_eq!(total(&path).sent, 10_000);
}

#[test]
fn a_log_is_kept_below_a_size() {
    let (_directory, path) = place();
    let mut writer = Writer::open(&path).unwrap();
    for time in 0..100 {
        let records = (0..1000).map(|n| record(b"/a", "192.0.2.1", n, 1, 0));
        writer.write(&window(1000 + time, records.collect())).unwrap();
    }
    assert_eq!(writer.purge_to_size(1 << 30).unwrap(), Purged::default());
    assert_eq!(total(&path).sent, 100_000);
    let most = 1_000_000;
    let purged = writer.purge_to_size(most).unwrap();
    writer.checkpoint().unwrap();
    let bytes = fs::metadata(&path).unwrap().len();
    assert!(bytes <= most && bytes > most / 2, "{bytes}");
    assert_eq!(total(&path).sent, 100_000 - purged.records);
    let times = rows(&path, &[Dimension::Time], Vec::new());
    assert!(times.iter().any(|row| row.values == [Value::Integer(1099)]), "the newest stay");
    assert!(times.iter().all(|row| row.counters.sent == 1000), "windows are whole");
    // Less than anything needs: the last window stays.
    writer.purge_to_size(1000).unwrap();
    assert_eq!(total(&path).sent, 1000);
}

#[test]
fn a_purge_of_the_future_is_refused() {
    let (_directory, path) = place();
    let mut writer = Writer::open(&path).unwrap();
    writer.write(&window(100, vec![record(b"/a", "192.0.2.1", 443, 1, 0)])).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    assert!(matches!(writer.purge(now + 3600), Err(StoreError::CutoffInFuture { .. })));
    assert!(matches!(writer.purge(i64::MAX), Err(StoreError::CutoffInFuture { .. })));
    assert_eq!(total(&path).sent, 1);
}

#[test]
fn migrations_run_one_by_one_from_where_the_file_is() {
    let (_directory, path) = place();
    Writer::open(&path).unwrap().write(&window(100, vec![record(b"/a", "192.0.2.1", 443, 1, 0)])).unwrap();
    let mut connection = Connection::open(&path).unwrap();
    assert_eq!(schema::inspect(&connection, &path).unwrap(), Found::Version(MIGRATIONS.len() as i64));
    let version = |connection: &Connection| {
        connection.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0)).unwrap()
    };
    let next = "CREATE TABLE added (x)";
    let steps = [MIGRATIONS, &[next, "INSERT INTO nowhere VALUES (1)"]].concat();
    let start = version(&connection);
    // The step that fails leaves the file at the version before it.
    schema::migrate(&mut connection, &path, start, &steps).unwrap_err();
    assert_eq!(version(&connection), start + 1);
    let steps =
        [MIGRATIONS, &[next, "ALTER TABLE added ADD COLUMN y; UPDATE record SET sent = sent + 1"]].concat();
    schema::migrate(&mut connection, &path, start + 1, &steps).unwrap();
    assert_eq!(version(&connection), start + 2);
    let sent: i64 = connection.query_row("SELECT sum(sent) FROM record", [], |row| row.get(0)).unwrap();
    assert_eq!(sent, 2);
    // And now the file is of a newer picosnitch.
    drop(connection);
    assert!(matches!(Writer::open(&path), Err(StoreError::Newer { .. })));
}

#[test]
fn a_reader_sees_whole_windows_while_the_writer_writes() {
    let (_directory, path) = place();
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
    let (_directory, path) = place();
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
