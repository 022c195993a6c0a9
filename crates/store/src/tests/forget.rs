//! Tests of `forget`: no byte stays, the rest is as it was.

use std::net::IpAddr;

use super::{
    checks::{check_quarters, check_totals, compare, write_randomly},
    random::Random,
    size_limit, *,
};
use crate::forget::FORGOTTEN;

fn of(dimension: Dimension, value: &[u8]) -> Forget {
    Forget::of_filter(&typed(dimension, value, false)[0]).unwrap()
}

fn of_span(since: i64, until: i64) -> Forget {
    Forget::of_time(Range { since: Some(since), until: Some(until) }).unwrap()
}

/// The files of a log that have these bytes.
fn files_with(directory: &Path, bytes: &[u8]) -> Vec<PathBuf> {
    let has = |path: &PathBuf| {
        fs::read(path).unwrap().windows(bytes.len()).any(|window| window.eq_ignore_ascii_case(bytes))
    };
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).filter(has).collect()
}

const SECRET_PATH: &[u8] = b"/opt/secret/bin/tool";
const SECRET_DOMAIN: &[u8] = b"secret.example.net";
const SECRET_ADDRESS: &str = "2001:db8:5ec:2e7::7";

/// Writes the secrets into every place where they may stand.
fn write_secrets(writer: &mut Writer, time: i64) {
    let mut own = record(SECRET_PATH, SECRET_ADDRESS, 443, 1, 0);
    own.tuple.domain = SECRET_DOMAIN.to_vec();
    let mut child = record(b"/bin/child", "192.0.2.1", 443, 10, 0);
    let context = Arc::make_mut(&mut child.context);
    context.parent = program(SECRET_PATH, b"tool");
    context.grandparent = program(SECRET_PATH, b"tool");
    let mut other = record(b"/bin/curl", "192.0.2.2", 443, 100, 0);
    let context = Arc::make_mut(&mut other.context);
    context.program.command_line =
        [b"curl\0", SECRET_PATH, b"\0https://", SECRET_DOMAIN, b"/x\0", SECRET_ADDRESS.as_bytes()].concat();
    context.cgroup.path = [b"/user.slice/", SECRET_DOMAIN, b"/x.service"].concat();
    context.cgroup.app = [b"x ".as_slice(), SECRET_PATH].concat();
    context.cgroup.container = [b"docker [".as_slice(), SECRET_ADDRESS.as_bytes(), b"]:5"].concat();
    let mut named = record(b"/bin/other", "192.0.2.3", 443, 1000, 0);
    named.tuple.domain = SECRET_ADDRESS.as_bytes().to_vec();
    named.tuple.local_address = Some(SECRET_ADDRESS.parse().unwrap());
    let odd = record(&[b"/x?".as_slice(), SECRET_DOMAIN].concat(), "192.0.2.3", 8443, 10_000, 0);
    let text = format!(
        "{} {} {SECRET_ADDRESS}",
        String::from_utf8_lossy(SECRET_PATH),
        String::from_utf8_lossy(SECRET_DOMAIN)
    );
    let alert = Event { path: SECRET_PATH.to_vec(), ..Event::new(EventKind::Alert, time, text.clone()) };
    let error = Event::new(EventKind::Error, time, text);
    let writer_of = model::Writer { pid: 1, path: SECRET_PATH.to_vec(), ..model::Writer::default() };
    let changed = Event { writer: Some(writer_of), ..Event::new(EventKind::Alert, time, "changed") };
    let events = vec![alert, error, changed];
    writer.write(&Window { events, ..window(time, vec![own, child, other, named, odd]) }).unwrap();
}

