//! Sums on servers: those of the records, whatever happens while they are written. And heartbeats.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use export::{Heartbeats, SumKind, grant_sql, run_beside, schema_sql};

use super::{
    exporter::{Exporter, send_all, wait_until},
    log::{Log, on_server},
    server_process::{
        DATABASE, ServerProcess, System, clickhouse::Agent, with_each_sql_server, with_each_system,
    },
};

with_each_system! {
    sums_are_those_of_the_records_whenever_the_exporter_is_killed
}

mod with_accounts {
    use super::{
        System, a_host_without_traffic_sends_heartbeats_while_it_records, claims_of_others_are_told,
        tables_without_sums_are_completed_or_the_lack_is_told, with_each_sql_server,
    };

    with_each_sql_server! {
        tables_without_sums_are_completed_or_the_lack_is_told
        claims_of_others_are_told
        a_host_without_traffic_sends_heartbeats_while_it_records
    }
}

/// The last window that the sums of a kind have, once they have all that are over.
fn last_due(server: &ServerProcess, kind: SumKind) -> i64 {
    let seconds = kind.seconds();
    if server.system.is_clickhouse() {
        // No claim there is shorter than a day, and no statement has a join by order.
        let seconds = seconds.max(86_400);
        let last = server.numbers("SELECT max(time) FROM picosnitch_window")[0];
        let sql = format!(
            "SELECT max(window_number) FROM picosnitch_window WHERE time < {}",
            last - last % seconds
        );
        return server.numbers(&sql)[0];
    }
    let sql = format!(
        "SELECT max(w.window_number) FROM picosnitch_window w JOIN (SELECT max(time) AS time FROM picosnitch_window) l \
         ON w.time - w.time % {seconds} < l.time - l.time % {seconds}"
    );
    server.numbers(&sql)[0]
}

/// Waits until all sums that are due are made; false if the exporter has ended before.
pub fn wait_for_sums(server: &ServerProcess) {
    for kind in SumKind::ALL {
        let due = last_due(server, kind);
        wait_until(&format!("sums of {kind:?} up to window {due}"), || {
            let last = claimed(server, kind);
            (last == due).then_some(()).ok_or_else(|| format!("up to {last}"))
        });
    }
}

fn claimed(server: &ServerProcess, kind: SumKind) -> i64 {
    let number = kind.number();
    let sql = format!("SELECT coalesce(max(last_window), 0) FROM picosnitch_sum_claim WHERE kind = {number}");
    server.numbers(&sql)[0]
}

/// Compares the sums with the records of the windows that they have.
pub fn assert_sums_are_right(server: &ServerProcess) -> i64 {
    let mut claims = 0;
    for kind in SumKind::ALL {
        let (number, seconds) = (kind.number(), kind.seconds());
        let key = kind.key().map(|key| format!(", {key}")).unwrap_or_default();
        let last = claimed(server, kind);
        // Each claim begins behind the one before.
        let sql = format!(
            "SELECT count(*), coalesce(sum(last_window - first_window + 1), 0) FROM picosnitch_sum_claim WHERE kind = {number}"
        );
        let [count, windows] = server.numbers(&sql)[..] else { panic!() };
        assert_eq!(windows, last, "{kind:?}");
        claims += count;
        if server.system.is_clickhouse() {
            assert_flat_sums_are_right(server, kind, last);
            continue;
        }
        let sums = |columns: &str, table: &str, condition: &str| {
            format!(
                "SELECT {columns}{key}, sum(connections) AS connections, sum(sent) AS sent, sum(received) AS received \
                 FROM {table} WHERE {condition} GROUP BY 1{}",
                if key.is_empty() { "" } else { ", 2" }
            )
        };
        let of_records = sums(
            &format!("time - time % {seconds} AS start"),
            "picosnitch_record",
            &format!("window_number <= {last}"),
        );
        let of_sums = sums("start", "picosnitch_sum", &format!("kind = {number}"));
        let on = match kind.key() {
            Some(key) => format!("a.start = b.start AND a.{key} = b.{key}"),
            None => "a.start = b.start".to_owned(),
        };
        let equal = format!(
            "SELECT (SELECT count(*) FROM ({of_records}) AS a), (SELECT count(*) FROM ({of_sums}) AS b), \
             (SELECT count(*) FROM ({of_records}) AS a JOIN ({of_sums}) AS b ON {on} AND a.connections = b.connections \
             AND a.sent = b.sent AND a.received = b.received)"
        );
        let counts = server.numbers(&equal);
        assert!(counts[0] == counts[1] && counts[1] == counts[2], "{kind:?}: {counts:?}");
    }
    claims
}

