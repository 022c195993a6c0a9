//! Full ring buffers and flow tables: losses are counted and reported, and recording goes on.

use std::{
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    process::{Command, Stdio},
    time::Duration,
};

use capture::{Capture, DrainMode, Event, Settings};
use model::LossKind;
use nix::sys::signal::Signal;
use store::{Dimension, Filter, Query, Value};

use super::harness::{
    Daemon, assert_intact, assert_recorded, base, error_log, fresh_address, losses, reader, root_alone, talk,
    wait_until,
};

fn lost(base: &std::path::Path, kind: LossKind) -> u64 {
    losses(base).iter().filter(|loss| loss.kind == kind).map(|loss| loss.count).sum()
}

#[test]
#[ignore = "needs root"]
fn a_full_ring_buffer_is_reported() {
    let _root = root_alone();
    let base = base("[monitor]\nring_buffer_pages = 16\n");
    let daemon = Daemon::start(base.path());
    daemon.signal(Signal::SIGSTOP);
    for _ in 0..400 {
        let mut child = Command::new("/bin/true").stdin(Stdio::null()).spawn().unwrap();
        assert!(child.wait().unwrap().success());
    }
    daemon.signal(Signal::SIGCONT);
    wait_until("the loss in the log", || lost(base.path(), LossKind::ProcessEvents) > 0);
    let address = fresh_address();
    talk(address, 33, 44);
    daemon.stop(Signal::SIGTERM);
    assert_recorded(base.path(), address, 1, 33, 44);
    assert!(error_log(base.path()).contains("process events were lost"), "{}", error_log(base.path()));
}

#[test]
#[ignore = "needs root"]
fn events_wait_outside_of_the_ring_while_nobody_drains() {
    let _root = root_alone();
    // More than twice what fits into the ring buffer: each makes four events of at least 0.45 KB together.
    const PROGRAMS: usize = 1200;
    let mut capture = Capture::start(&Settings { ring_buffer_pages: 64, hand_over: None }).unwrap();
    capture.drain(DrainMode::Regular).unwrap();
    for _ in 0..PROGRAMS {
        assert!(Command::new("/bin/true").status().unwrap().success());
    }
    let drained = capture.drain(DrainMode::Regular).unwrap();
    assert!(!drained.losses.iter().any(|loss| loss.kind == LossKind::ProcessEvents), "{:?}", drained.losses);
    let executed = drained
        .events
        .iter()
        .filter(|event| matches!(event, Event::Executed(event) if event.name == b"true"));
    assert_eq!(executed.count(), PROGRAMS);
}

#[test]
#[ignore = "needs root"]
fn a_full_flow_table_is_reported_and_what_is_recorded_and_lost_add_up() {
    let _root = root_alone();
    const PEERS: u32 = 90_000;
    const BYTES: u64 = 7;
    let base = base("");
    let daemon = Daemon::start(base.path());
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    daemon.signal(Signal::SIGSTOP);
    for peer in 0..PEERS {
        // No socket listens there; datagrams that the kernel drops were sent all the same.
        let address = Ipv4Addr::from(0x7f03_0000 + peer);
        let _ = socket.send_to(&[0; BYTES as usize], SocketAddrV4::new(address, 9));
    }
    daemon.signal(Signal::SIGCONT);
    wait_until("the loss in the log", || lost(base.path(), LossKind::FlowTableBytes) > 0);
    // There is room again once the idle flows were removed.
    let address = fresh_address();
    let mut connections = 0;
    wait_until("recording to go on", || {
        talk(address, 33, 44);
        connections += 1;
        std::thread::sleep(Duration::from_millis(500));
        super::harness::recorded(base.path(), Dimension::Address, address).connections > 0
    });
    daemon.stop(Signal::SIGTERM);
    assert!(error_log(base.path()).contains("flow table was full"), "{}", error_log(base.path()));
    assert_intact(&base.path().join("snitch.db"));
    let query = Query {
        // So many peers are summed in one record, whose port is the one that all have.
        filters: vec![
            Filter::equal(Dimension::Protocol, Value::Integer(17), false),
            Filter::equal(Dimension::Port, Value::Integer(9), false),
        ],
        ..Query::default()
    };
    let sent = reader(base.path()).query(&query).unwrap().first().map_or(0, |row| row.counters.sent);
    let lost_bytes = lost(base.path(), LossKind::FlowTableBytes);
    assert!(sent > 0 && sent + lost_bytes >= u64::from(PEERS) * BYTES, "{sent} sent, {lost_bytes} lost");
}
