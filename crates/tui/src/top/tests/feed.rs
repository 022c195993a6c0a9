//! Lines of the daemon, also malformed ones.

use super::*;
use crate::top::rates::ByteCounts;

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
fn a_daemon_that_sends_nothing_is_noticed() {
    let mut screen = TestScreen::new(SMALL, PLAIN);
    let now = screen.clock;
    assert!(!screen.live.note_silence(now + Duration::from_secs(2)));
    assert!(screen.live.note_silence(now + Duration::from_secs(12)));
    assert!(!screen.live.note_silence(now + Duration::from_secs(12)), "it is on the screen already");
    let text = screen.text();
    assert!(text.contains("no news since 14:20:05: nothing was sent for 12 s"), "{text}");
    // Only the end of a drain is news: a recorder whose monitor is stopped still sends errors, for example.
    for line in [
        json!({"event": "error", "text": "x"}),
        json!({"event": "something new", "of": "a later version"}),
        json!({"event": "traffic", "connections": []}),
    ] {
        screen.line(line);
        assert!(screen.text().contains("no news since"));
    }
    screen.tick();
    assert!(!screen.text().contains("no news"));
}

#[test]
fn nothing_stays_open_after_it_has_ended() {
    let mut screen = TestScreen::empty(SMALL, PLAIN);
    screen.context(1, ["", "", "/bin/x"], "");
    screen.context(2, ["", "", "/bin/y"], "");
    let socket = |event: &str, context: u32| {
        json!({"event": event, "id": 7, "context": context, "process": 1, "family": 2, "protocol": 17,
               "local_port": 53, "remote_address": "192.0.2.1", "remote_port": 9})
    };
    // A socket that listens gets a peer, and belongs to another program then.
    for line in [socket("listening", 1), socket("connection", 1), socket("connection", 2)] {
        screen.line(line);
        screen.tick();
    }
    screen.refresh();
    let counts = |screen: &TestScreen| -> Vec<(String, u64, u64)> {
        let rows = screen.state.programs.rows.iter();
        rows.map(|row| (row.label.clone(), row.open, row.listening)).collect()
    };
    assert_eq!(counts(&screen), [("/bin/y".to_owned(), 1, 0)]);
    screen.line(json!({"event": "traffic", "connections": [], "ended": [7]}));
    for _ in 0..25 {
        screen.tick();
    }
    screen.refresh();
    assert_eq!(counts(&screen), []);
}
