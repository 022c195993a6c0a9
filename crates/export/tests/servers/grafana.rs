//! The dashboards for Grafana: each query runs on the system that it is for, and its sums are those of the logs.

use std::{cmp::Reverse, collections::BTreeMap, fs, path::Path, sync::Arc};

use model::{Event, EventKind, LossKind, Window, text::time::now};
use serde_json::Value;
use sqlx::{ConnectOptions, Row, mysql::MySqlConnectOptions, postgres::PgConnectOptions};
use store::{WholeWindow, WindowReader, Writer};

use super::{
    exporter::Exporter,
    log::{Log, window},
    server_process::{DATABASE, PASSWORD, ServerProcess, System, clickhouse::Agent},
};

/// Seconds of `$__interval`.
const INTERVAL: i64 = 60;
/// The time up to which the dashboard asks, in the middle of the logs.
const UNTIL: i64 = 1_700_000_500;
const FROM: i64 = 1_700_000_100;
/// One has a name that is more than a text in a statement where a backslash is special.
pub const HOSTS: [&str; 3] = ["host-1", "host '2'\\", "host-3"];
const CLICKHOUSE: &str = "grafana-clickhouse-datasource";

#[test]
fn the_dashboard_for_postgresql_has_the_sums_of_the_logs() {
    has_the_sums_of_the_logs(
        System::PostgreSql,
        "picosnitch-postgresql.json",
        "grafana-postgresql-datasource",
    );
}

#[test]
fn the_dashboard_for_mariadb_has_the_sums_of_the_logs() {
    has_the_sums_of_the_logs(System::MariaDb, "picosnitch-mysql.json", "mysql");
}

#[test]
fn the_dashboard_for_clickhouse_has_the_sums_of_the_logs() {
    has_the_sums_of_the_logs(System::ClickHouse, "picosnitch-clickhouse.json", CLICKHOUSE);
}

#[test]
fn the_dashboard_for_a_current_clickhouse_has_the_sums_of_the_logs() {
    has_the_sums_of_the_logs(System::Chdb, "picosnitch-clickhouse.json", CLICKHOUSE);
}

/// The value of the variable for a host, which is written into a statement.
fn value(system: System, host: &str) -> String {
    let digits = || hex::encode_upper(host);
    match system {
        System::PostgreSql => host.to_owned(),
        System::MariaDb => digits(),
        System::ClickHouse | System::Chdb => format!("h{}", digits()),
    }
}

/// Replaces macros and variables as Grafana does (grafana.com/docs/grafana/latest/datasources/postgres/query-editor, mysql/query-editor,
/// grafana.com/docs/plugins/grafana-clickhouse-datasource/latest/query-editor, and the variable format `sqlstring`). What it does not
/// know stays, and is no SQL.
fn interpolate(system: System, sql: &str) -> String {
    let hosts = HOSTS.map(|host| format!("'{}'", value(system, host).replace('\'', "''"))).join(",");
    let sql = sql.replace("${host:sqlstring}", &hosts).replace("$silent", "10");
    if system.is_clickhouse() {
        let sql = sql.replace("$__fromTime", &format!("toDateTime({FROM})"));
        let sql = sql.replace("$__toTime", &format!("toDateTime({UNTIL})"));
        return sql.replace("$__interval_s", &INTERVAL.to_string());
    }
    let sql = sql.replace("$__interval", "1m");
    let (mut out, mut rest) = (String::new(), sql.as_str());
    while let Some(begin) = rest.find("$__") {
        out += &rest[..begin];
        let (name, tail) = rest[begin..].split_once('(').unwrap();
        let (arguments, tail) = tail.split_once(')').unwrap();
        let arguments: Vec<&str> = arguments.split(',').map(str::trim).collect();
        out += &match (name, system, &arguments[..]) {
            ("$__unixEpochFilter", _, [time]) => format!("{time} >= {FROM} AND {time} <= {UNTIL}"),
            ("$__unixEpochGroup", System::PostgreSql, [time, "1m", "0"]) => {
                format!("floor(({time})/{INTERVAL})*{INTERVAL}")
            }
            ("$__unixEpochGroup", _, [time, "1m", "0"]) => format!("{time} DIV {INTERVAL} * {INTERVAL}"),
            ("$__unixEpochGroupAlias", System::PostgreSql, [time, "1m", "0"]) => {
                format!("floor(({time})/{INTERVAL})*{INTERVAL} AS \"time\"")
            }
            ("$__unixEpochGroupAlias", _, [time, "1m", "0"]) => {
                format!("{time} DIV {INTERVAL} * {INTERVAL} AS \"time\"")
            }
            other => panic!("{other:?} in {sql}"),
        };
        rest = tail;
    }
    out + rest
}

