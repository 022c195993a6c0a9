//! A terminal of tmux, with a program in it.

use std::{
    path::Path,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

/// How long a screen may take on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// One terminal, on a tmux server of its own. Dropping it ends both.
pub struct Terminal(String);

impl Terminal {
    /// A shell in a terminal of this size, with a UTF-8 locale; `None`, and the reason printed, without tmux.
    pub fn start(columns: u16, lines: u16) -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        if Command::new("tmux").arg("-V").output().is_err() {
            eprintln!("skipped: there is no tmux (scripts/setup test)");
            return None;
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let terminal = Self(format!("picosnitch-test-{}-{number}", std::process::id()));
        let (columns, lines) = (columns.to_string(), lines.to_string());
        let new = ["-f", "/dev/null", "new-session", "-d", "-x", &columns, "-y", &lines];
        terminal
            .tmux(&[&new[..], &["env", "-u", "NO_COLOR", "LC_ALL=C.UTF-8", "PS1=ready$ ", "sh"]].concat());
        terminal.wait_for("ready$");
        Some(terminal)
    }

    /// Runs a tmux command; what it prints.
    pub fn tmux(&self, arguments: &[&str]) -> String {
        let output = Command::new("tmux").args(["-u", "-L", &self.0]).args(arguments).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Presses keys, by tmux's names.
    pub fn press(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// Types a line.
    pub fn line(&self, text: &str) {
        self.tmux(&["send-keys", "-l", text]);
        self.press(&["Enter"]);
    }

    /// The screen as text.
    pub fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// Waits until the screen shows something, and returns it.
    pub fn wait_for(&self, expected: &str) -> String {
        self.wait_until(expected, |screen| screen.contains(expected))
    }

    /// Waits until the screen is as it should be.
    pub fn wait_until(&self, what: &str, mut done: impl FnMut(&str) -> bool) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let screen = self.screen();
            if done(&screen) {
                return screen;
            }
            assert!(Instant::now() < until, "waited in vain for {what}:\n{screen}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// What is left of a screen in the terminal: alternate screen, mouse, hidden cursor, raw mode.
    pub fn leftovers(&self) -> String {
        let flags =
            self.tmux(&["display", "-p", "#{alternate_on}#{mouse_any_flag}#{mouse_sgr_flag}#{cursor_flag}"]);
        let tty = self.tmux(&["display", "-p", "#{pane_tty}"]);
        let modes = Command::new("stty").args(["-a", "-F", tty.trim()]).output().unwrap();
        let modes = String::from_utf8_lossy(&modes.stdout).into_owned();
        let raw = modes
            .split_whitespace()
            .any(|mode| ["-icanon", "-echo", "-isig", "-opost"].contains(&mode.trim_end_matches(';')));
        format!("{} raw={raw}", flags.trim())
    }
}

/// What [`Terminal::leftovers`] says of a terminal that nobody has.
pub const CLEAN: &str = "0001 raw=false";

/// The command line of a `picosnitch` command on a directory, for a shell.
pub fn picosnitch(base: &Path, command: &str) -> String {
    format!("{} --base-dir {} {command}", env!("CARGO_BIN_EXE_picosnitch"), base.display())
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}
