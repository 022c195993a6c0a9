//! How the screens look.

use insta::assert_snapshot;
use unicode_width::UnicodeWidthStr;

use super::*;
use crate::top::model::Source;

#[test]
fn programs_and_their_connections() {
    let mut bench = Bench::new(SMALL, PLAIN);
    assert_snapshot!("programs", bench.screen());
    bench.press("↓");
    assert_snapshot!("listening", bench.screen());
    bench.press("\t↓");
    assert_snapshot!("accepted_connection", bench.screen());
    bench.press("\t↑\t");
    assert_snapshot!("connection_with_domain", bench.screen());
    bench.press("\tt");
    assert_snapshot!("tree", bench.screen());
}

#[test]
fn what_keys_lead_to() {
    let mut bench = Bench::new(SMALL, PLAIN);
    bench.press("?");
    assert_snapshot!("help", bench.screen());
    bench.press("x/thunder");
    assert_snapshot!("finding", bench.screen());
    bench.press("zzz\n");
    assert_snapshot!("found_nothing", bench.screen());
    bench.press("\u{1b}uuss");
    bench.press(" ");
    assert_snapshot!("paused_in_bytes", bench.screen());
}

#[test]
fn alerts_have_a_pane_when_there_are_some() {
    let mut bench = Bench::with_alerts(SMALL, PLAIN);
    assert_snapshot!("alerts", bench.screen());
    bench.size = LARGE;
    assert_snapshot!("wide_alerts", bench.screen());
    bench.size = (120, 30);
    bench.press("t");
    assert_snapshot!("middle_tree", bench.screen());
    bench.press("?");
    bench.size = LARGE;
    assert_snapshot!("wide_help", bench.screen());
}

#[test]
fn nothing_to_see_and_trouble() {
    let mut bench = Bench::empty(SMALL, PLAIN);
    bench.refresh();
    assert_snapshot!("empty", bench.screen());
    let mut bench = Bench::new(SMALL, PLAIN);
    bench.line(json!(7));
    take(b"\xff{", &mut bench.model, bench.clock);
    bench.line(json!({"event": "tick", "time": NOW, "omitted": 12}));
    assert_snapshot!("not_all_is_shown", bench.screen());
    bench.model.source = Source::Lost("picosnitch does not answer any more".to_owned());
    assert_snapshot!("lost", bench.screen());
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
        let mut bench = Bench::with_alerts(SMALL, theme);
        assert_snapshot!(format!("colours_{name}"), styled(&bench.draw().0));
    }
}

#[test]
fn other_locales_get_ascii_only() {
    let mut bench = Bench::with_alerts(SMALL, Theme { ascii: true, ..PLAIN });
    assert_snapshot!("ascii", bench.screen());
    for keys in ["\t", "\tt", "↓", "↓", "?"] {
        bench.press(keys);
        assert!(bench.screen().is_ascii(), "{}", bench.screen());
    }
}

#[test]
fn no_size_is_too_small_or_too_large() {
    for mut bench in [Bench::with_alerts(SMALL, PLAIN), Bench::empty(SMALL, PLAIN)] {
        let sizes = (0..30).flat_map(|width| (0..30).map(move |height| (width * 7, height)));
        for size in sizes.chain([(20, 5), (1, 90), (300, 1), (1000, 300), (65_535, 1), (1, 65_535)]) {
            bench.size = size;
            for keys in ["", "\t", "t", "?", "x"] {
                bench.press(keys);
                bench.draw();
            }
        }
    }
    let mut bench = Bench::with_alerts((20, 5), PLAIN);
    assert_snapshot!("tiny", bench.screen());
}

#[test]
fn nothing_of_strangers_acts_on_the_terminal_or_moves_columns() {
    let mut bench = Bench::with_alerts((120, 40), PLAIN);
    let strange = "\u{202e}\u{1b}[2J\n\u{9b}31m\u{2066}";
    bench.line(json!({"event": "error", "time": 1, "text": strange}));
    bench.line(json!({"event": "alert", "time": 1, "tag": "new exe", "rank": strange, "path": strange, "virustotal": strange}));
    bench.context(9, strange, strange, strange, strange);
    bench.connection(90, 9, "192.0.2.1", 1, json!({"domain": strange, "domain_source": strange}));
    bench.context(8, &"/x".repeat(40_000), "", "", "");
    bench.connection(80, 8, "192.0.2.1", 1, json!({"domain": "x.".repeat(40_000)}));
    for tree in ["", "t"] {
        bench.press(tree);
        for row in 0..=bench.state.rows.len() {
            for keys in ["\t", "\t"] {
                bench.press(keys);
                let (buffer, _) = bench.draw();
                for cell in &buffer.content {
                    let hostile = |character: char| {
                        character.is_control()
                            || ('\u{2028}'..='\u{202e}').contains(&character)
                            || character == '\u{2066}'
                    };
                    assert!(!cell.symbol().contains(hostile), "{:?} in row {row}", cell.symbol());
                }
                for line in text(&buffer).lines() {
                    assert!(line.width() <= 120, "{line}");
                }
            }
            bench.press("↓");
        }
    }
}
