//! Compares what the actors say they moved with what the recorder wrote.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    director::{Ending, Played},
    recorder::Row,
    report::{Comparison, Verdict},
    scenario::{Extra, Scenario},
    socket::Flow,
};

/// How many differences a note names.
const NOTED: usize = 3;

/// What is compared, and how to read it from both sides.
type Direction = (&'static str, fn(&Flow) -> u64, fn(&Row) -> u64);

const DIRECTIONS: [Direction; 3] = [
    ("sent", |flow| flow.sent, |row| row.sent),
    ("received", |flow| flow.received, |row| row.received),
    ("connections", |flow| flow.connections, |row| row.connections),
];

/// What the recorder had to say, beside what belongs to single scenarios.
pub struct Recorded<'a> {
    /// All rows of the log; `None` when no recorder ran.
    pub rows: Option<&'a [Row]>,
    /// The rows that belong to no flow of any scenario: see [`unclaimed`].
    pub unclaimed: &'a [&'a Row],
    /// Whether it reported a packet ring.
    pub ring_reported: bool,
    /// SHA-256 of the program that all actors are, hexadecimal.
    pub sha256: &'a str,
}

/// The rows that belong to no flow of any of `played`: bytes that were charged to the wrong program are there.
pub fn unclaimed<'a>(rows: &'a [Row], played: &[Played]) -> Vec<&'a Row> {
    let flows: Vec<_> = played.iter().flat_map(|played| merge(&played.flows)).collect();
    rows.iter().filter(|row| !flows.iter().any(|flow| is_of(flow, row))).collect()
}

/// The verdicts on one scenario: one for each direction, one for the identity, one for what else is compared.
pub fn compare(scenario: &Scenario, played: &Played, recorded: &Recorded) -> Vec<Comparison> {
    let line = |direction: &str, verdict, note: &str| Comparison {
        id: scenario.id.clone(),
        direction: direction.to_owned(),
        expected: 0,
        recorded: 0,
        attributed: 0,
        verdict,
        note: note.to_owned(),
    };
    match &played.ending {
        Ending::Skipped(why) => return vec![line("all", Verdict::Skipped, why)],
        Ending::Failed(why) => {
            return vec![line("all", Verdict::Fail, &format!("the traffic failed: {why}"))];
        }
        Ending::Done => {}
    }
    let flows = merge(&played.flows);
    let Some(rows) = recorded.rows else {
        return DIRECTIONS
            .iter()
            .map(|(direction, of_flow, _)| Comparison {
                expected: flows.iter().map(of_flow).sum(),
                ..line(direction, Verdict::Skipped, "nothing was recorded, as asked for")
            })
            .collect();
    };
    // Rows of an actor whose traffic nobody can count are left out.
    let uncompared = match scenario.extra {
        Extra::RingReported(role) => Some(format!("/{}-{role}", scenario.id)),
        _ => None,
    };
    let own: Vec<&Row> = rows
        .iter()
        .filter(|row| flows.iter().any(|flow| same_program(flow, row)))
        .filter(|row| uncompared.as_ref().is_none_or(|end| !row.exe.ends_with(end.as_str())))
        .collect();
    let foreign: Vec<&Row> = recorded
        .unclaimed
        .iter()
        .filter(|row| !flows.iter().any(|flow| same_program(flow, row)))
        .filter(|row| flows.iter().any(|flow| same_traffic(flow, row)))
        .copied()
        .collect();
    let mut comparisons: Vec<_> = DIRECTIONS
        .iter()
        .map(|direction| Comparison {
            id: scenario.id.clone(),
            ..counters(direction, &flows, &own, &foreign)
        })
        .collect();
    let wrong = wrong_identities(&flows, &own, recorded.sha256);
    comparisons.push(Comparison {
        expected: flows.len() as u64,
        recorded: flows.iter().filter(|flow| own.iter().any(|row| is_of(flow, row))).count() as u64,
        attributed: (flows.len() - wrong.len().min(flows.len())) as u64,
        ..line("identity", Verdict::of(wrong.is_empty()), &shorten(&wrong))
    });
    match scenario.extra {
        Extra::None => {}
        Extra::Windows(wanted) => {
            let windows = own.iter().map(|row| &row.time).collect::<BTreeSet<_>>().len();
            comparisons.push(Comparison {
                expected: wanted as u64,
                recorded: windows as u64,
                attributed: windows as u64,
                ..line("windows", Verdict::of(windows >= wanted), "at least so many windows have a part")
            });
        }
        Extra::RingReported(_) => {
            let note = match recorded.ring_reported {
                true => "bytes in a packet ring cannot be counted, and the recorder said so",
                false => "bytes in a packet ring cannot be counted, and error.log does not say so",
            };
            comparisons.push(line("report", Verdict::of(recorded.ring_reported), note));
        }
    }
    comparisons
}

