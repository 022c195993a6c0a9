//! Tests of what chooses rows: search, calendar, what is new, comparison, scope; and of events.

use insta::assert_snapshot;

use super::*;
use crate::view::row_choice::Only;
use model::{Event as LogEvent, EventKind};

fn screen() -> TestScreen {
    TestScreen::new((80, 24), PLAIN)
}

/// The sum of the chart.
fn charted(screen: &TestScreen) -> Counters {
    let mut sum = Counters::default();
    screen.state.chart.sums.iter().for_each(|part| sum += *part);
    sum
}

#[test]
fn a_search_finds_also_what_is_beyond_the_loaded_rows() {
    let mut screen = TestScreen::with((80, 24), PLAIN, |base| {
        let mut writer = Writer::open(&base.join("snitch.db")).unwrap();
        let peer = |number: u32, bytes| {
            let context =
                Arc::new(ProcessContext { program: program("/usr/bin/x", 1), ..ProcessContext::default() });
            let remote = format!("10.1.{}.{}:80", number / 256, number % 256);
            record(&context, &remote, 6, counters(1, 0, bytes))
        };
        let mut records: Vec<Record> = (0..10_100).map(|number| peer(number, 1000)).collect();
        records.push(peer(200 * 256 + 9, 1));
        writer.write(&Window { time: NOW - 60, records, ..Window::default() }).unwrap();
    });
    screen.tab(Tab::Addresses);
    assert!(screen.state.list.answer.more && !screen.labels().contains(&"10.1.200.9".to_owned()));
    screen.press("/1.200.9");
    assert_eq!(screen.labels(), ["10.1.200.9"]);
    assert_eq!((screen.state.list.answer.total.received, charted(&screen).received), (1, 1));
    screen.press("\u{8}\n\u{1b}");
    assert!(screen.state.list.answer.more, "Esc shows all");
}

#[test]
fn a_search_knows_users_services_and_labels() {
    for (tab, text, label) in [
        (Tab::Users, "/ann", "anna (1000)"),
        (Tab::Ports, "/https", "443"),
        (Tab::Units, "/no unit", "(no unit)"),
        (Tab::Sha256, "/not kn", "(not known)"),
    ] {
        let mut screen = screen();
        screen.tab(tab);
        screen.press(text);
        assert_eq!(screen.labels(), [label]);
    }
}

#[test]
fn old_answers_do_not_say_that_nothing_was_found() {
    let mut screen = screen();
    screen.press("/zzz");
    assert!(screen.text().contains("no row has this text"));
    assert_eq!(screen.state.delete_character(), Effect::QuerySoon);
    assert!(!screen.text().contains("no row has this text"), "{}", screen.text());
}

#[test]
fn parts_of_the_calendar_are_in_the_order_of_time_and_can_be_filters() {
    let mut screen = screen();
    screen.press("t");
    screen.tab(Tab::Days);
    assert_eq!(screen.labels(), ["2026-03-01", "2026-02-28", "2026-02-27"]);
    assert_eq!(screen.press("/"), Effect::None);
    screen.press("↓");
    let row = screen.state.list.selected().unwrap().counters;
    screen.press(" ");
    assert_eq!((screen.state.list.answer.total, charted(&screen)), (row, row));
    screen.press("\u{8}");
    assert_eq!(screen.state.list.position.selected, 1);
    screen.tab(Tab::Weekdays);
    assert_eq!(screen.labels(), ["friday", "saturday", "sunday"]);
    screen.tab(Tab::HoursOfDay);
    assert_eq!(screen.labels()[..2], ["00", "01"]);
    screen.tab(Tab::Programs);
    assert_eq!(screen.state.sort(), store::Sort::Total, "other tabs have an order of their own");
}

#[test]
fn only_what_is_new_is_shown() {
    let mut screen = screen();
    screen.press("n");
    assert_snapshot!("only_new", screen.text());
    assert_eq!(screen.labels().len(), 2);
    assert_eq!(charted(&screen), screen.state.list.answer.total);
    screen.press(" ");
    assert_eq!(screen.labels().len(), 1, "what belongs to something new need not be new");
    screen.press("\u{8}n");
    assert_eq!(screen.labels().len(), 4);
    screen.tab(Tab::Domains);
    assert_eq!(screen.press("N"), Effect::None);
    screen.tab(Tab::LocalPorts);
    assert_eq!(screen.press("n"), Effect::None);
}

#[test]
fn the_removal_of_a_filter_leads_back_to_what_was_new_or_compared() {
    let choice = |screen: &TestScreen| (screen.state.choice.only, screen.state.choice.compares);
    let mut screen = screen();
    screen.press("n\n=");
    assert_eq!(choice(&screen), (Only::All, true));
    screen.press("\u{8}");
    assert_eq!(choice(&screen), (Only::New, false));
    assert_eq!(screen.labels().len(), 2);
    screen.press("=\nn");
    assert_eq!(choice(&screen), (Only::New, false));
    screen.press("\u{8}");
    assert_eq!(choice(&screen), (Only::All, true));
    assert!(screen.state.list.answer.total_before.is_some());
}

#[test]
fn only_programs_that_changed_in_the_period_are_shown() {
    let mut screen = screen();
    screen.press("N");
    assert_snapshot!("only_changed", screen.text());
    assert_eq!(screen.labels(), ["/usr/lib/firefox/firefox"]);
    assert_eq!(charted(&screen), screen.state.list.answer.total);
    screen.press("hhh");
    assert!(screen.labels().is_empty(), "it changed later");
    assert!(screen.text().contains("no program changed"), "{}", screen.text());
    assert_eq!(charted(&screen), Counters::default());
}

