//! Domains in the log: clients of every kind connect by name to servers in a network of their own (tests/names/lab.py), and
//! the domains of their connections are compared with these names.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, TcpStream, UdpSocket},
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sched::{CloneFlags, unshare},
    sys::signal::Signal,
    unistd::Pid,
};
use store::{Dimension, Query, Value};

use super::{
    executables,
    harness::{
        Daemon, base, error_log, etc_with, fresh_address, picosnitch_elsewhere, reader, root_alone,
        wait_until,
    },
    programs::{lines, program, run as run_program},
};

/// Number of connections of all clients together; `PICOSNITCH_TEST_CONNECTIONS` sets another one.
const CONNECTIONS: usize = 1000;
/// Number of connections of 1,000 that may lack their domain. No connection may have a wrong one.
const MAX_UNNAMED_PER_MILLE: usize = 10;

fn lab(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/names").join(file)
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Builds the clients: one is linked statically, two use musl, one is in a file system of its own.
fn build_clients(directory: &Path) {
    let at = |name: &str| directory.join(name);
    run(Command::new("rustc")
        .args(["-C", "target-feature=+crt-static", "--edition", "2024", "-o"])
        .arg(at("static"))
        .arg(lab("client.rs")));
    for (name, options) in [("musl", &[][..]), ("musl-static", &["-static"])] {
        run(Command::new("musl-gcc").args(options).arg("-o").arg(at(name)).arg(lab("client.c")));
    }
    let examples = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("examples");
    // `cargo build --examples` makes quic_lab.
    executables::copy(examples.join("quic_lab"), at("quic"));

    // A container with a C library and a resolv.conf of its own.
    let root = at("container");
    for directory in ["old", "etc", "lib/x86_64-linux-gnu", "lib64"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    run(Command::new("gcc").arg("-o").arg(root.join("client")).arg(lab("client.c")));
    for library in ["libc.so.6", "libnss_dns.so.2", "libresolv.so.2"] {
        let library = Path::new("lib/x86_64-linux-gnu").join(library);
        executables::copy(Path::new("/").join(&library), root.join(&library));
    }
    let loader = "lib64/ld-linux-x86-64.so.2";
    executables::copy(Path::new("/").join(loader), root.join(loader));
    // The tools that run after pivot_root(8).
    fs::create_dir(root.join("bin")).unwrap();
    for tool in ["umount", "sh"] {
        executables::copy("/bin/busybox", root.join("bin").join(tool));
    }
    fs::write(root.join("etc/resolv.conf"), "nameserver 127.0.0.53\noptions timeout:5\n").unwrap();
    fs::write(root.join("etc/nsswitch.conf"), "hosts: dns\n").unwrap();
}

/// One connection that a client of the lab made.
#[derive(serde::Deserialize)]
struct Connection {
    client: String,
    name: String,
    address: IpAddr,
    port: u16,
}

/// The programs without which the lab cannot run and that are not installed.
fn missing_tools() -> Vec<&'static str> {
    let is_missing = |tool: &&str| {
        let script = format!("command -v {tool}");
        !Command::new("sh").args(["-c", &script]).stdout(Stdio::null()).status().unwrap().success()
    };
    let tools = ["rustc", "musl-gcc", "gcc", "curl", "openssl", "node", "/usr/bin/python3"];
    tools.into_iter().filter(is_missing).collect()
}

/// Runs the lab in namespaces of its own. Returns the connections that its clients made, and its messages.
fn run_lab(directory: &Path, count: usize) -> (Vec<Connection>, String) {
    etc_with(directory, "resolv.conf", "");
    let script = "mount --bind \"$1/etc\" /etc && exec /usr/bin/python3 \"$0\" \"$1\" \"$2\"";
    let output = Command::new("unshare")
        .args(["--net", "--mount", "sh", "-c", script])
        .args([lab("lab.py").as_os_str(), directory.as_os_str()])
        .arg(count.to_string())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let messages = String::from_utf8_lossy(&output.stderr).into_owned();
    eprintln!("{messages}");
    assert!(output.status.success());
    let lines = String::from_utf8(output.stdout).unwrap();
    (lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), messages)
}

