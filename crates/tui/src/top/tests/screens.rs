//! Snapshots of screens, and what holds for all of them.

use insta::assert_snapshot;
use unicode_width::UnicodeWidthStr;

use super::*;
use crate::top::live_state::FeedStatus;

#[test]
fn programs_and_their_connections() {
    let mut screen = TestScreen::new(SMALL, PLAIN);
    assert_snapshot!("programs", screen.text());
    screen.press("↓");
    assert_snapshot!("listening", screen.text());
    screen.press("\t↓");
    assert_snapshot!("accepted_connection", screen.text());
    screen.press("\t↑\t");
    assert_snapshot!("connection_with_domain", screen.text());
    screen.press("\tt");
    assert_snapshot!("tree", screen.text());
}

#[test]
fn screens_after_keys() {
    let mut screen = TestScreen::new(SMALL, PLAIN);
    screen.press("?");
    assert_snapshot!("help", screen.text());
    screen.press("x/thunder");
    assert_snapshot!("finding", screen.text());
    screen.press("zzz\n");
    assert_snapshot!("found_nothing", screen.text());
    screen.press("\u{1b}uuss");
    screen.press(" ");
    assert_snapshot!("paused_in_bytes", screen.text());
}

#[test]
fn alerts_have_a_pane() {
    let mut screen = TestScreen::with_alerts(SMALL, PLAIN);
    assert_snapshot!("alerts", screen.text());
    screen.size = LARGE;
    assert_snapshot!("wide_alerts", screen.text());
    screen.size = (120, 30);
    screen.press("t");
    assert_snapshot!("middle_tree", screen.text());
    screen.press("?");
    screen.size = LARGE;
    assert_snapshot!("wide_help", screen.text());
}

#[test]
fn empty_and_incomplete_screens() {
    let mut screen = TestScreen::empty(SMALL, PLAIN);
    screen.refresh();
    assert_snapshot!("empty", screen.text());
    let mut screen = TestScreen::new(SMALL, PLAIN);
    screen.line(json!(7));
    apply_line(b"\xff{", &mut screen.live, screen.clock);
    screen.line(json!({"event": "tick", "time": NOW, "omitted": 12}));
    assert_snapshot!("not_all_is_shown", screen.text());
    screen.live.status = FeedStatus::Lost("picosnitch does not answer any more".to_owned());
    assert_snapshot!("lost", screen.text());
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
        let mut screen = TestScreen::with_alerts(SMALL, theme);
        assert_snapshot!(format!("colours_{name}"), styled(&screen.draw().0));
        screen.live.note_silence(screen.clock + Duration::from_secs(4));
        assert_snapshot!(format!("stale_{name}"), styled(&screen.draw().0));
    }
}

#[test]
fn screens_are_ascii_in_other_locales() {
    let mut screen = TestScreen::with_alerts(SMALL, Theme { ascii: true, ..PLAIN });
    assert_snapshot!("ascii", screen.text());
    for keys in ["\t", "\tt", "↓", "↓", "?"] {
        screen.press(keys);
        assert!(screen.text().is_ascii(), "{}", screen.text());
    }
}

#[test]
fn every_size_can_be_drawn() {
    for mut screen in [TestScreen::with_alerts(SMALL, PLAIN), TestScreen::empty(SMALL, PLAIN)] {
        let sizes = (0..30).flat_map(|width| (0..30).map(move |height| (width * 7, height)));
        for size in sizes.chain([(20, 5), (1, 90), (300, 1), (1000, 300), (65_535, 1), (1, 65_535)]) {
            screen.size = size;
            for keys in ["", "\t", "t", "?", "x"] {
                screen.press(keys);
                screen.draw();
            }
        }
    }
    let mut screen = TestScreen::with_alerts((20, 5), PLAIN);
    assert_snapshot!("tiny", screen.text());
}

#[test]
fn untrusted_text_cannot_act_on_the_terminal_or_move_columns() {
    let mut screen = TestScreen::with_alerts((120, 40), PLAIN);
    let strange = "\u{202e}\u{1b}[2J\n\u{9b}31m\u{2066}";
    screen.line(json!({"event": "error", "time": 1, "text": strange}));
    screen.line(json!({"event": "alert", "time": 1, "tag": "new exe", "rank": strange, "path": strange, "virustotal": strange}));
    screen.context(9, [strange; 3], strange);
    screen.connection(90, 9, "192.0.2.1:1", json!({"domain": strange, "domain_source": strange}));
    screen.context(8, ["", "", &"/x".repeat(40_000)], "");
    screen.connection(80, 8, "192.0.2.1:1", json!({"domain": "x.".repeat(40_000)}));
    for tree in ["", "t"] {
        screen.press(tree);
        for row in 0..=screen.state.programs.rows.len() {
            for keys in ["\t", "\t"] {
                screen.press(keys);
                let (buffer, _) = screen.draw();
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
            screen.press("↓");
        }
    }
}

#[test]
fn losses_have_the_colour_of_what_they_mean() {
    let theme = Theme { depth: Depth::True, ..PLAIN };
    let lost = |kinds: &[&str]| {
        let mut screen = TestScreen::empty((200, 24), theme);
        screen.tick();
        for kind in kinds {
            screen.line(json!({"event": "loss", "kind": kind, "count": 2, "text": ""}));
        }
        screen.tick();
        let (buffer, _) = screen.draw();
        let lines: Vec<_> = text(&buffer).lines().map(str::to_owned).collect();
        let mark = buffer.content.iter().find(|cell| cell.symbol() == "!").map(|cell| cell.fg);
        (lines.last().unwrap().clone(), buffer[(0, 23)].fg, mark)
    };
    let (amber, red) = (theme.novel().fg.unwrap(), theme.wrong().fg.unwrap());
    let program = lost(&["names", "process_events", "release_events"]);
    let (line, colour, mark) = &program;
    assert!(
        line.starts_with("in the last minute some traffic may lack its program (2 process events), "),
        "{line}"
    );
    assert_eq!((*colour, *mark), (amber, Some(amber)));
    let (line, colour, mark) = lost(&["names", "flow_table_full", "a_new_kind", "a_new_kind"]);
    assert!(line.contains("no record (2 sends, receives or connects, 4 a_new_kind)"), "{line}");
    assert_eq!((colour, mark), (red, Some(red)));
    let (line, colour, mark) = lost(&["release_events"]);
    assert!(line.contains("nothing is missing"), "{line}");
    assert_eq!((colour, mark), (theme.dim().fg.unwrap(), None));
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
