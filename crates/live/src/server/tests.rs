//! The server against clients that read, do not read, ask, and send nonsense.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{
    listener::{MAX_SUBSCRIBERS, MODE},
    subscriber::{MAX_QUEUED_BYTES, MAX_STALL, MAX_TRAFFIC_BYTES_OF_A_TURN, REQUEST_BURST, REQUEST_INTERVAL},
    *,
};
use crate::{
    connections::{Contexts, ListKind},
    protocol::SOCKET_NAME,
};
use config::log_rules::LogRules;
use model::{Counters, Flow, FlowId, FlowTuple, ProcessContext};

fn hello(server: &LiveServer) -> HelloLine {
    HelloLine { event: "hello".to_owned(), subscribers: server.counts().0, ..HelloLine::default() }
}

#[test]
fn clients_get_whole_lines_and_slow_ones_are_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(SOCKET_NAME);
    let listener = listen_at(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
    let mut server = LiveServer::new(listener);
    let slow = UnixStream::connect(&path).unwrap();
    let quick = UnixStream::connect(&path).unwrap();
    quick.set_nonblocking(true).unwrap();
    server.serve(hello);
    assert_eq!(server.counts(), (2, 0));
    let mut lines = BufReader::new(quick);
    let mut received = 0;
    let mut line = String::new();
    for number in 0..10_000 {
        server.publish(&json!({"event": "alert", "number": number, "name": "\u{202e}\n".repeat(10)}));
        while lines.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
            serde_json::from_str::<serde_json::Value>(&line).unwrap();
            received += 1;
            line.clear();
        }
    }
    assert_eq!(received, 10_001);
    assert_eq!(server.counts(), (1, 1));
    drop(lines);
    server.serve(hello);
    assert_eq!(server.counts(), (0, 1));
    // One user takes half of the places at most.
    let crowd: Vec<_> = (0..MAX_SUBSCRIBERS / 2 + 3)
        .map(|_| {
            let stream = UnixStream::connect(&path).unwrap();
            server.serve(hello);
            stream
        })
        .collect();
    assert_eq!(server.counts(), (MAX_SUBSCRIBERS / 2, 4));
    let mut reason = String::new();
    BufReader::new(crowd.last().unwrap()).read_line(&mut reason).unwrap();
    assert!(reason.contains("\"error\"") && reason.contains("Your user has as many clients"), "{reason}");
    drop(slow);
}

/// The same context behind every id.
struct SameContext(Arc<ProcessContext>);

impl Contexts for SameContext {
    fn context(&mut self, _: u32) -> Option<(Arc<ProcessContext>, bool)> {
        Some((Arc::clone(&self.0), true))
    }
}

/// A table with this number of connections.
fn filled_table(connections: u64) -> OpenConnections {
    let rules = LogRules { bandwidth: true, ..LogRules::default() };
    let mut contexts = SameContext(Arc::default());
    let mut table = OpenConnections::new(rules, 0);
    for socket in 1..=connections {
        let flow = Flow {
            context: 1,
            id: FlowId { socket, began: 1, ..FlowId::default() },
            tuple: FlowTuple::default(),
            counters: Counters { connections: 1, sent: socket, received: 0 },
        };
        table.add_listed(&flow, false, &mut contexts);
    }
    table.finish_list(ListKind::ActiveFlows);
    table.close_round(&mut contexts);
    table
}

