//! Tests of queries: values, filters, ranges, order.

use super::*;

#[test]
fn written_values_are_read_back_in_every_dimension() {
    let (_directory, path) = new_log();
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
    // A filter matches the same bytes only, not other bytes that look alike.
    let found = |bytes: &[u8]| {
        let filter = typed(Dimension::Executable, bytes, false).remove(0);
        rows(&path, &[Dimension::Executable], vec![filter]).len()
    };
    assert_eq!(found(odd), 1);
    assert_eq!(found(String::from_utf8_lossy(odd).as_bytes()), 0);
}

#[test]
fn filters_include_exclude_and_accept_networks_and_names() {
    let (_directory, path) = new_log();
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
            typed(name.parse().unwrap(), value.as_bytes(), *exclude)
        };
        rows(&path, &[], filters.iter().flat_map(parse).collect())[0].counters.sent
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
        let parsed = Filter::parse(name.parse().unwrap(), value.as_bytes(), false, &TimeZone::UTC);
        let error = parsed.unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(value), "{error}");
    }
}

#[test]
fn ranges_sorting_and_limit() {
    let (_directory, path) = new_log();
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
    // A dimension that is not grouped by sorts by counters.
    assert_eq!(times(None, None, Sort::Dimension(Dimension::Name), None).len(), 3);
}

#[test]
fn losses_are_added_up_by_kind() {
    let (_directory, path) = new_log();
    let mut writer = Writer::open(&path).unwrap();
    let loss = |kind, count| Loss { kind, count };
    for (time, count) in [(100, 1), (110, 2), (120, 4)] {
        let losses = vec![loss(LossKind::Channel, count), loss(LossKind::UncountableSocket, 1)];
        writer.write(&Window { losses, ..window(time, Vec::new()) }).unwrap();
    }
    let losses = Reader::open(&path).unwrap().losses(Range { since: Some(105), until: None }).unwrap();
    assert_eq!(losses, [loss(LossKind::Channel, 6), loss(LossKind::UncountableSocket, 2)]);
}

#[test]
fn a_query_can_be_interrupted_and_the_next_one_is_answered() {
    let (_directory, path) = new_log();
    let mut writer = Writer::open(&path).unwrap();
    let many: Vec<Record> = (0..20_000).map(|_| record(b"/a", "192.0.2.1", 443, 1, 0)).collect();
    (0..20).for_each(|number| writer.write(&window(100 + number, many.clone())).unwrap());
    let reader = Reader::open(&path).unwrap();
    let interrupter = reader.interrupter();
    let query = Query { group_by: vec![Dimension::Time], ..Query::default() };
    // Interrupted before it begins.
    interrupter.interrupt();
    assert!(reader.query(&query).unwrap_err().is_interrupted());
    assert!(reader.losses(Range::default()).unwrap_err().is_interrupted());
    interrupter.resume();
    assert_eq!(reader.query(&query).unwrap().len(), 20);
    let (end, is_over) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        while is_over.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            std::thread::sleep(std::time::Duration::from_millis(1));
            interrupter.interrupt();
        }
        interrupter.resume();
    });
    let error = (0..100).find_map(|_| reader.query(&query).err()).unwrap();
    assert!(error.is_interrupted(), "{error}");
    end.send(()).unwrap();
    thread.join().unwrap();
    assert_eq!(reader.query(&query).unwrap().len(), 20);
}

#[test]
fn vsock_addresses_and_ports_of_32_bits_are_read_back_from_records_and_rollups() {
    const MAX: Port = u32::MAX as Port;
    // The ports of the writer's record and of the log; the last one is VMADDR_PORT_ANY.
    let ports = [
        (-1, -1),
        (0, 0),
        (65_535, 65_535),
        (65_536, 65_536),
        (1 << 31, 1 << 31),
        (4_000_000_000, 4_000_000_000),
        (MAX - 256, MAX - 256),
        (MAX - 255, MAX - 255),
        (MAX - 1, MAX - 1),
        (MAX, 0),
    ];
    let (_directory, path) = new_log();
    let mut writer = Writer::open(&path).unwrap();
    let address: Address = "vsock:3".parse().unwrap();
    let records = ports.map(|(port, _)| {
        let mut record = record(b"/vsock", "vsock:3", port, 1, 0);
        (record.tuple.local_address, record.tuple.local_port) = (Some(Address::Vsock(2)), port);
        record
    });
    writer.write(&window(1_700_000_000, records.to_vec())).unwrap();
    let check = || {
        for dimension in [Dimension::Port, Dimension::LocalPort] {
            let other = if dimension == Dimension::Port { Dimension::LocalPort } else { Dimension::Port };
            for group_by in [vec![dimension], vec![dimension, other], vec![dimension, Dimension::Address]] {
                let mut found: Vec<Value> =
                    rows(&path, &group_by, Vec::new()).into_iter().map(|row| row.values[0].clone()).collect();
                found.sort();
                let mut expected = ports.map(|(_, stored)| Value::Integer(stored)).to_vec();
                expected.sort();
                expected.dedup();
                assert_eq!(found, expected, "{group_by:?}");
            }
            for (_, stored) in ports {
                let filter = Filter::equal(dimension, Value::Integer(stored), false);
                let sent = if stored == 0 { 2 } else { 1 };
                assert_eq!(rows(&path, &[], vec![filter])[0].counters.sent, sent, "{dimension}={stored}");
            }
        }
        let found =
            rows(&path, &[Dimension::Address, Dimension::LocalAddress, Dimension::Family], Vec::new());
        assert_eq!(found.len(), 1);
        let local = Value::Address(Address::Vsock(2));
        assert_eq!(found[0].values, [Value::Address(address), local, Value::Integer(40)]);
        for (filter, sent) in [("vsock:3", 10), ("vsock:2", 0), ("0.0.0.0/0", 0), ("::/0", 0), ("", 0)] {
            let filter = typed(Dimension::Address, filter.as_bytes(), false).remove(0);
            assert_eq!(rows(&path, &[Dimension::Name], vec![filter.clone()]).len(), usize::from(sent > 0));
            assert_eq!(rows(&path, &[], vec![filter])[0].counters.sent, sent);
        }
        let family = typed(Dimension::Family, b"vsock", false).remove(0);
        assert_eq!(rows(&path, &[Dimension::Port], vec![family]).len(), 9);
    };
    check();
    // A window eight weeks later makes the rollups of all levels.
    writer
        .write(&window(1_700_000_000 + 56 * 86_400, vec![record(b"/other", "192.0.2.1", 65_535, 0, 0)]))
        .unwrap();
    let later = Filter::equal(Dimension::Executable, Value::Bytes(b"/other".to_vec()), false);
    assert_eq!(rows(&path, &[], vec![later]).len(), 1);
    assert_eq!(count(&path, "rollup_four_weeks"), 1);
    // Without the ports in the records, only the rollups can give the answers.
    let sql = "DELETE FROM record WHERE time > 1700000000; UPDATE record SET local_port = 7, remote_port = 7";
    writer.connection.execute_batch(sql).unwrap();
    check();
}

