//! What may happen to the sums of a ClickHouse, which has no transactions: the answers stay those of the log.

use export::ServerSettings;
use server_query::ServerReader;
use store::{Query, Range, Source};

use super::{
    log::{Log, Random, question},
    server_process::{DATABASE, ServerProcess, System},
};

const FIRST: i64 = 1_690_000_000;
const QUESTIONS: u64 = 150;

/// A server with the sums of half a year, and a log that is a little further.
fn with_sums(system: System) -> (ServerProcess, Log, i64) {
    let server = ServerProcess::start(system);
    let mut random = Random(0x8765_4321_9abc_def1);
    let log = Log::new();
    let last = log.write(&mut random, FIRST, 300, 50_000);
    log.send_with_sums(&server, "one");
    let last = log.write(&mut random, last + 10, 20, 10_000);
    log.send(&server.settings("owner"), "one");
    (server, log, last)
}

/// Compares answers about the time from `since` on.
fn assert_equal_answers(server: &ServerProcess, log: &Log, since: Option<i64>, last: i64) {
    let settings = server.settings("owner");
    let (local, remote) = (log.reader(), ServerReader::connect(settings.clone()).unwrap());
    let of_records = ServerReader::connect(ServerSettings { asks_sums: false, ..settings }).unwrap();
    let mut random = Random(0x1234_5678_9abc_def1);
    for number in 0..QUESTIONS {
        let query = match since {
            None => question(&mut random, FIRST, last),
            // A log knows when programs were seen before.
            Some(_) => random.query(FIRST, last),
        };
        let until = query.range.until;
        let local_range = Range { since: query.range.since.max(since), until };
        // A server whose records begin later needs no range for it.
        let expected = local.answer(&Query { range: local_range, ..query.clone() }).unwrap();
        let answers = [&remote, &of_records].map(|reader| reader.answer(&query).unwrap());
        assert_eq!(answers, [expected.clone(), expected], "question {number}: {query:#?}");
    }
}

/// Adds copies of the sums of a kind that have one attempt, with another one, and perhaps a claim of it.
fn add_attempt(server: &ServerProcess, kind: i64, [of, attempt]: [i64; 2], last_window: Option<i64>) {
    server.administer(
        DATABASE,
        &format!(
            "INSERT INTO picosnitch_sum SELECT log, kind, start, last_window, {attempt}, context, remote_address, local_address, domain, \
             domain_source, family, protocol, country, network_number, network, remote_port, connections, sent, received, first_time, \
             last_time FROM picosnitch_sum WHERE kind = {kind} AND attempt = {of}"
        ),
    );
    if let Some(last_window) = last_window {
        let claim = format!(
            "SELECT log, kind, 1, {last_window}, {attempt} FROM picosnitch_sum_claim WHERE kind = {kind} LIMIT 1"
        );
        server.administer(DATABASE, &format!("INSERT INTO picosnitch_sum_claim {claim}"));
    }
}

/// Sums without a claim, and claims that came late: before those that others have made on them, and behind them.
fn late_claims(system: System) {
    let (server, log, last) = with_sums(system);
    let claimed = |kind: i64| {
        server.numbers(&format!("SELECT max(last_window) FROM picosnitch_sum_claim WHERE kind = {kind}"))[0]
    };
    let claims =
        server.numbers("SELECT count(), uniqExact(kind), uniqExact(attempt) FROM picosnitch_sum_claim");
    assert_eq!(claims, [4, 4, 4]);
    let made: Vec<i64> = (0..4)
        .map(|kind| {
            server.numbers(&format!("SELECT attempt FROM picosnitch_sum_claim WHERE kind = {kind}"))[0]
        })
        .collect();
    for (kind, made) in (0..).zip(&made) {
        add_attempt(&server, kind, [*made, i64::MIN + kind], None);
        add_attempt(&server, kind, [*made, i64::MAX - kind], Some(claimed(kind)));
    }
    assert_equal_answers(&server, &log, None, last);
    // Their claims go first now: of all windows, and of none but the first.
    for (kind, made) in (0..2).zip(&made) {
        add_attempt(&server, kind, [*made, i64::MIN + 10 + kind], Some(claimed(kind)));
    }
    server.administer(
        DATABASE,
        "INSERT INTO picosnitch_sum_claim SELECT log, kind, 1, 1, -9223372036854775700 FROM picosnitch_sum_claim WHERE kind IN (2, 3)",
    );
    let first = |kind: i64, seconds: i64, values: &str, keys: &str| {
        format!(
            "INSERT INTO picosnitch_sum SELECT log, {kind}, time - time % {seconds}, 1, -9223372036854775700, '', {values}, \
             sum(connections), sum(sent), sum(received), min(time), max(time) FROM picosnitch_record FINAL \
             WHERE window_number = 1 GROUP BY log, time - time % {seconds}, {keys}"
        )
    };
    let ends = "remote_address, local_address, domain, domain_source, family, protocol, country, network_number, network";
    server.administer(DATABASE, &first(2, 604_800, &format!("{ends}, 0"), ends));
    server.administer(
        DATABASE,
        &first(3, 86_400, "'', '', '', '', 0, 0, '', 0, '', remote_port", "remote_port"),
    );
    assert_equal_answers(&server, &log, None, last);
}

/// Claims of a fleet, and windows that were sent twice: more than fit into a statement with sums.
fn long_statements(system: System) {
    let (server, log, last) = with_sums(system);
    server.administer(
        DATABASE,
        &format!(
            "INSERT INTO picosnitch_repeated (log, window_number, time) SELECT 1, number, {FIRST} + number FROM system.numbers LIMIT 4900"
        ),
    );
    let claims = |logs: u64| {
        format!(
            "INSERT INTO picosnitch_sum_claim (log, kind, first_window, last_window, attempt) \
             SELECT 1000000000000000000 + number, kind, 1, 3000000, 7 FROM (SELECT number FROM system.numbers LIMIT {logs}) \
             CROSS JOIN (SELECT DISTINCT kind FROM picosnitch_sum_claim)"
        )
    };
    for logs in [1500, 20_000] {
        server.administer(DATABASE, &claims(logs));
        assert_equal_answers(&server, &log, None, last);
    }
}

/// Months are dropped as docs/export.md says: sums of a week in which one begins are asked no more.
fn dropped_months(system: System) {
    let (server, log, last) = with_sums(system);
    // 2023-11-01, a Wednesday.
    let since = 1_698_796_800;
    for month in 202_307..=202_310 {
        for table in ["picosnitch_record", "picosnitch_sum"] {
            server.administer(DATABASE, &format!("ALTER TABLE {table} DROP PARTITION {month}"));
        }
    }
    let remote = ServerReader::connect(server.settings("owner")).unwrap();
    let (first, found_last) = remote.extent().unwrap().unwrap();
    assert!(first >= since && first < since + 100_000 && found_last == last, "{first} {found_last}");
    assert_equal_answers(&server, &log, Some(since), last);
}

#[test]
fn claims_may_come_late() {
    late_claims(System::ClickHouse);
}

#[test]
fn claims_may_come_late_on_a_current_version() {
    late_claims(System::Chdb);
}

#[test]
fn statements_with_sums_may_be_too_long() {
    long_statements(System::ClickHouse);
}

#[test]
fn months_may_be_dropped() {
    dropped_months(System::ClickHouse);
}

#[test]
fn months_may_be_dropped_on_a_current_version() {
    dropped_months(System::Chdb);
}
