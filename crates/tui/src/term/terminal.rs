//! The terminal while a screen uses it: raw mode, alternate screen, mouse. It is restored however the process ends.

use std::{
    io::{self, IsTerminal, Write},
    os::fd::AsFd,
    sync::{
        Mutex, MutexGuard, Once, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crossterm::{clipboard::CopyToClipboard, execute, terminal};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{signal, termios},
};
use ratatui::{Frame, Terminal};
use thiserror::Error;

use super::{backend::QuietBackend, background};

/// Switches to the alternate screen, hides the cursor, enables mouse buttons in SGR notation, clears the screen.
/// crossterm's own command would also enable mouse movements, which are not used.
const ENTER: &[u8] = b"\x1b[?1049h\x1b[?25l\x1b[?1000h\x1b[?1006h\x1b[2J";
/// Reverses [`ENTER`] and resets the text style.
const LEAVE: &[u8] = b"\x1b[?1006l\x1b[?1000l\x1b[0m\x1b[?25h\x1b[?1049l";
/// How long the terminal may take to accept [`LEAVE`] before its output is restarted (after Ctrl-S), in milliseconds.
const WRITE_TIMEOUT_MILLISECONDS: u16 = 300;
/// How long an answer that is missing at the end is waited for: it would be typed into the shell.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(200);
/// A terminal that has not answered for so long does not answer.
const MAX_ANSWER_AGE: Duration = Duration::from_secs(2);
/// Characters that are copied to the clipboard; terminals have limits of their own.
const MAX_COPIED_CHARACTERS: usize = 4096;

/// Whether a screen has the terminal. Static, because the panic hook and the input thread need it.
static ENTERED: AtomicBool = AtomicBool::new(false);
/// When the terminal was asked for its background, if it has not answered yet.
static ASKED: Mutex<Option<Instant>> = Mutex::new(None);
/// Held while the terminal is restored.
static LEAVING: Mutex<()> = Mutex::new(());

/// The reasons why the screen cannot be opened.
#[derive(Debug, Error)]
pub enum TerminalError {
    /// Standard input or output is a pipe or a file.
    #[error("standard input and output must be a terminal; for pipes and files there is `picosnitch {0}`")]
    NoTerminal(&'static str),
    /// The terminal refused raw mode or output.
    #[error("the terminal cannot be used")]
    Refused(#[from] io::Error),
}

/// The terminal in full-screen mode, until this is dropped.
pub struct Screen(Terminal<QuietBackend>);

impl Screen {
    /// Checks that there is a terminal. `instead` is the command for pipes and files that the error names.
    ///
    /// # Errors
    /// Standard input or output is not a terminal.
    pub fn check(instead: &'static str) -> Result<(), TerminalError> {
        match io::stdin().is_terminal() && io::stdout().is_terminal() {
            true => Ok(()),
            false => Err(TerminalError::NoTerminal(instead)),
        }
    }

    /// Switches the terminal to full-screen mode, and installs a panic hook that restores it. Call [`Screen::check`] first.
    ///
    /// # Errors
    /// The terminal cannot be switched to raw mode.
    pub fn enter() -> Result<Self, TerminalError> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                leave();
                before(panic);
            }));
        });
        let screen = Self(Terminal::new(QuietBackend::new())?);
        enter_full_screen()?;
        Ok(screen)
    }

    /// Draws a frame.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.0.draw(draw).map(|_| ())
    }

    /// Restores the terminal and stops the process, as Ctrl-Z does; when it continues, enters full-screen mode again.
    ///
    /// # Errors
    /// The terminal cannot be switched to raw mode again.
    pub fn suspend(&mut self) -> io::Result<()> {
        leave();
        stop()?;
        enter_full_screen()?;
        self.0.clear()
    }

    /// Clears the terminal, so that the next frame is drawn completely.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn clear(&mut self) -> io::Result<()> {
        self.0.clear()
    }

    /// Asks the terminal for its background. The answer, if there is one, comes as an event.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn ask_background(&mut self) -> io::Result<()> {
        *asked() = Some(Instant::now());
        let mut out = io::stdout().lock();
        out.write_all(background::QUESTION).and_then(|()| out.flush())
    }

    /// Copies a text to the terminal's clipboard (OSC 52); terminals without that feature ignore it. The text is sent in
    /// base64, so no character of it can act on the terminal.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn copy(&mut self, text: &str) -> io::Result<()> {
        let text: String = text.chars().take(MAX_COPIED_CHARACTERS).collect();
        execute!(io::stdout(), CopyToClipboard::to_clipboard_from(text))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        leave();
    }
}

