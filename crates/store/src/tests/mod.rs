//! Tests of the log.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use calendar::TimeZone;
use model::{
    Address, CgroupInfo, Counters, Event, EventKind, FlowTuple, GeoInfo, Loss, LossKind, Port,
    ProcessContext, Program, Record, Sha256, Window,
};
use rusqlite::Connection;
use tempfile::TempDir;

use super::{
    migrations::MIGRATIONS,
    schema::{self, APPLICATION_ID},
    *,
};

mod backup;
mod checks;
mod events;
mod failures;
mod forget;
mod growth;
mod identity;
mod kills;
mod many;
mod migrations;
mod older_versions;
mod oracle;
mod queries;
mod random;
mod retention;
mod rollups;
mod salvage;
mod seen;
mod seen_times;
mod size_limit;
mod window_reader;
mod writer;

/// A path for a log in a directory that exists as long as the first value.
fn new_log() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("snitch.db");
    (directory, path)
}

fn program(path: &[u8], name: &[u8]) -> Program {
    Program {
        path: path.to_vec(),
        name: name.to_vec(),
        command_line: [path, b" -x"].concat(),
        sha256: Some(Sha256([path.len() as u8; 32])),
    }
}

fn record(path: &[u8], remote: &str, port: Port, sent: u64, received: u64) -> Record {
    Record {
        context: Arc::new(ProcessContext {
            program: program(path, b"tool"),
            parent: program(b"/bin/sh", b"sh"),
            grandparent: Program::default(),
            uid: 4_294_967_294,
            network_namespace: 4_026_531_840,
            cgroup: CgroupInfo {
                path: b"/system.slice/tool.service".to_vec(),
                unit: b"tool.service".to_vec(),
                container: b"docker web-1".to_vec(),
                app: b"Snap tool".to_vec(),
            },
        }),
        tuple: FlowTuple {
            family: match remote.parse().unwrap() {
                Address::Ip(IpAddr::V4(_)) => 2,
                Address::Ip(IpAddr::V6(_)) => 10,
                Address::Vsock(_) | Address::Many => 40,
            },
            protocol: 6,
            local_address: Some("192.0.2.9".parse().unwrap()),
            remote_address: Some(remote.parse().unwrap()),
            local_port: 50_000,
            remote_port: port,
            domain: b"example.com".to_vec(),
            ..FlowTuple::default()
        },
        geo: GeoInfo { country: "NL".into(), network_number: 64496, network: "Example".into() },
        counters: Counters { connections: 1, sent, received },
        opened: false,
        folded: 0,
    }
}

fn window(time: i64, records: Vec<Record>) -> Window {
    Window { time, records, ..Window::default() }
}

fn rows(path: &Path, group_by: &[Dimension], filters: Vec<Filter>) -> Vec<Row> {
    let query = Query { group_by: group_by.to_vec(), filters, ..Query::default() };
    Reader::open(path).unwrap().query(&query).unwrap()
}

/// The filters that a typed value stands for, in UTC.
fn typed(dimension: Dimension, value: &[u8], exclude: bool) -> Vec<Filter> {
    Filter::parse(dimension, value, exclude, &TimeZone::UTC).unwrap()
}

fn total(path: &Path) -> Counters {
    rows(path, &[], Vec::new())[0].counters
}

fn count(path: &Path, table: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM {table}");
    Connection::open(path).unwrap().query_row(&sql, [], |row| row.get(0)).unwrap()
}
