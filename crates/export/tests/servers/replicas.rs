//! Two servers of ClickHouse with ZooKeeper, made as docs/export.md says: replicas of each other, and shards.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use export::{ServerSettings, schema_sql};
use tempfile::TempDir;

use super::{
    exporter::{Exporter, TIMEOUT, send_all, wait_until},
    grafana,
    log::{Log, on_server},
    server_process::{DATABASE, ServerProcess, free_port},
    sums::{assert_sums_are_right, wait_for_sums},
};

/// A ZooKeeper that runs as long as this lives.
struct ZooKeeper {
    port: u16,
    child: Child,
    _directory: TempDir,
}

impl ZooKeeper {
    fn start() -> Self {
        let (directory, port) = (tempfile::tempdir().unwrap(), free_port());
        let place = directory.path().display();
        let configuration = format!(
            "tickTime=1000\ndataDir={place}/data\nclientPort={port}\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n"
        );
        let file = directory.path().join("zoo.cfg");
        fs::write(&file, configuration).unwrap();
        let log = fs::File::create(directory.path().join("log")).unwrap();
        let mut command = Command::new("java");
        command.args(["-Xmx128m", "-cp", "/usr/share/java/zookeeper.jar"]);
        command.arg("org.apache.zookeeper.server.quorum.QuorumPeerMain").arg(&file);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let child = command.spawn().unwrap_or_else(|error| {
            panic!("java is missing ({error}): install ZooKeeper (Debian: apt-get install zookeeper)")
        });
        let zookeeper = Self { port, child, _directory: directory };
        wait_until("ZooKeeper answers", || {
            let mut answer = String::new();
            let asked = TcpStream::connect(("127.0.0.1", port)).and_then(|mut stream| {
                // One that is not ready may keep a question for ever.
                stream.set_read_timeout(Some(Duration::from_secs(2)))?;
                stream.write_all(b"srvr")?;
                stream.read_to_string(&mut answer)
            });
            asked.ok().filter(|_| answer.contains("Mode:")).map(|_| ()).ok_or(answer)
        });
        zookeeper
    }
}

impl Drop for ZooKeeper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Two servers that know each other as the cluster `picosnitch`.
fn start_cluster(zookeeper: &ZooKeeper, are_shards: bool) -> [ServerProcess; 2] {
    let ports = [free_port(), free_port()];
    let member =
        |port: u16| format!("<replica><host>127.0.0.1</host><port>{port}</port><user>admin</user></replica>");
    let members = match are_shards {
        true => ports.map(|port| format!("<shard>{}</shard>", member(port))).concat(),
        false => format!("<shard>{}</shard>", ports.map(member).concat()),
    };
    [0, 1].map(|number| {
        let shard = if are_shards { number } else { 0 };
        let more = format!(
            "<zookeeper><node><host>127.0.0.1</host><port>{}</port></node><session_timeout_ms>5000</session_timeout_ms></zookeeper>\
             <macros><shard>{shard}</shard><replica>{number}</replica></macros>\
             <remote_servers><picosnitch>{members}</picosnitch></remote_servers>\
             <distributed_ddl><path>/clickhouse/task_queue/ddl</path></distributed_ddl>",
            zookeeper.port
        );
        ServerProcess::start_member(ports[number], &more)
    })
}

