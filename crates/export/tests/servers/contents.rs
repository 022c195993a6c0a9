//! What is on a server: every record once, of logs with a common past, and with an account that can only add.

use std::sync::Arc;

use export::{ServerSettings, SinkNews, Unsent, grant_sql, schema_sql};
use model::{Address, CgroupInfo, Counters, ProcessContext, Program, text::lossless};
use store::{ImportSource, ImportWindow, WindowReader, Writer};

use super::{
    exporter::{Exporter, send_all},
    log::{Copied, Log, on_server, window},
    server_process::{DATABASE, ServerProcess, System, clickhouse::Agent, with_each_system},
};

with_each_system! {
    every_record_is_there_once_with_all_its_values
    nothing_but_insert_and_select_is_needed
    copies_of_a_log_share_their_past_only
    what_retention_deleted_is_told
}

fn every_record_is_there_once_with_all_its_values(system: System) {
    let server = ServerProcess::start(system);
    let settings = server.settings("owner");
    let mut log = Log::new();
    let path = b"/opt/\xff\0\\x41 \xf0\x9f\xa6\x80'\"".to_vec();
    let mut odd = window(log.time, 2);
    let program = Program {
        path: path.clone(),
        name: b"caf\xc3\xa9".to_vec(),
        command_line: [&b"tool\0a b\0"[..], &vec![b'x'; 100_000]].concat(),
        sha256: None,
    };
    odd.records[0].context = Arc::new(ProcessContext {
        program,
        parent: Program { path: b"/bin/sh".to_vec(), ..Program::default() },
        uid: 4_294_967_294,
        network_namespace: 4_026_531_840,
        cgroup: CgroupInfo { unit: b"u.service".to_vec(), ..CgroupInfo::default() },
        ..ProcessContext::default()
    });
    odd.records[0].counters = Counters { connections: 3, sent: 1 << 52, received: 5_000_000_000 };
    odd.records[0].tuple.local_port = 4_294_967_294;
    odd.records[0].tuple.remote_address = Some("2001:db8::1".parse().unwrap());
    odd.records[1].tuple.remote_address = Some(Address::Many);
    odd.records[1].folded = 1 << 40;
    odd.events[0].path = path.clone();
    odd.events[0].text = "An odd\0 event".into();
    Writer::open(&log.path).unwrap().write(&odd).unwrap();
    log.write(300);
    send_all(&settings, &log);
    assert_eq!(on_server(&server, DATABASE), log.copied());
    // Others see what it was; a second exporter sends nothing.
    let exporter = Exporter::start(&settings, &log.path, "host");
    exporter.wait_until_sent(&log);
    assert_eq!(exporter.status().sent_windows, 0);
    log.write(3);
    exporter.wait_until_sent(&log);
    let status = exporter.status();
    assert_eq!((status.sent_windows, status.problem, status.lacks_since), (3, None, None));
    assert_eq!(on_server(&server, DATABASE), log.copied());
    assert_eq!(exporter.problems(), [""; 0]);

    let shown = server.texts("SELECT executable FROM connections WHERE window_number = 1 AND sequence = 0");
    assert_eq!(lossless::from_text(&shown[0]), path);
    assert_eq!(server.texts("SELECT path FROM picosnitch_event WHERE window_number = 1"), shown);
    let numbers = "SELECT conns, sent, received, uid, netns, lport FROM connections WHERE window_number = 1 AND sequence = 0";
    let expected = [3, 1 << 52, 5_000_000_000, 4_294_967_294, 4_026_531_840, 4_294_967_294];
    assert_eq!(server.numbers(numbers), expected);
    let line =
        server.texts("SELECT cmdline FROM connections WHERE window_number = 1 AND sequence = 0").remove(0);
    assert!(line.starts_with("tool 'a b' xxx") && line.len() > 100_000, "{}", line.len());
    let text = |column: &str, sequence| {
        let sql =
            format!("SELECT {column} FROM connections WHERE window_number = 1 AND sequence = {sequence}");
        server.texts(&sql).remove(0)
    };
    assert_eq!((text("ip", 0), text("ip", 1)), ("2001:db8::1".into(), "many".into()));
    assert_eq!(
        (text("parent_exe", 0), text("sha256", 0), text("host", 0)),
        ("/bin/sh".into(), "".into(), "host".into())
    );
    assert_eq!((text("sha256", 1), text("country", 1)), ("01".repeat(32), "NL".into()));
    assert_eq!(server.numbers("SELECT count(*) FROM connections"), [log.copied().records]);
    // Texts are there once.
    let table = if system.is_clickhouse() { "picosnitch_program FINAL" } else { "picosnitch_endpoint" };
    let expected = if system.is_clickhouse() { programs(&log) } else { 9 };
    assert_eq!(server.numbers(&format!("SELECT count(*) FROM {table}")), [expected]);
}

