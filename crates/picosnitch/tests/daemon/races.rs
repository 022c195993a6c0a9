//! Races between the hooks of several threads and processes on one socket, stale
//! flow-cache entries, closed sockets, and slots reused after a drain. Every byte must be recorded exactly once.

use std::{
    collections::HashMap,
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream, UdpSocket},
    os::fd::AsRawFd,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use capture::{Capture, DrainMode, DrainOutput, Settings};
use model::{Counters, Loss};

use super::harness::root_alone;

/// Sums by process and remote port.
#[derive(Default)]
struct Totals {
    by: HashMap<(u32, i64), Counters>,
    losses: Vec<Loss>,
    /// Most flows in the table.
    most: usize,
}

impl Totals {
    fn add(&mut self, drained: DrainOutput) {
        self.most = self.most.max(drained.table_entries);
        for flow in drained.flows {
            let sum = self.by.entry((flow.id.process.tgid, flow.tuple.remote_port)).or_default();
            sum.connections += flow.counters.connections;
            sum.sent += flow.counters.sent;
            sum.received += flow.counters.received;
        }
        self.losses.extend(drained.losses);
    }

    fn of(&self, process: u32, port: u16) -> Counters {
        self.by.get(&(process, i64::from(port))).copied().unwrap_or_default()
    }

    /// Of all remote ports.
    fn of_process(&self, process: u32, but: u16) -> Counters {
        self.by.iter().filter(|((of, port), _)| *of == process && *port != i64::from(but)).fold(
            Counters::default(),
            |sum, (_, one)| Counters {
                connections: sum.connections + one.connections,
                sent: sum.sent + one.sent,
                received: sum.received + one.received,
            },
        )
    }
}

/// Captures while `work` runs, draining without a pause.
fn capture_during(work: impl FnOnce() + Send) -> Totals {
    let mut capture = Capture::start(&Settings { ring_buffer_pages: 1024, hand_over: None }).unwrap();
    capture.begin(None).unwrap();
    let mut totals = Totals::default();
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            work();
            ended.store(true, Ordering::Release);
        });
        while !ended.load(Ordering::Acquire) {
            totals.add(capture.drain(DrainMode::Regular).unwrap());
        }
    });
    totals.add(capture.drain(DrainMode::Final).unwrap());
    assert_eq!(totals.losses, [], "nothing may be lost here");
    totals
}

/// Runs `work` in a process of its own, which shares all sockets with this one. It must not allocate: another thread
/// may hold the allocator's lock when the process is made.
fn fork(work: impl FnOnce()) -> u32 {
    // SAFETY: the child makes only system calls, and ends without running anything else of this process.
    match unsafe { libc::fork() } {
        0 => {
            work();
            // SAFETY: ends at once.
            unsafe { libc::_exit(0) }
        }
        child => u32::try_from(child).expect("fork failed"),
    }
}

fn wait_for(child: u32) {
    let mut status = 0;
    // SAFETY: a valid pointer; a child of this process.
    let ended = unsafe { libc::waitpid(child as i32, &raw mut status, 0) };
    assert!(ended == child as i32 && status == 0, "a child failed: {status}");
}

const PORTS: u16 = 64;
const FIRST_PORT: u16 = 20_000;
const ROUNDS: u64 = 200;

/// Sends datagrams of `size` bytes to many peers in turns.
fn send_around(socket: &UdpSocket, size: usize) {
    let bytes = [0; 512];
    for _ in 0..ROUNDS {
        for port in FIRST_PORT..FIRST_PORT + PORTS {
            socket.send_to(&bytes[..size], SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)).unwrap();
        }
    }
}

