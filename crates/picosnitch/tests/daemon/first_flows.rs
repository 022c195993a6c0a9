//! The first flow of an unknown program starts a drain at once instead of waiting for the next tick, and a busy process
//! wakes the monitor only once.

use std::{
    net::{Ipv4Addr, TcpListener, UdpSocket},
    process::Command,
    time::{Duration, Instant},
};

use capture::{Capture, DrainMode, FlowDelta, Settings};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::harness::root_alone;

/// Longest time from the first packet to the monitor. The channel to the recorder takes next to no time.
const PROMPT: Duration = Duration::from_millis(100);
/// The shortest pause of the monitor's loop between two drains.
const PAUSE: Duration = Duration::from_millis(25);

fn is_emulated() -> bool {
    std::fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| text.contains("QEMU"))
}

fn is_woken(capture: &Capture, within: Duration) -> bool {
    let mut ready = [PollFd::new(capture.urgent_fd(), PollFlags::POLLIN)];
    poll(&mut ready, PollTimeout::try_from(within).unwrap()).unwrap() > 0
}

/// Drains only when woken, as the monitor does between two ticks, until a flow arrives.
fn wait_for(capture: &mut Capture, wanted: impl Fn(&FlowDelta) -> bool) -> Option<Instant> {
    let until = Instant::now() + Duration::from_secs(20);
    while Instant::now() < until {
        if !is_woken(capture, Duration::from_secs(20)) {
            return None;
        }
        loop {
            let drained = capture.drain(DrainMode::Regular).unwrap();
            if drained.flows.iter().any(&wanted) {
                return Some(Instant::now());
            }
            std::thread::sleep(PAUSE);
            if !drained.drain_soon {
                break;
            }
        }
    }
    None
}

fn started() -> Capture {
    let mut capture = Capture::start(&Settings { ring_buffer_pages: 64, hand_over: None }).unwrap();
    capture.begin(None).unwrap();
    capture.drain(DrainMode::Regular).unwrap();
    capture
}

fn assert_prompt(begin: Instant, recorded: Option<Instant>) {
    let took =
        recorded.expect("the monitor was not woken for the first flow").saturating_duration_since(begin);
    eprintln!("recorded after {took:?}");
    assert!(took < if is_emulated() { PROMPT * 15 } else { PROMPT }, "recorded only after {took:?}");
}

#[test]
#[ignore = "needs root"]
fn the_first_connection_of_a_program_is_drained_at_once() {
    let _root = root_alone();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut capture = started();
    let script = format!("exec 3<>/dev/tcp/127.0.0.1/{port}; exec sleep 30");
    let mut child = Command::new("bash").arg("-c").arg(script).spawn().unwrap();
    let accepting = std::thread::spawn(move || (listener.accept().unwrap(), Instant::now()));
    let recorded = wait_for(&mut capture, |flow| {
        flow.id.process.tgid == child.id() && flow.tuple.remote_port == i64::from(port)
    });
    let (_, begin) = accepting.join().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_prompt(begin, recorded);
}

#[test]
#[ignore = "needs root"]
fn a_busy_process_wakes_the_monitor_once() {
    let _root = root_alone();
    let mut capture = started();
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let begin = Instant::now();
    socket.send_to(&[1], (Ipv4Addr::LOCALHOST, 9)).unwrap();
    let me = std::process::id();
    let recorded = wait_for(&mut capture, |flow| flow.id.process.tgid == me && flow.tuple.remote_port == 9);
    assert_prompt(begin, recorded);
    for port in 10_000..11_000 {
        socket.send_to(&[1], (Ipv4Addr::LOCALHOST, port)).unwrap();
    }
    assert!(!is_woken(&capture, Duration::from_millis(200)), "woken again by the same process");
    // Without a wake-up they arrive with the next tick.
    let drained = capture.drain(DrainMode::Regular).unwrap();
    let mine = drained.flows.iter().filter(|flow| flow.id.process.tgid == me);
    assert_eq!(mine.map(|flow| flow.counters.sent).sum::<u64>(), 1000);
}