#[test]
fn traffic_goes_to_subscribers_only_and_as_fast_as_they_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(SOCKET_NAME);
    let mut server = LiveServer::new(listen_at(&path).unwrap());
    let mut table = filled_table(20_000);
    let mut subscriber = UnixStream::connect(&path).unwrap();
    let idle = UnixStream::connect(&path).unwrap();
    let mut unsubscribed = UnixStream::connect(&path).unwrap();
    let mut verbose = UnixStream::connect(&path).unwrap();
    server.serve(hello);
    assert!(!server.has_traffic_subscribers());
    // In two halves, after lines that are not understood.
    subscriber.write_all(b"GET / HTTP/1.1\n[]\n\xff\n{\"traffic\": tr").unwrap();
    unsubscribed.write_all(b"{\"traffic\": true, \"more\": {}}\n{\"traffic\": false}\n").unwrap();
    verbose.write_all(&[b'x'; 2000]).unwrap();
    server.serve(hello);
    assert!(!server.has_traffic_subscribers());
    assert_eq!(server.counts(), (3, 0), "a client that sends too much is dropped");
    subscriber.write_all(b"ue}\n").unwrap();
    server.serve(hello);
    assert!(server.has_traffic_subscribers());
    server.send_traffic(&mut table);
    // As long as no client reads, the queue stays within its bound.
    let queued: Vec<usize> = server.subscribers.iter().map(|subscriber| subscriber.queue.len()).collect();
    assert!(queued[0] > 0 && queued[0] < MAX_QUEUED_BYTES && queued[1..] == [0, 0], "{queued:?}");
    subscriber.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut lines = BufReader::new(subscriber);
    let (mut line, mut introduced) = (String::new(), 0);
    while !line.contains("\"tick\"") {
        server.serve(hello);
        server.send_traffic(&mut table);
        line.clear();
        lines.read_line(&mut line).unwrap();
        introduced += usize::from(line.contains("\"connection\""));
    }
    assert_eq!(introduced, 20_000);
    drop(lines);
    idle.set_nonblocking(true).unwrap();
    let mut first_line = String::new();
    BufReader::new(idle).read_line(&mut first_line).unwrap();
    assert!(first_line.contains("hello"));
    server.serve(hello);
    assert!(!server.has_traffic_subscribers());
}

#[test]
fn a_client_that_takes_nothing_is_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(SOCKET_NAME);
    let mut server = LiveServer::new(listen_at(&path).unwrap());
    let mut table = filled_table(20_000);
    let mut stalled = UnixStream::connect(&path).unwrap();
    stalled.write_all(b"{\"traffic\": true}\n").unwrap();
    server.serve(hello);
    server.serve(hello);
    server.send_traffic(&mut table);
    assert_eq!(server.counts(), (1, 0));
    // As if it were ten seconds later.
    server.subscribers[0].stalled_since = Instant::now().checked_sub(MAX_STALL + Duration::from_secs(1));
    server.serve(hello);
    assert_eq!(server.counts(), (0, 1));
}

#[test]
fn a_client_that_leaves_does_not_count_as_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(SOCKET_NAME);
    let mut server = LiveServer::new(listen_at(&path).unwrap());
    let leaving = UnixStream::connect(&path).unwrap();
    server.serve(hello);
    drop(leaving);
    server.publish(&hello(&server));
    assert_eq!(server.counts(), (0, 0));
}

#[test]
fn only_a_socket_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(SOCKET_NAME);
    drop(listen_at(&path).unwrap());
    drop(listen_at(&path).unwrap());
    fs::remove_file(&path).unwrap();
    fs::write(&path, "precious").unwrap();
    assert!(listen_at(&path).is_err());
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

/// Writes as much as the socket takes; returns the number of bytes.
fn fill(mut stream: &UnixStream, bytes: &[u8]) -> usize {
    let mut written = 0;
    while let Ok(more) = stream.write(bytes) {
        written += more;
    }
    written
}

#[test]
fn a_client_that_floods_gets_a_bounded_share_of_the_time() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(SOCKET_NAME);
    let mut server = LiveServer::new(listen_at(&path).unwrap());
    let mut now = Instant::now();
    let flood = UnixStream::connect(&path).unwrap();
    flood.set_nonblocking(true).unwrap();
    let mut polite = UnixStream::connect(&path).unwrap();
    server.serve_at(hello, now);
    let first = fill(&flood, &[b'\n'; 4096]);
    assert!(first > 50_000, "{first}");
    let mut more = 0;
    for turn in 0..1000 {
        server.serve_at(hello, now);
        more += fill(&flood, b"\n");
        if turn == 500 {
            polite.write_all(b"{\"traffic\": true}\n").unwrap();
        }
    }
    assert!(server.has_traffic_subscribers(), "the other client is served meanwhile");
    // Each read takes 1 KiB, and no further one is made before its lines are carried out.
    assert!(more <= 8 * 1024, "{more} bytes were read at once");
    assert!(server.subscribers[0].due(now).is_some() && server.subscribers[0].poll_fd(now).is_none());
    assert!(server.subscribers[1].poll_fd(now).is_some());
    let due = server.subscribers[0].due(now).unwrap();
    assert!(due > now && due <= now + REQUEST_INTERVAL, "{:?}", due - now);
    // A minute later it has had its rate, not more.
    let mut requests = 0;
    for _ in 0..6000 {
        now += Duration::from_millis(10);
        let before = server.subscribers[0].due(now);
        server.serve_at(hello, now);
        requests += u32::from(server.subscribers[0].due(now) != before);
    }
    assert!((200..=240 + REQUEST_BURST).contains(&requests), "{requests}");
    // Its end is noticed although requests wait.
    drop(flood);
    server.serve_at(hello, now + Duration::from_secs(1));
    assert_eq!(server.counts(), (1, 0));
}

