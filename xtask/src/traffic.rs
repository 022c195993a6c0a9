//! Traffic of known size on loopback, for `service` and `soak`: what the log must have of it, to the byte.

mod log;
mod peers;

use std::{
    io,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow, ensure};
use serde::{Deserialize, Serialize};

pub use log::Log;
pub use peers::Exchange;

/// Connections and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amounts {
    pub connections: u64,
    pub sent: u64,
    pub received: u64,
}

impl Amounts {
    /// The same seen from the other end.
    pub fn reversed(self) -> Self {
        Self { sent: self.received, received: self.sent, ..self }
    }
}

/// A kind of traffic. Each has a port of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// TCP connections that stay open from the start of the load to its end.
    Streams,
    /// Two UDP sockets that exchange datagrams from the start of the load to its end.
    Datagrams,
    /// TCP connections of one exchange each.
    Connections,
    /// Programs of one TCP connection each.
    Programs,
}

/// What was moved over a port, as the clients have counted it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Moved {
    pub kind: Kind,
    pub port: u16,
    pub amounts: Amounts,
}

/// How much of each kind.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The first of four ports, below those that the kernel chooses for clients.
    pub port: u16,
    /// Number of streams.
    pub streams: usize,
    /// Time between two exchanges of a stream, and of the datagrams.
    pub pause: Duration,
    /// Bytes of one exchange of a stream.
    pub exchange: Exchange,
    /// Connections a second; 0 for none.
    pub connections: f64,
    /// Programs a second; 0 for none.
    pub programs: f64,
    /// The programs, which take the arguments of `xtask/traffic/talk.c`, one after the other.
    pub talkers: Vec<PathBuf>,
    /// Number of addresses of servers, from 127.0.0.1 on.
    pub peers: u32,
}

/// Bytes of an exchange of a short connection or a program.
const SHORT: Exchange = Exchange { request: 700, reply: 2100 };
/// Bytes of an exchange of datagrams.
const DATAGRAMS: Exchange = Exchange { request: 120, reply: 360 };

/// A load that runs until it is stopped.
pub struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<(Kind, u16, Vec<Client>)>,
}

/// A thread that makes traffic and counts it.
type Client = JoinHandle<io::Result<Amounts>>;

impl Load {
    /// Starts it.
    ///
    /// # Errors
    /// A port is in use.
    pub fn start(plan: &Plan) -> anyhow::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut clients = vec![(Kind::Streams, plan.port, start_streams(plan, &stop)?)];
        if plan.streams > 0 {
            let (pause, stopping) = (plan.pause, Arc::clone(&stop));
            let client = peers::datagrams(plan.port + 1, DATAGRAMS, move || goes_on(&stopping, pause))?;
            clients.push((Kind::Datagrams, plan.port + 1, vec![client]));
        }
        let mut rates = vec![(Kind::Connections, plan.port + 2, plan.connections)];
        if !plan.talkers.is_empty() {
            rates.push((Kind::Programs, plan.port + 3, plan.programs));
        }
        for (kind, port, a_second) in rates.into_iter().filter(|(.., a_second)| *a_second > 0.0) {
            let server = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).context("cannot listen")?;
            thread::spawn(move || peers::serve_until_last(&server, SHORT));
            let (plan, stop) = (plan.clone(), Arc::clone(&stop));
            let client = thread::spawn(move || short_exchanges(&plan, (kind, port, a_second), &stop));
            clients.push((kind, port, vec![client]));
        }
        Ok(Self { stop, clients })
    }

    /// Ends all traffic in order, and returns what was moved.
    ///
    /// # Errors
    /// An exchange has failed, so that the amounts are not known.
    pub fn stop(self) -> anyhow::Result<Vec<Moved>> {
        self.stop.store(true, Ordering::Relaxed);
        let mut moved = Vec::new();
        for (kind, port, clients) in self.clients {
            let mut amounts = Amounts::default();
            for client in clients {
                let one = client.join().map_err(|_| anyhow!("a thread of the load died"))?;
                let one = one.with_context(|| format!("the load failed ({kind:?}, port {port})"))?;
                amounts.connections += one.connections;
                amounts.sent += one.sent;
                amounts.received += one.received;
            }
            moved.push(Moved { kind, port, amounts });
        }
        Ok(moved)
    }
}

/// Waits, and says whether the load goes on.
fn goes_on(stop: &AtomicBool, pause: Duration) -> bool {
    thread::sleep(pause);
    !stop.load(Ordering::Relaxed)
}