/// The rows of an answer as texts by the names of their columns.
fn ask(server: &ServerProcess, sql: &str) -> Vec<BTreeMap<String, String>> {
    let sql = interpolate(server.system, sql);
    if server.system.is_clickhouse() {
        return ask_clickhouse(server, &sql);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    /// All columns of the rows of a system.
    macro_rules! rows {
        ($connection:expr) => {{
            let rows = sqlx::raw_sql(&sql)
                .fetch_all(&mut $connection)
                .await
                .unwrap_or_else(|error| panic!("{sql}: {error}"));
            let value = |row: &_, column: &str| -> String {
                let value: Option<String> = Row::try_get_unchecked(row, column).unwrap();
                value.unwrap_or_default()
            };
            rows.iter()
                .map(|row| {
                    row.columns()
                        .iter()
                        .map(|column| (column.name().to_owned(), value(row, column.name())))
                        .collect()
                })
                .collect()
        }};
    }
    use sqlx::Column;
    runtime.block_on(async {
        match server.system {
            System::PostgreSql => {
                let options = PgConnectOptions::new_without_pgpass().username("owner").password(PASSWORD);
                let options = options.host("127.0.0.1").port(server.port).database(DATABASE);
                rows!(options.connect().await.unwrap())
            }
            _ => {
                let options = MySqlConnectOptions::new().username("owner").password(PASSWORD);
                let options = options.host("127.0.0.1").port(server.port).database(DATABASE);
                rows!(options.connect().await.unwrap())
            }
        }
    })
}

/// The same of a ClickHouse. A column `time` of a chart must be a `DateTime`; it is told as unix time.
fn ask_clickhouse(server: &ServerProcess, sql: &str) -> Vec<BTreeMap<String, String>> {
    let is_chart = sql.contains(" AS metric");
    let sql = match is_chart {
        true => format!("SELECT toTypeName(time) AS type, toUnixTimestamp(time) AS seconds, * FROM ({sql})"),
        false => sql.to_owned(),
    };
    // An account that may only read may ask it.
    if server.system == System::ClickHouse {
        server.execute_as("agent", &sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
    let lines = server.texts(&format!("{sql} FORMAT TabSeparatedWithNames"));
    let rows: Vec<Vec<&str>> = lines.iter().map(|line| line.split('\t').collect()).collect();
    let (names, rows) = rows.split_first().unwrap();
    let row = |cells: &Vec<&str>| {
        let cells = names.iter().zip(cells).map(|(name, cell)| ((*name).to_owned(), (*cell).to_owned()));
        let mut row: BTreeMap<String, String> = cells.collect();
        if is_chart {
            assert!(row["type"].starts_with("DateTime"), "{row:?}");
            row.insert("time".to_owned(), row["seconds"].clone());
        }
        row
    };
    rows.iter().map(row).collect()
}

/// Sends all rows twice, as an exporter may that was killed before it had sent the windows.
fn send_twice(server: &ServerProcess) {
    for table in ["log", "window", "heartbeat", "program", "context", "record", "event"] {
        let table = format!("picosnitch_{table}");
        server.administer(DATABASE, &format!("SYSTEM STOP MERGES {table}"));
        server.administer(DATABASE, &format!("INSERT INTO {table} SELECT * FROM {table}"));
    }
    let count = |table: &str| server.numbers(&format!("SELECT count(*) FROM {table}"))[0];
    assert_eq!(count("picosnitch_record"), 2 * count("picosnitch_record FINAL"));
}

/// The queries of a dashboard by the titles of their panels.
fn queries(file: &str, data_source: &str) -> BTreeMap<String, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/grafana").join(file);
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    assert_eq!(variables[0]["query"], data_source);
    let mut queries = BTreeMap::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            assert_eq!(target["datasource"]["type"], data_source);
            if data_source == CLICKHOUSE {
                // FormatQueryOption of grafana-plugin-sdk-go: a time series, or a table.
                let format = if panel["type"] == "timeseries" { 0 } else { 1 };
                assert_eq!((&target["editorType"], &target["format"]), (&"sql".into(), &format.into()));
            }
            let title = panel["title"].as_str().unwrap().to_owned();
            let before = queries.insert(title, target["rawSql"].as_str().unwrap().to_owned());
            assert_eq!(before, None, "two panels with one title");
        }
    }
    queries.insert("variable".into(), variables[1]["query"].as_str().unwrap().to_owned());
    queries
}