#[test]
fn no_byte_of_what_is_forgotten_stays() {
    let ip: IpAddr = SECRET_ADDRESS.parse().unwrap();
    let IpAddr::V6(ip) = ip else { panic!() };
    let path = of(Dimension::Executable, SECRET_PATH);
    let domain = of(Dimension::Domain, SECRET_DOMAIN);
    let address = of(Dimension::Address, SECRET_ADDRESS.as_bytes());
    let network = of(Dimension::Address, b"2001:db8:5ec::/48");
    // What is forgotten, its bytes, and the bytes sent that are left: one digit for each record of a window.
    for (what, bytes, sent) in [
        (&path, vec![SECRET_PATH.to_vec()], 11_110),
        (&domain, vec![SECRET_DOMAIN.to_vec()], 11_110),
        (&address, vec![SECRET_ADDRESS.into(), ip.octets().to_vec()], 11_110),
        (&network, vec![SECRET_ADDRESS.into(), ip.octets().to_vec()], 11_110),
    ] {
        for cut in [false, true] {
            let (directory, path) = new_log();
            let mut writer = Writer::open(&path).unwrap();
            let line = |secret: &[u8]| format!("log.ignore = [\"{}\"]", String::from_utf8_lossy(secret));
            let lines = [line(SECRET_PATH), line(SECRET_DOMAIN), line(SECRET_ADDRESS.as_bytes())];
            writer.set_configuration(&lines.join("\n")).unwrap();
            for number in 0..50 {
                write_secrets(&mut writer, 1_700_000_000 + number * 7200);
            }
            while writer.catch_up().unwrap() {}
            if cut {
                while writer.cut_detail(0).unwrap() {}
            }
            for secret in &bytes {
                assert!(!files_with(directory.path(), secret).is_empty());
            }
            let kind = what.kind();
            let preview = writer.preview_forget(what).unwrap();
            let forgotten = writer.forget(what).unwrap();
            assert_eq!(preview, forgotten);
            assert!(forgotten.values > 0 && forgotten.records + forgotten.sums >= 50, "{kind} {forgotten:?}");
            assert_eq!(forgotten.events, if kind == "program" { 50 } else { 0 });
            writer.erase_deleted().unwrap();
            for secret in &bytes {
                assert_eq!(files_with(directory.path(), secret), [""; 0].map(PathBuf::from), "{kind} {cut}");
            }
            assert_eq!(total(&path).sent, 50 * sent, "{kind} {cut}");
            let check: String =
                writer.connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
            assert_eq!(check, "ok");
            // Again there is nothing.
            assert!(writer.preview_forget(what).unwrap().is_nothing(), "{:?}", writer.preview_forget(what));
            let events =
                Reader::open(&path).unwrap().events(Range::default(), &[EventKind::Forget], 9).unwrap();
            assert_eq!(events.len(), 1);
            assert_eq!((events[0].subject.as_str(), events[0].count), (kind, forgotten.records));
            assert!(
                !events[0].text.contains("secret") && !events[0].text.contains("db8"),
                "{}",
                events[0].text
            );
        }
    }
}

#[test]
fn what_is_not_forgotten_stays() {
    let (_directory, path) = new_log();
    let mut writer = Writer::open(&path).unwrap();
    write_secrets(&mut writer, 1_700_000_000);
    let mut near = record(b"/opt/secret/bin/tool2", "2001:db8:5ec:2e7::77", 443, 7, 0);
    near.tuple.domain = b"www.secret.example.net".to_vec();
    writer.write(&window(1_700_000_010, vec![near])).unwrap();
    for what in [
        of(Dimension::Executable, SECRET_PATH),
        of(Dimension::Domain, SECRET_DOMAIN),
        of(Dimension::Address, SECRET_ADDRESS.as_bytes()),
    ] {
        writer.forget(&what).unwrap();
    }
    writer.erase_deleted().unwrap();
    let near = rows(&path, &[Dimension::Executable, Dimension::Address, Dimension::Domain], vec![]);
    let value = |bytes: &[u8]| Value::Bytes(bytes.to_vec());
    let expected = [
        value(b"/opt/secret/bin/tool2"),
        Value::Address("2001:db8:5ec:2e7::77".parse().unwrap()),
        value(b"www.secret.example.net"),
    ];
    assert!(near.iter().any(|row| row.values == expected), "{near:?}");
    let parents = rows(&path, &[Dimension::Executable, Dimension::ParentExecutable], vec![]);
    assert!(parents.iter().any(|row| row.values == [value(b"/bin/child"), value(b"")]), "{parents:?}");
    let lines = rows(&path, &[Dimension::CommandLine], vec![]);
    assert!(lines.iter().any(|row| row.values == [value(FORGOTTEN.as_bytes())]), "{lines:?}");
    // Rows that were changed are those of their new content for salvage.
    let (_other, target) = new_log();
    let result = salvage(&path, &mut Writer::open(&target).unwrap()).unwrap();
    assert!(result.is_complete(), "{result:?}");
    assert_eq!(total(&target), total(&path));
}