/// Adds up flows that the log cannot tell apart.
fn merge(flows: &[Flow]) -> Vec<Flow> {
    let mut merged: BTreeMap<_, Flow> = BTreeMap::new();
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

fn same_program(flow: &Flow, row: &Row) -> bool {
    let same_path = match flow.marked {
        true => row.exe.contains(&flow.exe),
        false => row.exe == flow.exe,
    };
    // Files of one path are told apart by their digest.
    same_path && (flow.sha256.is_none() || flow.sha256 == row.sha256)
}

/// Whether a row is about the traffic between the two ends of a flow, whoever it is charged to. A local port that
/// the recorder did not know (0) fits every flow.
fn same_traffic(flow: &Flow, row: &Row) -> bool {
    row.family == flow.family
        && (row.protocol == flow.protocol || i32::from(flow.family) == libc::AF_PACKET)
        && row.remote_address == flow.remote_address
        && row.remote_port == i32::from(flow.remote_port)
        && row.network_namespace == flow.network_namespace
        && (row.local_port == 0 || flow.local_port.is_none_or(|port| row.local_port == i32::from(port)))
}

fn is_of(flow: &Flow, row: &Row) -> bool {
    same_program(flow, row) && same_traffic(flow, row)
}

/// Whether the log cannot tell two flows apart where the recorder did not know the local port.
fn same_ends(one: &Flow, other: &Flow) -> bool {
    (&one.exe, &one.sha256) == (&other.exe, &other.sha256)
        && one.family == other.family
        && one.protocol == other.protocol
        && one.remote_address == other.remote_address
        && one.remote_port == other.remote_port
        && one.network_namespace == other.network_namespace
}

fn counters(direction: &Direction, flows: &[Flow], own: &[&Row], foreign: &[&Row]) -> Comparison {
    let (name, of_flow, of_row) = direction;
    let sum = |rows: &[&Row]| rows.iter().map(|row| of_row(row)).sum::<u64>();
    let mut wrong = Vec::new();
    for (number, flow) in flows.iter().enumerate() {
        let of = |known: bool| {
            let rows = own.iter().filter(|row| is_of(flow, row) && (row.local_port != 0) == known);
            rows.map(|row| of_row(row)).sum::<u64>()
        };
        let (exact, unknown, wanted) = (of(true), of(false), of_flow(flow));
        let has_port = flow.local_port.is_some();
        if exact > wanted || exact + unknown < wanted || (!has_port && exact + unknown != wanted) {
            wrong.push(format!("{}: {} instead of {wanted}", describe_flow(flow), exact + unknown));
        }
        // Once for all flows that share what the recorder could not tell apart.
        if has_port && unknown > 0 && !flows[..number].iter().any(|other| same_ends(other, flow)) {
            let together = flows.iter().filter(|other| same_ends(other, flow));
            let wanted: u64 = together.clone().map(of_flow).sum();
            let rows = own.iter().filter(|row| together.clone().any(|other| is_of(other, row)));
            let recorded: u64 = rows.map(|row| of_row(row)).sum();
            if recorded != wanted {
                wrong.push(format!("{} and its like: {recorded} instead of {wanted}", describe_flow(flow)));
            }
        }
    }
    for row in own.iter().filter(|row| of_row(row) > 0 && !flows.iter().any(|flow| is_of(flow, row))) {
        wrong.push(format!("{}: {} that nobody moved", describe_row(row), of_row(row)));
    }
    for row in foreign.iter().filter(|row| of_row(row) > 0) {
        wrong.push(format!("{}: {} charged to the wrong program", describe_row(row), of_row(row)));
    }
    Comparison {
        id: String::new(),
        direction: (*name).to_owned(),
        expected: flows.iter().map(of_flow).sum(),
        recorded: sum(own) + sum(foreign),
        attributed: sum(own),
        verdict: Verdict::of(wrong.is_empty()),
        note: shorten(&wrong),
    }
}

/// What the rows of each flow say about its process that is not true: at most one sentence a flow.
fn wrong_identities(flows: &[Flow], own: &[&Row], sha256: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for (number, flow) in flows.iter().enumerate() {
        let rows = own.iter().filter(|row| is_of(flow, row));
        let difference = rows.filter_map(|row| {
            let matches = |recorded: &str, true_one: &str| match flow.marked {
                true => recorded.contains(true_one),
                false => recorded == true_one,
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
                    (Some(true_one), Some(recorded)) if true_one != recorded => {
                        Some(format!("local address {recorded} instead of {true_one}"))
                    }
                    _ => None,
                }
            }
        });
        wrong.extend(difference.take(1).map(|difference| format!("{}: {difference}", describe_flow(flow))));
        // Once for all flows that share what the recorder could not tell apart.
        if flow.local_port.is_some() && !flows[..number].iter().any(|other| same_ends(other, flow)) {
            let rows = own.iter().filter(|row| is_of(flow, row) && row.local_port == 0);
            let connections: u64 = rows.clone().map(|row| row.connections).sum();
            let bytes: u64 = rows.clone().map(|row| row.sent + row.received).sum();
            if rows.count() > 0 {
                let lost = format!("{connections} connections and {bytes} bytes without a local port");
                wrong.push(format!("{}: {lost}", describe_flow(flow)));
            }
        }
    }
    wrong
}