/// The number of different programs in a log.
fn programs(log: &Log) -> i64 {
    let windows = WindowReader::open(&log.path).unwrap().after(0, u64::MAX).unwrap();
    let records = windows.iter().flat_map(|window| &window.records);
    let programs = records.flat_map(|record| {
        let context = &record.record.context;
        [&context.program, &context.parent, &context.grandparent].map(|program| format!("{program:?}"))
    });
    programs.collect::<std::collections::HashSet<String>>().len() as i64
}

/// Version 18 of ClickHouse has its accounts in a file.
#[test]
fn an_account_of_an_old_clickhouse_adds_only() {
    let server = ServerProcess::start(System::ClickHouse);
    let mut log = Log::new();
    log.write(20);
    let settings = server.settings("agent");
    server.allow_agent(Agent::Reader);
    let exporter = Exporter::start(&settings, &log.path, "host");
    exporter.wait_for_problem("export-sql log.server");
    for statement in schema_sql(&settings) {
        server.execute_as("owner", &statement).unwrap();
    }
    server.allow_agent(Agent::Writer);
    exporter.wait_until_sent(&log);
    assert_eq!(on_server(&server, DATABASE), log.copied());
    for statement in [
        "DROP TABLE picosnitch_record",
        "TRUNCATE TABLE picosnitch_record",
        "ALTER TABLE picosnitch_record DELETE WHERE sent = 1",
        "ALTER TABLE picosnitch_record UPDATE sent = 1 WHERE sent = 2",
        "ALTER TABLE picosnitch_record DROP COLUMN sent",
        "ALTER TABLE picosnitch_record DROP PARTITION 202311",
        "RENAME TABLE picosnitch_record TO other",
        "CREATE TABLE other (number Int64) ENGINE = Log",
        "SET allow_ddl = 1",
    ] {
        assert!(server.execute_as("agent", statement).is_err(), "{statement}");
    }
    server.allow_agent(Agent::Reader);
    log.write(5);
    let problem = exporter.wait_for_problem("cannot announce windows");
    assert!(problem.contains("the account lacks rights"), "{problem}");
    server.allow_agent(Agent::Writer);
    exporter.wait_until_sent(&log);
    assert_eq!(on_server(&server, DATABASE), log.copied());
}

/// The statements for rights of a current ClickHouse; as a module it has no accounts, but reads them.
#[test]
fn grants_of_a_current_clickhouse_are_its_sql() {
    let server = ServerProcess::start(System::Chdb);
    let settings = ServerSettings { user: "a`b".into(), ..server.settings("agent") };
    let grants = grant_sql(&settings);
    assert_eq!(grants.len(), 13);
    for statement in grants {
        server.administer(DATABASE, &format!("EXPLAIN AST {statement}"));
    }
}

fn nothing_but_insert_and_select_is_needed(system: System) {
    if system.is_clickhouse() {
        return println!("its accounts differ with its version: other tests have them");
    }
    let server = ServerProcess::start(system);
    let mut log = Log::new();
    log.write(20);
    let mut settings = server.settings("agent");
    if system == System::MariaDb {
        // Without any right an account does not even get to the database.
        server.administer("mysql", &format!("GRANT SELECT ON {DATABASE}.* TO 'agent'@'%'"));
    }
    let exporter = Exporter::start(&settings, &log.path, "host");
    exporter.wait_for_problem("export-sql log.server");
    if system == System::MariaDb {
        server.administer("mysql", &format!("REVOKE SELECT ON {DATABASE}.* FROM 'agent'@'%'"));
    }
    // What the command prints is what an administrator needs.
    for statement in schema_sql(&settings).iter() {
        server.execute_as("owner", statement).unwrap();
    }
    for statement in grant_sql(&settings) {
        server.administer(DATABASE, &statement);
    }
    exporter.wait_until_sent(&log);
    assert_eq!(on_server(&server, DATABASE), log.copied());
    for table in ["record", "window", "event", "log", "program", "context", "endpoint", "schema"] {
        let column = if table == "schema" {
            "version"
        } else if table == "log" {
            "id"
        } else {
            "0"
        };
        for statement in [
            format!("DELETE FROM picosnitch_{table}"),
            format!("DROP TABLE picosnitch_{table}"),
            format!("UPDATE picosnitch_{table} SET {} = {column}", first_column(table)),
            format!("ALTER TABLE picosnitch_{table} ADD COLUMN more BIGINT"),
        ] {
            assert!(server.execute_as("agent", &statement).is_err(), "{statement}");
        }
    }
    // A part of the rights: what is missing is said.
    let revoke = match system {
        System::PostgreSql => "REVOKE INSERT ON picosnitch_event FROM agent".to_owned(),
        _ => format!("REVOKE INSERT ON {DATABASE}.picosnitch_event FROM 'agent'@'%'"),
    };
    server.administer(DATABASE, &revoke);
    log.write(5);
    let problem = exporter.wait_for_problem("cannot send events");
    assert!(problem.contains("the account lacks rights"), "{problem}");
    assert_eq!(
        server.numbers("SELECT count(*) FROM picosnitch_window"),
        [20],
        "a batch is whole or not there"
    );
    server.administer(DATABASE, &grant_sql(&settings).join(";"));
    exporter.wait_until_sent(&log);
    assert_eq!(on_server(&server, DATABASE), log.copied());
    // Old tables do not need the view.
    settings.view = "other".into();
    let exporter = Exporter::start(&settings, &log.path, "host");
    exporter.wait_for_problem("cannot make the view");
    log.write(1);
    exporter.wait_until_sent(&log);
    assert_eq!(on_server(&server, DATABASE), log.copied());
}

