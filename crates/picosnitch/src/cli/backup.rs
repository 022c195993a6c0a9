//! `picosnitch backup`: copies the log into a file.

use std::{
    io::{IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Context;
use nix::sys::{
    signal::{SigSet, Signal},
    signalfd::{SfdFlags, SignalFd},
};

use super::{
    common::{Common, EXIT_NO_PERMISSION},
    output::print,
};
use model::text::{sanitize, time, units};
use store::{BackedUp, BackupError, BackupProgress, back_up};

/// A copy that takes longer shows how far it is, and so often.
const PROGRESS_PERIOD: Duration = Duration::from_millis(500);
/// Signals that end the copy.
const ENDING: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

#[derive(clap::Args)]
pub struct Options {
    /// The file to make; it must not exist
    file: PathBuf,
}

/// Copies the log.
///
/// # Errors
/// The log cannot be read, or the file not be made; there is no file then.
pub fn run(common: &Common, options: &Options) -> anyhow::Result<ExitCode> {
    let layout = common.layout();
    let signals: SigSet = ENDING.into_iter().collect();
    signals.thread_block().context("cannot block signals")?;
    let signals = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .context("cannot make a descriptor for signals")?;
    let mut line = ProgressLine::default();
    let result = back_up(&layout.database, &options.file, &mut |progress| {
        line.show(progress);
        !matches!(signals.read_signal(), Ok(Some(_)))
    });
    line.clear();
    match result {
        Ok(copied) => {
            print(&report(options, &copied))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(BackupError::Log(error)) if error.is_permission() => {
            eprintln!(
                "picosnitch: {:#}\nOnly root and members of the group of the log may read it: use sudo, or add yourself to that \
                 group and log in again.",
                anyhow::Error::new(error)
            );
            Ok(ExitCode::from(EXIT_NO_PERMISSION))
        }
        Err(error) => Err(error.into()),
    }
}

fn report(options: &Options, copied: &BackedUp) -> String {
    let file = sanitize::terminal(options.file.as_os_str().as_encoded_bytes());
    let range = match copied.extent {
        Some((first, last)) => format!(", from {} to {}", time::local(first), time::local(last)),
        None => String::new(),
    };
    let size = units::ByteUnit::Decimal.write(copied.bytes);
    format!("{file}: {} records, {size}{range}.\n", units::grouped(copied.records))
}

/// A line on a terminal that says how far the copy is.
#[derive(Default)]
struct ProgressLine {
    shown: Option<Instant>,
    is_there: bool,
}

impl ProgressLine {
    fn show(&mut self, progress: BackupProgress) {
        let shown = *self.shown.get_or_insert_with(Instant::now);
        if shown.elapsed() < PROGRESS_PERIOD || !std::io::stderr().is_terminal() {
            return;
        }
        self.shown = Some(Instant::now());
        let unit = units::ByteUnit::Decimal;
        let share = progress.copied.saturating_mul(100).checked_div(progress.total).unwrap_or(0);
        let text = format!("{share} %: {} of {}", unit.write(progress.copied), unit.write(progress.total));
        let mut out = std::io::stderr().lock();
        // Without a terminal there is no one to tell.
        let _ = write!(out, "\r\x1b[K{text}").and_then(|()| out.flush());
        self.is_there = true;
    }

    fn clear(&mut self) {
        if self.is_there {
            let mut out = std::io::stderr().lock();
            let _ = write!(out, "\r\x1b[K").and_then(|()| out.flush());
        }
    }
}