fn describe_flow(flow: &Flow) -> String {
    let local = flow.local_port.map_or("*".to_owned(), |port| port.to_string());
    describe(&flow.exe, flow.protocol, &local, flow.remote_address, i32::from(flow.remote_port))
}

fn describe_row(row: &Row) -> String {
    describe(&row.exe, row.protocol, &row.local_port.to_string(), row.remote_address, row.remote_port)
}

fn describe(exe: &str, protocol: u16, local: &str, address: Option<std::net::IpAddr>, port: i32) -> String {
    let program = exe.rsplit('/').next().unwrap_or(exe);
    let address = address.map_or("nobody".to_owned(), |address| address.to_string());
    format!("{program} protocol {protocol} :{local} -> {address} :{port}")
}

fn shorten(sentences: &[String]) -> String {
    let mut note = sentences[..sentences.len().min(NOTED)].join("; ");
    if sentences.len() > NOTED {
        note.push_str(&format!("; and {} more", sentences.len() - NOTED));
    }
    note
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow() -> Flow {
        Flow {
            exe: "/bin/one".to_owned(),
            name: "one".to_owned(),
            family: 2,
            protocol: 6,
            remote_address: "10.0.0.2".parse().ok(),
            remote_port: 80,
            local_port: Some(4000),
            connections: 1,
            sent: 100,
            received: 50,
            network_namespace: 7,
            ..Flow::default()
        }
    }

    fn row() -> Row {
        Row {
            exe: "/bin/one".to_owned(),
            sha256: Some("aa".to_owned()),
            name: "one".to_owned(),
            command_line: String::new(),
            ancestors: [String::new(), String::new()],
            uid: 0,
            family: 2,
            protocol: 6,
            remote_address: "10.0.0.2".parse().ok(),
            remote_port: 80,
            local_address: None,
            local_port: 4000,
            network_namespace: 7,
            time: "1".to_owned(),
            connections: 1,
            sent: 100,
            received: 50,
        }
    }

    fn verdicts(flows: Vec<Flow>, rows: &[Row]) -> Vec<(String, u64, u64, Verdict)> {
        let played = Played { ending: Ending::Done, flows };
        let unclaimed = unclaimed(rows, std::slice::from_ref(&played));
        let recorded =
            Recorded { rows: Some(rows), unclaimed: &unclaimed, ring_reported: false, sha256: "aa" };
        compare(&Scenario::new("x"), &played, &recorded)
            .into_iter()
            .map(|line| (line.direction, line.recorded, line.attributed, line.verdict))
            .collect()
    }

    #[test]
    fn equal_sides_pass_even_when_windows_split_the_rows() {
        let half = Row { sent: 50, received: 25, connections: 0, ..row() };
        let rows = [Row { connections: 1, ..half.clone() }, Row { time: "2".to_owned(), ..half }];
        assert!(verdicts(vec![flow()], &rows).iter().all(|line| line.3 == Verdict::Pass));
    }

    #[test]
    fn a_missing_byte_fails_its_direction_only() {
        let lines = verdicts(vec![flow()], &[Row { received: 49, ..row() }]);
        assert_eq!(lines[0], ("sent".to_owned(), 100, 100, Verdict::Pass));
        assert_eq!(lines[1], ("received".to_owned(), 49, 49, Verdict::Fail));
        assert_eq!(lines[3].3, Verdict::Pass);
    }

    #[test]
    fn bytes_under_another_program_are_recorded_but_not_attributed() {
        let lines = verdicts(vec![flow()], &[Row { exe: "/bin/two".to_owned(), ..row() }]);
        assert_eq!(lines[0], ("sent".to_owned(), 100, 0, Verdict::Fail));
    }

    #[test]
    fn the_wrong_peer_fails_although_the_sum_is_right() {
        let lines = verdicts(vec![flow()], &[Row { remote_port: 81, ..row() }]);
        assert_eq!(lines[0], ("sent".to_owned(), 100, 100, Verdict::Fail));
    }

    #[test]
    fn a_wrong_or_missing_digest_fails() {
        for sha256 in [None, Some("bb".to_owned())] {
            let wrong = Row { sha256, ..row() };
            assert_eq!(verdicts(vec![flow()], std::slice::from_ref(&wrong))[3].3, Verdict::Fail);
            // A program of its own digest: then it is not even its traffic.
            let small = Flow { sha256: Some("cc".to_owned()), ..flow() };
            assert_eq!(verdicts(vec![small], &[wrong])[0].3, Verdict::Fail);
        }
    }

    #[test]
    fn wrong_parents_fail_the_identity() {
        let parents = |name: &str| [name.to_owned(), "/sbin/init".to_owned()];
        let flow = Flow { ancestors: vec![parents("/bin/a"), parents("/bin/b")], ..flow() };
        for (parent, verdict) in [("/bin/b", Verdict::Pass), ("/bin/c", Verdict::Fail)] {
            let lines = verdicts(vec![flow.clone()], &[Row { ancestors: parents(parent), ..row() }]);
            assert_eq!(lines[3].3, verdict);
        }
    }

    #[test]
    fn an_unknown_local_port_fails_the_identity_but_no_amount() {
        let two = Flow { local_port: Some(4001), ..flow() };
        let rows = [row(), Row { local_port: 0, ..row() }];
        let lines = verdicts(vec![flow(), two.clone()], &rows);
        assert!(lines[..3].iter().all(|line| line.3 == Verdict::Pass));
        assert_eq!(lines[3].3, Verdict::Fail);
        let lines = verdicts(vec![flow(), two], &[row(), Row { local_port: 0, sent: 101, ..row() }]);
        assert_eq!(lines[0], ("sent".to_owned(), 201, 201, Verdict::Fail));
    }

    #[test]
    fn another_network_namespace_is_other_traffic() {
        let lines = verdicts(vec![flow()], &[Row { network_namespace: 8, ..row() }]);
        assert_eq!(lines[0], ("sent".to_owned(), 100, 100, Verdict::Fail));
    }

    #[test]
    fn a_wrong_name_or_user_fails_the_identity() {
        for wrong in [Row { name: "two".to_owned(), ..row() }, Row { uid: 1, ..row() }] {
            let lines = verdicts(vec![flow()], &[wrong]);
            assert_eq!(lines[0].3, Verdict::Pass);
            assert_eq!(lines[3].3, Verdict::Fail);
        }
    }

    #[test]
    fn a_skipped_scenario_is_one_line() {
        let played = Played { ending: Ending::Skipped("no such thing".to_owned()), flows: vec![] };
        let recorded = Recorded { rows: Some(&[]), unclaimed: &[], ring_reported: false, sha256: "aa" };
        let lines = compare(&Scenario::new("x"), &played, &recorded);
        assert_eq!(lines.len(), 1);
        assert_eq!((lines[0].verdict, &*lines[0].note), (Verdict::Skipped, "no such thing"));
    }
}
