//! A real terminal for tests: a tmux server with one window.

pub mod mute;

use std::{
    path::Path,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

/// How long a screen may take on a slow machine.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A terminal on a tmux server of its own. Dropping it ends both.
pub struct Terminal(String);

impl Terminal {
    /// Starts a shell in a terminal of this size, with a UTF-8 locale.
    pub fn start(columns: u16, lines: u16) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let tmux = Command::new("tmux").arg("-V").output();
        assert!(tmux.is_ok(), "this test needs tmux, which `scripts/setup check` installs");
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let terminal = Self(format!("picosnitch-test-{}-{number}", std::process::id()));
        let (columns, lines) = (columns.to_string(), lines.to_string());
        let new = ["-f", "/dev/null", "new-session", "-d", "-x", &columns, "-y", &lines];
        terminal
            .tmux(&[&new[..], &["env", "-u", "NO_COLOR", "LC_ALL=C.UTF-8", "PS1=ready$ ", "sh"]].concat());
        terminal.wait_for("ready$");
        terminal
    }

    /// Runs a tmux command and returns what it prints.
    pub fn tmux(&self, arguments: &[&str]) -> String {
        let output = Command::new("tmux").args(["-u", "-L", &self.0]).args(arguments).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Presses keys, given by their names in tmux.
    pub fn press(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// Types a line and presses Enter.
    pub fn line(&self, text: &str) {
        self.tmux(&["send-keys", "-l", text]);
        self.press(&["Enter"]);
    }

    /// The contents of the screen as text.
    pub fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// Waits until the screen contains a text. Returns the screen.
    pub fn wait_for(&self, expected: &str) -> String {
        self.wait_until(expected, |screen| screen.contains(expected))
    }

    /// Waits until a condition holds for the screen. Returns the screen; `what` is for the message of a failure.
    pub fn wait_until(&self, what: &str, mut done: impl FnMut(&str) -> bool) -> String {
        let until = Instant::now() + TIMEOUT;
        loop {
            let screen = self.screen();
            if done(&screen) {
                return screen;
            }
            assert!(Instant::now() < until, "waited in vain for {what}:\n{screen}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// The modes of the terminal that a full-screen program changes: alternate screen, mouse, cursor, raw mode.
    pub fn modes(&self) -> String {
        let flags =
            self.tmux(&["display", "-p", "#{alternate_on}#{mouse_any_flag}#{mouse_sgr_flag}#{cursor_flag}"]);
        let tty = self.tmux(&["display", "-p", "#{pane_tty}"]);
        let settings = Command::new("stty").args(["-a", "-F", tty.trim()]).output().unwrap();
        let settings = String::from_utf8_lossy(&settings.stdout).into_owned();
        let raw = settings
            .split_whitespace()
            .any(|mode| ["-icanon", "-echo", "-isig", "-opost"].contains(&mode.trim_end_matches(';')));
        format!("{} raw={raw}", flags.trim())
    }
}

/// The result of [`Terminal::modes`] when no full-screen program runs.
pub const CLEAN: &str = "0001 raw=false";

/// The shell command line of a `picosnitch` command that works on a directory.
pub fn picosnitch(base: &Path, command: &str) -> String {
    format!("{} --base-dir {} {command}", env!("CARGO_BIN_EXE_picosnitch"), base.display())
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}
