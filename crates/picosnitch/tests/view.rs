//! `picosnitch view` in a real terminal, on a log written by the store: the terminal is restored however the screen ends.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod terminal;

use std::{
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use model::{Counters, FlowTuple, GeoInfo, ProcessContext, Program, Record, Window};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use store::Writer;
use terminal::{CLEAN, Terminal, mute::MuteTerminal, picosnitch};

/// A log with one recording window, a minute old, with one program.
fn log() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64 - 60;
    let program =
        Program { path: b"/usr/bin/example".to_vec(), name: b"example".to_vec(), ..Program::default() };
    let record = Record {
        context: Arc::new(ProcessContext { program, ..ProcessContext::default() }),
        tuple: FlowTuple {
            family: 2,
            protocol: 6,
            remote_address: "192.0.2.7".parse().ok(),
            ..FlowTuple::default()
        },
        geo: GeoInfo::default(),
        counters: Counters { connections: 1, sent: 123, received: 45_678 },
        opened: false,
        folded: 0,
    };
    let mut writer = Writer::open(&directory.path().join("snitch.db")).unwrap();
    writer.write(&Window { time, records: vec![record], ..Window::default() }).unwrap();
    directory
}

/// The process id of the screen, which the shell printed before it executed the screen.
fn pid(screen: &str) -> Pid {
    let line = screen.lines().find_map(|line| line.strip_prefix("pid=")).unwrap();
    Pid::from_raw(line.trim().parse().unwrap())
}

/// Shows the log in a terminal, under a shell that prints the exit status.
fn view(base: &Path) -> (Terminal, Pid) {
    let terminal = Terminal::start(80, 24);
    terminal.line(&format!("sh -c 'echo pid=$$; read go; exec {}'; echo ended=$?", picosnitch(base, "view")));
    let screen = terminal.wait_until("its pid", |screen| screen.lines().any(|line| line.starts_with("pid=")));
    terminal.press(&["Enter"]);
    terminal.wait_for("/usr/bin/example");
    assert_eq!(terminal.modes(), "1110 raw=true");
    let pid = pid(&screen);
    (terminal, pid)
}

/// Asserts that the screen has ended with this status and has restored the terminal.
fn assert_restored(terminal: &Terminal, ended: &str) {
    terminal.wait_until(ended, |screen| screen.lines().any(|line| line == ended));
    assert_eq!(terminal.modes(), CLEAN, "{}", terminal.screen());
    terminal.line("echo the shell works");
    terminal.wait_until("the shell", |screen| screen.lines().any(|line| line == "the shell works"));
}

#[test]
fn keys_end_it_in_every_state() {
    let base = log();
    for keys in [&["q"][..], &["C-c"], &["/", "x", "C-c"], &["?", "C-c"], &["C-\\"]] {
        let (terminal, _) = view(base.path());
        for key in keys {
            terminal.press(&[key]);
        }
        assert_restored(&terminal, "ended=0");
    }
}

#[test]
fn signals_end_it_like_any_program() {
    let base = log();
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT] {
        let (terminal, pid) = view(base.path());
        kill(pid, signal).unwrap();
        if signal == Signal::SIGINT {
            // A shell whose command died of SIGINT also gives up the rest of its line, the `echo`.
            terminal.wait_until("the terminal to be given back", |_| terminal.modes() == CLEAN);
            terminal.line("echo ended=$?");
        }
        assert_restored(&terminal, &format!("ended={}", 128 + signal as i32));
    }
}

#[test]
fn it_ends_when_its_parent_is_killed() {
    let base = log();
    let terminal = Terminal::start(80, 24);
    // Another shell is the parent, as sudo would be. Killed, it cannot pass a signal to its child.
    terminal.line(&format!(
        "sh -c 'echo pid=$$; read go; {}; true'; echo ended=$?",
        picosnitch(base.path(), "view")
    ));
    let screen = terminal.wait_until("its pid", |screen| screen.lines().any(|line| line.starts_with("pid=")));
    terminal.press(&["Enter"]);
    terminal.wait_for("/usr/bin/example");
    kill(pid(&screen), Signal::SIGKILL).unwrap();
    terminal.wait_until("the terminal to be given back", |_| terminal.modes() == CLEAN);
    terminal.line("echo the shell works");
    terminal.wait_until("the shell", |screen| screen.lines().any(|line| line == "the shell works"));
}

#[test]
fn it_stops_and_goes_on() {
    let base = log();
    let terminal = Terminal::start(80, 24);
    terminal.line("exec bash --norc -i");
    terminal.line(&picosnitch(base.path(), "view"));
    terminal.wait_for("/usr/bin/example");
    terminal.press(&["C-z"]);
    terminal.wait_for("Stopped");
    assert_eq!(&terminal.modes()[..4], "0001");
    terminal.line("fg");
    terminal.wait_for("45.7 kB");
    assert_eq!(terminal.modes(), "1110 raw=true");
    terminal.press(&["q"]);
    terminal.wait_until("the shell", |_| terminal.modes().starts_with("0001"));
}

#[test]
fn every_size_can_be_drawn() {
    let base = log();
    let (terminal, _) = view(base.path());
    for (columns, lines) in [(20, 5), (300, 90), (1, 1), (119, 30), (120, 30), (80, 2), (80, 24)] {
        terminal.press(&["Tab", "BTab", "h", "H"]);
        terminal.tmux(&["resize-window", "-x", &columns.to_string(), "-y", &lines.to_string()]);
        terminal.press(&["t", "T"]);
    }
    terminal.wait_for("/usr/bin/example");
    terminal.press(&["q"]);
    terminal.wait_until("the end", |_| terminal.modes() == CLEAN);
}

