//! Comparison of the flows that the actors reported with the log of the recorder.

use std::collections::BTreeSet;

use crate::{
    expected_flow::ExpectedFlow,
    flow_matching::{describe_flow, describe_row, is_of, merge, same_ends, same_program, same_traffic},
    identity_check::wrong_identities,
    recorder::LogRow,
    report::{Comparison, Verdict},
    runner::{ScenarioOutcome, ScenarioResult},
    scenario::{ExtraCheck, Scenario},
};

/// Number of differences that a note lists.
const MAX_LISTED: usize = 3;

/// A counter that is compared, and how it is read from both sides.
struct Direction {
    name: &'static str,
    of_flow: fn(&ExpectedFlow) -> u64,
    of_row: fn(&LogRow) -> u64,
}

const DIRECTIONS: [Direction; 3] = [
    Direction { name: "sent", of_flow: |flow| flow.sent, of_row: |row| row.sent },
    Direction { name: "received", of_flow: |flow| flow.received, of_row: |row| row.received },
    Direction { name: "connections", of_flow: |flow| flow.connections, of_row: |row| row.connections },
];

/// The output of the recorder, for all scenarios.
pub(crate) struct RecorderOutput<'a> {
    /// All rows of the log; `None` if no recorder ran.
    pub(crate) rows: Option<&'a [LogRow]>,
    /// The rows that belong to no flow of any scenario (see [`unclaimed`]).
    pub(crate) unclaimed: &'a [&'a LogRow],
    /// Whether the recorder reported a packet ring.
    pub(crate) is_ring_reported: bool,
    /// SHA-256 of the executable of all actors, hexadecimal.
    pub(crate) sha256: &'a str,
}

/// Returns the rows that belong to no flow of any scenario. Bytes that were charged to the wrong program are among them.
pub(crate) fn unclaimed<'a>(rows: &'a [LogRow], results: &[ScenarioResult]) -> Vec<&'a LogRow> {
    let flows: Vec<_> = results.iter().flat_map(|result| merge(&result.flows)).collect();
    rows.iter().filter(|row| !flows.iter().any(|flow| is_of(flow, row))).collect()
}

/// Compares one scenario: a line for each direction, one for the identity, and one for the extra check.
pub(crate) fn compare(
    scenario: &Scenario,
    result: &ScenarioResult,
    recorded: &RecorderOutput,
) -> Vec<Comparison> {
    let line = |direction: &str, verdict, note: &str| Comparison::new(&scenario.id, direction, verdict, note);
    match &result.outcome {
        ScenarioOutcome::Skipped(why) => return vec![line("all", Verdict::Skipped, why)],
        ScenarioOutcome::Failed(why) => {
            return vec![line("all", Verdict::Fail, &format!("the traffic failed: {why}"))];
        }
        ScenarioOutcome::Done => {}
    }
    let flows = merge(&result.flows);
    let Some(rows) = recorded.rows else {
        return DIRECTIONS
            .iter()
            .map(|direction| Comparison {
                expected: flows.iter().map(direction.of_flow).sum(),
                ..line(direction.name, Verdict::Skipped, "no recorder was started")
            })
            .collect();
    };
    let own = rows_of_programs(scenario, &flows, rows);
    let foreign: Vec<&LogRow> = recorded
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
            ..compare_counter(direction, &flows, &own, &foreign)
        })
        .collect();
    let wrong = wrong_identities(&flows, &own, recorded.sha256);
    comparisons.push(Comparison {
        expected: flows.len() as u64,
        recorded: flows.iter().filter(|flow| own.iter().any(|row| is_of(flow, row))).count() as u64,
        attributed: (flows.len() - wrong.len().min(flows.len())) as u64,
        ..line("identity", Verdict::of(wrong.is_empty()), &shorten(&wrong))
    });
    comparisons.extend(compare_extra(scenario, &own, recorded.is_ring_reported));
    comparisons
}

