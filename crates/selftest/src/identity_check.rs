//! Comparison of what the log says about the processes of flows.

use crate::{
    expected_flow::ExpectedFlow,
    flow_matching::{describe_flow, is_of, same_ends},
    recorder::LogRow,
};

/// Returns what the rows say wrongly about the process of each flow: at most one sentence for each flow, and one for rows without
/// a local port.
pub(crate) fn wrong_identities(flows: &[ExpectedFlow], own: &[&LogRow], sha256: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for (number, flow) in flows.iter().enumerate() {
        let rows = own.iter().filter(|row| is_of(flow, row));
        let difference = rows.filter_map(|row| {
            let matches = |recorded: &str, expected: &str| match flow.is_partial {
                true => recorded.contains(expected),
                false => recorded == expected,
            };
            let digest = flow.sha256.as_deref().unwrap_or(sha256);
            if row.sha256.as_deref() != Some(digest) {
                let recorded = row.sha256.as_deref().unwrap_or("none");
                Some(format!("SHA-256 {recorded} instead of {digest}"))
            } else if !matches(&row.name, &flow.name) {
                Some(format!("name {:?} instead of {:?}", row.name, flow.name))
            } else if row.uid != flow.uid {
                Some(format!("uid {} instead of {}", row.uid, flow.uid))
            } else if !flow.ancestors.is_empty() && !flow.ancestors.contains(&row.ancestors) {
                Some(format!("parents {:?} instead of {:?}", row.ancestors, flow.ancestors))
            } else if !matches(&row.command_line, &flow.command_line) {
                Some(format!("command line {:?} instead of {:?}", row.command_line, flow.command_line))
            } else {
                match (flow.local_address, row.local_address) {
                    (Some(expected), Some(recorded)) if expected != recorded => {
                        Some(format!("local address {recorded} instead of {expected}"))
                    }
                    _ => None,
                }
            }
        });
        wrong.extend(difference.take(1).map(|difference| format!("{}: {difference}", describe_flow(flow))));
        // Once for all flows that share these rows.
        if flow.local_port.is_some() && !flows[..number].iter().any(|other| same_ends(other, flow)) {
            let rows = own.iter().filter(|row| is_of(flow, row) && row.local_port == 0);
            let connections: u64 = rows.clone().map(|row| row.connections).sum();
            let bytes: u64 = rows.clone().map(|row| row.sent + row.received).sum();
            if rows.count() > 0 {
                let problem = format!("{connections} connections and {bytes} bytes without a local port");
                wrong.push(format!("{}: {problem}", describe_flow(flow)));
            }
        }
    }
    wrong
}
