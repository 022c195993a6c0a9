//! Names of peers: servers and clients of every kind in a network of their own (tests/names/lab.py), and what the log then
//! calls their connections.

use std::{
    collections::HashMap,
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
    harness::{
        Daemon, base, error_log, fresh_address, picosnitch_elsewhere, reader, root, root_alone, wait_until,
    },
    programs::{lines, program, run as run_program},
};

/// Connections of all clients together; `PICOSNITCH_TEST_CONNECTIONS` sets another number.
const CONNECTIONS: usize = 1000;
/// How often of 1,000 a connection may have no name. A wrong one none may have.
const MAX_UNNAMED: usize = 10;

fn lab(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/names").join(file)
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Clients that have to be made first: static, of another C library, in a file system of their own.
fn make_clients(place: &Path) {
    let at = |name: &str| place.join(name);
    run(Command::new("rustc")
        .args(["-C", "target-feature=+crt-static", "--edition", "2024", "-o"])
        .arg(at("static"))
        .arg(lab("client.rs")));
    for (name, options) in [("musl", &[][..]), ("musl-static", &["-static"])] {
        run(Command::new("musl-gcc").args(options).arg("-o").arg(at(name)).arg(lab("client.c")));
    }
    let examples = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("examples");
    fs::copy(examples.join("quic_lab"), at("quic")).expect("`cargo build --examples` makes quic_lab");

    // A container by hand: its own C library, its own resolv.conf.
    let root = at("container");
    for directory in ["old", "etc", "lib/x86_64-linux-gnu", "lib64"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    run(Command::new("gcc").arg("-o").arg(root.join("client")).arg(lab("client.c")));
    for library in ["libc.so.6", "libnss_dns.so.2", "libresolv.so.2"] {
        let library = Path::new("lib/x86_64-linux-gnu").join(library);
        fs::copy(Path::new("/").join(&library), root.join(&library)).unwrap();
    }
    let loader = "lib64/ld-linux-x86-64.so.2";
    fs::copy(Path::new("/").join(loader), root.join(loader)).unwrap();
    // What is left of the way in there.
    fs::create_dir(root.join("bin")).unwrap();
    for tool in ["umount", "sh"] {
        fs::copy("/bin/busybox", root.join("bin").join(tool)).unwrap();
    }
    fs::write(root.join("etc/resolv.conf"), "nameserver 127.0.0.53\noptions timeout:5\n").unwrap();
    fs::write(root.join("etc/nsswitch.conf"), "hosts: dns\n").unwrap();
}

/// What the lab says of a connection.
#[derive(serde::Deserialize)]
struct Made {
    client: String,
    name: String,
    address: IpAddr,
    port: u16,
}

#[test]
#[ignore = "needs root"]
fn connections_carry_the_name_that_was_asked_for() {
    // Hundreds of programs in a few seconds: others count theirs.
    let _alone = root_alone();
    let tools = ["rustc", "musl-gcc", "gcc", "curl", "openssl", "node", "/usr/bin/python3"];
    let is_missing = |tool: &&&str| {
        let script = format!("command -v {tool}");
        !Command::new("sh").args(["-c", &script]).stdout(Stdio::null()).status().unwrap().success()
    };
    let missing: Vec<_> = tools.iter().filter(is_missing).collect();
    if !missing.is_empty() {
        eprintln!("skipped: the lab needs {missing:?}");
        return;
    }
    let count =
        std::env::var("PICOSNITCH_TEST_CONNECTIONS").map_or(CONNECTIONS, |count| count.parse().unwrap());
    let place = tempfile::tempdir().unwrap();
    make_clients(place.path());
    let base = base("");
    let daemon = Daemon::start(base.path());
    // The C libraries that are in use already are listened to a moment later.
    thread::sleep(Duration::from_secs(2));
    let script = "mount -t tmpfs lab /etc/netns 2>/dev/null; touch \"$1/resolv.conf\" && \
                  mount --bind \"$1/resolv.conf\" /etc/resolv.conf && exec /usr/bin/python3 \"$0\" \"$1\" \"$2\"";
    let output = Command::new("unshare")
        .args(["--net", "--mount", "sh", "-c", script])
        .args([lab("lab.py").as_os_str(), place.path().as_os_str()])
        .arg(count.to_string())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    eprintln!("{said}");
    assert!(output.status.success());
    thread::sleep(Duration::from_secs(3));
    daemon.stop(Signal::SIGTERM);

    let mut names: HashMap<(IpAddr, i64), Vec<String>> = HashMap::new();
    let group_by = vec![Dimension::Address, Dimension::LocalPort, Dimension::Domain];
    for row in reader(base.path()).query(&Query { group_by, ..Query::default() }).unwrap() {
        let [Value::Address(address), Value::Integer(port), domain] = row.values.as_slice() else { continue };
        let domain = match domain {
            Value::Bytes(domain) => String::from_utf8(domain.clone()).unwrap(),
            _ => String::new(),
        };
        names.entry((address.ip().unwrap(), *port)).or_default().push(domain);
    }
    let mut kinds: HashMap<String, [usize; 3]> = HashMap::new();
    let mut total = [0; 3];
    let lines = String::from_utf8(output.stdout).unwrap();
    let all: Vec<Made> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    // A port may be used again.
    let mut meant: HashMap<(IpAddr, u16), Vec<&str>> = HashMap::new();
    for made in &all {
        meant.entry((made.address, made.port)).or_default().push(&made.name);
    }
    for made in &all {
        let found = names.get(&(made.address, i64::from(made.port))).map(Vec::as_slice).unwrap_or_default();
        let meant = &meant[&(made.address, made.port)];
        let verdict = if found.iter().any(|name| !name.is_empty() && !meant.contains(&name.as_str())) {
            eprintln!("wrong: {} {} port {}: {found:?}", made.client, made.name, made.port);
            2
        } else {
            if !found.contains(&made.name) {
                eprintln!("unnamed: {} {} port {}: {found:?}", made.client, made.name, made.port);
            }
            usize::from(!found.contains(&made.name))
        };
        total[verdict] += 1;
        kinds.entry(made.client.clone()).or_default()[verdict] += 1;
    }
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    kinds.sort();
    for (kind, [right, unnamed, wrong]) in &kinds {
        eprintln!("{kind:<14} {right:>5} right {unnamed:>5} unnamed {wrong:>5} wrong");
    }
    let [right, unnamed, wrong] = total;
    eprintln!("{} connections: {right} right, {unnamed} unnamed, {wrong} wrong", right + unnamed + wrong);
    assert_eq!(wrong, 0);
    assert!(unnamed * 1000 <= (right + unnamed) * MAX_UNNAMED);
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
    let made: Vec<&str> = kinds.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(made, expected);
    assert!(right + unnamed > count * 8 / 10, "{said}");
    assert_eq!(error_log(base.path()), "");
}

#[test]
#[ignore = "needs root"]
fn what_systemd_resolved_finds_out_names_connections() {
    let _root = root();
    let place = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(place.path().join("io.systemd.Resolve.Monitor")).unwrap();
    let base = base("text = true\n");
    let prepare = format!(
        "mount -t tmpfs picosnitch-test /run && mkdir -p /run/systemd/resolve && \
         mount --bind {} /run/systemd/resolve",
        place.path().display()
    );
    let daemon = Daemon::start_as(picosnitch_elsewhere(&prepare, base.path(), &["start-no-daemon"]));
    let (mut resolved, _) = listener.accept().unwrap();
    let mut subscription = vec![0; 74];
    resolved.read_exact(&mut subscription).unwrap();
    assert_eq!(subscription.last(), Some(&0), "{}", String::from_utf8_lossy(&subscription));
    let (address, program) = (fresh_address(), program(base.path(), b"resolves"));
    let bytes = address.octets();
    let answer = format!(
        "{{\"parameters\":{{\"state\":\"success\",\"question\":[{{\"class\":1,\"type\":1,\"name\":\"Told.example\"}}],\
         \"answer\":[{{\"rr\":{{\"key\":{{\"class\":1,\"type\":1,\"name\":\"told.example\"}},\"address\":{bytes:?}}}}}]}},\
         \"continues\":true}}\0"
    );
    resolved.write_all(answer.as_bytes()).unwrap();
    thread::sleep(Duration::from_millis(500));
    run_program(&program, address);
    wait_until("the record", || {
        let wanted = format!(",told.example,{address},");
        lines(base.path(), "conn.log").iter().any(|line| line.contains(&wanted))
    });
    // Its end is no trouble.
    drop((resolved, listener));
    thread::sleep(Duration::from_millis(500));
    daemon.stop(Signal::SIGTERM);
    assert_eq!(error_log(base.path()), "");
}

/// Answers in a second, and seconds.
const FLOOD: usize = 50_000;
const FLOOD_SECONDS: usize = 10;

/// A DNS message: a question, or with an address its answer.
fn message(number: u16, name: &str, address: Option<Ipv4Addr>) -> Vec<u8> {
    let mut bytes = number.to_be_bytes().to_vec();
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

/// Runs something in a network namespace of its own, with a loopback.
fn elsewhere<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let inside = || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            run(Command::new("ip").args(["link", "set", "lo", "up"]));
            work()
        };
        scope.spawn(inside).join().unwrap()
    })
}