/// The same on a ClickHouse, where sums have the ends of records, and count only with a claim.
fn assert_flat_sums_are_right(server: &ServerProcess, kind: SumKind, last: i64) {
    let (number, seconds) = (kind.number(), kind.seconds());
    let keys = match kind {
        SumKind::Total => "",
        SumKind::Context => ", hex(context)",
        SumKind::Endpoint => {
            ", domain, domain_source, remote_address, local_address, toString(family), toString(protocol), country, \
             toString(network_number), network"
        }
        SumKind::Port => ", toString(remote_port)",
    };
    let sums = |start: &str, [first, last]: [&str; 2], from: &str| {
        let sum = |column: &str| format!("', ', toString(sum({column}))");
        let [connections, sent, received] = ["connections", "sent", "received"].map(sum);
        let mut rows = server.texts(&format!(
            "SELECT concat({connections}, {sent}, {received}, ', ', toString(min({first})), ', ', toString(max({last})), \
             ', ', toString({start}){}) FROM {from} GROUP BY {start}{keys}",
            keys.replace(", ", ", '|', ")
        ));
        rows.sort_unstable();
        rows
    };
    let of_records = sums(
        &format!("(time - time % {seconds})"),
        ["time", "time"],
        &format!("picosnitch_record FINAL WHERE window_number <= {last}"),
    );
    let of_sums = sums(
        "start",
        ["first_time", "last_time"],
        &format!(
            "picosnitch_sum WHERE kind = {number} \
             AND attempt GLOBAL IN (SELECT attempt FROM picosnitch_sum_claim WHERE kind = {number})"
        ),
    );
    assert_eq!(of_sums, of_records, "{kind:?}");
}

/// A random number below `end` (xorshift).
fn random(state: &mut u64, end: u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state % end
}

fn sums_are_those_of_the_records_whenever_the_exporter_is_killed(system: System) {
    kill_while_adding_up(system, 60, 2);
}

/// With as many kills as it takes for eleven of them: `cargo test -p export --test servers sums::many -- --ignored --nocapture`.
mod many_kills {
    use super::{System, kill_while_adding_up};

    #[test]
    #[ignore = "takes minutes"]
    fn postgresql() {
        kill_while_adding_up(System::PostgreSql, 100, 11);
    }

    #[test]
    #[ignore = "takes minutes"]
    fn mariadb() {
        kill_while_adding_up(System::MariaDb, 100, 11);
    }

    #[test]
    #[ignore = "takes minutes"]
    fn clickhouse() {
        kill_while_adding_up(System::ClickHouse, 100, 11);
    }
}