/// Received, sent, connections.
type Sums = [u64; 3];

/// All windows, with the number of their host.
fn windows(logs: &[Log]) -> impl Iterator<Item = (usize, WholeWindow)> + '_ {
    logs.iter().enumerate().flat_map(|(host, log)| {
        let windows = WindowReader::open(&log.path).unwrap().after(0, u64::MAX).unwrap();
        windows.into_iter().map(move |window| (host, window))
    })
}

/// The sums of the records in the range of the dashboard by what `key` makes of them.
fn sums(logs: &[Log], key: impl Fn(usize, i64, &model::Record) -> String) -> BTreeMap<String, Sums> {
    let mut sums: BTreeMap<String, Sums> = BTreeMap::new();
    for (host, window) in windows(logs).filter(|(_, window)| (FROM..=UNTIL).contains(&window.mark.time)) {
        for numbered in &window.records {
            let counters = numbered.record.counters;
            let sum = sums.entry(key(host, window.mark.time, &numbered.record)).or_default();
            sum[0] += counters.received;
            sum[1] += counters.sent;
            sum[2] += counters.connections;
        }
    }
    sums
}

fn number(row: &BTreeMap<String, String>, column: &str) -> u64 {
    row[column].parse::<f64>().unwrap_or_else(|_| panic!("{column}: {row:?}")) as u64
}

/// A log of one more host, with events that no other has.
fn make_log(host: usize) -> Log {
    let mut log = Log::new();
    // A window each ten seconds, of which some are before and some after the range; in one of them more programs than a series has.
    log.write(20);
    let mut many = window(log.time, 14);
    for (number, record) in many.records.iter_mut().enumerate() {
        Arc::make_mut(&mut record.context).program.path = format!("/opt/{number}").into_bytes();
        (record.counters.sent, record.counters.received) = (1 + number as u64 / 2, 1 + number as u64 / 3);
    }
    Writer::open(&log.path).unwrap().write(&many).unwrap();
    log.write(40 + 10 * host as i64);
    let mut loss = Event::new(EventKind::Loss, FROM + 5, "");
    (loss.subject, loss.count) = (LossKind::Names.name(), 7 + host as u64);
    let mut alert = Event::new(EventKind::Alert, FROM + 6, "A program is new.");
    (alert.subject, alert.path, alert.uid) = ("new exe".into(), b"/usr/bin/new".to_vec(), Some(1000));
    let events = vec![loss, alert, Event::new(EventKind::Error, FROM + 7, "An error.")];
    let time = if host == 2 { now() } else { log.time + 10 };
    let last = Window { events, ..window(time, 12) };
    Writer::open(&log.path).unwrap().write(&last).unwrap();
    log
}

