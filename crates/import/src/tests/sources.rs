//! Sources of every format.

use super::*;

#[test]
fn every_format_arrives_with_its_sums_and_times() {
    for format in Sample::ALL {
        let options = sample(format, 9000);
        let place = Place::new(&options.zone);
        let path = place.path("snitch.db");
        let written = write_database(&path, &options).unwrap();
        let before = fs::read(&path).unwrap();
        let report = place.import(&path);
        assert!(report.error.is_none() && !report.is_known, "{report:?}");
        assert_eq!(place.sums(), expected(written), "{format:?}");
        let counts = &report.counts;
        assert_eq!(
            [counts.connections, counts.sent, counts.received].map(u64::cast_signed),
            place.sums()[1..]
        );
        assert_eq!((counts.imported, counts.executions), (written.rows, written.executions));
        assert_eq!((counts.older, counts.unreadable, counts.future), (0, 0, 0));
        // The sums that answers are made of are those of the records.
        let rolled_up = sums(
            &place.log(),
            "SELECT 1, sum(connections), sum(sent), sum(received) FROM (SELECT connections, sent, received FROM rollup_day \
             UNION ALL SELECT connections, sent, received FROM record WHERE time - time % 86400 NOT IN (SELECT start FROM rollup_day))",
        );
        assert_eq!(rolled_up[1..], place.sums()[1..]);
        let is_checked = place.log().query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0));
        assert_eq!(is_checked.unwrap(), "ok");
        assert_times(&place, &options);
        // Nothing beside the source, and nothing in it, has changed.
        assert_eq!(fs::read(&path).unwrap(), before);
        assert!(!place.path("snitch.db-wal").exists() && !place.path("snitch.db-shm").exists());
    }
}