/// Domains in the log by remote address and local port; empty for a row without a domain.
fn logged_domains(base: &Path) -> HashMap<(IpAddr, i64), Vec<String>> {
    let mut domains: HashMap<(IpAddr, i64), Vec<String>> = HashMap::new();
    let group_by = vec![Dimension::Address, Dimension::LocalPort, Dimension::Domain];
    for row in reader(base).query(&Query { group_by, ..Query::default() }).unwrap() {
        let [Value::Address(address), Value::Integer(port), domain] = row.values.as_slice() else { continue };
        let domain = match domain {
            Value::Bytes(domain) => String::from_utf8(domain.clone()).unwrap(),
            _ => String::new(),
        };
        domains.entry((address.ip().unwrap(), *port)).or_default().push(domain);
    }
    domains
}

/// Numbers of connections that have their own domain, none, or another one.
#[derive(Default)]
struct Tally {
    right: usize,
    unnamed: usize,
    wrong: usize,
}

/// Compares the domains in the log with the names by which the clients connected, for each kind of client.
fn tally_by_client(
    connections: &[Connection],
    domains: &HashMap<(IpAddr, i64), Vec<String>>,
) -> BTreeMap<String, Tally> {
    // Several connections may have used the same port, one after the other.
    let mut expected: HashMap<(IpAddr, u16), Vec<&str>> = HashMap::new();
    for connection in connections {
        expected.entry((connection.address, connection.port)).or_default().push(&connection.name);
    }
    let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
    for Connection { client, name, address, port } in connections {
        let found = domains.get(&(*address, i64::from(*port))).map(Vec::as_slice).unwrap_or_default();
        let expected = &expected[&(*address, *port)];
        let tally = tallies.entry(client.clone()).or_default();
        if found.iter().any(|domain| !domain.is_empty() && !expected.contains(&domain.as_str())) {
            eprintln!("wrong: {client} {name} port {port}: {found:?}");
            tally.wrong += 1;
        } else if !found.contains(name) {
            eprintln!("unnamed: {client} {name} port {port}: {found:?}");
            tally.unnamed += 1;
        } else {
            tally.right += 1;
        }
    }
    tallies
}

#[test]
#[ignore = "needs root"]
fn connections_have_the_domain_that_their_program_resolved() {
    // The lab starts hundreds of programs in a few seconds, and other tests count theirs.
    let _alone = root_alone();
    let missing = missing_tools();
    assert!(missing.is_empty(), "the lab needs {missing:?}: run scripts/setup test");
    let count =
        std::env::var("PICOSNITCH_TEST_CONNECTIONS").map_or(CONNECTIONS, |count| count.parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    build_clients(directory.path());
    let base = base("fold_above = 65536\n");
    let daemon = Daemon::start(base.path());
    // The probes on C libraries that are in use already are attached a moment later.
    thread::sleep(Duration::from_secs(2));
    let (connections, messages) = run_lab(directory.path(), count);
    thread::sleep(Duration::from_secs(3));
    daemon.stop(Signal::SIGTERM);

    let tallies = tally_by_client(&connections, &logged_domains(base.path()));
    let (mut right, mut unnamed, mut wrong) = (0, 0, 0);
    for (client, tally) in &tallies {
        eprintln!(
            "{client:<14} {:>5} right {:>5} unnamed {:>5} wrong",
            tally.right, tally.unnamed, tally.wrong
        );
        right += tally.right;
        unnamed += tally.unnamed;
        wrong += tally.wrong;
    }
    eprintln!("{} connections: {right} right, {unnamed} unnamed, {wrong} wrong", right + unnamed + wrong);
    assert_eq!(wrong, 0);
    assert!(unnamed * 1000 <= (right + unnamed) * MAX_UNNAMED_PER_MILLE);
    let expected = [
        "container",
        "curl",
        "curl-many",
        "musl",
        "musl-static",
        "node",
        "python-old",
        "python-plain",
        "python-tls",
        "quic",
        "static",
    ];
    let clients: Vec<&str> = tallies.keys().map(String::as_str).collect();
    assert_eq!(clients, expected);
    assert!(right + unnamed > count * 8 / 10, "{messages}");
    assert_eq!(error_log(base.path()), "");
}

#[test]
#[ignore = "needs root"]
fn answers_of_systemd_resolved_name_connections() {
    // Alone: another test may run short programs while this daemon starts, which are errors in its log.
    let _alone = root_alone();
    let directory = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(directory.path().join("io.systemd.Resolve.Monitor")).unwrap();
    let base = base("text = true\nfold_above = 65536\n");
    let prepare = format!(
        "mount -t tmpfs picosnitch-test /run && mkdir -p /run/systemd/resolve && \
         mount --bind {} /run/systemd/resolve",
        directory.path().display()
    );
    let daemon = Daemon::start_as(picosnitch_elsewhere(&prepare, base.path(), &["start-no-daemon"]));
    let (mut resolved, _) = listener.accept().unwrap();
    let mut subscription = vec![0; 74];
    resolved.read_exact(&mut subscription).unwrap();
    assert_eq!(subscription.last(), Some(&0), "{}", String::from_utf8_lossy(&subscription));
    let (address, program) = (fresh_address(), program(base.path(), b"resolves"));
    let bytes = address.octets();
    let answer = format!(
        "{{\"parameters\":{{\"state\":\"success\",\"question\":[{{\"class\":1,\"type\":1,\"name\":\"Answered.example\"}}],\
         \"answer\":[{{\"rr\":{{\"key\":{{\"class\":1,\"type\":1,\"name\":\"answered.example\"}},\"address\":{bytes:?}}}}}]}},\
         \"continues\":true}}\0"
    );
    resolved.write_all(answer.as_bytes()).unwrap();
    thread::sleep(Duration::from_millis(500));
    run_program(&program, address);
    wait_until("the record", || {
        let wanted = format!(",answered.example,{address},");
        lines(base.path(), "conn.log").iter().any(|line| line.contains(&wanted))
    });
    // The end of the connection is no error.
    drop((resolved, listener));
    thread::sleep(Duration::from_millis(500));
    daemon.stop(Signal::SIGTERM);
    assert_eq!(error_log(base.path()), "");
}

/// Number of DNS responses in a second.
const FLOOD_RATE: usize = 50_000;
const FLOOD_SECONDS: usize = 10;
const FLOOD_RESPONSES: usize = FLOOD_RATE * FLOOD_SECONDS;

/// Makes a DNS query, or with an address its response.
fn dns_message(id: u16, name: &str, address: Option<Ipv4Addr>) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend(if address.is_some() { [0x81, 0x80] } else { [1, 0] });
    bytes.extend([0, 1, 0, u8::from(address.is_some()), 0, 0, 0, 0]);
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.extend([0, 0, 1, 0, 1]);
    if let Some(address) = address {
        bytes.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 1, 0, 0, 4]);
        bytes.extend(address.octets());
    }
    bytes
}