fn has_the_sums_of_the_logs(system: System, file: &str, data_source: &str) {
    let server = ServerProcess::start(system);
    let logs: Vec<Log> = (0..HOSTS.len()).map(make_log).collect();
    for (log, host) in logs.iter().zip(HOSTS) {
        Exporter::start(&server.settings("owner"), &log.path, host).wait_until_sent(log);
    }
    if system.is_clickhouse() {
        send_twice(&server);
    }
    if system == System::ClickHouse {
        server.allow_agent(Agent::Reader);
    }
    let queries = queries(file, data_source);
    let answers: BTreeMap<&str, Vec<BTreeMap<String, String>>> =
        queries.iter().map(|(title, sql)| (title.as_str(), ask(&server, sql))).collect();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let all = sums(&logs, |_, _, _| String::new())[""];
    assert!(all.iter().all(|sum| *sum > 100), "{all:?}");
    let one = |title: &str, column: &str| number(&answers[title][0], column);
    assert_eq!((one("Received", "received"), one("Sent", "sent")), (all[0], all[1]));
    assert_eq!(
        (one("Hosts with traffic", "hosts"), one("Silent hosts", "silent"), one("Losses", "losses")),
        (3, 2, 3)
    );
    let alerts = windows(&logs).flat_map(|(_, window)| window.events);
    let alerts =
        alerts.filter(|event| event.kind == EventKind::Alert && (FROM..=UNTIL).contains(&event.time));
    assert_eq!(one("Alerts", "alerts"), alerts.count() as u64);

    let table = |title: &str, key: &str| -> BTreeMap<String, Sums> {
        let rows = answers[title].iter();
        rows.map(|row| {
            (row[key].clone(), ["received", "sent", "connections"].map(|column| number(row, column)))
        })
        .collect()
    };
    let program = |_: usize, _: i64, record: &model::Record| text(&record.context.program.path);
    assert_eq!(table("Programs", "program"), sums(&logs, program));
    assert_eq!(table("Hosts", "host"), sums(&logs, |host, _, _| HOSTS[host].to_owned()));
    assert_eq!(table("Domains", "domain"), BTreeMap::from([("example.org".to_owned(), all)]));
    assert_eq!(table("Countries", "country"), BTreeMap::from([("NL".to_owned(), all)]));
    assert!(answers["Programs"].iter().all(|row| number(row, "hosts") == 3));
    for (title, column, at) in [("Received by program", "received", 0), ("Sent by program", "sent", 1)] {
        let found: BTreeMap<String, u64> = answers[title]
            .iter()
            .map(|row| (format!("{} {}", number(row, "time"), row["metric"]), number(row, column)))
            .collect();
        let mut busiest: Vec<(String, Sums)> = sums(&logs, program).into_iter().collect();
        assert!(busiest.len() > 10);
        busiest.sort_by_key(|(path, sums)| (Reverse(sums[at]), path.clone()));
        busiest.truncate(10);
        let expected = sums(&logs, |host, time, record| {
            let path = program(host, time, record);
            let is_busy = busiest.iter().any(|(busy, _)| *busy == path);
            let metric = if is_busy { path.as_str() } else { "(others)" };
            format!("{} {metric}", time / INTERVAL * INTERVAL)
        });
        assert_eq!(found, expected.into_iter().map(|(key, sums)| (key, sums[at])).collect(), "{title}");
    }
    let losses: u64 = answers["Losses by kind"].iter().map(|row| number(row, "losses")).sum();
    assert_eq!((losses, answers["Losses by kind"][0]["metric"].as_str()), (7 + 8 + 9, "names"));
    let new = &answers["New programs"];
    assert!(
        new.len() == 3 && new.iter().all(|row| row["program"] == "/usr/bin/new" && row["user"] == "1000"),
        "{new:?}"
    );
    assert_eq!(number(&new[0], "time"), 1000 * (FROM as u64 + 6));
    let others = &answers["Other alerts and errors"];
    assert_eq!(others.iter().filter(|row| row["kind"] == "error").count(), 3, "{others:?}");
    let last = &answers["Last sign of each host"];
    assert_eq!(last.iter().map(|row| row["host"].as_str()).collect::<Vec<_>>(), HOSTS);
    assert!(number(&last[2], "silence") < 600);
    // What is chosen, and how it is shown.
    let [chosen, shown] = match system {
        System::PostgreSql => ["host"; 2],
        System::MariaDb => ["__value", "__text"],
        System::ClickHouse | System::Chdb => ["value", "text"],
    };
    let mut hosts: Vec<(String, String)> =
        answers["variable"].iter().map(|row| (row[shown].clone(), row[chosen].clone())).collect();
    hosts.sort();
    let mut expected = HOSTS.map(|host| (host.to_owned(), value(system, host)));
    expected.sort();
    assert_eq!(hosts, expected);
    let beat = format!(
        "INSERT INTO picosnitch_heartbeat (log, time) SELECT id, {} FROM picosnitch_log WHERE host = 'host-1'",
        now()
    );
    server.administer(DATABASE, &beat);
    assert_eq!(number(&ask(&server, &queries["Silent hosts"])[0], "silent"), 1);
    // All panels were looked at.
    assert_eq!(queries.len(), 17, "{:?}", queries.keys());
}

/// Asks one of several shards all queries of the dashboard for ClickHouse; what it says was received is that of the logs of all.
pub fn is_answered_by_a_shard(server: &ServerProcess, logs: &[Log]) {
    server.allow_agent(Agent::Reader);
    let received = sums(logs, |_, _, _| String::new())[""][0];
    for (title, sql) in queries("picosnitch-clickhouse.json", CLICKHOUSE) {
        let answer = ask(server, &sql);
        if answer.iter().any(|row| row.contains_key("received")) {
            let sum: u64 = answer.iter().map(|row| number(row, "received")).sum();
            assert_eq!(sum, received, "{title}");
        }
    }
}
