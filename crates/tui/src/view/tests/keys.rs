//! Tests of the changes that keys and mouse make to the state.

use crossterm::event::{KeyModifiers, MouseButton, MouseEvent, MouseEventKind};

use super::*;
use crate::view::{keys::Action, list_row::ListRow, period::LENGTHS};
use store::{Dimension, Sort};

fn screen() -> TestScreen {
    TestScreen::new((80, 24), PLAIN)
}

#[test]
fn filters_are_a_stack_that_leads_back() {
    let mut screen = screen();
    let all = screen.labels();
    assert_eq!(all[0], "/usr/lib/firefox/firefox");
    screen.press("↓");
    let selected = screen.labels()[1].clone();
    screen.press("\n");
    assert_eq!(screen.state.dimension(), Some(Dimension::Address));
    assert_eq!(screen.labels().len(), 1);
    screen.press(" ");
    assert_eq!((screen.state.filters.iter().len(), screen.labels()), (2, vec![selected.clone()]));
    screen.press("\u{8}\u{8}");
    assert_eq!((screen.state.filters.iter().len(), screen.labels()), (0, all.clone()));
    assert_eq!(screen.state.list.position.selected, 1, "the row where the filter was set is selected again");
    screen.press("e");
    assert_eq!(screen.labels(), all.iter().filter(|label| **label != selected).cloned().collect::<Vec<_>>());
    assert_eq!(screen.press("\u{8}\u{8}\u{8}"), Effect::None);
}

#[test]
fn the_number_of_filters_is_bounded() {
    let mut screen = screen();
    screen.tab(Tab::Users);
    for _ in 0..40 {
        screen.press(" ");
    }
    assert_eq!(screen.state.filters.iter().len(), 32);
    assert!(screen.state.notice.is_some());
}

#[test]
fn history_goes_by_the_calendar_and_stays_in_the_log() {
    let mut screen = screen();
    let step = |screen: &mut TestScreen, key: &str| {
        screen.press(key);
        (screen.state.period().start.unwrap(), screen.state.period().end.unwrap())
    };
    let midnight = NOW - (14 * HOUR + 20 * 60 + 5);
    assert_eq!(step(&mut screen, "h"), (midnight, midnight + 24 * HOUR));
    assert_eq!(step(&mut screen, "h"), (midnight - 24 * HOUR, midnight));
    assert_eq!(step(&mut screen, "H"), (midnight, midnight + 24 * HOUR));
    assert_eq!(screen.press("H"), Effect::Query);
    assert_eq!(screen.state.time.at, None);
    assert_eq!(screen.press("H"), Effect::None);
    for _ in 0..100 {
        screen.press("h");
    }
    let period = screen.state.period();
    let first = screen.state.list.answer.extent.unwrap().0;
    assert!(
        period.start.unwrap() <= first && first < period.end.unwrap(),
        "it stops at the first recording window"
    );
    assert!(screen.state.notice.is_some());
    // The sums of all days add up to that of the whole log.
    let mut sum = Counters::default();
    loop {
        sum += screen.state.list.answer.total;
        if screen.press("H") == Effect::None || screen.state.time.at.is_none() {
            break;
        }
    }
    while screen.state.time.length.seconds > 0 {
        screen.press("t");
    }
    assert_eq!(screen.state.list.answer.total, sum);
}

#[test]
fn a_longer_range_keeps_the_position_in_the_history() {
    let mut screen = screen();
    screen.press("hhh");
    let day = screen.state.period().start.unwrap();
    screen.press("t");
    let period = screen.state.period();
    assert!(period.start.unwrap() <= day && day < period.end.unwrap());
    let here = screen.state.time.length;
    screen.press("tT");
    assert_eq!(screen.state.time.length, here);
    for _ in 0..LENGTHS.len() {
        screen.press("t");
    }
    assert_eq!(screen.state.time.length, here, "it goes around");
}

#[test]
fn every_range_shows_what_is_in_it() {
    let mut screen = screen();
    for _ in 0..LENGTHS.len() {
        let length = screen.state.time.length;
        let rows = screen.state.list.answer.rows.len();
        // In the last hour one program had traffic, a moment ago.
        assert_eq!(rows > 1, length.seconds == 0 || length.seconds > HOUR, "{}", length.name);
        let series = &screen.state.chart;
        let mut sum = Counters::default();
        for part in &series.sums {
            sum += *part;
        }
        assert_eq!(sum, screen.state.list.answer.total, "the chart adds up, {}", length.name);
        screen.press("t");
    }
}

#[test]
fn a_filter_on_time_narrows_the_period() {
    let mut screen = screen();
    screen.tab(Tab::Time);
    let row = screen.state.list.selected().unwrap().counters;
    screen.press(" ");
    assert_eq!(screen.state.list.answer.total, row);
    assert_eq!(screen.press("h"), Effect::None);
    screen.press("\u{8}");
    assert_eq!(screen.state.dimension(), Some(Dimension::Time));
    assert_eq!(screen.press("e"), Effect::None);
}

