//! Questions that are given up, that cannot be answered, and servers that are away.

use std::time::{Duration, Instant};

use server_query::{ServerQueryError, ServerReader};
use store::{Dimension, Query, Range, Source};

use super::{
    log::{Log, Random, SEND_TIMEOUT},
    server_process::{DATABASE, ServerProcess, System, clickhouse::Agent, with_each_system},
};

/// A question can be given up from another thread, also while the server works on it, and then the next one is answered.
fn interruptions(system: System) {
    let mut server = ServerProcess::start(system);
    let log = Log::new();
    log.write(&mut Random(5), 1_700_000_000, 3, 10);
    log.send(&server.settings("owner"), "one");
    let remote = ServerReader::connect(server.settings("owner")).unwrap();
    let interrupter = remote.interrupter();
    let lock = match system {
        System::PostgreSql => "BEGIN; LOCK TABLE picosnitch_record; SELECT pg_sleep(4); COMMIT",
        System::MariaDb => "LOCK TABLES picosnitch_record WRITE; SELECT SLEEP(4); UNLOCK TABLES",
        // Nothing can be locked there: this only takes a while.
        System::ClickHouse | System::Chdb => "SELECT sleep(3)",
    };
    std::thread::scope(|scope| {
        let server = &server;
        scope.spawn(move || server.administer(DATABASE, lock));
        std::thread::sleep(Duration::from_secs(1));
        let begun = std::time::Instant::now();
        let interrupter = &interrupter;
        scope.spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            interrupter.interrupt();
        });
        if system.is_clickhouse() {
            std::thread::sleep(Duration::from_millis(600));
        }
        assert!(remote.answer(&Query::default()).unwrap_err().is_interrupted());
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        // Until it is resumed.
        assert!(remote.hosts().unwrap_err().is_interrupted());
        interrupter.resume();
        assert_eq!(remote.hosts().unwrap().len(), 1);
        // The server does not go on with it either: there are this reader, and the one who counts.
        let own = match system {
            System::PostgreSql => "SELECT integer(count(*)) FROM pg_stat_activity WHERE usename = 'owner'",
            System::MariaDb => {
                "SELECT integer(count(*)) FROM information_schema.processlist WHERE user = 'owner'"
            }
            // This one was given up before it began: another one is below.
            System::ClickHouse | System::Chdb => return,
        };
        while server.numbers(own) != [2] {
            assert!(begun.elapsed() < Duration::from_millis(2500), "{:?}", server.numbers(own));
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let answer = remote.answer(&Query::default()).unwrap();
    match system {
        System::ClickHouse => an_endless_question_is_ended(&server, &remote),
        System::Chdb => println!("as a module it answers one question after the other: none can end another"),
        System::PostgreSql | System::MariaDb => {}
    }
    // A server that was started again is asked without an error; one that is away is one.
    server.restart();
    assert_eq!(remote.answer(&Query::default()).unwrap(), answer);
    server.kill();
    let away = remote.answer(&Query::default()).unwrap_err().to_string();
    assert!(away.contains("nothing listens there"), "{away}");
    server.restart();
    assert_eq!(remote.answer(&Query::default()).unwrap(), answer);
}

/// A ClickHouse is told to end a question that was given up; otherwise it would work on it for ever.
fn an_endless_question_is_ended(server: &ServerProcess, remote: &ServerReader) {
    let endless = "SELECT toInt64(number) AS time, toInt64(1) AS log, toInt64(1) AS connections, toInt64(1) AS sent, toInt64(1) AS received \
                   FROM system.numbers";
    for statement in
        ["RENAME TABLE picosnitch_record TO kept", &format!("CREATE VIEW picosnitch_record AS {endless}")]
    {
        server.administer(DATABASE, statement);
    }
    server.allow_agent(Agent::Reader);
    // An account that may only read may end its own questions.
    let reader = ServerReader::connect(server.settings("agent")).unwrap();
    let interrupter = reader.interrupter();
    let at_work = || server.numbers("SELECT count() FROM system.processes WHERE user = 'agent'") != [0];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let deadline = Instant::now() + SEND_TIMEOUT;
            while !at_work() {
                assert!(Instant::now() < deadline);
                std::thread::sleep(Duration::from_millis(20));
            }
            std::thread::sleep(Duration::from_millis(300));
            interrupter.interrupt();
        });
        assert!(reader.answer(&Query::default()).unwrap_err().is_interrupted());
    });
    interrupter.resume();
    assert!(at_work());
    assert_eq!(reader.hosts().unwrap().len(), 1);
    let deadline = Instant::now() + Duration::from_secs(10);
    while at_work() {
        assert!(Instant::now() < deadline, "the server still works on a question that was given up");
        std::thread::sleep(Duration::from_millis(50));
    }
    for statement in ["DROP TABLE picosnitch_record", "RENAME TABLE kept TO picosnitch_record"] {
        server.administer(DATABASE, statement);
    }
    let total = |reader: &ServerReader| reader.answer(&Query::default()).unwrap().total;
    assert_eq!(total(&reader), total(remote));
}

/// A server that takes a connection and then says nothing, over HTTP, holds up nobody who gives the question up.
#[test]
fn silence_holds_nobody_up() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("clickhouse://u@{}?tls=disable", silent.local_addr().unwrap());
    let settings = server_query::server_at(&address, None, |_| None).unwrap().unwrap();
    let reader = ServerReader::new(settings).unwrap();
    let interrupter = reader.interrupter();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            interrupter.interrupt();
        });
        assert!(reader.answer(&Query::default()).unwrap_err().is_interrupted());
    });
    drop(reader);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

/// What a server cannot answer is an error that says so, and an account that may only read can ask.
fn limits(system: System) {
    let server = ServerProcess::start(system);
    let error = |user: &str| match ServerReader::connect(server.settings(user)) {
        Ok(_) => panic!("it answers"),
        Err(error) => (matches!(error, ServerQueryError::NoTables(_)), error.to_string()),
    };
    let (is_without_tables, text) = error("owner");
    assert!(is_without_tables && text.contains("no tables of picosnitch"), "{text}");
    let mut wrong = server.settings("owner");
    wrong.password = "wrong".into();
    let refused = ServerReader::connect(wrong).err().unwrap().to_string();
    assert!(refused.contains("is the user or the password wrong"), "{refused}");
    let log = Log::new();
    let mut random = Random(77);
    log.write(&mut random, 1_700_000_000, 3, 10);
    log.send(&server.settings("owner"), "one");
    let tables: &[&str] = match system {
        System::ClickHouse => {
            server.allow_agent(Agent::Reader);
            &[]
        }
        // Its accounts may do anything.
        System::Chdb => &[],
        System::PostgreSql | System::MariaDb => {
            &["schema", "log", "record", "context", "program", "endpoint", "event"]
        }
    };
    for table in tables {
        let account = if system == System::MariaDb { "'agent'@'%'" } else { "agent" };
        let sql = format!("GRANT SELECT ON picosnitch_{table} TO {account}");
        server.administer(DATABASE, &sql);
    }
    let remote = ServerReader::connect(server.settings("agent")).unwrap();
    assert_eq!(
        remote.answer(&Query::default()).unwrap().total,
        log.reader().answer(&Query::default()).unwrap().total
    );
    // A range that no clock has.
    let far = Query {
        range: Range { since: Some(i64::MIN), until: Some(i64::MAX) },
        group_by: vec![Dimension::Month],
        ..Query::default()
    };
    assert_eq!(remote.answer(&far).unwrap(), log.reader().answer(&far).unwrap());
}

with_each_system! {
    interruptions
    limits
}
