//! What keys and mouse do.

use crossterm::event::{KeyModifiers, MouseButton, MouseEvent, MouseEventKind};

use super::*;
use crate::view::{mouse_todo, range::LENGTHS, row_text};
use store::{Dimension, Sort};

fn bench() -> Bench {
    Bench::new((80, 24), PLAIN)
}

#[test]
fn filters_are_a_stack_that_leads_back() {
    let mut bench = bench();
    let all = bench.labels();
    assert_eq!(all[0], "/usr/lib/firefox/firefox");
    bench.press("↓");
    let selected = bench.labels()[1].clone();
    bench.press("\n");
    assert_eq!(bench.state.dimension(), Dimension::Address);
    assert_eq!(bench.labels().len(), 1);
    bench.press(" ");
    assert_eq!((bench.state.layers.len(), bench.labels()), (2, vec![selected.clone()]));
    bench.press("\u{8}\u{8}");
    assert_eq!((bench.state.layers.len(), bench.labels()), (0, all.clone()));
    assert_eq!(bench.state.selected, 1, "the row where the filter was set is selected again");
    bench.press("e");
    assert_eq!(bench.labels(), all.iter().filter(|label| **label != selected).cloned().collect::<Vec<_>>());
    assert_eq!(bench.press("\u{8}\u{8}\u{8}"), Todo::Nothing);
}

#[test]
fn the_number_of_filters_is_bounded() {
    let mut bench = bench();
    bench.tab("Users");
    for _ in 0..40 {
        bench.press(" ");
    }
    assert_eq!(bench.state.layers.len(), 32);
    assert!(bench.state.notice.is_some());
}

#[test]
fn history_goes_by_the_calendar_and_stays_in_the_log() {
    let mut bench = bench();
    let windows = |bench: &mut Bench, key: &str| {
        bench.press(key);
        (bench.state.window().start.unwrap(), bench.state.window().end.unwrap())
    };
    let midnight = NOW - (14 * HOUR + 20 * 60 + 5);
    assert_eq!(windows(&mut bench, "h"), (midnight, midnight + 24 * HOUR));
    assert_eq!(windows(&mut bench, "h"), (midnight - 24 * HOUR, midnight));
    assert_eq!(windows(&mut bench, "H"), (midnight, midnight + 24 * HOUR));
    assert_eq!(bench.press("H"), Todo::Ask);
    assert_eq!(bench.state.at, None);
    assert_eq!(bench.press("H"), Todo::Nothing);
    for _ in 0..100 {
        bench.press("h");
    }
    let window = bench.state.window();
    let first = bench.state.rows.extent.unwrap().0;
    assert!(window.start.unwrap() <= first && first < window.end.unwrap(), "it stops at the first window");
    assert!(bench.state.notice.is_some());
    // The sums of all days are the sum of all.
    let mut sum = Counters::default();
    loop {
        sum += bench.state.rows.total;
        if bench.press("H") == Todo::Nothing || bench.state.at.is_none() {
            break;
        }
    }
    while LENGTHS[bench.state.length].seconds > 0 {
        bench.press("t");
    }
    assert_eq!(bench.state.rows.total, sum);
}

#[test]
fn a_longer_range_keeps_the_place() {
    let mut bench = bench();
    bench.press("hhh");
    let day = bench.state.window().start.unwrap();
    bench.press("t");
    let window = bench.state.window();
    assert!(window.start.unwrap() <= day && day < window.end.unwrap());
    let here = bench.state.length;
    bench.press("tT");
    assert_eq!(bench.state.length, here);
    for _ in 0..LENGTHS.len() {
        bench.press("t");
    }
    assert_eq!(bench.state.length, here, "it goes around");
}

#[test]
fn every_range_shows_what_is_in_it() {
    let mut bench = bench();
    for _ in 0..LENGTHS.len() {
        let length = &LENGTHS[bench.state.length];
        let rows = bench.state.rows.rows.len();
        // The last window of the log is an hour old.
        assert_eq!(rows > 0, length.seconds == 0 || length.seconds > HOUR, "{}", length.name);
        let series = &bench.state.series;
        let mut sum = Counters::default();
        for piece in &series.sums {
            sum += *piece;
        }
        assert_eq!(sum, bench.state.rows.total, "the chart adds up, {}", length.name);
        bench.press("t");
    }
}

#[test]
fn a_piece_of_time_can_be_looked_into() {
    let mut bench = bench();
    bench.tab("Time");
    let row = bench.state.row().unwrap().counters;
    bench.press(" ");
    assert_eq!(bench.state.rows.total, row);
    assert_eq!(bench.press("h"), Todo::Nothing);
    bench.press("\u{8}");
    assert_eq!(bench.state.dimension(), Dimension::Time);
    assert_eq!(bench.press("e"), Todo::Nothing);
}

#[test]
fn sorting_orders_the_rows() {
    let mut bench = bench();
    let mut sorts = vec![bench.state.sort];
    for _ in 0..4 {
        bench.press("s");
        sorts.push(bench.state.sort);
        let rows = &bench.state.rows.rows;
        let ordered = |key: fn(&store::Row) -> u64| rows.is_sorted_by_key(|row| std::cmp::Reverse(key(row)));
        assert!(match bench.state.sort {
            Sort::Received => ordered(|row| row.counters.received),
            Sort::Sent => ordered(|row| row.counters.sent),
            Sort::Connections => ordered(|row| row.counters.connections),
            Sort::Dimension(_) => rows.is_sorted_by_key(|row| row.values.clone()),
            Sort::Total => false,
        });
    }
    bench.press("s");
    assert_eq!(bench.state.sort, sorts[0]);
    bench.press("S");
    assert_eq!(bench.state.sort, sorts[4]);
}

#[test]
fn find_narrows_the_list() {
    let mut bench = bench();
    bench.press("/FIREFOX");
    assert_eq!(bench.labels(), ["/usr/lib/firefox/firefox"]);
    bench.press("q");
    assert!(bench.state.find.ends_with('q'), "what is typed is text, no command");
    bench.press("\u{8}\n");
    bench.press("y");
    let text = row_text(&bench.state).unwrap();
    assert!(text.starts_with("/usr/lib/firefox/firefox\t"), "{text}");
    bench.press("\u{1b}");
    assert_eq!(bench.labels().len(), 4);
    for _ in 0..1000 {
        bench.state.find_character('x');
    }
    assert!(bench.state.find.len() <= 200);
}

#[test]
fn the_mouse_selects_filters_and_changes_tabs() {
    let mut bench = bench();
    let (_, places) = bench.draw();
    let click = |column, row| MouseEvent {
        kind: MouseEventKind::Down(MouseButton::Left),
        column,
        row,
        modifiers: KeyModifiers::NONE,
    };
    assert_eq!(mouse_todo(&mut bench.state, &places, click(5, places.list.y + 2)), Todo::AskDetail);
    assert_eq!(bench.state.selected, 2);
    assert_eq!(
        mouse_todo(&mut bench.state, &places, click(5, places.list.y + 6)),
        Todo::Nothing,
        "below the rows"
    );
    assert_eq!(mouse_todo(&mut bench.state, &places, click(5, places.list.y + 2)), Todo::Ask);
    assert_eq!(bench.state.layers.len(), 1);
    assert_eq!(mouse_todo(&mut bench.state, &places, click(4, 0)), Todo::Ask);
    assert_eq!(bench.state.tab, 0);
    assert_eq!(mouse_todo(&mut bench.state, &places, click(u16::MAX, u16::MAX)), Todo::Nothing);
}