/// Sockets of a client and of its name server.
fn name_server() -> (UdpSocket, UdpSocket) {
    let server = UdpSocket::bind("127.0.0.53:53").unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(server.local_addr().unwrap()).unwrap();
    client.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    server.connect(client.local_addr().unwrap()).unwrap();
    (client, server)
}

/// Asks for a name and connects to its address, in vain.
fn connect_by_name((client, server): &(UdpSocket, UdpSocket), name: &str, address: Ipv4Addr) {
    client.send(&message(1, name, None)).unwrap();
    server.recv(&mut [0; 512]).unwrap();
    server.send(&message(1, name, Some(address))).unwrap();
    client.recv(&mut [0; 512]).unwrap();
    assert!(TcpStream::connect((address, 9)).is_err());
}

/// Kilobytes of memory that only this process has, and its share of the rest.
fn memory(process: Pid) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).unwrap();
    let line = rollup.lines().find(|line| line.starts_with("Pss:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
#[ignore = "needs root"]
fn a_flood_of_answers_takes_no_memory_and_names_nothing_elsewhere() {
    let _alone = root_alone();
    let base = base("text = true\n");
    let daemon = Daemon::start(base.path());
    let (before, after, flooded, elsewhere_too) =
        (fresh_address(), fresh_address(), fresh_address(), fresh_address());
    let rest = Duration::from_millis(2500);
    let processes = [daemon.monitor(), daemon.recorder()];
    let (received, grown) = elsewhere(|| {
        let sockets = name_server();
        connect_by_name(&sockets, "before.example", before);
        thread::sleep(rest);
        let start = processes.map(memory);
        let (client, server) = &sockets;
        let received = thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut received = 0_usize;
                while client.recv(&mut [0; 2048]).is_ok() {
                    received += 1;
                }
                received
            });
            let begin = Instant::now();
            for number in 0..FLOOD * FLOOD_SECONDS {
                let name = format!("n{number}.flood.example");
                let sent = match number % 4 {
                    // Asked for, and answered.
                    0 => {
                        client.send(&message(number as u16, &name, None)).unwrap();
                        message(number as u16, &name, Some(Ipv4Addr::from(number as u32 | 10 << 24)))
                    }
                    // From somebody who guesses.
                    1 => message(number as u16, "spoofed.example", Some(flooded)),
                    // Cut, or no message at all.
                    2 => message(1, &name, Some(flooded))[..12 + number % 20].to_vec(),
                    _ => (0..number % 600).map(|at| (at * number) as u8).collect(),
                };
                let _ = server.send(&sent);
                if number % 50 == 0 {
                    let due = begin + Duration::from_micros(1_000_000 / FLOOD as u64 * number as u64);
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                }
            }
            let seconds = begin.elapsed().as_secs_f64();
            eprintln!("{:.0} answers a second", (FLOOD * FLOOD_SECONDS) as f64 / seconds);
            reader.join().unwrap()
        });
        thread::sleep(rest);
        let end = processes.map(memory);
        connect_by_name(&sockets, "after.example", after);
        assert!(TcpStream::connect((flooded, 9)).is_err());
        (received, [end[0].saturating_sub(start[0]), end[1].saturating_sub(start[1])])
    });
    // The same address in another namespace, where nobody has asked.
    elsewhere(|| assert!(TcpStream::connect((before, 9)).is_err()));
    elsewhere(|| connect_by_name(&name_server(), "elsewhere.example", elsewhere_too));
    thread::sleep(rest);
    let said = daemon.stop(Signal::SIGTERM);
    eprintln!("{received} received; monitor and recorder took {grown:?} KiB more; lost: {said}");
    assert!(received > FLOOD * FLOOD_SECONDS / 10);
    assert!(grown[0] < 20_000 && grown[1] < 60_000, "{grown:?}");
    let conn_log = lines(base.path(), "conn.log");
    let named = |address: Ipv4Addr| {
        let wanted = format!(",{address},9,");
        let lines = conn_log.iter().filter(|line| line.contains(&wanted));
        let mut names: Vec<&str> =
            lines.map(|line| line.split(&wanted).next().unwrap().rsplit(',').next().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(named(before), ["", "before.example"], "the other namespace has none");
    assert_eq!(named(after), ["after.example"]);
    assert_eq!(named(flooded), [""]);
    assert_eq!(named(elsewhere_too), ["elsewhere.example"]);
}

#[test]
#[ignore = "needs root"]
fn the_owner_of_an_address_names_it_only_if_the_user_wants_that() {
    let _root = root();
    let place = tempfile::tempdir().unwrap();
    let (address, program) = (fresh_address(), program(place.path(), b"asks-nobody"));
    let hosts = place.path().join("hosts");
    fs::write(&hosts, format!("{address} Owner.example\n")).unwrap();
    let prepare = format!("mount --bind {} /etc/hosts", hosts.display());
    let bases = ["", "[names]\nreverse_dns = true\n"].map(|more| base(&format!("text = true\n{more}")));
    let daemons = bases
        .each_ref()
        .map(|base| Daemon::start_as(picosnitch_elsewhere(&prepare, base.path(), &["start-no-daemon"])));
    let line_of = |base: &tempfile::TempDir, end: &str| {
        let wanted = format!(",{end},{address},");
        lines(base.path(), "conn.log")
            .iter()
            .any(|line| line.contains("asks-nobody") && line.contains(&wanted))
    };
    // What is not known when its window ends has no name; the next one has.
    wait_until("the name", || {
        run_program(&program, address);
        line_of(&bases[1], "owner.example")
    });
    assert!(line_of(&bases[0], "") && !line_of(&bases[0], "owner.example"));
    daemons.into_iter().for_each(|daemon| drop(daemon.stop(Signal::SIGTERM)));
    bases.iter().for_each(|base| assert_eq!(error_log(base.path()), ""));
}