/// Kills the exporter until so many kills have come before all sums were made, but no more often than `kills` times.
fn kill_while_adding_up(system: System, kills: usize, enough: usize) {
    let server = ServerProcess::start(system);
    let settings = server.settings("owner");
    let mut log = Log::new();
    log.write_every(20, 20_000);
    send_all(&settings, &log);
    let mut state = 0x1234_5678_9abc_def1;
    let mut interrupted = 0;
    for _ in 0..kills {
        // Of several hours and days, and now and then of weeks.
        let seconds = [600, 20_000, 100_000][random(&mut state, 3) as usize];
        log.write_every(10, seconds);
        let exporter = Exporter::start(&settings, &log.path, "host");
        // It looks for sums that are due a second after its start, if all was sent by then.
        thread::sleep(Duration::from_millis(950 + random(&mut state, 400)));
        drop(exporter);
        let is_due = SumKind::ALL.iter().any(|kind| claimed(&server, *kind) < last_due(&server, *kind));
        interrupted += usize::from(is_due);
        if interrupted == enough {
            break;
        }
    }
    let claims = assert_sums_are_right(&server);
    let exporter = Exporter::start(&settings, &log.path, "host");
    wait_for_sums(&server);
    assert_eq!(exporter.problems(), [""; 0]);
    drop(exporter);
    println!(
        "{system:?}: at most {kills} kills, {interrupted} before all sums were made, {claims} claims by then"
    );
    assert!(interrupted == enough && claims > 0, "{interrupted} {claims}");
    assert_sums_are_right(&server);
    assert_eq!(on_server(&server, DATABASE), log.copied());
}

/// Tables of a version that knew no sums, on which an account may do no more than add rows.
fn tables_without_sums_are_completed_or_the_lack_is_told(system: System) {
    let server = ServerProcess::start(system);
    let mut log = Log::new();
    log.write_every(100, 20_000);
    let settings = server.settings("agent");
    for statement in schema_sql(&settings).iter() {
        server.execute_as("owner", statement).unwrap();
    }
    for statement in grant_sql(&settings) {
        server.administer(DATABASE, &statement);
    }
    for table in ["picosnitch_sum", "picosnitch_sum_claim", "picosnitch_heartbeat"] {
        server.execute_as("owner", &format!("DROP TABLE {table}")).unwrap();
    }
    let exporter = Exporter::start(&settings, &log.path, "host");
    exporter.wait_until_sent(&log);
    let problem = exporter.wait_for_problem("picosnitch_sum is missing");
    for part in ["picosnitch_heartbeat is missing", "Records are sent all the same", "export-sql log.server"]
    {
        assert!(problem.contains(part), "{problem}");
    }
    assert_eq!(on_server(&server, DATABASE), log.copied());
    drop(exporter);
    // What the command prints completes them.
    for statement in schema_sql(&settings).iter() {
        server.execute_as("owner", statement).unwrap();
    }
    for statement in grant_sql(&settings) {
        server.administer(DATABASE, &statement);
    }
    let exporter = Exporter::start(&settings, &log.path, "host");
    wait_for_sums(&server);
    assert_eq!(exporter.problems(), [""; 0]);
    drop(exporter);
    assert!(assert_sums_are_right(&server) >= SumKind::ALL.len() as i64);
    for table in ["picosnitch_sum", "picosnitch_sum_claim", "picosnitch_heartbeat"] {
        for statement in [format!("DELETE FROM {table}"), format!("UPDATE {table} SET log = 0")] {
            assert!(server.execute_as("agent", &statement).is_err(), "{statement}");
        }
    }
    // An account that may make tables makes them by itself.
    for table in ["picosnitch_sum", "picosnitch_heartbeat"] {
        server.execute_as("owner", &format!("DROP TABLE {table}")).unwrap();
    }
    send_all(&server.settings("owner"), &log);
    assert_eq!(server.numbers("SELECT count(*) FROM picosnitch_sum"), [0]);
    // One that was altered stops no record.
    let altered = match system {
        System::PostgreSql => "ALTER TABLE picosnitch_sum ALTER COLUMN sent TYPE integer",
        _ => "ALTER TABLE picosnitch_sum MODIFY sent INT",
    };
    server.execute_as("owner", altered).unwrap();
    let exporter = Exporter::start(&server.settings("owner"), &log.path, "host");
    exporter.wait_for_problem("picosnitch_sum.sent is int");
    log.write(3);
    exporter.wait_until_sent(&log);
    assert_eq!(on_server(&server, DATABASE), log.copied());
}