/// Stops the whole process group, as the terminal's own Ctrl-Z does, so that a shell script around it stops, too. The
/// kernel does not stop an orphaned process group, which no shell could continue.
fn stop() -> nix::Result<()> {
    use signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
    let plain = |handler| SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    // SAFETY: neither SIG_IGN nor SIG_DFL runs code of this process, and the previous action is restored.
    unsafe {
        let before = sigaction(Signal::SIGTSTP, &plain(SigHandler::SigIgn))?;
        let others = signal::killpg(nix::unistd::getpgrp(), Signal::SIGTSTP);
        sigaction(Signal::SIGTSTP, &plain(SigHandler::SigDfl))?;
        // `raise` delivers to this thread, so the process has stopped and continued before it returns.
        let own = signal::raise(Signal::SIGTSTP);
        sigaction(Signal::SIGTSTP, &before)?;
        others.and(own)
    }
}

fn asked() -> MutexGuard<'static, Option<Instant>> {
    ASKED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes note that the terminal has answered.
pub(super) fn answered() {
    *asked() = None;
}

/// Waits a moment for an answer that is still under way, and drops what the terminal has sent until then.
fn drop_answer() {
    let is_under_way = || asked().is_some_and(|asked| asked.elapsed() < MAX_ANSWER_AGE);
    let until = Instant::now() + ANSWER_TIMEOUT;
    if !is_under_way() {
        return;
    }
    // The input thread reads it, unless that thread is the one that waits here.
    while is_under_way() && Instant::now() < until {
        thread::sleep(Duration::from_millis(5));
    }
    if is_under_way() {
        let _ = termios::tcflush(io::stdin(), termios::FlushArg::TCIFLUSH);
    }
}

fn enter_full_screen() -> io::Result<()> {
    terminal::enable_raw_mode()?;
    ENTERED.store(true, Ordering::SeqCst);
    let mut out = io::stdout().lock();
    out.write_all(ENTER).and_then(|()| out.flush())
}

/// Restores the terminal, once, from any thread that ends the process. Waits for a bounded time only.
pub fn leave() {
    // A second thread waits for the first, because it may be about to end the process.
    let _guard = LEAVING.lock().unwrap_or_else(PoisonError::into_inner);
    if !ENTERED.swap(false, Ordering::SeqCst) {
        return;
    }
    // A process that is not in the foreground any more (its parent was killed) would be stopped by SIGTTOU.
    // SAFETY: SIG_IGN runs no code of this process.
    let _ = unsafe { signal::signal(signal::Signal::SIGTTOU, signal::SigHandler::SigIgn) };
    // Bypasses the buffer of standard output, whose lock a panicking or stuck thread may hold.
    let out = io::stdout();
    let mut fds = [PollFd::new(out.as_fd(), PollFlags::POLLOUT)];
    if poll(&mut fds, PollTimeout::from(WRITE_TIMEOUT_MILLISECONDS)) == Ok(0) {
        let _ = termios::tcflow(&out, termios::FlowArg::TCOON);
        let _ = termios::tcflush(&out, termios::FlushArg::TCOFLUSH);
    }
    let _ = nix::unistd::write(&out, LEAVE);
    drop_answer();
    let _ = terminal::disable_raw_mode();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Set in the environment when the test runs itself again inside tmux.
    const VARIABLE: &str = "PICOSNITCH_TEST_PANIC";

    #[test]
    fn a_panic_restores_the_terminal() {
        if std::env::var_os(VARIABLE).is_some() {
            let _screen = Screen::enter().unwrap();
            std::thread::sleep(std::time::Duration::from_millis(500));
            // The panic is in another thread, as in a worker: only the hook can restore the terminal.
            let _ = std::thread::spawn(|| panic!("deliberately")).join();
            std::thread::sleep(std::time::Duration::from_secs(60));
        }
        let server = format!("picosnitch-panic-{}", std::process::id());
        let tmux = |arguments: &[&str]| {
            let output = std::process::Command::new("tmux").args(["-L", &server]).args(arguments).output();
            output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        };
        let test = std::env::current_exe().unwrap();
        let name = "term::terminal::tests::a_panic_restores_the_terminal";
        let command = format!("{VARIABLE}=1 {} --exact {name} --nocapture", test.display());
        let started = tmux(&["-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", &command]);
        assert!(started.is_ok(), "this test needs tmux, which `scripts/setup check` installs");
        let mut states = Vec::new();
        for _ in 0..1000 {
            let state = tmux(&["display", "-p", "#{alternate_on}#{mouse_any_flag}#{cursor_flag}"]).unwrap();
            if states.last() != Some(&state) {
                states.push(state);
            }
            if states.len() > 1 && states.last().is_some_and(|state| state.trim() == "001") {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let screen = tmux(&["capture-pane", "-p"]).unwrap();
        let tty = tmux(&["display", "-p", "#{pane_tty}"]).unwrap();
        let modes = std::process::Command::new("stty").args(["-a", "-F", tty.trim()]).output().unwrap();
        let modes = String::from_utf8_lossy(&modes.stdout).into_owned();
        let _ = tmux(&["kill-server"]);
        assert!(states.iter().any(|state| state.trim() == "110"), "{states:?}");
        assert_eq!(states.last().map(|state| state.trim()), Some("001"), "{states:?}");
        assert!(screen.contains("deliberately"), "{screen}");
        assert!(modes.contains(" icanon") && modes.contains(" echo "), "{modes}");
    }
}