#[test]
fn without_a_terminal_or_a_log_the_error_has_advice() {
    let base = log();
    let run = |base: &Path| {
        let output = Command::new(env!("CARGO_BIN_EXE_picosnitch"))
            .arg("--base-dir")
            .arg(base)
            .arg("view")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(run(base.path()).contains("picosnitch query"), "{}", run(base.path()));
    let empty = tempfile::tempdir().unwrap();
    let message = run(empty.path());
    assert!(message.contains("there is no log at") && message.contains("--base-dir"), "{message}");
}

#[test]
fn a_terminal_that_answers_nothing_is_enough() {
    let log = log();
    // A serial console does not know its size either.
    for size in [[24, 80], [0, 0]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_picosnitch"));
        command.arg("--base-dir").arg(log.path()).arg("view");
        let mut terminal = MuteTerminal::run(command, size);
        terminal.type_and_expect(b"", "/usr/bin/example");
        // Ctrl-L; Ctrl-Z, which stops nothing here, since no shell could continue it: the screen is drawn again at once.
        for keys in [b"\x0c", b"\x1a"] {
            terminal.type_and_expect(keys, "/usr/bin/example");
        }
        assert!(terminal.end(b"q").success());
    }
}

/// The background of the selected row on light and dark backgrounds, in all colours.
const LIGHT_ROW: &str = "48;2;214;226;244";
const DARK_ROW: &str = "48;2;44;56;74";

/// `view` in a terminal with all colours, for a user with this home directory.
fn colourful_view(log: &Path, home: &Path, arguments: &[&str]) -> MuteTerminal {
    let mut command = Command::new(env!("CARGO_BIN_EXE_picosnitch"));
    command.arg("--base-dir").arg(log).arg("view").args(arguments);
    command.env("COLORTERM", "truecolor").env("HOME", home);
    for variable in ["NO_COLOR", "COLORFGBG", "PICOSNITCH_BACKGROUND", "XDG_STATE_HOME"] {
        command.env_remove(variable);
    }
    MuteTerminal::run(command, [24, 80])
}

#[test]
fn the_terminal_is_asked_for_its_background_and_its_answer_is_no_key() {
    let (log, home) = (log(), tempfile::tempdir().unwrap());
    for (answer, row) in
        [("\x1b]11;rgb:ffff/ffff/dddd\x1b\\", LIGHT_ROW), ("\x1b]11;rgb:1d1d/1f1f/2121\x07", DARK_ROW)]
    {
        let mut terminal = colourful_view(log.path(), home.path(), &[]);
        terminal.type_and_expect(b"", "/usr/bin/example");
        let output = terminal.output();
        assert!(output.contains("\x1b]11;?\x1b\\") && !output.contains("48;2;"), "{output:?}");
        // An answer that comes late, over a slow line: byte by byte.
        let (last, first) = answer.as_bytes().split_last().unwrap();
        for byte in first {
            terminal.type_and_expect(&[*byte], "");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        terminal.type_and_expect(&[*last], row);
        // Its slashes have begun no search, its letters have done nothing.
        terminal.type_and_expect(b"?", "Keys");
        assert!(!terminal.output().contains("find:"), "{:?}", terminal.output());
        assert!(terminal.end(b"qq").success());
    }
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0, "nobody has chosen a theme");
}

#[test]
fn a_chosen_theme_is_remembered() {
    let (log, home) = (log(), tempfile::tempdir().unwrap());
    for arguments in [&["--theme", "light"][..], &[]] {
        let mut terminal = colourful_view(log.path(), home.path(), arguments);
        terminal.type_and_expect(b"", LIGHT_ROW);
        assert!(!terminal.output().contains("\x1b]11;?"), "there is nothing to ask");
        assert!(terminal.end(b"q").success());
    }
    // The key goes on to no colours, and back to what the terminal says.
    let mut terminal = colourful_view(log.path(), home.path(), &[]);
    terminal.type_and_expect(b"", "/usr/bin/example");
    terminal.type_and_expect(b"c", "no colours");
    assert!(terminal.end(b"q").success());
    let mut terminal = colourful_view(log.path(), home.path(), &[]);
    terminal.type_and_expect(b"", "/usr/bin/example");
    assert!(!terminal.output().contains("48;2;"));
    terminal.type_and_expect(b"c", "\x1b]11;?\x1b\\");
    assert!(terminal.end(b"q").success());
}

#[test]
fn an_answer_after_the_end_is_not_typed_into_the_shell() {
    let (log, home) = (log(), tempfile::tempdir().unwrap());
    let mut command = Command::new("sh");
    let view = picosnitch(log.path(), "view");
    command.args(["-c", &format!("{view}; echo ready; read -r line; echo \"got=$line.\"")]);
    command.env("HOME", home.path()).env("COLORTERM", "truecolor").env_remove("NO_COLOR");
    let mut terminal = MuteTerminal::run(command, [24, 80]);
    terminal.type_and_expect(b"", "/usr/bin/example");
    terminal.type_and_expect(b"q", "\x1b[?1049l");
    terminal.type_and_expect(b"\x1b]11;rgb:ffff/ffff/ffff\x1b\\", "ready");
    terminal.type_and_expect(b"end\n", "got=end.");
}