/// Tables of a ClickHouse of a version that knew no sums, and an account that may do no more than add rows.
#[test]
fn tables_of_a_clickhouse_without_sums_are_completed_or_the_lack_is_told() {
    let server = ServerProcess::start(System::ClickHouse);
    let settings = server.settings("agent");
    let mut log = Log::new();
    log.write_every(100, 20_000);
    for statement in schema_sql(&settings).iter().filter(|sql| !sql.contains("picosnitch_sum")) {
        server.execute_as("owner", statement).unwrap();
    }
    server.allow_agent(Agent::Writer);
    let exporter = Exporter::start(&settings, &log.path, "host");
    exporter.wait_until_sent(&log);
    let problem = exporter.wait_for_problem("picosnitch_sum is missing");
    for part in ["Records are sent all the same; but without sums", "slow. Run", "export-sql log.server"] {
        assert!(problem.contains(part), "{problem}");
    }
    assert_eq!(on_server(&server, DATABASE), log.copied());
    drop(exporter);
    // A month was dropped before there were sums.
    server.administer(DATABASE, "ALTER TABLE picosnitch_record DROP PARTITION 202311");
    for statement in schema_sql(&settings) {
        server.execute_as("owner", &statement).unwrap();
    }
    server.allow_agent(Agent::Writer);
    let exporter = Exporter::start(&settings, &log.path, "host");
    wait_for_sums(&server);
    assert_eq!(exporter.problems(), [""; 0]);
    drop(exporter);
    assert!(assert_sums_are_right(&server) >= SumKind::ALL.len() as i64);
    for table in ["picosnitch_sum", "picosnitch_sum_claim"] {
        for statement in [format!("DROP TABLE {table}"), format!("ALTER TABLE {table} DELETE WHERE 1")] {
            assert!(server.execute_as("agent", &statement).is_err(), "{statement}");
        }
    }
}

fn claims_of_others_are_told(system: System) {
    let server = ServerProcess::start(system);
    let settings = server.settings("owner");
    let mut log = Log::new();
    log.write(5);
    send_all(&settings, &log);
    let forged = "INSERT INTO picosnitch_sum_claim SELECT 1, id, 1, 1000 FROM picosnitch_log";
    server.execute_as("owner", forged).unwrap();
    let exporter = Exporter::start(&settings, &log.path, "host");
    exporter.wait_for_problem("another account has written into picosnitch_sum_claim");
    log.write(3);
    exporter.wait_until_sent(&log);
    assert_eq!(on_server(&server, DATABASE), log.copied());
}

fn a_host_without_traffic_sends_heartbeats_while_it_records(system: System) {
    let server = ServerProcess::start(system);
    let settings = server.settings("owner");
    let mut log = Log::new();
    log.write(5);
    let count = || server.numbers("SELECT count(*) FROM picosnitch_heartbeat")[0];
    let is_recording = AtomicBool::new(true);
    let heartbeats = Heartbeats {
        interval: Duration::from_secs(2),
        is_recording: &|| is_recording.load(Ordering::Relaxed),
    };
    let send_for = |seconds| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            tokio::select! {
                never = run_beside(&settings, log.path.clone(), "host", &heartbeats, |_| {}) => match never {},
                () = tokio::time::sleep(Duration::from_secs(seconds)) => {}
            }
        });
    };
    let begin = Instant::now();
    send_for(10);
    let most = begin.elapsed().as_secs() as i64 / 2;
    let sent = count();
    assert!((1..=most).contains(&sent), "{sent}");
    let latest = "SELECT max(h.time) FROM picosnitch_heartbeat h JOIN picosnitch_log l ON l.id = h.log";
    let late = model::text::time::now() - server.numbers(latest)[0];
    assert!((0..10).contains(&late), "{late}");
    // Nobody records: a heartbeat would say so.
    is_recording.store(false, Ordering::Relaxed);
    send_for(5);
    assert_eq!(count(), sent);
}