fn first_column(table: &str) -> &'static str {
    match table {
        "record" | "window" | "event" => "log",
        "log" => "id",
        "schema" => "version",
        _ => "digest",
    }
}

fn copies_of_a_log_share_their_past_only(system: System) {
    let server = ServerProcess::start(system);
    let settings = server.settings("owner");
    let mut log = Log::new();
    log.write(50);
    let older = log.copy();
    let mut expected = log.copied();
    log.write(30);
    send_all(&settings, &log);
    // An older copy takes the place of the log: its epoch is a new one, and its past is not sent again.
    log.replace_by(&older);
    log.write(20);
    let epoch = WindowReader::open(&log.path).unwrap().state().unwrap().name.epoch;
    assert_eq!(epoch, 2);
    let lost = Copied { windows: 30, ..Copied::default() }.windows;
    send_all(&settings, &log);
    let there = on_server(&server, DATABASE);
    assert_eq!(there.windows, log.copied().windows + lost);
    expected = Copied { windows: there.windows, ..expected };
    assert_eq!(server.numbers("SELECT max(parent_window) FROM picosnitch_log"), [50]);

    // Two clones of a machine, with one name, at the same time; the exporter of one was there first.
    let mut clone = log.copy();
    let mut third = clone.copy();
    let mut exporters = Vec::new();
    for log in [&log, &clone, &third] {
        exporters.push(Exporter::start(&settings, &log.path, "host"));
    }
    let shared = log.copied();
    for _ in 0..5 {
        for log in [&mut log, &mut clone, &mut third] {
            log.write(7);
        }
    }
    for (exporter, log) in exporters.iter().zip([&log, &clone, &third]) {
        exporter.wait_until_sent(log);
    }
    let own = |log: &Log| log.copied().windows - shared.windows;
    expected.windows += own(&log) + own(&clone) + own(&third);
    assert_eq!(on_server(&server, DATABASE).windows, expected.windows);
    assert_eq!(own(&log), 35);
    // They find their own branch again.
    drop(exporters);
    clone.write(3);
    for log in [&clone, &third, &log] {
        send_all(&settings, log);
    }
    expected.windows += 3;
    assert_eq!(on_server(&server, DATABASE).windows, expected.windows);
    // Each branch, with its past, is the whole log of its machine.
    let branches = server.numbers("SELECT count(DISTINCT id) FROM picosnitch_log")[0];
    // On a ClickHouse none of the clones may keep the branch, and two may have begun another one together.
    let most = if system.is_clickhouse() { 8 } else { 4 };
    assert!(
        (4..=most).contains(&branches),
        "{branches} for the log, its older copy, and the other two clones"
    );

    let lengths = lengths_with_past(&server);
    for log in [&log, &clone, &third] {
        assert!(lengths.contains(&log.copied().windows), "{lengths:?}");
    }
    assert!(lengths.contains(&80), "the log that the older copy replaced: {lengths:?}");

    // A machine that gets another name is told apart from then on, and sends nothing again.
    let renamed = Exporter::start(&settings, &log.path, "renamed");
    log.write(4);
    renamed.wait_until_sent(&log);
    assert_eq!(renamed.status().sent_windows, 4);
    drop(renamed);
    expected.windows += 4;
    assert!(server.numbers("SELECT count(*) FROM connections WHERE host = 'renamed'")[0] > 0);

    // Another machine of the same name; and history that is imported late, whose times are old.
    let mut other = Log::new();
    other.write(10);
    send_all(&settings, &other);
    let old = ImportWindow { time: 1_500_000_000, records: window(1_500_000_000, 5).records };
    Writer::open(&other.path).unwrap().write_import(&[old], &mut ImportSource::new(0), None).unwrap();
    send_all(&settings, &other);
    expected.windows += 11;
    assert_eq!(on_server(&server, DATABASE).windows, expected.windows);
    assert_eq!(server.numbers("SELECT count(*) FROM connections WHERE time = 1500000000"), [5]);

    // Without its past, only the last window and what follows.
    let mut recent = Log::new();
    recent.write(10);
    let settings = ServerSettings { backfill: false, ..settings };
    let exporter = Exporter::start(&settings, &recent.path, "recent");
    exporter.wait_until_sent(&recent);
    recent.write(2);
    exporter.wait_until_sent(&recent);
    drop(exporter);
    recent.write(2);
    Exporter::start(&settings, &recent.path, "recent").wait_until_sent(&recent);
    expected.windows += 5;
    assert_eq!(on_server(&server, DATABASE).windows, expected.windows);
}

