//! The thread that writes conn.log: neither the database nor the alerts wait for it.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{self, Receiver, SyncSender},
    },
    thread::{self, JoinHandle},
};

use crate::{problems::Problems, recorder::conn_log::TextLog};
use model::Window;

/// Windows that wait for a slow disk; records of more are counted as missing.
const MAX_WAITING: usize = 8;

enum Order {
    Write(Window),
    Reopen,
}

/// The way to the thread.
pub struct TextLogging {
    orders: SyncSender<Order>,
    missing: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

impl TextLogging {
    /// Starts the thread; it writes to `path`.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(path: PathBuf, problems: Arc<Problems>) -> io::Result<Self> {
        let (orders, theirs) = mpsc::sync_channel(MAX_WAITING);
        let missing = Arc::new(AtomicUsize::new(0));
        let not_taken = Arc::clone(&missing);
        let thread = thread::Builder::new()
            .name("conn.log".into())
            .spawn(move || write_all(&theirs, TextLog::new(path), &not_taken, &problems))?;
        Ok(Self { orders, missing, thread })
    }

    /// Writes the records of a window. Never waits.
    pub fn add(&self, window: Window) {
        let records = window.records.len();
        if self.orders.try_send(Order::Write(window)).is_err() {
            self.missing.fetch_add(records, Ordering::Relaxed);
        }
    }

    /// Opens the file again.
    pub fn reopen(&self) {
        // When it is full, the name of the file is looked at before each window all the same.
        let _ = self.orders.try_send(Order::Reopen);
    }

    /// Writes what is left to write, and ends.
    pub fn finish(self) {
        drop(self.orders);
        let _ = self.thread.join();
    }
}

fn write_all(orders: &Receiver<Order>, mut log: TextLog, not_taken: &AtomicUsize, problems: &Problems) {
    let mut failing = false;
    let mut told = 0;
    for order in orders {
        let window = match order {
            Order::Write(window) => window,
            Order::Reopen => {
                log.reopen();
                continue;
            }
        };
        let result = log.write(&window);
        let skipped = not_taken.swap(0, Ordering::Relaxed);
        if skipped > 0 {
            problems.report(&format!("{skipped} records are not in conn.log: the disk was too slow."));
        }
        match result {
            Ok(()) if failing => {
                problems.report(&format!(
                    "conn.log can be written again. {told} records are missing in it; snitch.db has them, if it is \
                     written."
                ));
                (failing, told) = (false, 0);
            }
            Ok(()) => {}
            Err(missing) => {
                (failing, told) = (true, told + missing.records);
                problems.report(&format!(
                    "{} records could not be written to conn.log: {}. Make room, or check its rights; the next window is \
                     tried again.",
                    missing.records, missing.why
                ));
            }
        }
    }
}
