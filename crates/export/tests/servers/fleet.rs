//! How large a fleet one server carries: simulated hosts, each with a log, an exporter and a connection of its own.
//!
//! `PICOSNITCH_FLEET_HOSTS=500 PICOSNITCH_FLEET_MINUTES=5 cargo test --release -p export --test servers fleet -- --ignored --nocapture
//! --test-threads 1`

use std::{
    env,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use export::{SinkNews, run};
use nix::sys::{
    resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit},
    time::TimeValLike,
};
use store::Writer;

use super::{
    exporter::{TIMEOUT, send_all},
    log::{Copied, Log, busy_window, on_server},
    server_process::{DATABASE, ServerProcess, System},
};

const WINDOW: Duration = Duration::from_secs(10);
const RECORDS: u64 = 50;
/// Looks at the lag each window, but for the first ones, when all connect.
const SETTLED: usize = 3;

struct Host {
    log: Log,
    writer: Writer,
    written: i64,
    sent: Arc<AtomicI64>,
}

impl Host {
    fn lag(&self) -> i64 {
        self.written - self.sent.load(Ordering::Relaxed)
    }
}

fn setting(name: &str, default: usize) -> usize {
    env::var(name).map_or(default, |text| text.parse().unwrap())
}

fn measure(system: System) {
    let hosts = setting("PICOSNITCH_FLEET_HOSTS", 2000);
    let windows = setting("PICOSNITCH_FLEET_MINUTES", 10) * 6;
    let (_, limit) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, limit, limit).unwrap();
    let mut server = ServerProcess::start(system);
    match system {
        System::PostgreSql => {
            server.administer("postgres", &format!("ALTER SYSTEM SET max_connections = {}", hosts + 20));
            server.restart();
        }
        System::MariaDb => {
            server.administer("mysql", &format!("SET GLOBAL max_connections = {}", hosts + 20));
        }
        System::ClickHouse | System::Chdb => {}
    }
    let mut fleet: Vec<Host> = (0..hosts)
        .map(|_| {
            let log = Log::new();
            let writer = Writer::open(&log.path).unwrap();
            Host { log, writer, written: 0, sent: Arc::default() }
        })
        .collect();
    // The tables are there before all come at once.
    let settings = server.settings("owner");
    send_all(&settings, &fleet[0].log);
    let exporters: Vec<_> =
        fleet.iter().map(|host| (host.log.path.clone(), Arc::clone(&host.sent))).collect();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let thread = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            for (number, (path, sent)) in exporters.into_iter().enumerate() {
                let settings = settings.clone();
                tokio::task::spawn_local(async move {
                    let report = |news| match news {
                        SinkNews::Status(status) => sent.store(status.last_window, Ordering::Relaxed),
                        other => println!("host {number}: {other:?}"),
                    };
                    match run(&settings, path, &format!("host-{number}"), report).await {}
                });
            }
            let _ = stopped.await;
        });
    });
    let begin = Instant::now();
    let (mut late, mut processor) = (Duration::ZERO, 0.0);
    let mut lags: Vec<i64> = Vec::new();
    for number in 0..windows {
        if number == SETTLED {
            processor = processor_seconds();
        }
        for (at, host) in fleet.iter_mut().enumerate() {
            let due = begin + WINDOW * number as u32 + WINDOW.mul_f64(at as f64 / hosts as f64);
            match due.checked_duration_since(Instant::now()) {
                Some(pause) => thread::sleep(pause),
                None => late = late.max(due.elapsed()),
            }
            let time = host.log.time + 10 * number as i64;
            host.writer.write(&busy_window(time, (at % 250) as u8, RECORDS)).unwrap();
            host.written += 1;
        }
        if number >= SETTLED {
            lags.push(fleet.iter().map(Host::lag).max().unwrap_or(0));
        }
    }
    println!("{system:?}: the most that a host lacked after each round of windows: {lags:?}");
    let most_behind = lags.into_iter().max().unwrap_or(0);
    let measured = WINDOW.as_secs_f64() * (windows - SETTLED) as f64;
    let processor = (processor_seconds() - processor) / measured;
    let end = Instant::now();
    while fleet.iter().any(|host| host.lag() > 0) {
        let behind = fleet.iter().map(Host::lag).sum::<i64>();
        assert!(end.elapsed() < TIMEOUT, "{behind} windows are not sent");
        thread::sleep(Duration::from_millis(100));
    }
    let caught_up = end.elapsed().as_secs_f64();
    drop(stop);
    thread.join().unwrap();
    let expected = fleet.iter().map(|host| host.log.copied()).fold(Copied::default(), |sum, one| sum + one);
    assert_eq!(on_server(&server, DATABASE), expected);
    println!(
        "{system:?}: {hosts} hosts, {windows} windows each, {} records, {:.0} records/s; the host that was furthest behind lacked \
         {most_behind} windows, all were sent {caught_up:.1} s after the last one; hosts were written at most {:.1} s late; all \
         hosts took {processor:.2} processors, without the server",
        expected.records,
        expected.records as f64 / (WINDOW.as_secs_f64() * windows as f64),
        late.as_secs_f64()
    );
}

/// Processor time of this process.
fn processor_seconds() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    (usage.user_time().num_milliseconds() + usage.system_time().num_milliseconds()) as f64 / 1000.0
}

#[test]
#[ignore = "a measurement of ten minutes"]
fn measure_postgresql() {
    measure(System::PostgreSql);
}

#[test]
#[ignore = "a measurement of ten minutes"]
fn measure_mariadb() {
    measure(System::MariaDb);
}

#[test]
#[ignore = "a measurement of ten minutes"]
fn measure_clickhouse() {
    measure(System::ClickHouse);
}
