//! How the screens look.

use insta::assert_snapshot;
use unicode_width::UnicodeWidthStr;

use super::*;
use crate::view::tabs::TABS;

const SMALL: (u16, u16) = (80, 24);
const LARGE: (u16, u16) = (300, 90);

#[test]
fn every_tab() {
    let mut bench = Bench::new(SMALL, PLAIN);
    for tab in &TABS {
        bench.tab(tab.title);
        let name = tab.title.to_lowercase().replace(' ', "_");
        assert_snapshot!(format!("tab_{name}"), bench.screen());
    }
}

#[test]
fn wide_screens() {
    let mut bench = Bench::new(LARGE, PLAIN);
    assert_snapshot!("wide_programs", bench.screen());
    bench.tab("Addresses");
    assert_snapshot!("wide_addresses", bench.screen());
    bench.tab("Time");
    assert_snapshot!("wide_time", bench.screen());
    bench.press("?");
    assert_snapshot!("wide_help", bench.screen());
}

#[test]
fn what_keys_lead_to() {
    let mut bench = Bench::new(SMALL, PLAIN);
    bench.press("?");
    assert_snapshot!("help", bench.screen());
    bench.press("x");
    bench.press(" ");
    bench.press("e");
    assert_snapshot!("filtered", bench.screen());
    bench.press("\u{8}\u{8}");
    bench.press("h");
    assert_snapshot!("history_today", bench.screen());
    bench.press("h");
    assert_snapshot!("history_yesterday", bench.screen());
    bench.press("/chrony");
    assert_snapshot!("finding", bench.screen());
    bench.press("zzz\n");
    assert_snapshot!("found_nothing", bench.screen());
    bench.press("\u{1b}");
    bench.press("ttt");
    bench.press("uu");
    assert_snapshot!("year_in_bytes", bench.screen());
    bench.press("t");
    assert_snapshot!("all", bench.screen());
    bench.press("d");
    assert_snapshot!("without_detail", bench.screen());
}

#[test]
fn colours() {
    for (name, theme) in [
        ("sixteen", Theme { depth: Depth::Sixteen, ..PLAIN }),
        ("sixteen_light", Theme { depth: Depth::Sixteen, light: true, ..PLAIN }),
        ("true_dark", Theme { depth: Depth::True, ..PLAIN }),
        ("true_light", Theme { depth: Depth::True, light: true, ..PLAIN }),
        ("no_color", PLAIN),
    ] {
        let mut bench = Bench::new(SMALL, theme);
        assert_snapshot!(format!("colours_{name}"), styled(&bench.draw().0));
    }
}

#[test]
fn other_locales_get_ascii_only() {
    let mut bench = Bench::new(SMALL, Theme { ascii: true, ..PLAIN });
    assert_snapshot!("ascii", bench.screen());
    for tab in &TABS {
        bench.tab(tab.title);
        assert!(bench.screen().is_ascii(), "{}", bench.screen());
    }
}

#[test]
fn no_size_is_too_small_or_too_large() {
    let mut bench = Bench::new(SMALL, PLAIN);
    let sizes = (0..30).flat_map(|width| (0..30).map(move |height| (width * 5, height)));
    for size in sizes.chain([(20, 5), (1, 90), (300, 1), (1000, 300), (65_535, 1), (1, 65_535)]) {
        bench.size = size;
        for help in [false, true] {
            bench.state.help = help;
            bench.draw();
        }
    }
    bench.size = (20, 5);
    bench.state.help = false;
    assert_snapshot!("tiny", bench.screen());
}

#[test]
fn nothing_of_strangers_acts_on_the_terminal_or_moves_columns() {
    let mut bench = Bench::new((120, 40), PLAIN);
    for tab in &TABS {
        bench.tab(tab.title);
        for _ in 0..bench.state.shown.len() {
            let (buffer, _) = bench.draw();
            for cell in &buffer.content {
                let hostile = |character: char| {
                    character.is_control() || ('\u{2028}'..='\u{202e}').contains(&character)
                };
                assert!(!cell.symbol().contains(hostile), "{:?} on {}", cell.symbol(), tab.title);
            }
            for line in text(&buffer).lines() {
                assert!(line.width() <= 120, "{line}");
            }
            bench.press("↓");
        }
    }
    bench.tab("Programs");
    bench.size = (300, 40);
    let screen = bench.screen();
    assert!(screen.contains("\\u{202e}gpj.exe\\x1b]0;owned\\x07"), "{screen}");
}

#[test]
fn an_empty_log_says_so() {
    let mut bench = Bench::with(SMALL, PLAIN, |base| {
        Writer::open(&base.join("snitch.db")).unwrap();
    });
    assert_snapshot!("empty", bench.screen());
}