#[test]
fn the_period_before_is_beside_this_one() {
    let mut screen = screen();
    screen.press("=");
    assert_snapshot!("compared", screen.text());
    assert_eq!(screen.state.sort(), store::Sort::Total);
    screen.press("h");
    let before = screen.state.before().unwrap();
    let midnight = NOW - (14 * HOUR + 20 * 60 + 5);
    assert_eq!(
        (before.start, before.end),
        (Some(midnight - 24 * HOUR), Some(midnight - 24 * HOUR + 14 * HOUR + 20 * 60 + 6))
    );
    screen.press("=");
    assert!(screen.state.list.answer.total_before.is_none());
    screen.tab(Tab::Days);
    assert_eq!(screen.press("="), Effect::None);
    let mut screen = self::screen();
    screen.press("TTT=");
    let gone =
        |row: &crate::view::list_row::ListRow| row.compared.as_ref().is_some_and(|row| row.now.is_none());
    assert_eq!(screen.state.list.answer.rows.iter().filter(|row| gone(row)).count(), 2);
    assert!(screen.text().contains("gone"), "{}", screen.text());
}

#[test]
fn the_scope_chooses_addresses() {
    let mut screen = TestScreen::with((80, 24), PLAIN, |base| {
        let mut writer = Writer::open(&base.join("snitch.db")).unwrap();
        let context =
            Arc::new(ProcessContext { program: program("/usr/bin/x", 1), ..ProcessContext::default() });
        let far = record(&context, "192.0.2.1:80", 6, counters(1, 7, 70));
        let near = record(&context, "10.0.0.1:80", 6, counters(1, 3, 30));
        writer.write(&Window { time: NOW - 60, records: vec![far, near], ..Window::default() }).unwrap();
    });
    screen.tab(Tab::Addresses);
    for (text, received) in [("internet only", 70), ("local only", 30), ("", 100)] {
        screen.press("i");
        assert_eq!(
            (screen.state.list.answer.total.received, charted(&screen).received),
            (received, received)
        );
        let lines = screen.text();
        assert!(lines.lines().skip(1).take(2).all(|line| line.contains(text)), "{lines}");
    }
    screen.tab(Tab::Scopes);
    assert_eq!(screen.labels(), ["internet", "local"]);
    screen.press(" ");
    assert_eq!(screen.state.list.answer.total.received, 70);
    assert_eq!(screen.press("i"), Effect::None, "the filter chooses");
    screen.press("\u{8}i");
    screen.tab(Tab::Scopes);
    assert_eq!(screen.labels(), ["internet"]);
    screen.press(" ");
    assert_eq!(screen.press("i"), Effect::None, "the filter takes the place of the choice");
    assert_eq!(screen.state.list.answer.total.received, 70);
    assert!(!screen.text().contains(" only"), "{}", screen.text());
    screen.press("\u{8}");
    assert!(screen.text().contains("internet only"), "{}", screen.text());
    assert_eq!(screen.press("i"), Effect::Query);
}

#[test]
fn times_of_events_have_offsets_if_a_clock_change_is_among_those_that_are_listed() {
    let mut screen = TestScreen::with((80, 24), PLAIN, |base| {
        let mut writer = Writer::open(&base.join("snitch.db")).unwrap();
        let event = |days: i64| LogEvent::new(EventKind::Start, NOW - days * 24 * HOUR, "recording started");
        let events = vec![event(150), event(120), event(1)];
        writer.write(&Window { time: NOW, events, ..Window::default() }).unwrap();
    });
    screen.tab(Tab::Events);
    screen.press("ttt");
    let has_offsets = |screen: &mut TestScreen| screen.text().contains(" 14:20:05+01:00 ");
    assert_eq!((screen.state.list.len(), has_offsets(&mut screen)), (1, false));
    screen.press("t");
    assert_eq!((screen.state.list.len(), has_offsets(&mut screen)), (3, true));
    // They are those of the rows, and not made anew for each frame.
    screen.state.list.answer.rows.truncate(1);
    assert!(has_offsets(&mut screen));
    screen.press("T");
    assert_eq!((screen.state.list.len(), has_offsets(&mut screen)), (1, false));
}

#[test]
fn events_are_listed_and_found() {
    let mut screen = TestScreen::with((80, 24), PLAIN, |base| {
        fill(base);
        let mut writer = Writer::open(&base.join("snitch.db")).unwrap();
        let mut alert = LogEvent::new(
            EventKind::Alert,
            NOW - 60,
            "a program that was never seen before sent something to an address that was never seen before either, \
             and this sentence is longer than a line",
        );
        (alert.path, alert.name, alert.uid) = (b"/usr/bin/new".to_vec(), b"new".to_vec(), Some(1000));
        let start = LogEvent::new(EventKind::Start, NOW - 3 * HOUR, "recording started");
        writer.write(&Window { time: NOW, events: vec![start, alert], ..Window::default() }).unwrap();
    });
    screen.tab(Tab::Events);
    assert_snapshot!("tab_events_with_alert", screen.text());
    assert_eq!(screen.state.list.len(), 3);
    assert!(screen.state.row_text().unwrap().contains("\talert\t/usr/bin/new\t"));
    screen.theme.depth = Depth::Sixteen;
    let loss = styled(&screen.draw().0);
    assert!(loss.lines().any(|line| line.contains("Yellow") && line.contains("loss")), "{loss}");
    screen.press("/STARTED");
    assert_eq!(screen.state.list.len(), 1);
    screen.press("\u{1b}↑\n");
    assert_eq!(screen.state.dimension(), Some(store::Dimension::Address));
    screen.tab(Tab::Events);
    assert_eq!(screen.state.list.len(), 1, "the filter on the program holds for events");
    screen.tab(Tab::Events);
    assert_eq!(screen.press("e"), Effect::None);
}