/// The history to forget in a random log, and the condition of its records in SQL.
fn targets() -> Vec<(Forget, &'static str)> {
    let exe = "context IN (SELECT context.id FROM context JOIN program ON program.id = context.program WHERE path = ";
    let endpoint = "endpoint IN (SELECT endpoint.id FROM endpoint JOIN";
    vec![
        (of(Dimension::Executable, b"/a"), Box::leak(format!("{exe}'/a')").into_boxed_str())),
        (of(Dimension::Executable, b"/c/\xff"), Box::leak(format!("{exe}x'2f632fff')").into_boxed_str())),
        // Only a parent.
        (of(Dimension::Executable, b"/bin/sh"), "0"),
        (
            of(Dimension::Domain, b"a.example"),
            Box::leak(format!("{endpoint} domain ON domain.id = domain WHERE name = 'a.example')").into_boxed_str()),
        ),
        (
            of(Dimension::Address, b"192.0.2.0/23"),
            Box::leak(
                format!("{endpoint} address ON address.id = remote_address WHERE text IN ('192.0.2.1', '192.0.3.77'))")
                    .into_boxed_str(),
            ),
        ),
        // Only a local address.
        (of(Dimension::Address, b"192.0.2.9"), "0"),
        (of_span(1_700_400_123, 1_701_000_456), "time BETWEEN 1700400123 AND 1701000456"),
    ]
}

/// Random windows, of which some have no local address.
fn write_mixed(writer: &mut Writer, random: &mut Random, time: i64, windows: usize) -> i64 {
    checks::write_records(writer, random, time, windows, |random| {
        let mut record = random.record();
        if random.below(3) == 0 {
            record.tuple.local_address = None;
        }
        record
    })
}

/// Checks that each window says how many records it has.
fn check_windows(path: &Path) {
    let sql = "SELECT count(*) FROM window AS w WHERE w.time >= coalesce((SELECT detail_since FROM log), 0) AND w.count > 0 \
        AND w.count <> (SELECT count(*) FROM record AS r WHERE r.time = w.time AND r.sequence >= w.first_sequence AND \
        r.sequence < coalesce((SELECT min(n.first_sequence) FROM window AS n WHERE n.time = w.time AND \
        n.first_sequence > w.first_sequence), 1 << 40))";
    let wrong: i64 = Connection::open(path).unwrap().query_row(sql, [], |row| row.get(0)).unwrap();
    assert_eq!(wrong, 0);
    let sql = "SELECT (SELECT count(*) FROM record) - (SELECT sum(count) FROM window)";
    let connection = Connection::open(path).unwrap();
    if Reader::open(path).unwrap().detail_since().unwrap().is_none() {
        let difference: i64 = connection.query_row(sql, [], |row| row.get(0)).unwrap();
        assert_eq!(difference, 0);
    }
}