/// The number of windows of each branch with its past, by the question of docs/export.md.
fn lengths_with_past(server: &ServerProcess) -> Vec<i64> {
    if server.system.is_clickhouse() {
        return lengths_on_clickhouse(server);
    }
    let text = include_str!("../../../../docs/export.md");
    let question = text.split("```sql\n").find(|part| part.starts_with("WITH RECURSIVE")).unwrap();
    let question = question.split("```").next().unwrap().replace("SELECT w.*", "SELECT count(*)");
    let (question, _) = question.split_once(" ORDER BY").unwrap();
    let ids = server.texts("SELECT CAST(id AS CHAR(20)) FROM picosnitch_log");
    let length = |id: &String| server.numbers(&question.replace("4711", id.trim()))[0];
    ids.iter().map(length).collect()
}

/// The same, without a question that refers to itself.
fn lengths_on_clickhouse(server: &ServerProcess) -> Vec<i64> {
    let branches = server.texts("SELECT DISTINCT concat(toString(id), ' ', toString(ifNull(parent, 0)), ' ', toString(parent_window)) FROM picosnitch_log");
    let branches: Vec<[i64; 3]> = branches
        .iter()
        .map(|line| line.split(' ').map(|number| number.parse().unwrap()).collect::<Vec<i64>>())
        .map(|numbers| numbers.try_into().unwrap())
        .collect();
    let length = |[id, parent, parent_window]: &[i64; 3]| {
        let (mut length, mut next) = (0, Some((*id, i64::MAX, *parent, *parent_window)));
        while let Some((id, until, parent, parent_window)) = next {
            let sql = format!(
                "SELECT count(*) FROM picosnitch_window FINAL WHERE log = {id} AND window_number <= {until}"
            );
            length += server.numbers(&sql)[0];
            next = branches
                .iter()
                .find(|[id, ..]| *id == parent)
                .map(|[id, up, window]| (*id, until.min(parent_window), *up, *window));
        }
        length
    };
    branches.iter().map(length).collect()
}

fn what_retention_deleted_is_told(system: System) {
    let server = ServerProcess::start(system);
    let settings = server.settings("owner");
    let mut log = Log::new();
    log.write(20);
    // What was deleted before the first connection does not count.
    Writer::open(&log.path).unwrap().purge(1_700_000_000 + 55).unwrap();
    send_all(&settings, &log);
    assert_eq!(server.numbers("SELECT count(*), min(window_number) FROM picosnitch_window"), [15, 6]);
    log.write(30);
    // Those up to 40 are deleted, and the last one that was sent with them.
    Writer::open(&log.path).unwrap().purge(1_700_000_000 + 401).unwrap();
    log.write(5);
    let exporter = Exporter::start(&settings, &log.path, "host");
    exporter.wait_until_sent(&log);
    let deleted: Vec<(String, Unsent)> = exporter
        .news()
        .into_iter()
        .filter_map(|news| match news {
            SinkNews::Deleted(text, unsent) => Some((text, unsent)),
            _ => None,
        })
        .collect();
    let [(text, unsent)] = &deleted[..] else { panic!("{deleted:?}") };
    assert_eq!(*unsent, Unsent { windows: 20, records: 0 });
    assert!(text.contains("20 windows"), "{text}");
    assert_eq!(exporter.status().unsent, *unsent);
    assert_eq!(server.numbers("SELECT count(*) FROM picosnitch_window"), [15 + 15]);
    assert_eq!(server.numbers("SELECT count(*) FROM picosnitch_log"), [1], "it goes on where it was");
}
