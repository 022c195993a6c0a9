//! Lines of the daemon, also malformed ones.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixListener,
};

use super::*;
use crate::top::{
    feed::{FeedError, connect, next},
    rates::ByteCounts,
};

#[test]
fn bytes_are_exact_and_rates_are_current() {
    let mut screen = TestScreen::empty(SMALL, PLAIN);
    screen.context(1, ["", "", "/bin/x"], "");
    screen.connection(
        1,
        1,
        "192.0.2.1:80",
        json!({"sent": 7, "received": 1_000_000_000, "began": NOW - 3600.0}),
    );
    screen.tick();
    screen.tick();
    screen.refresh();
    let row = screen.state.program().unwrap();
    assert_eq!(
        (row.total, row.second),
        (ByteCounts { sent: 7, received: 1_000_000_000 }, ByteCounts::default())
    );
    // A download that begins and ends between two ticks.
    screen.connection(2, 1, "192.0.2.2:80", json!({"received": 87_654_321, "began": NOW - 54.0}));
    screen.line(json!({"event": "traffic", "connections": [[2, 12_345, 87_654_321]], "ended": [2]}));
    screen.tick();
    screen.refresh();
    let row = screen.state.program().unwrap();
    assert_eq!(row.total, ByteCounts { sent: 12_352, received: 1_087_654_321 });
    assert_eq!(row.second.received, 87_654_321, "of one second");
    assert_eq!((row.open, screen.peers().len()), (1, 2), "a connection that has ended is still shown");
    for _ in 0..25 {
        screen.tick();
    }
    screen.refresh();
    assert_eq!(screen.peers(), ["192.0.2.1:80"]);
    let row = screen.state.program().unwrap();
    assert_eq!(
        (row.total.received, row.second, row.ten_seconds),
        (1_087_654_321, ByteCounts::default(), ByteCounts::default())
    );
    // A new daemon has reported nothing yet.
    screen.live.connected(String::new());
    screen.tick();
    screen.refresh();
    assert!(screen.labels().is_empty());
}

#[test]
fn malformed_lines_are_counted_and_change_nothing() {
    let mut screen = TestScreen::new(SMALL, PLAIN);
    let before = screen.text();
    for line in [
        &b""[..],
        b"\n",
        b"{",
        b"null",
        b"[]",
        b"\xff\xfe",
        br#"{"event": 7}"#,
        br#"{"event": "traffic", "connections": [[1]]}"#,
        br#"{"event": "traffic", "connections": [[-1, 2, 3]]}"#,
        br#"{"event": "connection", "id": "x"}"#,
        br#"{"event": "context", "id": 4294967296}"#,
        br#"{"event": "alert", "time": "now"}"#,
    ] {
        assert!(!apply_line(line, &mut screen.live, screen.clock));
    }
    assert!(screen.live.unreadable >= 11, "{}", screen.live.unreadable);
    for line in [
        json!({"event": "traffic", "connections": [[999, 1, 2]], "ended": [999, 998]}),
        json!({"event": "something new", "of": "a later version"}),
        json!({"event": "hello"}),
    ] {
        screen.line(line);
    }
    screen.live.unreadable = 0;
    screen.refresh();
    assert_eq!(screen.text(), before);
    // A connection of an unknown context is shown, and totals that decrease are ignored.
    screen.connection(500, 77, "192.0.2.1:1", json!({"sent": 10}));
    screen.line(json!({"event": "traffic", "connections": [[500, 3, 0]]}));
    screen.refresh();
    assert!(screen.labels().contains(&"(unknown program)"));
}

#[test]
fn programs_and_connections_are_bounded() {
    let mut screen = TestScreen::empty(LARGE, PLAIN);
    for id in 0..12_000 {
        screen.context(id, ["", "", &format!("/bin/{id}")], "");
    }
    for id in 0..30_000_u64 {
        screen.connection(id, (id % 12_000) as u32, "192.0.2.1:80", json!({}));
    }
    screen.tick();
    screen.line(json!({"event": "traffic", "ended": (0..25_000).collect::<Vec<u64>>()}));
    screen.tick();
    screen.refresh();
    assert_eq!(screen.labels().len(), 10_001);
    assert!(screen.live.connections.len() <= 25_000, "{}", screen.live.connections.len());
}

#[test]
fn every_failure_to_connect_has_its_error() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("live.sock");
    let kind = |error: FeedError| match error {
        FeedError::NotRunning => "not running",
        FeedError::NotAllowed => "not allowed",
        FeedError::NotUnderstood(_) => "not understood",
        FeedError::TurnedAway => "turned away",
        FeedError::Ended => "ended",
        FeedError::Io(..) => "io",
    };
    assert_eq!(kind(connect(&path).unwrap_err()), "not running");
    let listener = UnixListener::bind(&path).unwrap();
    let answer = |answer: &'static [u8]| {
        let listener = listener.try_clone().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = String::new();
            BufReader::new(&stream).read_line(&mut request).unwrap();
            let _ = stream.write_all(answer);
        });
        let result = connect(&path);
        server.join().unwrap();
        result
    };
    for nonsense in [&b"HTTP/1.1 400\r\n"[..], b"{\"event\": \"tick\"}\n", b"7\n"] {
        assert_eq!(kind(answer(nonsense).unwrap_err()), "not understood");
    }
    for nothing in [&b""[..], b"{\"event\": \"hello\""] {
        assert_eq!(kind(answer(nothing).unwrap_err()), "turned away");
    }
    let long: &'static [u8] = vec![b'x'; 2 << 20].leak();
    assert_eq!(kind(answer(long).unwrap_err()), "io");
    let (mut lines, hello) = answer(b"{\"event\": \"hello\"}\n{\"half\": ").unwrap();
    assert!(hello.contains("hello"));
    let mut line = Vec::new();
    next(&mut lines, &mut line).unwrap();
    assert!(line.is_empty(), "an incomplete line is dropped");
    drop(listener);
    assert_eq!(kind(connect(&path).unwrap_err()), "not running");
}