#[test]
fn the_sums_of_the_rest_are_those_of_its_records() {
    for (index, (what, condition)) in targets().into_iter().enumerate() {
        let (_directory, path) = new_log();
        let mut random = Random(500 + index as u64);
        let mut writer = Writer::open(&path).unwrap();
        writer.max_rollup_rows = if index % 2 == 0 { 60 } else { 10_000 };
        let last = write_mixed(&mut writer, &mut random, 1_700_000_000, 1500);
        while writer.catch_up().unwrap() {}
        let expected: (i64, i64) = writer
            .connection
            .query_row(
                &format!("SELECT count(*), sum(sent) FROM record WHERE NOT coalesce({condition}, 0)"),
                [],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .unwrap();
        let before = count(&path, "record");
        let rollups = checks::rollup_counts(&path);
        assert!(!writer.preview_forget(&what).unwrap().is_nothing(), "{condition}");
        let forgotten = writer.forget(&what).unwrap();
        assert_eq!((forgotten.records as i64, forgotten.sums), (before - expected.0, 0), "{condition}");
        assert!(writer.preview_forget(&what).unwrap().is_nothing(), "{condition}");
        assert!(expected.0 < before || condition == "0", "{condition}");
        assert_eq!((count(&path, "record"), total(&path).sent as i64), expected, "{condition}");
        // Rollups are there, and right.
        if what.span().is_none() {
            assert!(
                checks::rollup_counts(&path).iter().zip(&rollups).all(|(now, before)| *now + 3 > *before / 2)
            );
        }
        check_totals(&path);
        check_windows(&path);
        compare(&path, &mut random, 60);
        writer.erase_deleted().unwrap();
        check_totals(&path);
        check_quarters(&path);
        compare(&path, &mut random, 60);
        // It goes on.
        write_mixed(&mut writer, &mut random, last + 10, 200);
        while writer.catch_up().unwrap() {}
        check_totals(&path);
        compare(&path, &mut random, 30);
    }
}

#[test]
fn sums_without_records_lose_what_is_forgotten_too() {
    for (index, (what, condition)) in targets().into_iter().enumerate() {
        let (directory, path) = new_log();
        let complete = directory.path().join("complete.db");
        let (mut writer, mut copy) = (Writer::open(&path).unwrap(), Writer::open(&complete).unwrap());
        if index % 2 == 1 {
            // Some days have no local ports, and some no rollup but those of their quarters.
            writer.max_rollup_rows = 60;
        }
        let seed = 900 + index as u64;
        let last = write_mixed(&mut writer, &mut Random(seed), 1_700_000_000, 2000);
        write_mixed(&mut copy, &mut Random(seed), 1_700_000_000, 2000);
        while writer.catch_up().unwrap() {}
        while copy.catch_up().unwrap() {}
        writer.cut_detail(writer.used_bytes().unwrap() - 150_000).unwrap();
        // Some come later for the time that is cut.
        for writer in [&mut writer, &mut copy] {
            let late = record(b"/a", "192.0.2.1", 443, 1, 2);
            writer.write(&window(1_700_000_777, vec![late])).unwrap();
            writer.write(&window(last + 100_000, vec![record(b"/b", "192.0.2.1", 443, 1, 2)])).unwrap();
        }
        let since = writer.detail_since.unwrap();
        let forgotten = writer.forget(&what).unwrap();
        assert!(forgotten.sums > 0 || condition == "0", "{condition} {forgotten:?}");
        // In the copy the same time is forgotten.
        let in_copy = match (what.span(), forgotten.widened) {
            (Some((_, to)), Some((from, cut_to))) => of_span(from, if to < since { cut_to } else { to }),
            _ => what.clone(),
        };
        copy.forget(&in_copy).unwrap();
        let mut random = Random(seed);
        size_limit::compare(&path, &complete, &mut random, 120);
        assert_eq!(total(&path), total(&complete), "{condition}");
        writer.erase_deleted().unwrap();
        check_windows(&path);
        size_limit::compare(&path, &complete, &mut random, 80);
        for writer in [&mut writer, &mut copy] {
            write_randomly(writer, &mut Random(seed + 1), last + 200_000, 200);
            while writer.catch_up().unwrap() {}
        }
        size_limit::compare(&path, &complete, &mut random, 40);
    }
}

#[test]
fn a_forgotten_span_leaves_no_time_of_it() {
    for cut in [false, true] {
        let (_directory, path) = new_log();
        let mut writer = Writer::open(&path).unwrap();
        let mut random = Random(77);
        write_mixed(&mut writer, &mut random, 1_700_000_000, 2000);
        let only = record(b"/only", "198.51.100.7", 12_345, 1, 0);
        writer.write(&window(1_700_500_000, vec![only])).unwrap();
        while writer.catch_up().unwrap() {}
        if cut {
            writer.cut_detail(writer.used_bytes().unwrap() - 150_000).unwrap();
        }
        let (from, to) = (1_700_300_000, 1_701_000_000);
        assert!(!cut || writer.detail_since.unwrap() > from);
        let events = vec![Event::new(EventKind::Error, from + 5, "x")];
        writer.write(&Window { time: to + 9_000_000, events, ..Window::default() }).unwrap();
        let forgotten = writer.forget(&of_span(from, to)).unwrap();
        // Others are of the clock, which was set.
        assert!(forgotten.events >= 1, "{forgotten:?}");
        assert_eq!(forgotten.widened.is_some(), cut);
        writer.erase_deleted().unwrap();
        let left =
            |sql: &str| -> i64 { writer.connection.query_row(sql, [from, to], |row| row.get(0)).unwrap() };
        for table in ["context", "endpoint", "port_seen", "program_seen"] {
            let sql = format!(
                "SELECT count(*) FROM {table} WHERE first BETWEEN ?1 AND ?2 OR last BETWEEN ?1 AND ?2"
            );
            assert_eq!(left(&sql), 0, "{table} {cut}");
            assert!(count(&path, table) > 3, "{table}");
        }
        for table in ["record", "window", "event"] {
            assert_eq!(
                left(&format!("SELECT count(*) FROM {table} WHERE time BETWEEN ?1 AND ?2")),
                0,
                "{table}"
            );
        }
        let seen = Reader::open(&path).unwrap().programs_seen().unwrap();
        assert!(!seen.iter().any(|program| program.path == b"/only"));
        assert_eq!(left("SELECT count(*) FROM port_seen WHERE port = 12345 AND ?1 < ?2"), 0);
    }
}

#[test]
fn a_port_that_was_seen_before_a_forgotten_span_stays() {
    let (_directory, path) = new_log();
    let mut writer = Writer::open(&path).unwrap();
    let (old, late) = (1_700_000_000, 1_702_000_000);
    for (time, ports) in [(old, vec![22, 443]), (late, vec![22, 80]), (late + 9000, vec![443])] {
        let records = ports.into_iter().map(|port| record(b"/a", "192.0.2.1", port, 1, 0)).collect();
        writer.write(&window(time, records)).unwrap();
    }
    // The records are gone, not when ports were seen.
    writer.purge(old + 86_400).unwrap();
    writer.forget(&of_span(late - 10, late + 10)).unwrap();
    let mut statement = writer.connection.prepare("SELECT port, first, last FROM port_seen").unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    let mut seen: Vec<(i64, i64, i64)> = rows.map(Result::unwrap).collect();
    seen.sort_unstable();
    assert_eq!(seen, [(22, old, old), (443, old, old)]);
}

#[test]
fn a_log_that_was_made_anew_is_salvaged_without_its_first_page() {
    let (_directory, path) = new_log();
    let mut writer = Writer::open(&path).unwrap();
    let mut random = Random(3);
    write_mixed(&mut writer, &mut random, 1_700_000_000, 1000);
    writer.forget(&of(Dimension::Executable, b"/a")).unwrap();
    writer.erase_deleted().unwrap();
    drop(writer);
    let sum = total(&path);
    let mut bytes = fs::read(&path).unwrap();
    bytes[..4096].fill(0);
    fs::write(&path, &bytes).unwrap();
    let (_other, target) = new_log();
    let result = salvage(&path, &mut Writer::open(&target).unwrap()).unwrap();
    assert_eq!((result.opened, result.gaps.len(), result.missing), (Opened::WithNewFirstPage, 0, Some(0)));
    assert_eq!(total(&target), sum);
}

#[test]
fn only_one_thing_is_forgotten_and_only_if_it_is_there() {
    for (dimension, value) in [
        (Dimension::Executable, b"".as_slice()),
        (Dimension::Executable, b"many"),
        (Dimension::Domain, b""),
        (Dimension::Domain, b"many"),
        (Dimension::Address, b"many"),
        (Dimension::Address, b""),
        (Dimension::Port, b"443"),
    ] {
        assert_eq!(Forget::of_filter(&typed(dimension, value, false)[0]), None, "{dimension}");
    }
    let excluding = typed(Dimension::Executable, b"/a", true).remove(0);
    assert_eq!(Forget::of_filter(&excluding), None);
    assert_eq!(Forget::of_time(Range::default()), None);
    assert_eq!(Forget::of_time(Range { since: Some(2), until: Some(1) }), None);
    let (_directory, path) = new_log();
    let mut writer = Writer::open(&path).unwrap();
    write_mixed(&mut writer, &mut Random(5), 1_700_000_000, 50);
    let (sum, events) = (total(&path), count(&path, "event"));
    for what in [
        of(Dimension::Executable, b"/none"),
        of(Dimension::Domain, b"example"),
        of(Dimension::Address, b"203.0.113.0/24"),
        of_span(5, 6),
    ] {
        assert!(writer.preview_forget(&what).unwrap().is_nothing());
        assert!(writer.forget(&what).unwrap().is_nothing());
    }
    assert_eq!((total(&path), count(&path, "event")), (sum, events));
    // A preview changes nothing.
    assert!(!writer.preview_forget(&of(Dimension::Executable, b"/a")).unwrap().is_nothing());
    assert_eq!(total(&path), sum);
    compare(&path, &mut Random(6), 20);
}
