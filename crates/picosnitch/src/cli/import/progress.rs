//! The progress of an import, on a terminal only.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use model::text::units::grouped;

const PERIOD: Duration = Duration::from_millis(200);
const WIDTH: usize = 30;

/// A bar in the last line of the terminal.
pub(super) struct Progress {
    is_shown: bool,
    begun: Instant,
    next: Instant,
}

impl Progress {
    pub fn new() -> Self {
        let now = Instant::now();
        Self { is_shown: io::stderr().is_terminal(), begun: now, next: now + PERIOD }
    }

    /// Shows that rows were read up to one of `total`.
    pub fn show(&mut self, row: i64, total: i64) {
        if !self.is_shown || Instant::now() < self.next {
            return;
        }
        self.next = Instant::now() + PERIOD;
        let (row, total) = (row.max(0).unsigned_abs(), total.max(row).max(1).unsigned_abs());
        let filled = (u128::from(row) * WIDTH as u128 / u128::from(total)) as usize;
        let rate = row as f64 / self.begun.elapsed().as_secs_f64();
        let bar: String = (0..WIDTH).map(|at| if at < filled { '#' } else { '.' }).collect();
        let text =
            format!("[{bar}] {} of {} rows, {} a second", grouped(row), grouped(total), grouped(rate as u64));
        self.draw(&text);
    }

    /// Shows what is done.
    pub fn say(&mut self, text: &str) {
        if self.is_shown && Instant::now() >= self.next {
            self.next = Instant::now() + PERIOD;
            self.draw(text);
        }
    }

    fn draw(&self, text: &str) {
        let mut err = io::stderr().lock();
        let _ = write!(err, "\r\x1b[K{text}").and_then(|()| err.flush());
    }

    /// Removes the bar.
    pub fn clear(&self) {
        if self.is_shown {
            self.draw("");
        }
    }
}
