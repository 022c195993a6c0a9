//! Everything a screen waits for, in one queue: keys and mouse, signals, messages of worker threads.

use std::{
    io::{self, Read},
    os::{fd::AsFd, unix::net::UnixStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use crossterm::event::{self, KeyEvent, KeyEventKind, MouseEvent};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
    },
    unistd::{getpgrp, getppid, tcgetpgrp},
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};

use super::terminal;

/// Signals that end a screen.
const ENDING: [i32; 4] = [SIGTERM, SIGHUP, SIGINT, SIGQUIT];
/// Events that wait; beyond that the terminal's own buffer fills, and workers wait.
const QUEUE: usize = 256;
/// How long the screen may take to end after a signal, before the process is ended without it.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often it is checked whether the one who started the screen is still there, milliseconds.
const CHECK: u16 = 500;

/// What happened.
#[derive(Debug)]
pub enum Event<M> {
    /// A key was pressed.
    Key(KeyEvent),
    /// A mouse button or wheel.
    Mouse(MouseEvent),
    /// The size changed: draw again.
    Resize,
    /// Stop, as after Ctrl-Z: [`terminal::Screen::suspend`].
    Suspend,
    /// End, because of this signal.
    End(i32),
    /// A worker says something.
    Message(M),
}

/// The queue.
pub struct Events<M> {
    sender: SyncSender<Event<M>>,
    receiver: Receiver<Event<M>>,
}

impl<M: Send + 'static> Events<M> {
    /// Starts to listen to the terminal and to signals. To be called before other threads are started: they must not get the
    /// signal of a new size, which crossterm would answer by forgetting keys that came with it.
    ///
    /// # Errors
    /// The system refuses a signal handler, a socket or a thread.
    pub fn start() -> io::Result<Self> {
        let (sender, receiver) = sync_channel(QUEUE);
        let (wake, woken) = UnixStream::pair()?;
        let mut flags = Vec::new();
        let mut sizes = SigSet::empty();
        sizes.add(Signal::SIGWINCH);
        sizes.thread_block()?;
        let resized = SignalFd::with_flags(&sizes, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        for signal in ENDING.into_iter().chain([SIGTSTP]) {
            let flag = Arc::new(AtomicBool::new(false));
            // In this order: the flag is set when the thread wakes up.
            signal_hook::flag::register(signal, Arc::clone(&flag))?;
            signal_hook::low_level::pipe::register(signal, wake.try_clone()?)?;
            flags.push((signal, flag));
        }
        woken.set_nonblocking(true)?;
        let listener = Listener { sender: sender.clone(), woken, resized, flags, ending: None };
        thread::Builder::new().name("input".to_owned()).spawn(move || listener.run())?;
        Ok(Self { sender, receiver })
    }

    /// A way for a worker to say something.
    pub fn sender(&self) -> SyncSender<Event<M>> {
        self.sender.clone()
    }

    /// The next event; `None` when none came in time.
    pub fn next(&self, timeout: Duration) -> Option<Event<M>> {
        match self.receiver.recv_timeout(timeout) {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => None,
            // The queue keeps a sender of its own; should it ever be gone, the screen must not spin.
            Err(RecvTimeoutError::Disconnected) => Some(Event::End(SIGHUP)),
        }
    }
}

/// Ends the process as the signal would have, so that whoever started it knows. Call it with the terminal given back.
pub fn end_of(signal: i32) -> ! {
    terminal::leave();
    let _ = signal_hook::low_level::emulate_default_handler(signal);
    std::process::exit(128 + signal)
}

struct Listener<M> {
    sender: SyncSender<Event<M>>,
    woken: UnixStream,
    /// Readable when the terminal has another size.
    resized: SignalFd,
    flags: Vec<(i32, Arc<AtomicBool>)>,
    ending: Option<(i32, Instant)>,
}

impl<M> Listener<M> {
    fn run(mut self) {
        let parent = getppid();
        let input = io::stdin();
        loop {
            if let Some((signal, since)) = self.ending
                && since.elapsed() >= PATIENCE
            {
                // The screen is stuck, perhaps in a terminal that takes nothing any more.
                end_of(signal);
            }
            let mut fds = [
                PollFd::new(input.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.woken.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.resized.as_fd(), PollFlags::POLLIN),
            ];
            let ready = poll(&mut fds, PollTimeout::from(CHECK));
            let [typed, signalled, resized] = fds.map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
            if ready.is_err_and(|errno| errno != nix::errno::Errno::EINTR) {
                return self.end(SIGHUP);
            }
            if !signalled.is_empty() {
                self.signals();
            }
            if !resized.is_empty() {
                while self.resized.read_signal().is_ok_and(|signal| signal.is_some()) {}
                self.send(Event::Resize);
            }
            if typed.intersects(PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL) {
                // The terminal is gone. To read from it would never end.
                return self.end(SIGHUP);
            }
            if typed.contains(PollFlags::POLLIN) && !self.keys() {
                return self.end(SIGHUP);
            }
            // Who started us was killed, and a shell has the terminal again.
            if getppid() != parent && tcgetpgrp(&input).is_ok_and(|foreground| foreground != getpgrp()) {
                return self.end(SIGHUP);
            }
        }
    }

    fn signals(&mut self) {
        let mut bytes = [0; 64];
        while self.woken.read(&mut bytes).is_ok_and(|length| length > 0) {}
        let raised: Vec<i32> = self
            .flags
            .iter()
            .filter(|(_, flag)| flag.swap(false, Ordering::SeqCst))
            .map(|(signal, _)| *signal)
            .collect();
        for signal in raised {
            match signal {
                SIGTSTP => self.send(Event::Suspend),
                signal => {
                    self.ending.get_or_insert((signal, Instant::now()));
                    self.send(Event::End(signal));
                }
            }
        }
    }

    /// Takes what was typed; false when the terminal is gone.
    fn keys(&self) -> bool {
        loop {
            match event::poll(Duration::ZERO) {
                Ok(true) => {}
                Ok(false) => return true,
                Err(_) => return false,
            }
            match event::read() {
                Ok(event::Event::Key(key)) if key.kind != KeyEventKind::Release => self.send(Event::Key(key)),
                Ok(event::Event::Mouse(mouse)) => self.send(Event::Mouse(mouse)),
                Ok(event::Event::Resize(..)) => self.send(Event::Resize),
                Ok(_) => {}
                Err(_) => return false,
            }
        }
    }

    /// Drops what a stuck screen does not take: this thread has to stay free for signals.
    fn send(&self, event: Event<M>) {
        let _ = self.sender.try_send(event);
    }

    fn end(self, signal: i32) {
        self.send(Event::End(signal));
        thread::sleep(PATIENCE);
        end_of(signal);
    }
}
