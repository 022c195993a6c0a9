//! `cargo xtask original-log`: makes files as a release of the original picosnitch wrote them.

use std::{path::PathBuf, process::ExitCode, time::Instant};

use anyhow::{bail, ensure};
use model::text::time;
use original_samples::{
    Format, Options as Sample, Sums, write_conn_log, write_database, write_known_programs,
};

/// Options of `cargo xtask original-log`.
#[derive(clap::Args)]
pub struct Options {
    /// `user_version` of the database, 0 to 4
    #[arg(long, default_value_t = 3)]
    version: usize,
    /// How many rows to write
    #[arg(long, default_value_t = 1_000_000)]
    rows: u64,
    /// Days over which they are spread
    #[arg(long, default_value_t = 300)]
    days: i64,
    /// The same seed makes the same rows
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Time of the last row, unix seconds [default: now]
    #[arg(long)]
    until: Option<i64>,
    /// Write a conn.log instead of a database
    #[arg(long)]
    text: bool,
    /// Write a record.json as well
    #[arg(long)]
    known_programs: Option<PathBuf>,
    /// The log to make; the file must not exist
    file: PathBuf,
}

/// Makes the log and prints its sums.
pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    ensure!(options.rows > 0 && options.days > 0, "--rows and --days must be positive");
    let Some(format) = Format::ALL.get(options.version) else { bail!("--version is 0 to 4") };
    if options.file.exists() {
        bail!("{} exists; name a new file", options.file.display());
    }
    let until = options.until.unwrap_or_else(time::now);
    let sample = Sample { seed: options.seed, ..Sample::new(*format, options.rows, options.days, until) };
    let begun = Instant::now();
    let sums = match options.text {
        true => write_conn_log(&options.file, &sample)?,
        false => write_database(&options.file, &sample)?,
    };
    if let Some(path) = &options.known_programs {
        write_known_programs(path, &sample)?;
    }
    let Sums { rows, connections, sent, received, executions, error_texts } = sums;
    println!(
        "{rows} rows in {:.1} s: {connections} connections, {sent} sent, {received} received, {executions} executed programs, \
         {error_texts} error texts",
        begun.elapsed().as_secs_f64()
    );
    Ok(ExitCode::SUCCESS)
}