/// Returns the rows of the programs of a scenario, except for an actor whose traffic cannot be counted.
fn rows_of_programs<'a>(scenario: &Scenario, flows: &[ExpectedFlow], rows: &'a [LogRow]) -> Vec<&'a LogRow> {
    let uncounted = match scenario.extra_check {
        ExtraCheck::RingReported(role) => Some(format!("/{}-{role}", scenario.id)),
        _ => None,
    };
    rows.iter()
        .filter(|row| flows.iter().any(|flow| same_program(flow, row)))
        .filter(|row| uncounted.as_ref().is_none_or(|end| !row.exe.ends_with(end.as_str())))
        .collect()
}

/// Makes the line of the extra check of a scenario, if it has one.
fn compare_extra(scenario: &Scenario, own: &[&LogRow], is_ring_reported: bool) -> Option<Comparison> {
    match scenario.extra_check {
        ExtraCheck::None => None,
        ExtraCheck::MinWindows(minimum) => {
            let windows = own.iter().map(|row| &row.time).collect::<BTreeSet<_>>().len();
            let (verdict, note) =
                (Verdict::of(windows >= minimum), "the traffic must be in at least so many windows");
            Some(Comparison {
                expected: minimum as u64,
                recorded: windows as u64,
                attributed: windows as u64,
                ..Comparison::new(&scenario.id, "windows", verdict, note)
            })
        }
        ExtraCheck::RingReported(_) => {
            let note = match is_ring_reported {
                true => "bytes in a packet ring cannot be counted, and the recorder reported it",
                false => "bytes in a packet ring cannot be counted, and error.log does not report it",
            };
            Some(Comparison::new(&scenario.id, "report", Verdict::of(is_ring_reported), note))
        }
    }
}

/// Compares one counter of a scenario. `own` are the rows of its programs, `foreign` those of its traffic under other programs.
fn compare_counter(
    direction: &Direction,
    flows: &[ExpectedFlow],
    own: &[&LogRow],
    foreign: &[&LogRow],
) -> Comparison {
    let Direction { name, of_flow, of_row } = direction;
    let sum = |rows: &[&LogRow]| rows.iter().map(|row| of_row(row)).sum::<u64>();
    let mut wrong = Vec::new();
    for (number, flow) in flows.iter().enumerate() {
        let sum_of_rows = |has_local_port: bool| {
            let rows = own.iter().filter(|row| is_of(flow, row) && (row.local_port != 0) == has_local_port);
            rows.map(|row| of_row(row)).sum::<u64>()
        };
        let (exact, without_port, expected) = (sum_of_rows(true), sum_of_rows(false), of_flow(flow));
        let has_port = flow.local_port.is_some();
        let recorded = exact + without_port;
        if exact > expected || recorded < expected || (!has_port && recorded != expected) {
            wrong.push(format!("{}: {recorded} instead of {expected}", describe_flow(flow)));
        }
        // Once for all flows that share the rows without a local port.
        if has_port && without_port > 0 && !flows[..number].iter().any(|other| same_ends(other, flow)) {
            let sharing = flows.iter().filter(|other| same_ends(other, flow));
            let expected: u64 = sharing.clone().map(of_flow).sum();
            let rows = own.iter().filter(|row| sharing.clone().any(|other| is_of(other, row)));
            let recorded: u64 = rows.map(|row| of_row(row)).sum();
            if recorded != expected {
                wrong.push(format!(
                    "{} and flows with the same ends: {recorded} instead of {expected}",
                    describe_flow(flow)
                ));
            }
        }
    }
    for row in own.iter().filter(|row| of_row(row) > 0 && !flows.iter().any(|flow| is_of(flow, row))) {
        wrong.push(format!("{}: {} that no actor moved", describe_row(row), of_row(row)));
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

fn shorten(sentences: &[String]) -> String {
    let mut note = sentences[..sentences.len().min(MAX_LISTED)].join("; ");
    if sentences.len() > MAX_LISTED {
        note.push_str(&format!("; and {} more", sentences.len() - MAX_LISTED));
    }
    note
}

#[cfg(test)]
#[path = "compare_tests.rs"]
mod tests;
