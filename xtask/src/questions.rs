//! `cargo xtask questions`: asks the questions of docs/questions.md and measures how long the answers take.

use std::{
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};

/// The table of the questions.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/questions.md");

/// Options of `cargo xtask questions`.
#[derive(clap::Args)]
pub struct Options {
    /// The directory with the log (snitch.db), as for `picosnitch --base-dir`
    directory: PathBuf,
    /// The program that is asked
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/release/picosnitch"))]
    binary: PathBuf,
    /// Times that each question is asked; the median counts
    #[arg(long, default_value_t = 9)]
    turns: usize,
    /// Milliseconds that an answer may take
    #[arg(long, default_value_t = 100)]
    most: u64,
    /// Milliseconds that an answer about command lines may take
    #[arg(long, default_value_t = 300)]
    most_for_command_lines: u64,
}

/// Prints a table with the times, and fails if one is too long.
pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let text = std::fs::read_to_string(FILE).with_context(|| format!("cannot read {FILE}"))?;
    let questions: Vec<(&str, &str)> = text.lines().filter_map(question).collect();
    ensure!(questions.len() >= 30, "there are only {} questions in {FILE}", questions.len());
    let mut too_long = 0;
    println!("| question | command | rows | ms |\n| --- | --- | --- | --- |");
    for (question, command) in questions {
        let mut times = Vec::new();
        let mut rows = 0;
        for _ in 0..options.turns.max(1) {
            let (time, lines) = ask(options, command)?;
            times.push(time);
            // A heading above and a total below.
            rows = lines.saturating_sub(2);
        }
        times.sort_unstable();
        let median = times[times.len() / 2].as_millis() as u64;
        let most = if command.contains("cmdline") { options.most_for_command_lines } else { options.most };
        let mark = if median > most { " (too long)" } else { "" };
        too_long += usize::from(median > most);
        println!("| {question} | `{command}` | {rows} | {median}{mark} |");
    }
    println!("\n{too_long} took too long");
    Ok(if too_long == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The question and the command in a line of the table.
fn question(line: &str) -> Option<(&str, &str)> {
    let (question, command) = line.strip_prefix("| ")?.split_once(" | ")?;
    let command = command.strip_prefix('`')?.strip_suffix("` |")?;
    command.starts_with("picosnitch query").then_some((question, command))
}

/// Runs a command. Returns how long it took, and how many lines the answer has.
fn ask(options: &Options, command: &str) -> anyhow::Result<(Duration, usize)> {
    let mut words = command.split_whitespace();
    words.next();
    let begin = Instant::now();
    let output = Command::new(&options.binary)
        .arg("--base-dir")
        .arg(&options.directory)
        .args(words)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}", options.binary.display()))?;
    let time = begin.elapsed();
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command}: {told}");
    Ok((time, output.stdout.iter().filter(|byte| **byte == b'\n').count()))
}
