//! The log on bad days: very many peers, and a file that is removed, moved, replaced or damaged while it is written.

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    path::Path,
    thread,
};

use model::{Event, EventKind};
use nix::sys::signal::{Signal, kill};
use store::Range;

use super::harness::{
    Daemon, assert_intact, assert_recorded, base, error_log, fresh_address, losses, reader, root, root_alone,
    talk, wait_until,
};

fn events(base: &Path, kind: EventKind) -> Vec<Event> {
    reader(base).events(Range::default(), &[kind], 1000).unwrap()
}

/// Makes a connection to a listener on all addresses, on which each side sends one byte.
fn touch(listener: &TcpListener, to: Ipv4Addr) {
    let port = listener.local_addr().unwrap().port();
    let mut client = TcpStream::connect((to, port)).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    client.write_all(b"x").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    server.read_exact(&mut [0]).unwrap();
    server.write_all(b"y").unwrap();
    drop(server);
    client.read_exact(&mut [0]).unwrap();
}

#[test]
#[ignore = "needs root"]
fn an_upload_beside_five_thousand_connections_has_a_row_of_its_own() {
    const UPLOAD: usize = 1_000_000_000;
    const OTHERS: u32 = 5000;
    let _root = root_alone();
    let base = base("");
    fs::write(base.path().join("config.toml"), "[log]\nwrite_limit_seconds = 600\n").unwrap();
    let daemon = Daemon::start(base.path());
    let address = fresh_address();
    let upload = thread::spawn(move || talk(address, UPLOAD, 0));
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    for number in 0..OTHERS {
        touch(&listener, Ipv4Addr::from(0x7f20_0001 + number));
    }
    upload.join().unwrap();
    daemon.stop(Signal::SIGTERM);
    let connection = rusqlite::Connection::open(base.path().join("snitch.db")).unwrap();
    let row = |sql: &str| -> [i64; 4] {
        connection.query_row(sql, [], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?])).unwrap()
    };
    let own = std::env::current_exe().unwrap();
    let own = format!("FROM connection_log WHERE executable = '{}'", own.display());
    let of = |ip: &str| {
        row(&format!("SELECT count(*), sum(conns), sum(sent), sum(received) {own} AND ip = '{ip}'"))
    };
    assert_eq!(of(&address.to_string()), [1, 1, UPLOAD as i64, 0]);
    // Both sides of each connection.
    let [records, connections, sent, received] =
        row(&format!("SELECT count(*), sum(conns), sum(sent), sum(received) {own}"));
    let bytes = UPLOAD as i64 + 2 * i64::from(OTHERS);
    assert_eq!([connections, sent, received], [2 * (1 + i64::from(OTHERS)), bytes, bytes]);
    assert!(records <= 2 * 256, "{records}");
    let [folded, _, _, _] = row("SELECT count(*), 0, 0, 0 FROM record WHERE folded > 0");
    assert!((2..=4).contains(&folded), "{folded}");
    assert!(losses(base.path()).is_empty());
}

#[test]
#[ignore = "needs root"]
fn a_log_that_is_moved_removed_or_replaced_is_noticed_and_recording_goes_on() {
    let _root = root();
    let base = base("");
    let database = base.path().join("snitch.db");
    let daemon = Daemon::start(base.path());
    // A drain may come in the middle of a connection: its rest is in the next window.
    let is_recorded = |address: Ipv4Addr| {
        let has = || super::harness::recorded(base.path(), store::Dimension::Address, address).received > 0;
        wait_until("the record", || database.exists() && store::Reader::open(&database).is_ok() && has());
    };
    let first = fresh_address();
    talk(first, 1000, 10);
    is_recorded(first);
    // Moved: the moved one is complete, and everything after it is in a new one.
    let moved = base.path().join("moved");
    fs::create_dir(&moved).unwrap();
    fs::rename(&database, moved.join("snitch.db")).unwrap();
    let second = fresh_address();
    talk(second, 2000, 20);
    is_recorded(second);
    assert_recorded(&moved, first, 1, 1000, 10);
    daemon.wait_for("removed, moved or replaced");
    // Removed, with its other files.
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{suffix}", database.display()));
    }
    let third = fresh_address();
    talk(third, 3000, 30);
    is_recorded(third);
    // Replaced by an older one.
    fs::rename(moved.join("snitch.db"), &database).unwrap();
    let fourth = fresh_address();
    talk(fourth, 4000, 40);
    is_recorded(fourth);
    daemon.stop(Signal::SIGTERM);
    assert_recorded(base.path(), first, 1, 1000, 10);
    assert_recorded(base.path(), fourth, 1, 4000, 40);
    assert_intact(&database);
    let told: Vec<String> = events(base.path(), EventKind::Log).into_iter().map(|event| event.text).collect();
    assert!(told.iter().any(|text| text.contains("older copy")), "{told:?}");
    assert!(error_log(base.path()).contains("older copy"), "{}", error_log(base.path()));
}