/// Runs `work` in a network namespace of its own, in which the loopback interface is up.
fn in_network_namespace<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let inside = || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            run(Command::new("ip").args(["link", "set", "lo", "up"]));
            work()
        };
        scope.spawn(inside).join().unwrap()
    })
}

/// The sockets of a client and of its name server, connected to each other.
struct NameServer {
    client: UdpSocket,
    server: UdpSocket,
}

impl NameServer {
    fn start() -> Self {
        let server = UdpSocket::bind("127.0.0.53:53").unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(server.local_addr().unwrap()).unwrap();
        client.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        server.connect(client.local_addr().unwrap()).unwrap();
        Self { client, server }
    }

    /// Resolves a name, then tries to connect to its address, which is refused.
    fn connect_by_name(&self, name: &str, address: Ipv4Addr) {
        self.client.send(&dns_message(1, name, None)).unwrap();
        self.server.recv(&mut [0; 512]).unwrap();
        self.server.send(&dns_message(1, name, Some(address))).unwrap();
        self.client.recv(&mut [0; 512]).unwrap();
        assert!(TcpStream::connect((address, 9)).is_err());
    }

    /// Sends one response of the flood: one of four answers a query, the others are spoofed, truncated or noise. Two of them
    /// claim `spoofed` as the address.
    fn send_flood_response(&self, number: usize, spoofed: Ipv4Addr) {
        let name = format!("n{number}.flood.example");
        let response = match number % 4 {
            0 => {
                self.client.send(&dns_message(number as u16, &name, None)).unwrap();
                dns_message(number as u16, &name, Some(Ipv4Addr::from(number as u32 | 10 << 24)))
            }
            1 => dns_message(number as u16, "spoofed.example", Some(spoofed)),
            2 => dns_message(1, &name, Some(spoofed))[..12 + number % 20].to_vec(),
            _ => (0..number % 600).map(|at| (at * number) as u8).collect(),
        };
        let _ = self.server.send(&response);
    }

