//! The terminal while a screen has it: raw mode, alternate screen, mouse; and given back however it ends.

use std::{
    io::{self, IsTerminal, Stdout, Write},
    os::fd::AsFd,
    sync::{
        Mutex, Once, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use crossterm::{clipboard::CopyToClipboard, execute, terminal};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{signal, termios},
};
use ratatui::{Frame, Terminal, backend::CrosstermBackend};
use thiserror::Error;

/// Alternate screen, hidden cursor, mouse buttons in SGR notation. Not all movements of the mouse, as crossterm's own
/// command would: nobody needs them.
const ENTER: &[u8] = b"\x1b[?1049h\x1b[?25l\x1b[?1000h\x1b[?1006h\x1b[2J";
/// The reverse, and plain text.
const LEAVE: &[u8] = b"\x1b[?1006l\x1b[?1000l\x1b[0m\x1b[?25h\x1b[?1049l";
/// How long the terminal may take to accept what gives it back, milliseconds: it may be stopped (Ctrl-S).
const PATIENCE: u16 = 300;
/// Characters that are copied to the clipboard at most; terminals have limits of their own.
const MAX_COPIED: usize = 4096;

/// Whether the terminal is ours. A static, since a panic or a signal has to find it.
static ENTERED: AtomicBool = AtomicBool::new(false);
/// Held while it is given back.
static LEAVING: Mutex<()> = Mutex::new(());

/// There is no screen to draw on.
#[derive(Debug, Error)]
pub enum TerminalError {
    /// Input or output is a pipe or a file.
    #[error("standard input and output must be a terminal; for pipes and files there is `picosnitch {0}`")]
    NoTerminal(&'static str),
    /// The terminal refused.
    #[error("the terminal cannot be used")]
    Refused(#[from] io::Error),
}

/// The terminal, ours until this is dropped.
pub struct Screen(Terminal<CrosstermBackend<Stdout>>);

impl Screen {
    /// Fails without a terminal; `instead` is the command for pipes and files.
    ///
    /// # Errors
    /// Input or output is none.
    pub fn check(instead: &'static str) -> Result<(), TerminalError> {
        match io::stdin().is_terminal() && io::stdout().is_terminal() {
            true => Ok(()),
            false => Err(TerminalError::NoTerminal(instead)),
        }
    }

    /// Takes the terminal ([`Screen::check`] comes first), and sees to it that a panic gives it back.
    ///
    /// # Errors
    /// It cannot be switched to raw mode.
    pub fn enter() -> Result<Self, TerminalError> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                leave();
                before(panic);
            }));
        });
        let backend = CrosstermBackend::new(io::stdout());
        let screen = Self(Terminal::new(backend)?);
        take()?;
        Ok(screen)
    }

    /// Draws one frame.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.0.draw(draw).map(|_| ())
    }

    /// Stops the process as Ctrl-Z does everywhere, and takes the terminal again when it goes on.
    ///
    /// # Errors
    /// The terminal cannot be taken again.
    pub fn suspend(&mut self) -> io::Result<()> {
        leave();
        stop()?;
        take()?;
        self.0.clear()
    }

    /// Draws everything anew at the next frame.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn clear(&mut self) -> io::Result<()> {
        self.0.clear()
    }

    /// Hands a text to the terminal's clipboard (OSC 52); terminals that cannot ignore it. The text is sent in base64:
    /// no character of it can act on the terminal.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn copy(&mut self, text: &str) -> io::Result<()> {
        let text: String = text.chars().take(MAX_COPIED).collect();
        execute!(io::stdout(), CopyToClipboard::to_clipboard_from(text))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        leave();
    }
}

/// Stops all of the job, as the terminal's own Ctrl-Z: a shell script around it, too. Where nobody could continue it (an
/// orphaned process group), the kernel does not stop it.
fn stop() -> nix::Result<()> {
    use signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
    let plain = |handler| SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    // SAFETY: neither action runs code of ours, and the one before is put back.
    unsafe {
        let before = sigaction(Signal::SIGTSTP, &plain(SigHandler::SigIgn))?;
        let others = signal::killpg(nix::unistd::getpgrp(), Signal::SIGTSTP);
        sigaction(Signal::SIGTSTP, &plain(SigHandler::SigDfl))?;
        // To this thread: so it has stopped, and goes on, before this returns.
        let own = signal::raise(Signal::SIGTSTP);
        sigaction(Signal::SIGTSTP, &before)?;
        others.and(own)
    }
}

fn take() -> io::Result<()> {
    terminal::enable_raw_mode()?;
    ENTERED.store(true, Ordering::SeqCst);
    let mut out = io::stdout().lock();
    out.write_all(ENTER).and_then(|()| out.flush())
}

/// Gives the terminal back, once, from wherever the process is ending. Never waits for long.
pub fn leave() {
    // Who comes second waits for the first: it may be about to end the process.
    let _alone = LEAVING.lock().unwrap_or_else(PoisonError::into_inner);
    if !ENTERED.swap(false, Ordering::SeqCst) {
        return;
    }
    // Who is not in the foreground any more (a parent was killed) would be stopped for touching the terminal.
    // SAFETY: ignoring a signal runs no code of ours.
    let _ = unsafe { signal::signal(signal::Signal::SIGTTOU, signal::SigHandler::SigIgn) };
    // Past the buffer of standard output, whose lock a panicking or stuck thread may hold.
    let out = io::stdout();
    let mut fds = [PollFd::new(out.as_fd(), PollFlags::POLLOUT)];
    if poll(&mut fds, PollTimeout::from(PATIENCE)) == Ok(0) {
        let _ = termios::tcflow(&out, termios::FlowArg::TCOON);
        let _ = termios::tcflush(&out, termios::FlushArg::TCOFLUSH);
    }
    let _ = nix::unistd::write(&out, LEAVE);
    let _ = terminal::disable_raw_mode();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Run again by itself in a terminal of tmux, with this in the environment.
    const VARIABLE: &str = "PICOSNITCH_TEST_PANIC";

    #[test]
    fn a_panic_gives_the_terminal_back() {
        if std::env::var_os(VARIABLE).is_some() {
            let _screen = Screen::enter().unwrap();
            std::thread::sleep(std::time::Duration::from_millis(500));
            // Another thread's, as of a worker: only the hook can help there.
            let _ = std::thread::spawn(|| panic!("deliberately")).join();
            std::thread::sleep(std::time::Duration::from_secs(60));
        }
        let server = format!("picosnitch-panic-{}", std::process::id());
        let tmux = |arguments: &[&str]| {
            let output = std::process::Command::new("tmux").args(["-L", &server]).args(arguments).output();
            output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        };
        let test = std::env::current_exe().unwrap();
        let name = "term::terminal::tests::a_panic_gives_the_terminal_back";
        let command = format!("{VARIABLE}=1 {} --exact {name} --nocapture", test.display());
        if tmux(&["-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", &command]).is_err() {
            eprintln!("skipped: there is no tmux (scripts/setup test)");
            return;
        }
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
