use super::*;

fn flow() -> ExpectedFlow {
    ExpectedFlow {
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
        ..ExpectedFlow::default()
    }
}

fn row() -> LogRow {
    LogRow {
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

fn verdicts(flows: Vec<ExpectedFlow>, rows: &[LogRow]) -> Vec<(String, u64, u64, Verdict)> {
    let result = ScenarioResult { outcome: ScenarioOutcome::Done, flows };
    let unclaimed = unclaimed(rows, std::slice::from_ref(&result));
    let recorded =
        RecorderOutput { rows: Some(rows), unclaimed: &unclaimed, is_ring_reported: false, sha256: "aa" };
    compare(&Scenario::new("x"), &result, &recorded)
        .into_iter()
        .map(|line| (line.direction, line.recorded, line.attributed, line.verdict))
        .collect()
}

#[test]
fn equal_sides_pass_if_windows_split_the_rows() {
    let half = LogRow { sent: 50, received: 25, connections: 0, ..row() };
    let rows = [LogRow { connections: 1, ..half.clone() }, LogRow { time: "2".to_owned(), ..half }];
    assert!(verdicts(vec![flow()], &rows).iter().all(|line| line.3 == Verdict::Pass));
}

#[test]
fn a_missing_byte_fails_its_direction_only() {
    let lines = verdicts(vec![flow()], &[LogRow { received: 49, ..row() }]);
    assert_eq!(lines[0], ("sent".to_owned(), 100, 100, Verdict::Pass));
    assert_eq!(lines[1], ("received".to_owned(), 49, 49, Verdict::Fail));
    assert_eq!(lines[3].3, Verdict::Pass);
}

#[test]
fn bytes_under_another_program_are_recorded_but_not_attributed() {
    let lines = verdicts(vec![flow()], &[LogRow { exe: "/bin/two".to_owned(), ..row() }]);
    assert_eq!(lines[0], ("sent".to_owned(), 100, 0, Verdict::Fail));
}

#[test]
fn a_wrong_remote_port_fails_although_the_sum_is_right() {
    let lines = verdicts(vec![flow()], &[LogRow { remote_port: 81, ..row() }]);
    assert_eq!(lines[0], ("sent".to_owned(), 100, 100, Verdict::Fail));
}

#[test]
fn a_wrong_or_missing_digest_fails() {
    for sha256 in [None, Some("bb".to_owned())] {
        let wrong = LogRow { sha256, ..row() };
        assert_eq!(verdicts(vec![flow()], std::slice::from_ref(&wrong))[3].3, Verdict::Fail);
        // If the flow has a digest of its own, the row does not even count as its traffic.
        let other = ExpectedFlow { sha256: Some("cc".to_owned()), ..flow() };
        assert_eq!(verdicts(vec![other], &[wrong])[0].3, Verdict::Fail);
    }
}

#[test]
fn wrong_parents_fail_the_identity() {
    let parents = |name: &str| [name.to_owned(), "/sbin/init".to_owned()];
    let flow = ExpectedFlow { ancestors: vec![parents("/bin/a"), parents("/bin/b")], ..flow() };
    for (parent, verdict) in [("/bin/b", Verdict::Pass), ("/bin/c", Verdict::Fail)] {
        let lines = verdicts(vec![flow.clone()], &[LogRow { ancestors: parents(parent), ..row() }]);
        assert_eq!(lines[3].3, verdict);
    }
}

#[test]
fn an_unknown_local_port_fails_the_identity_but_no_counter() {
    let two = ExpectedFlow { local_port: Some(4001), ..flow() };
    let rows = [row(), LogRow { local_port: 0, ..row() }];
    let lines = verdicts(vec![flow(), two.clone()], &rows);
    assert!(lines[..3].iter().all(|line| line.3 == Verdict::Pass));
    assert_eq!(lines[3].3, Verdict::Fail);
    let lines = verdicts(vec![flow(), two], &[row(), LogRow { local_port: 0, sent: 101, ..row() }]);
    assert_eq!(lines[0], ("sent".to_owned(), 201, 201, Verdict::Fail));
}

#[test]
fn another_network_namespace_is_other_traffic() {
    let lines = verdicts(vec![flow()], &[LogRow { network_namespace: 8, ..row() }]);
    assert_eq!(lines[0], ("sent".to_owned(), 100, 100, Verdict::Fail));
}

#[test]
fn a_wrong_name_or_user_fails_the_identity() {
    for wrong in [LogRow { name: "two".to_owned(), ..row() }, LogRow { uid: 1, ..row() }] {
        let lines = verdicts(vec![flow()], &[wrong]);
        assert_eq!(lines[0].3, Verdict::Pass);
        assert_eq!(lines[3].3, Verdict::Fail);
    }
}

#[test]
fn a_skipped_scenario_is_one_line() {
    let result =
        ScenarioResult { outcome: ScenarioOutcome::Skipped("no such thing".to_owned()), flows: vec![] };
    let recorded = RecorderOutput { rows: Some(&[]), unclaimed: &[], is_ring_reported: false, sha256: "aa" };
    let lines = compare(&Scenario::new("x"), &result, &recorded);
    assert_eq!(lines.len(), 1);
    assert_eq!((lines[0].verdict, &*lines[0].note), (Verdict::Skipped, "no such thing"));
}