#[test]
#[ignore = "needs root"]
fn a_damaged_log_is_moved_aside_and_recording_goes_on() {
    let _root = root();
    let garbage = |number: usize| ((number as u32).wrapping_mul(2_654_435_761) >> 24) as u8;
    for (what, damaged) in
        [("everything", 0..usize::MAX), ("the first pages", 0..3000), ("after the header", 100..2000)]
    {
        let base = base("");
        let database = base.path().join("snitch.db");
        Daemon::start(base.path()).stop(Signal::SIGTERM);
        let mut content = fs::read(&database).unwrap();
        for (at, byte) in content.iter_mut().enumerate().filter(|(at, _)| damaged.contains(at)) {
            *byte = garbage(at);
        }
        fs::write(&database, &content).unwrap();
        let daemon = Daemon::start(base.path());
        let address = fresh_address();
        talk(address, 21, 12);
        daemon.stop(Signal::SIGTERM);
        assert_recorded(base.path(), address, 1, 21, 12);
        let names =
            fs::read_dir(base.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let aside: Vec<String> = names.filter(|name| name.starts_with("snitch.db.damaged-")).collect();
        let is_kept = |name: &String| fs::read(base.path().join(name)).unwrap() == content;
        assert!(aside.iter().any(is_kept), "{what}: {aside:?}");
        assert!(error_log(base.path()).contains("was damaged"), "{what}: {}", error_log(base.path()));
    }
}

#[test]
#[ignore = "needs root"]
fn starts_stops_gaps_and_alerts_are_events() {
    let _root = root();
    let base = base("");
    let kinds = |kind| events(base.path(), kind).len();
    let daemon = Daemon::start(base.path());
    talk(fresh_address(), 1, 1);
    daemon.stop(Signal::SIGTERM);
    assert_eq!([EventKind::Start, EventKind::Stop, EventKind::Gap].map(kinds), [1, 1, 0]);
    let own = std::env::current_exe().unwrap();
    let alerts = events(base.path(), EventKind::Alert);
    assert!(alerts.iter().any(|alert| alert.path == own.as_os_str().as_encoded_bytes()), "{alerts:?}");
    let seen = reader(base.path()).programs_seen().unwrap();
    assert!(seen.iter().any(|program| program.path == own.as_os_str().as_encoded_bytes()), "{seen:?}");
    // Killed: the next start says so.
    let daemon = Daemon::start(base.path());
    let address = fresh_address();
    talk(address, 1, 1);
    wait_until("the record", || {
        super::harness::recorded(base.path(), store::Dimension::Address, address).connections > 0
    });
    kill(daemon.recorder(), Signal::SIGKILL).unwrap();
    daemon.end();
    Daemon::start(base.path()).stop(Signal::SIGTERM);
    let gaps = events(base.path(), EventKind::Gap);
    let killed: Vec<bool> = gaps.iter().map(|gap| gap.text.contains("without being stopped")).collect();
    assert_eq!(killed, [true, false]);
    assert!(gaps.iter().all(|gap| gap.begin.is_some_and(|begin| begin <= gap.time)), "{gaps:?}");
}