    /// Floods the client with responses at a steady rate. Returns the number of responses that it received.
    fn flood(&self, spoofed: Ipv4Addr) -> usize {
        thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut received = 0_usize;
                while self.client.recv(&mut [0; 2048]).is_ok() {
                    received += 1;
                }
                received
            });
            let begin = Instant::now();
            for number in 0..FLOOD_RESPONSES {
                self.send_flood_response(number, spoofed);
                if number % 50 == 0 {
                    let due = begin + Duration::from_micros(1_000_000 / FLOOD_RATE as u64 * number as u64);
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                }
            }
            let seconds = begin.elapsed().as_secs_f64();
            eprintln!("{:.0} responses a second", FLOOD_RESPONSES as f64 / seconds);
            reader.join().unwrap()
        })
    }
}

/// Proportional set size of a process, KiB.
fn memory(process: Pid) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).unwrap();
    let line = rollup.lines().find(|line| line.starts_with("Pss:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
#[ignore = "needs root"]
fn a_flood_of_responses_takes_no_memory_and_names_no_other_connection() {
    let _alone = root_alone();
    let base = base("text = true\nfold_above = 65536\n");
    let daemon = Daemon::start(base.path());
    let (before, after, spoofed, elsewhere) =
        (fresh_address(), fresh_address(), fresh_address(), fresh_address());
    let pause = Duration::from_millis(2500);
    let processes = [daemon.monitor(), daemon.recorder()];
    let (received, grown) = in_network_namespace(|| {
        let name_server = NameServer::start();
        name_server.connect_by_name("before.example", before);
        thread::sleep(pause);
        let start = processes.map(memory);
        let received = name_server.flood(spoofed);
        thread::sleep(pause);
        let end = processes.map(memory);
        name_server.connect_by_name("after.example", after);
        assert!(TcpStream::connect((spoofed, 9)).is_err());
        (received, [end[0].saturating_sub(start[0]), end[1].saturating_sub(start[1])])
    });
    // The same address in another namespace, in which no name was resolved.
    in_network_namespace(|| assert!(TcpStream::connect((before, 9)).is_err()));
    in_network_namespace(|| NameServer::start().connect_by_name("elsewhere.example", elsewhere));
    thread::sleep(pause);
    let messages = daemon.stop(Signal::SIGTERM);
    eprintln!("{received} received; monitor and recorder took {grown:?} KiB more; lost: {messages}");
    assert!(received > FLOOD_RESPONSES / 10);
    assert!(grown[0] < 20_000 && grown[1] < 60_000, "{grown:?}");
    let conn_log = lines(base.path(), "conn.log");
    let domains_of = |address: Ipv4Addr| {
        let wanted = format!(",{address},9,");
        let lines = conn_log.iter().filter(|line| line.contains(&wanted));
        let mut domains: Vec<&str> =
            lines.map(|line| line.split(&wanted).next().unwrap().rsplit(',').next().unwrap()).collect();
        domains.sort();
        domains
    };
    assert_eq!(domains_of(before), ["", "before.example"], "no domain in the other namespace");
    assert_eq!(domains_of(after), ["after.example"]);
    assert_eq!(domains_of(spoofed), [""]);
    assert_eq!(domains_of(elsewhere), ["elsewhere.example"]);
}

#[test]
#[ignore = "needs root"]
fn reverse_dns_names_an_address_only_if_it_is_enabled() {
    // Alone: another test may run short programs while this daemon starts, which are errors in its log.
    let _alone = root_alone();
    let directory = tempfile::tempdir().unwrap();
    let (address, program) = (fresh_address(), program(directory.path(), b"resolves-nothing"));
    let etc = etc_with(directory.path(), "hosts", &format!("{address} Owner.example\n"));
    let prepare = format!("mount --bind {} /etc", etc.display());
    let bases = ["", "[names]\nreverse_dns = true\n"]
        .map(|more| base(&format!("text = true\nfold_above = 65536\n{more}")));
    let daemons = bases
        .each_ref()
        .map(|base| Daemon::start_as(picosnitch_elsewhere(&prepare, base.path(), &["start-no-daemon"])));
    let line_of = |base: &tempfile::TempDir, end: &str| {
        let wanted = format!(",{end},{address},");
        lines(base.path(), "conn.log")
            .iter()
            .any(|line| line.contains("resolves-nothing") && line.contains(&wanted))
    };
    // A lookup that is not done when its window ends gives no domain; the next window has it.
    wait_until("the domain", || {
        run_program(&program, address);
        line_of(&bases[1], "owner.example")
    });
    assert!(line_of(&bases[0], "") && !line_of(&bases[0], "owner.example"));
    daemons.into_iter().for_each(|daemon| drop(daemon.stop(Signal::SIGTERM)));
    bases.iter().for_each(|base| assert_eq!(error_log(base.path()), ""));
}
