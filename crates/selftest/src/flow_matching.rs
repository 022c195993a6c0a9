//! Which rows of the log belong to which flows.

use std::{collections::BTreeMap, net::IpAddr};

use crate::{expected_flow::ExpectedFlow, recorder::LogRow};

/// Adds up flows that have the same key in the log.
pub(crate) fn merge(flows: &[ExpectedFlow]) -> Vec<ExpectedFlow> {
    let mut merged: BTreeMap<_, ExpectedFlow> = BTreeMap::new();
    for flow in flows {
        let key = (
            (flow.exe.clone(), flow.sha256.clone()),
            flow.family,
            flow.protocol,
            flow.remote_address,
            flow.remote_port,
            flow.local_port,
            flow.network_namespace,
        );
        merged
            .entry(key)
            .and_modify(|sum| {
                sum.connections += flow.connections;
                sum.sent += flow.sent;
                sum.received += flow.received;
                sum.ancestors.extend_from_slice(&flow.ancestors);
            })
            .or_insert_with(|| flow.clone());
    }
    merged.into_values().collect()
}

/// Whether a row is charged to the program of a flow.
pub(crate) fn same_program(flow: &ExpectedFlow, row: &LogRow) -> bool {
    let same_path = match flow.is_partial {
        true => row.exe.contains(&flow.exe),
        false => row.exe == flow.exe,
    };
    // Different files may have had the same path, so that the digest must match too.
    same_path && (flow.sha256.is_none() || flow.sha256 == row.sha256)
}

/// Whether a row is about the traffic between the two ends of a flow, under any program. A local port that the recorder did not
/// know (0) matches every flow.
pub(crate) fn same_traffic(flow: &ExpectedFlow, row: &LogRow) -> bool {
    row.family == flow.family
        && (row.protocol == flow.protocol || i32::from(flow.family) == libc::AF_PACKET)
        && row.remote_address == flow.remote_address
        && row.remote_port == i32::from(flow.remote_port)
        && row.network_namespace == flow.network_namespace
        && (row.local_port == 0 || flow.local_port.is_none_or(|port| row.local_port == i32::from(port)))
}

/// Whether a row belongs to a flow.
pub(crate) fn is_of(flow: &ExpectedFlow, row: &LogRow) -> bool {
    same_program(flow, row) && same_traffic(flow, row)
}

/// Whether two flows have the same key in the log if the recorder does not know their local ports.
pub(crate) fn same_ends(one: &ExpectedFlow, other: &ExpectedFlow) -> bool {
    (&one.exe, &one.sha256) == (&other.exe, &other.sha256)
        && one.family == other.family
        && one.protocol == other.protocol
        && one.remote_address == other.remote_address
        && one.remote_port == other.remote_port
        && one.network_namespace == other.network_namespace
}

pub(crate) fn describe_flow(flow: &ExpectedFlow) -> String {
    let local = flow.local_port.map_or("*".to_owned(), |port| port.to_string());
    describe(&flow.exe, flow.protocol, &local, flow.remote_address, i32::from(flow.remote_port))
}

pub(crate) fn describe_row(row: &LogRow) -> String {
    describe(&row.exe, row.protocol, &row.local_port.to_string(), row.remote_address, row.remote_port)
}

fn describe(exe: &str, protocol: u16, local: &str, address: Option<IpAddr>, port: i32) -> String {
    let program = exe.rsplit('/').next().unwrap_or(exe);
    let address = address.map_or("no address".to_owned(), |address| address.to_string());
    format!("{program} protocol {protocol} :{local} -> {address} :{port}")
}