#[test]
#[ignore = "needs root"]
fn an_unconnected_socket_of_many_threads_and_processes() {
    let _root = root_alone();
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut children = Vec::new();
    let totals = capture_during(|| {
        children.extend((1..=3).map(|size| (fork(|| send_around(&socket, size)), size)));
        thread::scope(|scope| {
            for size in [10, 20, 30, 40] {
                let socket = &socket;
                scope.spawn(move || send_around(socket, size));
            }
        });
        children.iter().for_each(|(child, _)| wait_for(*child));
        drop(socket);
    });
    for port in FIRST_PORT..FIRST_PORT + PORTS {
        assert_eq!(totals.of(std::process::id(), port).sent, ROUNDS * 100, "port {port}");
        for (child, size) in &children {
            assert_eq!(totals.of(*child, port).sent, ROUNDS * *size as u64, "port {port}, child {child}");
        }
    }
}

/// The same thread of many, one after the other, and through a socket that is connected meanwhile, too.
#[test]
#[ignore = "needs root"]
fn threads_that_come_and_go() {
    let _root = root_alone();
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let connected = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let sink = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    connected.connect(sink.local_addr().unwrap()).unwrap();
    let port = sink.local_addr().unwrap().port();
    let totals = capture_during(|| {
        for at in 0..1500_u16 {
            thread::scope(|scope| {
                for offset in 0..2 {
                    let (socket, connected) = (&socket, &connected);
                    scope.spawn(move || {
                        let to = FIRST_PORT + (2 * at + offset) % PORTS;
                        // This send fails after its peer was stored: the stored peer must be discarded.
                        let too_long = vec![0; 70_000];
                        assert!(socket.send_to(&too_long, (Ipv4Addr::LOCALHOST, 9)).is_err());
                        socket.send_to(&[0; 7], (Ipv4Addr::LOCALHOST, to)).unwrap();
                        // A connected socket that sends elsewhere, and then to its own peer.
                        connected.send_to(&[0; 5], (Ipv4Addr::LOCALHOST, to)).unwrap();
                        connected.send(&[0; 3]).unwrap();
                    });
                }
            });
        }
        drop((socket, connected));
    });
    let me = std::process::id();
    assert_eq!(totals.of(me, port).sent, 3000 * 3);
    assert_eq!(totals.of(me, 9).sent, 0);
    assert_eq!(totals.of_process(me, port).sent, 3000 * 12);
    for to in FIRST_PORT..FIRST_PORT + PORTS {
        let times = (0..3000).filter(|at| FIRST_PORT + at % PORTS == to).count() as u64;
        assert_eq!(totals.of(me, to).sent, times * 12, "port {to}");
    }
}

#[test]
#[ignore = "needs root"]
fn one_connection_of_many_threads_and_processes() {
    let _root = root_alone();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut children = Vec::new();
    let mut client_port = 0;
    const WRITES: u64 = 20_000;
    let write_all = |stream: &TcpStream, size: usize| {
        let mut stream = stream;
        for _ in 0..WRITES {
            stream.write_all(&[0; 64][..size]).unwrap();
        }
    };
    let totals = capture_during(|| {
        let client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        client_port = client.local_addr().unwrap().port();
        let (server, _) = listener.accept().unwrap();
        thread::scope(|scope| {
            // Two threads that read, so that one socket is counted on several CPUs at once.
            let readers: Vec<_> = (0..2)
                .map(|_| {
                    let mut server = server.try_clone().unwrap();
                    scope.spawn(move || {
                        let (mut buffer, mut sum) = ([0; 1000], 0);
                        loop {
                            match server.read(&mut buffer).unwrap() {
                                0 => return sum,
                                bytes => sum += bytes as u64,
                            }
                        }
                    })
                })
                .collect();
            children.extend((1..=3).map(|size| (fork(|| write_all(&client, size)), size)));
            thread::scope(|scope| {
                for size in [4, 5] {
                    let client = &client;
                    scope.spawn(move || write_all(client, size));
                }
            });
            children.iter().for_each(|(child, _)| wait_for(*child));
            client.shutdown(Shutdown::Write).unwrap();
            let read: u64 = readers.into_iter().map(|reader| reader.join().unwrap()).sum();
            assert_eq!(read, WRITES * 15);
        });
        drop((client, server));
    });
    let me = std::process::id();
    let sent = totals.of(me, port);
    assert_eq!((sent.connections, sent.sent, sent.received), (1, WRITES * 9, 0));
    for (child, size) in &children {
        assert_eq!(totals.of(*child, port).sent, WRITES * *size as u64);
    }
    let received = totals.of(me, client_port);
    assert_eq!((received.connections, received.sent, received.received), (1, 0, WRITES * 15));
}