fn start_streams(plan: &Plan, stop: &Arc<AtomicBool>) -> anyhow::Result<Vec<Client>> {
    let server = TcpListener::bind((Ipv4Addr::UNSPECIFIED, plan.port)).context("cannot listen")?;
    let (streams, exchange) = (plan.streams, plan.exchange);
    thread::spawn(move || {
        for connection in server.incoming().take(streams).flatten() {
            thread::spawn(move || peers::serve(connection, exchange));
        }
    });
    let client = |number| {
        let (stop, pause) = (Arc::clone(stop), plan.pause);
        let to = (address(number, plan.peers), plan.port);
        thread::spawn(move || peers::stream(to, exchange, || goes_on(&stop, pause)))
    };
    Ok((0..streams as u64).map(client).collect())
}

/// The address of the server for the connection of that number.
fn address(number: u64, peers: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::LOCALHOST) + (number % u64::from(peers.max(1))) as u32)
}

/// Makes connections, or starts programs that make them, at a rate; the last one ends the server.
fn short_exchanges(
    plan: &Plan,
    (kind, port, a_second): (Kind, u16, f64),
    stop: &AtomicBool,
) -> io::Result<Amounts> {
    let (begin, mut number) = (Instant::now(), 0_u64);
    while !stop.load(Ordering::Relaxed) {
        let to = (address(number, plan.peers), port);
        match kind {
            Kind::Programs => {
                let talker = &plan.talkers[(number % plan.talkers.len() as u64) as usize];
                talk(talker, to)?;
            }
            _ => peers::connect_once(to, SHORT, false)?,
        }
        number += 1;
        let due = Duration::from_secs_f64(number as f64 / a_second);
        // In pieces, so that a slow load ends soon.
        while begin.elapsed() < due && !stop.load(Ordering::Relaxed) {
            thread::sleep(due.saturating_sub(begin.elapsed()).min(Duration::from_millis(200)));
        }
    }
    peers::connect_once((Ipv4Addr::LOCALHOST, port), SHORT, true)?;
    Ok(SHORT.times(number + 1, number + 1))
}

/// Runs a program that makes one exchange.
fn talk(program: &Path, (address, port): (Ipv4Addr, u16)) -> io::Result<()> {
    let arguments = [address.to_string(), port.to_string()];
    let bytes = [SHORT.request.to_string(), SHORT.reply.to_string()];
    let status = Command::new(program).args(arguments).args(bytes).stdin(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("{}: {status}", program.display()))) }
}

/// Makes one exchange by a program, with a server on that port.
///
/// # Errors
/// The port is in use, or the program has failed.
pub fn talk_once(program: &Path, port: u16) -> anyhow::Result<Amounts> {
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).context("cannot listen")?;
    thread::spawn(move || server.accept().and_then(|(connection, _)| peers::serve(connection, SHORT)));
    talk(program, (Ipv4Addr::LOCALHOST, port)).context("the program failed")?;
    Ok(SHORT.times(1, 1))
}

/// Compiles the program that makes one exchange. It is linked statically, because a guest has another C library.
///
/// # Errors
/// gcc is missing, or fails.
pub fn compile_talker(project: &Path, program: &Path) -> anyhow::Result<()> {
    let source = project.join("xtask/traffic/talk.c");
    let mut gcc = Command::new("gcc");
    gcc.args(["-O2", "-Wall", "-Wextra", "-Werror", "-static", "-s", "-o"]).arg(program).arg(source);
    let status = gcc.status().context("cannot run gcc; run: make setup-test")?;
    ensure!(status.success(), "gcc cannot compile {}", program.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_counts_what_it_has_moved() {
        let place = tempfile::tempdir().unwrap();
        let talker = place.path().join("talk");
        let project = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        compile_talker(project, &talker).unwrap();
        let plan = Plan {
            port: 21_470,
            streams: 2,
            pause: Duration::from_millis(10),
            exchange: Exchange { request: 10, reply: 20 },
            connections: 100.0,
            programs: 20.0,
            talkers: vec![talker],
            peers: 3,
        };
        let load = Load::start(&plan).unwrap();
        thread::sleep(Duration::from_millis(300));
        let moved = load.stop().unwrap();
        let of = |kind| moved.iter().find(|moved| moved.kind == kind).unwrap().amounts;
        assert_eq!(of(Kind::Streams).connections, 2);
        for (kind, [request, reply]) in [(Kind::Streams, [10, 20]), (Kind::Datagrams, [120, 360])] {
            let amounts = of(kind);
            assert!(amounts.sent >= 2 * request, "{kind:?} {amounts:?}");
            assert_eq!(amounts.sent / request, amounts.received / reply);
        }
        for kind in [Kind::Connections, Kind::Programs] {
            let amounts = of(kind);
            assert!(amounts.connections >= 2, "{kind:?} {amounts:?}");
            assert_eq!(amounts, SHORT.times(amounts.connections, amounts.connections));
        }
    }
}
