//! Tests of the changes that keys and mouse make to the state.

use crossterm::event::{KeyModifiers, MouseButton, MouseEvent, MouseEventKind};

use super::*;
use crate::top::{sort_column::SortColumn, state::Pane};

fn screen() -> TestScreen {
    TestScreen::new(SMALL, PLAIN)
}

const FIREFOX: &str = "/usr/lib/firefox/firefox";

#[test]
fn the_selection_follows_the_first_row_until_it_is_moved_then_stays_with_its_row() {
    let mut screen = screen();
    assert_eq!(screen.labels()[..2], [FIREFOX, "/usr/sbin/nginx"]);
    let received = |bytes: u64| json!({"event": "traffic", "connections": [[12, 0, bytes]]});
    screen.line(received(900_000_000));
    screen.tick();
    screen.refresh();
    assert_eq!(screen.labels()[0], "/usr/sbin/nginx");
    assert_eq!(screen.state.program().unwrap().label, "/usr/sbin/nginx", "no other row was selected");
    screen.press("↓");
    assert_eq!(screen.state.program().unwrap().label, FIREFOX);
    // Quiet again: the rows change positions, what was chosen stays chosen.
    for turn in 1..4 {
        screen.line(json!({"event": "traffic", "connections": [[10, 0, 700_000_000 * turn]]}));
        screen.tick();
    }
    screen.refresh();
    assert_eq!(screen.labels()[0], FIREFOX);
    assert_eq!(screen.state.program().unwrap().label, FIREFOX);
    screen.press("G");
    assert_eq!(screen.state.programs.selection.index(), screen.labels().len() - 1);
    screen.press("g");
    assert_eq!(screen.state.programs.selection.index(), 0);
}

#[test]
fn sorting_orders_both_lists() {
    let mut screen = screen();
    for _ in 0..SortColumn::ALL.len() {
        let rows = &screen.state.programs.rows;
        let falls = |key: fn(&crate::top::program_rows::ProgramRow) -> u64| {
            rows.is_sorted_by_key(|row| std::cmp::Reverse(key(row)))
        };
        assert!(match screen.state.sort {
            SortColumn::Second => falls(|row| row.second.sum()),
            SortColumn::TenSeconds => falls(|row| row.ten_seconds.sum()),
            SortColumn::Total => falls(|row| row.total.sum()),
            SortColumn::Connections => falls(|row| row.open),
            SortColumn::Name => rows.is_sorted_by_key(|row| row.label.clone()) && screen.peers().is_sorted(),
        });
        screen.press("s");
    }
    assert_eq!(screen.state.sort, SortColumn::Second);
    screen.press("S");
    assert_eq!(screen.state.sort, SortColumn::Name);
}

#[test]
fn searches_find_programs_or_peers() {
    let mut screen = screen();
    for (text, found) in [
        ("FIREFOX", FIREFOX),
        ("nginx.serv", "/usr/sbin/nginx"),
        ("gpg -x", "/usr/bin/gpg"),
        ("thunderbird", "/usr/bin/gpg"),
    ] {
        screen.press(&format!("\u{1b}/{text}\n"));
        assert_eq!(screen.labels(), [found], "{text}");
    }
    screen.press("\u{1b}");
    assert_eq!(screen.labels().len(), 5);
    screen.press("g\t/2001:q\u{8}\n");
    assert_eq!(screen.peers(), ["[2001:db8::7]:443"]);
    assert_eq!(screen.labels().len(), 5, "programs stay");
    screen.press("\u{1b}/example");
    assert_eq!(screen.peers(), ["download.example.com:443"]);
    screen.press("q");
    assert!(screen.state.connections.find.as_str().ends_with('q'), "typed characters are text, not commands");
    for _ in 0..1000 {
        screen.press("x");
    }
    assert!(screen.state.connections.find.as_str().len() <= 200);
    screen.press("\u{1b}");
    assert_eq!(screen.press("q"), Effect::Quit);
}

#[test]
fn the_tree_adds_up() {
    let mut screen = screen();
    let sum = |screen: &TestScreen, depth: usize| {
        let rows = screen.state.programs.rows.iter().filter(|row| row.depth() == depth);
        rows.fold((0, 0), |(open, bytes), row| (open + row.open, bytes + row.total.sum()))
    };
    let flat = sum(&screen, 0);
    screen.press("t");
    let rows = &screen.state.programs.rows;
    assert_eq!(sum(&screen, 0), flat);
    // One root: the chain of the browser shows that systemd started the shell, which started the mail program.
    let roots: Vec<&str> = rows.iter().filter(|row| row.depth() == 0).map(|row| &*row.label).collect();
    assert_eq!(roots, ["/usr/lib/systemd/systemd"]);
    let below = rows.iter().filter(|row| row.depth() == 1);
    assert_eq!(below.map(|row| row.total.sum()).sum::<u64>(), rows[0].total.sum());
    // Each row is below its parent.
    for (index, row) in rows.iter().enumerate().filter(|(_, row)| row.depth() > 0) {
        let parent = rows[..index].iter().rev().find(|other| other.depth() < row.depth()).unwrap();
        assert_eq!(row.key[..row.key.len() - 1], parent.key[..]);
    }
    screen.press("/gpg\n");
    let path = [
        "/usr/lib/systemd/systemd",
        "/usr/bin/gnome-shell",
        "/usr/lib/thunderbird/thunderbird",
        "/usr/bin/gpg",
    ];
    assert_eq!(screen.labels(), path);
    assert_eq!(screen.peers(), ["192.0.2.11:11371"], "a row has the connections of the rows below it");
}