/// Places are given back and used again as fast as possible, by several processes at once.
#[test]
#[ignore = "needs root"]
fn connections_that_come_and_go() {
    let _root = root_alone();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    const CONNECTIONS: u64 = 3000;
    let connect = |size: usize| {
        for _ in 0..CONNECTIONS {
            let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
            for _ in 0..3 {
                client.write_all(&[0; 64][..size]).unwrap();
            }
            client.shutdown(Shutdown::Write).unwrap();
            // Waits for the other end, so that no reset takes bytes away.
            assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
        }
    };
    let mut children = Vec::new();
    let totals = capture_during(|| {
        thread::scope(|scope| {
            let server = scope.spawn(|| {
                for _ in 0..CONNECTIONS * 4 {
                    let (mut server, _) = listener.accept().unwrap();
                    let mut buffer = [0; 1000];
                    while server.read(&mut buffer).unwrap() > 0 {}
                }
            });
            children.extend((1..=2).map(|size| (fork(|| connect(size)), size)));
            scope.spawn(move || connect(5));
            connect(6);
            server.join().unwrap();
        });
        children.iter().for_each(|(child, _)| wait_for(*child));
    });
    let me = std::process::id();
    let sent = totals.of(me, port);
    assert_eq!((sent.connections, sent.sent), (CONNECTIONS * 2, CONNECTIONS * 33));
    for (child, size) in &children {
        let sent = totals.of(*child, port);
        assert_eq!((sent.connections, sent.sent), (CONNECTIONS, CONNECTIONS * 3 * *size as u64));
    }
    let accepted = totals.of_process(me, port);
    assert_eq!((accepted.connections, accepted.received), (CONNECTIONS * 4, CONNECTIONS * 42));
}

/// Above half its size the table expires idle flows after seconds. The test sends to their peers at that moment, so
/// that flows expire, continue in generation 1, and are removed while cached.
#[test]
#[ignore = "needs root"]
fn idle_flows_that_are_used_again_when_they_are_given_up() {
    let _root = root_alone();
    const IDLE: u32 = 40_000;
    const BUSY: u32 = 3_000;
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_nonblocking(true).unwrap();
    assert!(socket.as_raw_fd() > 0);
    let peer = |number: u32| (Ipv4Addr::from(0x7f04_0000 + number / 100), FIRST_PORT + (number % 100) as u16);
    let mut sent = [0_u64; 100];
    let totals = capture_during(|| {
        for number in 0..IDLE {
            socket.send_to(&[0; 3], peer(number)).unwrap();
            sent[number as usize % 100] += 3;
        }
        // The clock ticks every 0.4 s, and a flow is given up after 8 of them and removed after 12.
        let begin = Instant::now();
        let mut random = 1_u32;
        while begin.elapsed() < Duration::from_secs(14) {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223); // Numerical Recipes, 7.1
            let number = (random >> 8) % BUSY;
            socket.send_to(&[0; 5], peer(number)).unwrap();
            sent[number as usize % 100] += 5;
            // One in about 4 s each.
            thread::sleep(Duration::from_micros(1200));
        }
        drop(socket);
    });
    assert!(totals.most > 32_768, "only {} flows", totals.most);
    for (at, sent) in sent.iter().enumerate() {
        assert_eq!(totals.of(std::process::id(), FIRST_PORT + at as u16).sent, *sent, "port {at}");
    }
}
