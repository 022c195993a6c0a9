//! One queue for all events that a screen waits for: keys and mouse, signals, messages of worker threads.

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

use super::{
    background::{AnswerFilter, Background},
    terminal,
};

/// Signals that end a screen.
const END_SIGNALS: [i32; 4] = [SIGTERM, SIGHUP, SIGINT, SIGQUIT];
/// Events in the queue. When it is full, further keys are dropped and workers wait.
const MAX_QUEUED: usize = 256;
/// How long the screen may take to end after a signal before the input thread ends the process.
const END_TIMEOUT: Duration = Duration::from_secs(1);
/// How often the input thread checks whether the parent process still exists, in milliseconds.
const CHECK_MILLISECONDS: u16 = 500;

/// An event. `M` is the type of the messages of worker threads.
#[derive(Debug)]
pub enum Event<M> {
    Key(KeyEvent),
    Mouse(MouseEvent),
    /// The terminal has said what its background is.
    Background(Background),
    /// The terminal has another size now.
    Resize,
    /// SIGTSTP arrived: the screen has to call [`terminal::Screen::suspend`].
    Suspend,
    /// This signal arrived: the screen has to end.
    End(i32),
    /// A worker thread sent a message.
    Message(M),
}

/// The queue of events, with the thread that reads the terminal.
pub struct Events<M> {
    sender: SyncSender<Event<M>>,
    receiver: Receiver<Event<M>>,
}

impl<M: Send + 'static> Events<M> {
    /// Starts the thread that reads the terminal and signals. Call this before other threads are started, because SIGWINCH
    /// is blocked in this thread and those it starts: delivered to one of them it would make crossterm drop keys that
    /// arrive with it.
    ///
    /// # Errors
    /// The system refuses a signal handler, a socket or a thread.
    pub fn start() -> io::Result<Self> {
        let (sender, receiver) = sync_channel(MAX_QUEUED);
        let (wake, woken) = UnixStream::pair()?;
        let mut flags = Vec::new();
        let mut sizes = SigSet::empty();
        sizes.add(Signal::SIGWINCH);
        sizes.thread_block()?;
        let resized = SignalFd::with_flags(&sizes, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        for signal in END_SIGNALS.into_iter().chain([SIGTSTP]) {
            let flag = Arc::new(AtomicBool::new(false));
            // The flag is registered first, so that it is set when the pipe wakes the thread.
            signal_hook::flag::register(signal, Arc::clone(&flag))?;
            signal_hook::low_level::pipe::register(signal, wake.try_clone()?)?;
            flags.push((signal, flag));
        }
        woken.set_nonblocking(true)?;
        let thread = InputThread {
            sender: sender.clone(),
            woken,
            resized,
            flags,
            ending: None,
            answers: AnswerFilter::default(),
        };
        thread::Builder::new().name("input".to_owned()).spawn(move || thread.run())?;
        Ok(Self { sender, receiver })
    }

    /// The sending end, for a worker thread.
    pub fn sender(&self) -> SyncSender<Event<M>> {
        self.sender.clone()
    }

    /// Waits for the next event; `None` if none arrives in time.
    pub fn next(&self, timeout: Duration) -> Option<Event<M>> {
        match self.receiver.recv_timeout(timeout) {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => None,
            // Cannot happen, since `self` holds a sender; but then the screen must not spin.
            Err(RecvTimeoutError::Disconnected) => Some(Event::End(SIGHUP)),
        }
    }
}

/// Restores the terminal and ends the process by this signal, so that the parent sees why it ended.
pub fn end_by_signal(signal: i32) -> ! {
    terminal::leave();
    let _ = signal_hook::low_level::emulate_default_handler(signal);
    std::process::exit(128 + signal)
}

struct InputThread<M> {
    sender: SyncSender<Event<M>>,
    woken: UnixStream,
    /// Readable after a SIGWINCH signal.
    resized: SignalFd,
    /// Whether each signal has arrived.
    flags: Vec<(i32, Arc<AtomicBool>)>,
    /// The first signal that ends the screen, and when it arrived.
    ending: Option<(i32, Instant)>,
    answers: AnswerFilter,
}

impl<M> InputThread<M> {
    fn run(mut self) {
        let parent = getppid();
        let input = io::stdin();
        loop {
            if let Some((signal, since)) = self.ending
                && since.elapsed() >= END_TIMEOUT
            {
                // The screen is stuck, for example writing to a terminal that is stopped.
                end_by_signal(signal);
            }
            let mut fds = [
                PollFd::new(input.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.woken.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.resized.as_fd(), PollFlags::POLLIN),
            ];
            let ready = poll(&mut fds, PollTimeout::from(CHECK_MILLISECONDS));
            let [typed, signalled, resized] = fds.map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
            if ready.is_err_and(|errno| errno != nix::errno::Errno::EINTR) {
                return self.end(SIGHUP);
            }
            if !signalled.is_empty() {
                self.read_signals();
            }
            if !resized.is_empty() {
                while self.resized.read_signal().is_ok_and(|signal| signal.is_some()) {}
                self.send(Event::Resize);
            }
            if typed.intersects(PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL) {
                // The terminal is gone; crossterm would read from it forever.
                return self.end(SIGHUP);
            }
            if typed.contains(PollFlags::POLLIN) && !self.read_input() {
                return self.end(SIGHUP);
            }
            // The parent was killed, and a shell has the terminal again.
            if getppid() != parent && tcgetpgrp(&input).is_ok_and(|foreground| foreground != getpgrp()) {
                return self.end(SIGHUP);
            }
        }
    }

    fn read_signals(&mut self) {
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

    /// Reads what was typed. Returns false if the terminal is gone.
    fn read_input(&mut self) -> bool {
        loop {
            match event::poll(Duration::ZERO) {
                Ok(true) => {}
                Ok(false) => return true,
                Err(_) => return false,
            }
            match event::read() {
                Ok(event::Event::Key(key)) if key.kind != KeyEventKind::Release => self.take_key(key),
                Ok(event::Event::Mouse(mouse)) => self.send(Event::Mouse(mouse)),
                Ok(event::Event::Resize(..)) => self.send(Event::Resize),
                Ok(_) => {}
                Err(_) => return false,
            }
        }
    }

    /// Sends a key, unless it is part of an answer of the terminal.
    fn take_key(&mut self, key: KeyEvent) {
        let filtered = self.answers.take(key, Instant::now());
        filtered.keys.into_iter().for_each(|key| self.send(Event::Key(key)));
        if let Some(background) = filtered.background {
            terminal::answered();
            self.send(Event::Background(background));
        }
    }

    /// Puts an event into the queue, or drops it if the queue is full: this thread must not wait, it handles signals.
    fn send(&self, event: Event<M>) {
        let _ = self.sender.try_send(event);
    }

    /// Tells the screen to end, and ends the process if it does not.
    fn end(self, signal: i32) {
        self.send(Event::End(signal));
        thread::sleep(END_TIMEOUT);
        end_by_signal(signal);
    }
}