/// The statements of `picosnitch export-sql`, changed by the command of docs/export.md that has this word in it.
fn statements(settings: &ServerSettings, word: &str) -> Vec<String> {
    let text = include_str!("../../../../docs/export.md");
    let blocks = text.split("```sh\n").skip(1).map(|part| part.split("```").next().unwrap());
    let block = blocks.into_iter().find(|block| block.contains("perl") && block.contains(word)).unwrap();
    let command = block
        .split_once("log.server | ")
        .unwrap()
        .1
        .trim()
        .trim_end_matches("| clickhouse-client -d picosnitch -n");
    let mut child = Command::new("bash")
        .args(["-c", command])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let input: String = schema_sql(settings).iter().map(|statement| format!("{statement};\n")).collect();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let output = String::from_utf8(output.stdout).unwrap();
    output.split(";\n").map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

fn execute(server: &ServerProcess, statements: &[String]) {
    for statement in statements {
        server.execute_as("owner", statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
}

/// Waits until a server has what a log has.
fn wait_for_copy(server: &ServerProcess, log: &Log) {
    let expected = log.copied();
    wait_until("the replica has all", || {
        let there = on_server(server, DATABASE);
        (there == expected).then_some(()).ok_or_else(|| format!("{there:?} of {expected:?}"))
    });
}

#[test]
fn a_replica_that_was_killed_has_all_when_it_is_back() {
    let zookeeper = ZooKeeper::start();
    let [mut one, mut two] = start_cluster(&zookeeper, false);
    let settings = [&one, &two].map(|server| server.settings("owner"));
    for server in [&one, &two] {
        execute(server, &statements(&settings[0], "Replicated"));
    }
    let mut log = Log::new();
    log.write(300);
    send_all(&settings[0], &log);
    wait_for_copy(&two, &log);
    // The second one is away while the log is sent to the first one.
    two.kill();
    log.write(300);
    send_all(&settings[0], &log);
    two.restart();
    wait_for_copy(&two, &log);
    // The first one is killed while it is written to, and the exporter goes on with the second one.
    for round in 0..5 {
        log.write(400);
        let exporter = Exporter::start(&settings[0], &log.path, "host");
        thread::sleep(Duration::from_millis(60 * round + 40));
        one.kill();
        drop(exporter);
        send_all(&settings[1], &log);
        one.restart();
        // The table of a replica that was killed can be written to when its session with ZooKeeper is a new one.
        wait_for_copy(&one, &log);
        wait_for_copy(&two, &log);
        assert_eq!(one.numbers("SELECT count(DISTINCT id) FROM picosnitch_log"), [1]);
    }
    println!("{:?} on both", log.copied());
}

#[test]
fn shards_have_the_sums_of_all_logs() {
    let zookeeper = ZooKeeper::start();
    let cluster = start_cluster(&zookeeper, true);
    let settings = cluster[0].settings("owner");
    for server in &cluster {
        execute(server, &statements(&settings, "Distributed"));
    }
    let mut log = Log::new();
    log.write_every(100, 20_000);
    let exporter = Exporter::start(&settings, &log.path, "host");
    exporter.wait_until_sent(&log);
    wait_for_sums(&cluster[0]);
    assert_eq!(exporter.problems(), [""; 0]);
    drop(exporter);
    for server in &cluster {
        assert!(assert_sums_are_right(server) >= 4);
        let rows = server.numbers("SELECT count() FROM picosnitch_sum_local")[0];
        assert!(rows == 0 || [rows] == server.numbers("SELECT count() FROM picosnitch_sum")[..], "{rows}");
    }
}

#[test]
fn shards_have_a_log_each() {
    let zookeeper = ZooKeeper::start();
    let [one, two] = start_cluster(&zookeeper, true);
    let settings = [&one, &two].map(|server| server.settings("owner"));
    for server in [&one, &two] {
        execute(server, &statements(&settings[0], "Distributed"));
    }
    let begin = Instant::now();
    let logs: Vec<Log> = (0..6)
        .map(|number| {
            let mut log = Log::new();
            log.write(50 + number);
            let (settings, host) = (&settings[number as usize % 2], grafana::HOSTS[number as usize % 3]);
            Exporter::start(settings, &log.path, host).wait_until_sent(&log);
            log
        })
        .collect();
    assert!(begin.elapsed() < TIMEOUT);
    let expected = logs.iter().map(Log::copied).fold(Default::default(), |sum, log| sum + log);
    for server in [&one, &two] {
        assert_eq!(on_server(server, DATABASE), expected);
        let parts = server.numbers("SELECT count(DISTINCT log) FROM picosnitch_record_local")[0];
        assert!((1..6).contains(&parts), "{parts} logs on a shard");
        assert_eq!(server.numbers("SELECT count(*) FROM connections"), [expected.records]);
        grafana::is_answered_by_a_shard(server, &logs);
    }
}
