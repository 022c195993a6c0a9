//! What becomes of the daemon's lines, also of those that make no sense.

use super::*;
use crate::top::rates::Bytes;

#[test]
fn bytes_are_exact_and_rates_are_those_of_this_moment() {
    let mut bench = Bench::empty(SMALL, PLAIN);
    bench.context(1, "/bin/x", "", "", "");
    bench.connection(
        1,
        1,
        "192.0.2.1",
        80,
        json!({"sent": 7, "received": 1_000_000_000, "began": NOW - 3600.0}),
    );
    bench.tick();
    bench.tick();
    bench.refresh();
    let row = bench.state.row().unwrap();
    assert_eq!((row.total, row.second), (Bytes { sent: 7, received: 1_000_000_000 }, Bytes::default()));
    // A download that begins and ends between two ticks.
    bench.connection(2, 1, "192.0.2.2", 80, json!({"received": 87_654_321, "began": NOW - 54.0}));
    bench.line(json!({"event": "traffic", "connections": [[2, 12_345, 87_654_321]], "ended": [2]}));
    bench.tick();
    bench.refresh();
    let row = bench.state.row().unwrap();
    assert_eq!(row.total, Bytes { sent: 12_352, received: 1_087_654_321 });
    assert_eq!(row.second.received, 87_654_321, "of one second");
    assert_eq!((row.open, bench.peers().len()), (1, 2), "the one that ended is still shown");
    for _ in 0..25 {
        bench.tick();
    }
    bench.refresh();
    assert_eq!(bench.peers(), ["192.0.2.1:80"]);
    let row = bench.state.row().unwrap();
    assert_eq!(
        (row.total.received, row.second, row.ten_seconds),
        (1_087_654_321, Bytes::default(), Bytes::default())
    );
    // The daemon was started again: what it tells is all there is.
    bench.model.connected(String::new());
    bench.tick();
    bench.refresh();
    assert!(bench.labels().is_empty());
}

#[test]
fn lines_that_make_no_sense_are_counted_and_change_nothing() {
    let mut bench = Bench::new(SMALL, PLAIN);
    let before = bench.screen();
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
        assert!(!take(line, &mut bench.model, bench.clock));
    }
    assert!(bench.model.unreadable >= 11, "{}", bench.model.unreadable);
    for line in [
        json!({"event": "traffic", "connections": [[999, 1, 2]], "ended": [999, 998]}),
        json!({"event": "something new", "of": "a later version"}),
        json!({"event": "hello"}),
    ] {
        bench.line(line);
    }
    bench.model.unreadable = 0;
    bench.refresh();
    assert_eq!(bench.screen(), before);
    // Who is not known is somebody all the same, and figures may not go back.
    bench.connection(500, 77, "192.0.2.1", 1, json!({"sent": 10}));
    bench.line(json!({"event": "traffic", "connections": [[500, 3, 0]]}));
    bench.refresh();
    assert!(bench.labels().contains(&"(unknown program)"));
}

#[test]
fn thousands_of_programs_and_connections_are_bounded_and_quick() {
    let mut bench = Bench::empty(LARGE, PLAIN);
    for id in 0..12_000 {
        bench.context(id, &format!("/bin/{id}"), "", "", "");
    }
    for id in 0..30_000_u64 {
        bench.connection(id, (id % 12_000) as u32, "192.0.2.1", 80, json!({}));
    }
    bench.tick();
    bench.line(json!({"event": "traffic", "ended": (0..25_000).collect::<Vec<u64>>()}));
    bench.tick();
    bench.refresh();
    assert_eq!(bench.labels().len(), 10_001);
    assert!(bench.model.connections.len() <= 25_000, "{}", bench.model.connections.len());
}
