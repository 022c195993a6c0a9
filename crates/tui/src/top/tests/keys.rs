//! What keys and mouse do.

use crossterm::event::{KeyModifiers, MouseButton, MouseEvent, MouseEventKind};

use super::*;
use crate::top::{rows::Sort, state::Pane};

fn bench() -> Bench {
    Bench::new(SMALL, PLAIN)
}

const FIREFOX: &str = "/usr/lib/firefox/firefox";

#[test]
fn the_selection_stays_with_its_row_and_at_first_with_the_busiest() {
    let mut bench = bench();
    assert_eq!(bench.labels()[..2], [FIREFOX, "/usr/sbin/nginx"]);
    let received = |bytes: u64| json!({"event": "traffic", "connections": [[12, 0, bytes]]});
    bench.line(received(900_000_000));
    bench.tick();
    bench.refresh();
    assert_eq!(bench.labels()[0], "/usr/sbin/nginx");
    assert_eq!(bench.state.row().unwrap().label, "/usr/sbin/nginx", "nobody has chosen another one");
    bench.press("↓");
    assert_eq!(bench.state.row().unwrap().label, FIREFOX);
    // Quiet again: the rows change places, what was chosen stays chosen.
    for turn in 1..4 {
        bench.line(json!({"event": "traffic", "connections": [[10, 0, 700_000_000 * turn]]}));
        bench.tick();
    }
    bench.refresh();
    assert_eq!(bench.labels()[0], FIREFOX);
    assert_eq!(bench.state.row().unwrap().label, FIREFOX);
    bench.press("G");
    assert_eq!(bench.state.programs.selected, bench.labels().len() - 1);
    bench.press("g");
    assert_eq!(bench.state.programs.selected, 0);
}

#[test]
fn sorting_orders_both_lists() {
    let mut bench = bench();
    for _ in 0..Sort::ALL.len() {
        let rows = &bench.state.rows;
        let falls =
            |key: fn(&crate::top::rows::Row) -> u64| rows.is_sorted_by_key(|row| std::cmp::Reverse(key(row)));
        assert!(match bench.state.sort {
            Sort::Second => falls(|row| row.second.sum()),
            Sort::TenSeconds => falls(|row| row.ten_seconds.sum()),
            Sort::Total => falls(|row| row.total.sum()),
            Sort::Connections => falls(|row| row.open),
            Sort::Name => rows.is_sorted_by_key(|row| row.label.clone()) && bench.peers().is_sorted(),
        });
        bench.press("s");
    }
    assert_eq!(bench.state.sort, Sort::Second);
    bench.press("S");
    assert_eq!(bench.state.sort, Sort::Name);
}

#[test]
fn find_looks_for_programs_or_for_peers() {
    let mut bench = bench();
    for (text, found) in [
        ("FIREFOX", FIREFOX),
        ("nginx.serv", "/usr/sbin/nginx"),
        ("gpg -x", "/usr/bin/gpg"),
        ("thunderbird", "/usr/bin/gpg"),
    ] {
        bench.press(&format!("\u{1b}/{text}\n"));
        assert_eq!(bench.labels(), [found], "{text}");
    }
    bench.press("\u{1b}");
    assert_eq!(bench.labels().len(), 5);
    bench.press("g\t/2001:q\u{8}\n");
    assert_eq!(bench.peers(), ["[2001:db8::7]:443"]);
    assert_eq!(bench.labels().len(), 5, "programs stay");
    bench.press("\u{1b}/example");
    assert_eq!(bench.peers(), ["download.example.com:443"]);
    bench.press("q");
    assert!(bench.state.find[1].ends_with('q'), "what is typed is text, no command");
    for _ in 0..1000 {
        bench.press("x");
    }
    assert!(bench.state.find[1].len() <= 200);
    bench.press("\u{1b}");
    assert_eq!(bench.press("q"), Todo::Quit);
}

#[test]
fn the_tree_adds_up() {
    let mut bench = bench();
    let sum = |bench: &Bench, depth: usize| {
        let rows = bench.state.rows.iter().filter(|row| row.depth() == depth);
        rows.fold((0, 0), |(open, bytes), row| (open + row.open, bytes + row.total.sum()))
    };
    let flat = sum(&bench, 0);
    bench.press("t");
    let rows = &bench.state.rows;
    assert_eq!(sum(&bench, 0), flat);
    // One root: systemd started the shell, as the browser knows, and so also what the mail program has started.
    let roots: Vec<&str> = rows.iter().filter(|row| row.depth() == 0).map(|row| &*row.label).collect();
    assert_eq!(roots, ["/usr/lib/systemd/systemd"]);
    let below = rows.iter().filter(|row| row.depth() == 1);
    assert_eq!(below.map(|row| row.total.sum()).sum::<u64>(), rows[0].total.sum());
    // Each stands below its own parent.
    for (index, row) in rows.iter().enumerate().filter(|(_, row)| row.depth() > 0) {
        let parent = rows[..index].iter().rev().find(|other| other.depth() < row.depth()).unwrap();
        assert_eq!(row.key[..row.key.len() - 1], parent.key[..]);
    }
    bench.press("/gpg\n");
    let path = [
        "/usr/lib/systemd/systemd",
        "/usr/bin/gnome-shell",
        "/usr/lib/thunderbird/thunderbird",
        "/usr/bin/gpg",
    ];
    assert_eq!(bench.labels(), path);
    assert_eq!(bench.peers(), ["192.0.2.11:11371"], "who started others has their connections");
}

#[test]
fn keys_say_what_has_to_be_done() {
    let mut bench = bench();
    assert_eq!(bench.press("p"), Todo::Pause);
    assert!(bench.state.paused);
    assert_eq!(bench.press(" "), Todo::Pause);
    assert!(!bench.state.paused);
    assert_eq!(bench.press("x"), Todo::Dismiss);
    assert_eq!(bench.press("y"), Todo::Copy);
    let text = bench.state.row_text(&bench.model).unwrap();
    assert!(text.starts_with("/usr/lib/firefox/firefox\t2\t"), "{text}");
    bench.press("\n↓");
    let text = bench.state.row_text(&bench.model).unwrap();
    assert!(text.ends_with("\ttcp\t4001\t0\t0"), "{text}");
    assert_eq!(bench.press("?q"), Todo::Nothing, "any key closes the help");
}

#[test]
fn the_mouse_selects_and_scrolls() {
    let mut bench = bench();
    let (_, places) = bench.draw();
    let event = |kind, area: ratatui::layout::Rect, row| MouseEvent {
        kind,
        column: area.x + 5,
        row: area.y + row,
        modifiers: KeyModifiers::NONE,
    };
    let click = |area, row| event(MouseEventKind::Down(MouseButton::Left), area, row);
    bench.state.mouse(click(places.programs, 1), &places);
    bench.refresh();
    assert_eq!(bench.state.row().unwrap().label, "/usr/sbin/nginx");
    bench.draw();
    bench.state.mouse(click(places.connections, 1), &places);
    assert_eq!((bench.state.focus, bench.state.connections.selected), (Pane::Connections, 1));
    let below = click(places.programs, 7);
    assert_eq!(bench.state.mouse(below, &places), Todo::Nothing, "below the rows");
    bench.state.mouse(event(MouseEventKind::ScrollDown, places.programs, 0), &places);
    assert_eq!(bench.state.programs.selected, 4);
    bench.state.mouse(event(MouseEventKind::ScrollUp, places.programs, 0), &places);
    assert_eq!(bench.state.programs.selected, 1);
}