#[test]
fn command_lines_of_one_program_are_one_group_of_a_long_range() {
    let (_directory, path) = new_log();
    let mut writer = Writer::open(&path).unwrap();
    for day in 0..5 {
        let records = (0..10).map(|number| {
            let mut record = record(b"/a", "192.0.2.1", 443, 1, 0);
            let line = format!("/a {day} {number}").into_bytes();
            Arc::make_mut(&mut record.context).program.command_line = line;
            record
        });
        writer.write(&window(1_700_000_000 + day * 86_400, records.collect())).unwrap();
    }
    let mut reader = Reader::open(&path).unwrap();
    reader.limit_groups(1);
    let group_by = vec![Dimension::Executable, Dimension::Domain];
    let rows = reader.query(&Query { group_by, ..Query::default() }).unwrap();
    assert_eq!((rows.len(), rows[0].counters.sent), (1, 50));
    // Nor are they many where the range is short, or nothing else is grouped by.
    let day = Range { since: Some(1_700_000_000), until: Some(1_700_000_000) };
    let by_program = Query { group_by: vec![Dimension::Executable], ..Query::default() };
    for (range, sent) in [(Range::default(), 50), (day, 10)] {
        let rows = reader.query(&Query { range, ..by_program.clone() }).unwrap();
        assert_eq!((rows.len(), rows[0].counters.sent), (1, sent));
    }
    let series = reader.series_by(&by_program, &[1_700_000_000, 1_701_000_000], 3).unwrap();
    assert_eq!((series.groups.len(), series.groups[0].sums[0].sent, series.total[0].sent), (1, 50, 50));
    let comparison = reader.compare(&Query { range: day, ..by_program }, day, CompareOrder::Now);
    assert!(matches!(comparison, Err(StoreError::TooManyGroups(_))), "one group of each range");
}

#[test]
fn a_query_with_too_many_groups_is_refused() {
    let (_directory, path) = new_log();
    let mut writer = Writer::open(&path).unwrap();
    let records = |begin: u8| -> Vec<Record> {
        (begin..begin + 10).map(|host| record(b"/a", &format!("192.0.2.{host}"), 443, 1, 0)).collect()
    };
    // Two closed days, which have rollups, and the records of a third.
    for (day, begin) in [(0, 0), (1, 0), (2, 10)] {
        writer.write(&window(1_700_000_000 + day * 86_400, records(begin))).unwrap();
    }
    let mut reader = Reader::open(&path).unwrap();
    let query = Query { group_by: vec![Dimension::Address], ..Query::default() };
    let by_port = Query { group_by: vec![Dimension::Port], ..Query::default() };
    let day = |day: i64| Range {
        since: Some(1_700_000_000 + day * 86_400),
        until: Some(1_700_000_000 + day * 86_400),
    };
    let one_day = Query { range: day(1), ..query.clone() };
    let refused = |result: Result<usize, StoreError>| matches!(result, Err(StoreError::TooManyGroups(_)));
    let compare = |reader: &Reader| {
        reader.compare(&one_day, day(0), CompareOrder::Now).map(|comparison| comparison.row_count)
    };
    let series = |reader: &Reader| {
        reader.series_by(&query, &[1_700_000_000, 1_701_000_000], 3).map(|series| series.groups.len())
    };
    for (max, expected) in [(9, true), (19, true), (20, false)] {
        reader.limit_groups(max);
        assert_eq!(refused(reader.answer(&query).map(|answer| answer.row_count)), expected, "{max}");
        assert_eq!(refused(series(&reader)), expected, "{max}");
        // Those of both ranges count.
        assert_eq!(refused(compare(&reader)), expected, "{max}");
        assert_eq!(reader.answer(&by_port).unwrap().row_count, 1);
        assert_eq!(refused(reader.answer(&one_day).map(|answer| answer.row_count)), max < 10);
    }
}