#[test]
fn the_footer_offers_what_has_an_effect() {
    let check = |tab, keys: &str, actions: &[(Action, bool)]| {
        let mut screen = screen();
        screen.press(keys.split('|').next().unwrap());
        screen.tab(tab);
        screen.press(keys.split('|').nth(1).unwrap_or_default());
        for (action, has_effect) in actions {
            assert_eq!(screen.state.offers(*action), *has_effect, "{action:?} on {tab:?} after {keys}");
        }
        // The first of them is carried out.
        let (action, has_effect) = actions[0];
        assert_eq!(
            screen.state.act(action) != Effect::None,
            has_effect,
            "{action:?} on {tab:?} after {keys}"
        );
    };
    use Action::{Compare, Earlier, Exclude, Filter, Later, Scope};
    check(
        Tab::Programs,
        "",
        &[(Earlier, true), (Later, false), (Compare, true), (Scope, true), (Filter, true)],
    );
    check(Tab::Programs, "h", &[(Later, true), (Earlier, true)]);
    check(Tab::Programs, &"h".repeat(100), &[(Earlier, false), (Later, true)]);
    // All of the log, and a piece of it.
    check(Tab::Programs, "ttttt", &[(Earlier, false), (Compare, false)]);
    check(Tab::Programs, "httttt", &[(Later, false)]);
    check(Tab::Time, "ttttt| ", &[(Compare, true), (Earlier, false)]);
    check(Tab::Time, "h| ", &[(Later, false), (Earlier, false)]);
    check(Tab::Time, "", &[(Exclude, false), (Filter, true), (Compare, false)]);
    check(Tab::Scopes, "| ", &[(Scope, false)]);
    check(Tab::Scopes, "|e", &[(Scope, true)]);
    // An event about no program.
    check(Tab::Events, "", &[(Filter, false), (Exclude, false), (Scope, false)]);
    check(Tab::Users, &format!("|{}", " ".repeat(40)), &[(Filter, false), (Exclude, false)]);
}

#[test]
fn sorting_orders_the_rows() {
    let mut screen = screen();
    let mut sorts = vec![screen.state.sort()];
    for _ in 0..7 {
        screen.press("s");
        sorts.push(screen.state.sort());
        let rows = &screen.state.list.answer.rows;
        let ordered = |key: fn(&ListRow) -> u64| rows.is_sorted_by_key(|row| std::cmp::Reverse(key(row)));
        assert!(match screen.state.sort() {
            Sort::Received => ordered(|row| row.counters.received),
            Sort::Sent => ordered(|row| row.counters.sent),
            Sort::Connections => ordered(|row| row.counters.connections),
            Sort::FirstSeen => ordered(|row| row.seen.unwrap().first as u64),
            Sort::LastSeen => ordered(|row| row.seen.unwrap().last as u64),
            Sort::Digests => ordered(|row| row.seen.unwrap().digests),
            Sort::Dimension(_) => rows.is_sorted_by_key(|row| row.value.clone()),
            _ => false,
        });
    }
    screen.press("s");
    assert_eq!(screen.state.sort(), sorts[0]);
    screen.press("S");
    assert_eq!(screen.state.sort(), sorts[7]);
}

#[test]
fn a_search_narrows_the_list() {
    let mut screen = screen();
    screen.press("/FIREFOX");
    assert_eq!(screen.labels(), ["/usr/lib/firefox/firefox"]);
    screen.press("q");
    assert!(screen.state.list.find.as_str().ends_with('q'), "typed characters are text, not commands");
    screen.press("\u{8}\n");
    screen.press("y");
    let text = screen.state.row_text().unwrap();
    assert!(text.starts_with("/usr/lib/firefox/firefox\t"), "{text}");
    screen.press("\u{1b}");
    assert_eq!(screen.labels().len(), 4);
    for _ in 0..1000 {
        screen.state.type_character('x');
    }
    assert!(screen.state.list.find.as_str().len() <= 200);
}

#[test]
fn the_mouse_selects_filters_and_changes_tabs() {
    let mut screen = screen();
    let (_, areas) = screen.draw();
    let click = |column, row| MouseEvent {
        kind: MouseEventKind::Down(MouseButton::Left),
        column,
        row,
        modifiers: KeyModifiers::NONE,
    };
    assert_eq!(on_mouse(&mut screen.state, &areas, click(5, areas.list.y + 2)), Effect::QueryDetail);
    assert_eq!(screen.state.list.position.selected, 2);
    assert_eq!(
        on_mouse(&mut screen.state, &areas, click(5, areas.list.y + 6)),
        Effect::None,
        "below the rows"
    );
    assert_eq!(on_mouse(&mut screen.state, &areas, click(5, areas.list.y + 2)), Effect::Query);
    assert_eq!(screen.state.filters.iter().len(), 1);
    assert_eq!(on_mouse(&mut screen.state, &areas, click(4, 0)), Effect::Query);
    assert_eq!(screen.state.tab, Tab::Programs);
    assert_eq!(on_mouse(&mut screen.state, &areas, click(u16::MAX, u16::MAX)), Effect::None);
}