#[test]
fn keys_have_effects() {
    let mut screen = screen();
    assert_eq!(screen.press("p"), Effect::Pause);
    assert!(screen.state.paused);
    assert_eq!(screen.press(" "), Effect::Pause);
    assert!(!screen.state.paused);
    assert_eq!(screen.press("x"), Effect::Dismiss);
    assert_eq!(screen.press("y"), Effect::Copy);
    let text = screen.state.row_text(&screen.live).unwrap();
    assert!(text.starts_with("/usr/lib/firefox/firefox\t2\t"), "{text}");
    screen.press("\n↓");
    let text = screen.state.row_text(&screen.live).unwrap();
    assert!(text.ends_with("\ttcp\t4001\t0\t0"), "{text}");
    assert_eq!(screen.press("?q"), Effect::None, "any key closes the help");
}

#[test]
fn the_mouse_selects_and_scrolls() {
    let mut screen = screen();
    let (_, areas) = screen.draw();
    let event = |kind, area: ratatui::layout::Rect, row| MouseEvent {
        kind,
        column: area.x + 5,
        row: area.y + row,
        modifiers: KeyModifiers::NONE,
    };
    let click = |area, row| event(MouseEventKind::Down(MouseButton::Left), area, row);
    on_mouse(&mut screen.state, &areas, click(areas.programs, 1));
    screen.refresh();
    assert_eq!(screen.state.program().unwrap().label, "/usr/sbin/nginx");
    screen.draw();
    on_mouse(&mut screen.state, &areas, click(areas.connections, 1));
    assert_eq!((screen.state.focus, screen.state.connections.selection.index()), (Pane::Connections, 1));
    let below = click(areas.programs, 7);
    assert_eq!(on_mouse(&mut screen.state, &areas, below), Effect::None, "below the rows");
    on_mouse(&mut screen.state, &areas, event(MouseEventKind::ScrollDown, areas.programs, 0));
    assert_eq!(screen.state.programs.selection.index(), 4);
    on_mouse(&mut screen.state, &areas, event(MouseEventKind::ScrollUp, areas.programs, 0));
    assert_eq!(screen.state.programs.selection.index(), 1);
}

#[test]
fn every_key_that_moves_or_selects_stays_with_the_program() {
    for keys in ["g", "↑", "\t", "\n", "\t\t", "↓↑"] {
        let mut screen = screen();
        assert!(screen.text().contains("Following the busiest"), "{}", screen.text());
        screen.press(keys);
        assert_eq!(screen.state.program().unwrap().label, FIREFOX, "{keys:?}");
        // Another program becomes the busiest.
        screen.line(json!({"event": "traffic", "connections": [[12, 0, 900_000_000_u64]]}));
        screen.tick();
        screen.refresh();
        assert_eq!(screen.labels()[0], "/usr/sbin/nginx");
        assert_eq!(screen.state.program().unwrap().label, FIREFOX, "{keys:?}");
        let text = screen.text();
        assert!(!text.contains("ollowing") && text.contains("f follow"), "{text}");
        // The tree has rows with other keys, of the same programs.
        screen.press("t");
        assert_eq!(screen.state.program().unwrap().label, FIREFOX, "{keys:?}");
        screen.press("t");
        assert_eq!(screen.state.program().unwrap().label, FIREFOX, "{keys:?}");
        screen.press("f");
        assert_eq!(screen.state.program().unwrap().label, "/usr/sbin/nginx", "{keys:?}");
        assert!(screen.text().contains("Following the busiest") && !screen.text().contains("f follow"));
    }
    // A click on a connection, too.
    let mut screen = screen();
    let (_, areas) = screen.draw();
    let (column, row) = (areas.connections.x + 5, areas.connections.y);
    let kind = MouseEventKind::Down(MouseButton::Left);
    on_mouse(&mut screen.state, &areas, MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE });
    screen.line(json!({"event": "traffic", "connections": [[12, 0, 900_000_000_u64]]}));
    screen.tick();
    screen.refresh();
    assert_eq!(screen.state.program().unwrap().label, FIREFOX);
    assert!(screen.text().contains("─ firefox with "), "{}", screen.text());
}
