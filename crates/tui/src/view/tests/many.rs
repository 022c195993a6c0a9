//! Folded records, and logs of which only sums are left.

use super::*;
use model::{DomainSource, PORT_MANY};
use store::Dimension;

/// A log with a folded record and one with the same program.
fn fill_folded(base: &Path) {
    let mut writer = Writer::open(&base.join("snitch.db")).unwrap();
    let context =
        Arc::new(ProcessContext { program: program("/usr/bin/scan", 1), ..ProcessContext::default() });
    let mut folded = record(&context, "192.0.2.1:80", 6, counters(500, 7, 5_000_000));
    folded.tuple.remote_address = Some(model::Address::Many);
    (folded.tuple.remote_port, folded.tuple.domain_source, folded.folded) =
        (PORT_MANY, DomainSource::Many, 500);
    let single = record(&context, "192.0.2.9:443", 6, counters(1, 1_000, 1_000));
    writer.write(&Window { time: NOW - 60, records: vec![folded, single], ..Window::default() }).unwrap();
}

#[test]
fn many_is_shown_and_can_be_a_filter() {
    let mut screen = TestScreen::with((80, 24), PLAIN, fill_folded);
    for tab in [Tab::Ports, Tab::Addresses, Tab::Domains, Tab::DomainSources] {
        screen.tab(tab);
        assert_eq!(screen.labels()[0], "many", "{tab:?}");
        screen.press("\n");
        assert_eq!(screen.state.list.answer.total.received, 5_000_000, "{tab:?}");
        assert!(screen.text().contains("=many"), "{}", screen.text());
        screen.press("\u{8}");
        screen.tab(tab);
        screen.press("e");
        assert_eq!(screen.state.list.answer.total.received, 1_000, "{tab:?}");
        screen.press("\u{8}");
    }
    assert_eq!(screen.state.label(Dimension::Executable, &store::Value::Many), "many");
}

#[test]
fn the_grain_of_old_times_is_told() {
    let mut screen = TestScreen::with((120, 24), PLAIN, |base| {
        let mut writer = Writer::open(&base.join("snitch.db")).unwrap();
        let context =
            Arc::new(ProcessContext { program: program("/usr/bin/curl", 1), ..ProcessContext::default() });
        for minute in (0..72 * 6).rev() {
            let peer = |port| record(&context, &format!("192.0.2.1:{port}"), 6, counters(1, 10, 10));
            let records = (1..60).map(peer).collect();
            writer.write(&Window { time: NOW - minute * 600, records, ..Window::default() }).unwrap();
        }
        writer.checkpoint().unwrap();
        let size = std::fs::metadata(base.join("snitch.db")).unwrap().len();
        while writer.limit_size(size / 10 * 9).unwrap() {}
    });
    screen.press("tttt");
    assert!(screen.text().contains("in quarters of an hour only"), "{}", screen.text());
    screen.press("TTTTT");
    assert!(!screen.text().contains("in quarters of an hour only"), "{}", screen.text());
}