#[test]
fn clients_that_come_and_go_are_accepted_at_a_bounded_rate() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(SOCKET_NAME);
    let mut server = LiveServer::new(listen_at(&path).unwrap());
    let now = Instant::now();
    let said = std::cell::Cell::new(0);
    let counted = |server: &LiveServer| {
        said.set(said.get() + 1);
        hello(server)
    };
    let mut connected = 0;
    for _ in 0..1000 {
        if server.admission.due() > now {
            break;
        }
        connected += usize::from(UnixStream::connect(&path).is_ok());
        server.serve_at(counted, now);
        server.serve_at(counted, now);
    }
    assert_eq!(said.get(), 64, "one user gets half of all");
    assert_eq!(connected, 64 + 512, "then the listener is left alone for a moment");
}

#[test]
fn a_client_that_reads_all_gets_its_traffic_in_turns() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(SOCKET_NAME);
    let mut server = LiveServer::new(listen_at(&path).unwrap());
    let mut table = filled_table(20_000);
    let mut greedy = UnixStream::connect(&path).unwrap();
    greedy.write_all(b"{\"traffic\": true}\n").unwrap();
    let (mut reader, reading) = (greedy.try_clone().unwrap(), std::sync::mpsc::channel());
    let thread = std::thread::spawn(move || {
        let (mut buffer, mut received) = (vec![0; 1 << 20], 0);
        while let Ok(bytes @ 1..) = std::io::Read::read(&mut reader, &mut buffer) {
            received += bytes;
            reading.0.send(received).unwrap();
        }
    });
    server.serve(hello);
    let mut turns = 0;
    let mut received = 0;
    loop {
        server.send_traffic(&mut table);
        turns += 1;
        // As if the client were always quicker than the server.
        while let Ok(bytes) = reading.1.recv_timeout(Duration::from_millis(20)) {
            received = bytes;
        }
        assert!(received <= turns * (MAX_TRAFFIC_BYTES_OF_A_TURN + 64 * 1024), "{received} in {turns} turns");
        server.serve(hello);
        if server.due().is_none() && server.subscribers[0].queue.is_empty() {
            break;
        }
    }
    assert!(turns > 4 && received > 1 << 20, "{turns} turns, {received} bytes");
    greedy.shutdown(std::net::Shutdown::Both).unwrap();
    thread.join().unwrap();
}

#[test]
fn a_client_that_subscribes_again_and_again_waits() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(SOCKET_NAME);
    let mut server = LiveServer::new(listen_at(&path).unwrap());
    let now = Instant::now();
    let mut begun = 0;
    for _ in 0..50 {
        let mut client = UnixStream::connect(&path).unwrap();
        client.write_all(b"{\"traffic\": true}\n").unwrap();
        server.serve_at(hello, now);
        begun += u32::from(server.has_traffic_subscribers());
        drop(client);
        server.serve_at(hello, now);
        server.subscribers.clear();
    }
    assert_eq!(begun, 16);
    // The request is not lost.
    let mut client = UnixStream::connect(&path).unwrap();
    client.write_all(b"{\"traffic\": true}\n").unwrap();
    server.serve_at(hello, now);
    assert!(!server.has_traffic_subscribers());
    server.serve_at(hello, now + Duration::from_secs(1));
    assert!(server.has_traffic_subscribers());
}