/// The records have the times of the rows, also in the hour that comes twice.
fn assert_times(place: &Place, options: &Options) {
    let log = place.log();
    let mut select = log.prepare("SELECT time FROM record ORDER BY time, sequence").unwrap();
    let times: Vec<i64> = select.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert_eq!(times, rows(options).map(|row| row.time).collect::<Vec<_>>());
    let sql = "SELECT min(first), max(last) FROM context UNION ALL SELECT min(first), max(last) FROM endpoint \
               UNION ALL SELECT min(first), max(last) FROM port_seen UNION ALL SELECT min(first), max(last) FROM program_seen";
    let mut select = log.prepare(sql).unwrap();
    let seen = select.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))).unwrap();
    let ends = (times[0], times[times.len() - 1]);
    assert_eq!(seen.map(Result::unwrap).collect::<Vec<_>>(), [ends; 4]);
    // Exactly, for each of them.
    for (table, column) in [("context", "context"), ("endpoint", "endpoint")] {
        let sql = format!(
            "SELECT count(*) FROM {table} JOIN (SELECT {column} AS id, min(time) AS a, max(time) AS b FROM record GROUP BY 1) \
             USING (id) WHERE first != a OR last != b"
        );
        assert_eq!(log.query_row(&sql, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
    }
    let windows = "SELECT count(*) FROM window WHERE count != (SELECT count(*) FROM record WHERE record.time = window.time \
                   AND sequence >= first_sequence AND sequence < first_sequence + window.count)";
    assert_eq!(log.query_row(windows, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
}

#[test]
fn the_details_of_a_row_arrive() {
    let options = sample(Sample::Version4, 500);
    let place = Place::new(&TimeZone::UTC);
    let path = place.path("picosnitch.db");
    write_database(&path, &options).unwrap();
    place.import(&path);
    let row = rows(&options).find(|row| !row.domain.is_empty() && row.program.has_digest()).unwrap();
    let log = place.log();
    let sql = "SELECT executable, name, cmdline, sha256, domain, ip, port, uid, parent_exe, gpexe, lport, laddress, family, \
               protocol, netns, country, sent FROM connection_log WHERE time = ?1 AND sent = ?2 AND received = ?3";
    let texts = log.query_row(sql, [row.time, row.sent, row.received], |found| {
        (0..17)
            .map(|at| {
                Ok(match found.get_ref(at)? {
                    rusqlite::types::ValueRef::Integer(number) => number.to_string().into_bytes(),
                    rusqlite::types::ValueRef::Text(text) | rusqlite::types::ValueRef::Blob(text) => {
                        text.to_vec()
                    }
                    _ => Vec::new(),
                })
            })
            .collect::<rusqlite::Result<Vec<Vec<u8>>>>()
    });
    let number = |number: i64| number.to_string().into_bytes();
    let line = row.program.command_line.trim_ascii_end().to_vec();
    let expected: Vec<Vec<u8>> = vec![
        row.program.exe.clone(),
        row.program.name.clone().into(),
        line,
        row.program.sha256.clone().into(),
        row.domain.clone().into(),
        row.remote_address.clone().into(),
        number(row.remote_port),
        number(row.uid.into()),
        row.parent.exe.clone(),
        row.grandparent.exe.clone(),
        number(row.local_port),
        row.local_address.clone().into(),
        number(row.family),
        number(row.protocol),
        number(4_026_531_840),
        "XX".into(),
        number(row.sent),
    ];
    assert_eq!(texts.unwrap(), expected);
}

#[test]
fn text_logs_of_both_lengths_arrive_and_an_unfinished_line_waits() {
    for format in [Sample::Version2, Sample::Version4] {
        let options = sample(format, 2000);
        let place = Place::new(&options.zone);
        let path = place.path("conn.log");
        let written = write_conn_log(&path, &options).unwrap();
        let whole = fs::read(&path).unwrap();
        let half = whole.len() / 2;
        fs::write(&path, &whole[..half]).unwrap();
        let lines = whole[..half].iter().filter(|byte| **byte == b'\n').count() as u64;
        let report = place.import_source(Source::open_text(&path).unwrap());
        assert_eq!((report.counts.imported, report.counts.unreadable), (lines, 0), "{report:?}");
        fs::write(&path, &whole).unwrap();
        let report = place.import_source(Source::open_text(&path).unwrap());
        assert!(report.is_known && report.counts.imported == written.rows - lines, "{report:?}");
        assert_eq!(place.sums(), expected(written));
        assert_times(&place, &options);
    }
}

#[test]
fn a_source_with_a_hot_journal_or_write_ahead_log_is_read_and_left_alone() {
    let options = sample(Sample::Version3, 1000);
    for mode in ["wal", "persist"] {
        let place = Place::new(&options.zone);
        let path = place.path("snitch.db");
        let written = write_database(&path, &options).unwrap();
        let writer = Connection::open(&path).unwrap();
        writer.pragma_update(None, "journal_mode", mode).unwrap();
        let copy = place.path("crashed.db");
        let more = if mode == "wal" {
            writer.execute_batch("DELETE FROM connections WHERE rowid <= 10").unwrap();
            fs::copy(place.path("snitch.db-wal"), place.path("crashed.db-wal")).unwrap();
            10
        } else {
            // A transaction that a crash interrupts, which the journal takes back.
            writer.execute_batch("PRAGMA cache_size = 1; BEGIN; UPDATE connections SET send = 1").unwrap();
            fs::copy(place.path("snitch.db-journal"), place.path("crashed.db-journal")).unwrap();
            0
        };
        fs::copy(&path, &copy).unwrap();
        let files = || {
            let mut files: Vec<_> = fs::read_dir(place.directory.path())
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .filter(|path| path.to_str().unwrap().contains("crashed"))
                .map(|path| (path.clone(), fs::read(path).unwrap()))
                .collect();
            files.sort();
            files
        };
        let before = files();
        let source = Source::open_database(&copy, None).unwrap();
        assert_eq!(source.opened(), Opened::Copied, "{mode}");
        let report = place.import_source(source);
        assert_eq!(report.counts.imported, written.rows - more, "{mode} {report:?}");
        if mode != "wal" {
            assert_eq!(report.counts.sent, written.sent, "the half transaction is not there");
        }
        assert_eq!(files(), before, "{mode}");
    }
}

#[test]
fn other_files_are_refused_with_the_reason() {
    let place = Place::new(&TimeZone::UTC);
    let refuse = |path: &Path, expected: &str| {
        let error = Source::open_database(path, None).and_then(|mut source| source.begin()).unwrap_err();
        let text = model::error_chain(&error);
        assert!(text.contains(expected), "{text}");
    };
    let path = place.path("own.db");
    drop(Writer::open(&path).unwrap());
    refuse(&path, "is a log of this picosnitch");
    let path = place.path("other.db");
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE moz_places (url)").unwrap();
    refuse(&path, "no table connections");
    let path = place.path("half.db");
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE connections (exe_id, a)").unwrap();
    refuse(&path, "lacks contime");
    let path = place.path("text.db");
    fs::write(&path, "no database, but a text that is long enough for a header ".repeat(20)).unwrap();
    refuse(&path, "cannot read");
    refuse(&place.path("nowhere"), "cannot open");
    refuse(place.directory.path(), "not a regular file");
    nix::unistd::mkfifo(&place.path("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    refuse(&place.path("fifo"), "not a regular file");
    let reader = Reader::open(&path).err();
    assert!(reader.is_some());
}
