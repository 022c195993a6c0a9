//! What a command prints on a terminal.

use std::{ffi::OsStr, fs::File, io::Read, process::Stdio};

use nix::pty::{Winsize, openpty};
use tui::text::width;

use crate::logs::{Log, picosnitch};

/// What a query prints on standard output, a terminal with so many columns. The lines end as the program wrote them.
pub fn on_terminal(log: &Log, columns: u16, arguments: &[impl AsRef<OsStr>]) -> String {
    let (out, _) = run(log, columns, arguments, false);
    out
}

/// What a query prints on a terminal, standard error among it, and its exit code.
pub fn all_on_terminal(log: &Log, columns: u16, arguments: &[impl AsRef<OsStr>]) -> (String, Option<i32>) {
    run(log, columns, arguments, true)
}

fn run(log: &Log, columns: u16, arguments: &[impl AsRef<OsStr>], both: bool) -> (String, Option<i32>) {
    let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let pty = openpty(&size, None).unwrap();
    let mut command = picosnitch(log.path(), log.zone(), "query");
    command.args(arguments).env("TERM", "xterm-256color").env_remove("NO_COLOR").stdin(Stdio::null());
    command.stdout(pty.slave.try_clone().unwrap());
    command.stderr(if both { Stdio::from(pty.slave.try_clone().unwrap()) } else { Stdio::null() });
    let mut child = command.spawn().unwrap();
    // The ends of the program are closed here, so that its end is the end of the output.
    drop((command, pty.slave));
    let (mut out, mut bytes, mut master) = (Vec::new(), [0; 4096], File::from(pty.master));
    while let Ok(read @ 1..) = master.read(&mut bytes) {
        out.extend_from_slice(&bytes[..read]);
    }
    let code = child.wait().unwrap().code();
    // The terminal puts a carriage return in front of each line feed.
    (String::from_utf8(out).unwrap().replace("\r\n", "\n"), code)
}

/// Asserts that no line is wider than the terminal, and that nothing is in it on which the terminal would act.
#[track_caller]
pub fn assert_fits(text: &str, columns: usize) {
    for line in text.lines() {
        assert!(width(line) <= columns, "{} of {columns} columns: {line:?}\n{text}", width(line));
    }
    assert!(!text.chars().any(|character| character.is_control() && character != '\n'), "{text:?}");
}
