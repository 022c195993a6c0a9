//! Snapshots of screens, and what holds for all of them.

use insta::assert_snapshot;
use unicode_width::UnicodeWidthStr;

use super::*;

const SMALL: (u16, u16) = (80, 24);
const LARGE: (u16, u16) = (300, 90);

#[test]
fn every_tab() {
    let mut screen = TestScreen::new(SMALL, PLAIN);
    for tab in Tab::ALL {
        screen.tab(tab);
        let name = tab.title().to_lowercase().replace(' ', "_");
        assert_snapshot!(format!("tab_{name}"), screen.text());
    }
}

#[test]
fn wide_screens() {
    let mut screen = TestScreen::new(LARGE, PLAIN);
    assert_snapshot!("wide_programs", screen.text());
    screen.tab(Tab::Addresses);
    assert_snapshot!("wide_addresses", screen.text());
    screen.tab(Tab::Time);
    assert_snapshot!("wide_time", screen.text());
    screen.press("?");
    assert_snapshot!("wide_help", screen.text());
}

#[test]
fn screens_after_keys() {
    let mut screen = TestScreen::new(SMALL, PLAIN);
    screen.press("?");
    assert_snapshot!("help", screen.text());
    screen.press("x");
    screen.press(" ");
    screen.press("e");
    assert_snapshot!("filtered", screen.text());
    screen.press("\u{8}\u{8}");
    screen.press("h");
    assert_snapshot!("history_today", screen.text());
    screen.press("h");
    assert_snapshot!("history_yesterday", screen.text());
    screen.press("/chrony");
    assert_snapshot!("finding", screen.text());
    screen.press("zzz\n");
    assert_snapshot!("found_nothing", screen.text());
    screen.press("\u{1b}");
    screen.press("ttt");
    screen.press("uu");
    assert_snapshot!("year_in_bytes", screen.text());
    screen.press("t");
    assert_snapshot!("all", screen.text());
    screen.press("d");
    assert_snapshot!("without_detail", screen.text());
}

#[test]
fn colours() {
    for (name, theme) in [
        ("sixteen", Theme { depth: Depth::Sixteen, ..PLAIN }),
        ("sixteen_light", Theme { depth: Depth::Sixteen, background: Background::Light, ..PLAIN }),
        ("true_dark", Theme { depth: Depth::True, ..PLAIN }),
        ("true_light", Theme { depth: Depth::True, background: Background::Light, ..PLAIN }),
        ("unknown", Theme { depth: Depth::True, background: Background::Unknown, ..PLAIN }),
        ("no_color", PLAIN),
    ] {
        let mut screen = TestScreen::new(SMALL, theme);
        assert_snapshot!(format!("colours_{name}"), styled(&screen.draw().0));
    }
}

#[test]
fn screens_are_ascii_in_other_locales() {
    let mut screen = TestScreen::new(SMALL, Theme { ascii: true, ..PLAIN });
    assert_snapshot!("ascii", screen.text());
    for tab in Tab::ALL {
        screen.tab(tab);
        assert!(screen.text().is_ascii(), "{}", screen.text());
    }
}

#[test]
fn every_size_can_be_drawn() {
    let mut screen = TestScreen::new(SMALL, PLAIN);
    let sizes = (0..30).flat_map(|width| (0..30).map(move |height| (width * 5, height)));
    for size in sizes.chain([(20, 5), (1, 90), (300, 1), (1000, 300), (65_535, 1), (1, 65_535)]) {
        screen.size = size;
        for help in [false, true] {
            screen.state.help.shown = help;
            screen.draw();
        }
    }
    screen.size = (20, 5);
    screen.state.help.shown = false;
    assert_snapshot!("tiny", screen.text());
}

#[test]
fn untrusted_text_cannot_act_on_the_terminal_or_move_columns() {
    let mut screen = TestScreen::new((120, 40), PLAIN);
    for tab in Tab::ALL {
        screen.tab(tab);
        for _ in 0..screen.state.list.len() {
            let (buffer, _) = screen.draw();
            for cell in &buffer.content {
                let hostile = |character: char| {
                    character.is_control() || ('\u{2028}'..='\u{202e}').contains(&character)
                };
                assert!(!cell.symbol().contains(hostile), "{:?} on {tab:?}", cell.symbol());
            }
            for line in text(&buffer).lines() {
                assert!(line.width() <= 120, "{line}");
            }
            screen.press("↓");
        }
    }
    screen.tab(Tab::Programs);
    screen.size = (300, 40);
    let text = screen.text();
    assert!(text.contains("\\u{202e}gpj.exe\\x1b]0;owned\\x07"), "{text}");
}

#[test]
fn an_empty_log_is_reported() {
    let mut screen = TestScreen::with(SMALL, PLAIN, |base| {
        Writer::open(&base.join("snitch.db")).unwrap();
    });
    assert_snapshot!("empty", screen.text());
}

#[test]
fn small_screens_have_help_and_quit() {
    for size in [SMALL, (60, 15), (40, 10)] {
        let name = format!("{}x{}", size.0, size.1);
        let mut screen = TestScreen::new(size, PLAIN);
        assert_snapshot!(format!("small_{name}"), screen.text());
        assert!(screen.text().contains("? help  q quit"), "{}", screen.text());
        screen.press("?");
        assert_snapshot!(format!("help_{name}"), screen.text());
        // Down to the end of the help, which has the last key; then any key closes it.
        for _ in 0..40 {
            if !screen.text().contains("Ctrl-C always") {
                screen.press("↓");
            }
        }
        assert!(screen.text().contains("Ctrl-C always"), "{}", screen.text());
        screen.press("x");
        assert!(screen.text().contains("? help  q quit"), "{}", screen.text());
    }
}
