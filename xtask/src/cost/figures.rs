//! From the measurements of the load to instructions per operation.

use std::fmt::Write;

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::median::median;

/// Name of the measurement in which nothing is done; the first one that the load prints.
const IDLE: &str = "idle";

const MINUTE: f64 = 60e9;

/// The versions that the figures depend on, besides picosnitch's own code.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key {
    /// ABI of the guest's kernel: `uname -r`.
    pub kernel: String,
    /// Version of the Rust compiler.
    pub rustc: String,
    /// Version of the compiler of the BPF programs.
    pub clang: String,
}

/// All figures of one run, in instructions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    #[serde(flatten)]
    pub key: Key,
    /// Instructions that the daemon executes in a minute without any traffic.
    pub idle_minute: u64,
    pub operations: Vec<Operation>,
}

/// The instructions of one operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    pub name: String,
    /// Of the program that performs it, while picosnitch is not running.
    pub own_without: u64,
    /// Of the program that performs it, while picosnitch is running: its hooks are part of it.
    pub own_with: u64,
    /// Of the daemon, beyond what it executes when idle.
    pub daemon: u64,
}

/// One operation's repetitions as the load printed them.
#[derive(Debug, PartialEq)]
struct Measurements {
    name: String,
    /// Operations per repetition.
    count: u64,
    own: Vec<f64>,
    daemon: Vec<f64>,
    /// Length of a repetition, nanoseconds.
    length: f64,
}

impl Figures {
    /// Calculates the figures from what the load printed without and with picosnitch.
    ///
    /// The program's own figure is the least of its repetitions: interrupts can only add to it. The daemon's is the
    /// median: now and then a repetition contains work that other ones do not, such as a rollup of the log.
    pub fn calculate(key: Key, without: &str, with: &str) -> anyhow::Result<Self> {
        let without = parse(without).context("in the measurements without picosnitch")?;
        let with = parse(with).context("in the measurements with picosnitch")?;
        let [idle, with @ ..] = with.as_slice() else { bail!("nothing was measured with picosnitch") };
        ensure!(idle.name == IDLE, "the first measurement is {} instead of {IDLE}", idle.name);
        let idle_rate = median(&idle.daemon) / idle.length;
        let operations = with
            .iter()
            .map(|with| {
                let without = without
                    .iter()
                    .find(|without| without.name == with.name && without.count == with.count)
                    .with_context(|| format!("{} was not measured without picosnitch", with.name))?;
                let daemon = median(&with.daemon) - idle_rate * with.length;
                Ok(Operation {
                    name: with.name.clone(),
                    own_without: per_operation(least(&without.own), with.count),
                    own_with: per_operation(least(&with.own), with.count),
                    daemon: per_operation(daemon, with.count),
                })
            })
            .collect::<anyhow::Result<_>>()?;
        Ok(Self { key, idle_minute: per_operation(idle_rate * MINUTE, 1), operations })
    }

    /// The figures as a table.
    pub fn table(&self) -> String {
        let Key { kernel, rustc, clang } = &self.key;
        let mut text = format!("Instructions per operation; {kernel}, {rustc}, {clang}\n\n");
        let _ = writeln!(
            text,
            "{:<18} {:>13} {:>13} {:>12} {:>15}",
            "operation", "own without", "own with", "difference", "daemon"
        );
        for Operation { name, own_without, own_with, daemon } in &self.operations {
            let difference = own_with.cast_signed() - own_without.cast_signed();
            let _ = writeln!(
                text,
                "{name:<18} {:>13} {:>13} {:>12} {:>15}",
                grouped(own_without.cast_signed()),
                grouped(own_with.cast_signed()),
                grouped(difference),
                grouped(daemon.cast_signed())
            );
        }
        let idle = grouped(self.idle_minute.cast_signed());
        let _ = writeln!(text, "{:<18} {:>13} {:>13} {:>12} {idle:>15}", "idle-minute", "", "", "");
        text
    }
}

/// Reads lines of `NAME COUNT OWN DAEMON LENGTH`, one for each repetition.
fn parse(text: &str) -> anyhow::Result<Vec<Measurements>> {
    let mut all: Vec<Measurements> = Vec::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [name, count, own, daemon, length] = fields.as_slice() else {
            bail!("this line has not five fields: {line}")
        };
        let count: u64 = count.parse().with_context(|| format!("no number of operations: {line}"))?;
        let number =
            |field: &str| field.parse::<f64>().with_context(|| format!("{field} is no number: {line}"));
        let (own, daemon, length) = (number(own)?, number(daemon)?, number(length)?);
        ensure!(length > 0.0, "a repetition without length: {line}");
        match all.last_mut().filter(|last| last.name == *name) {
            Some(last) => {
                ensure!(last.count == count && last.length == length, "repetitions differ: {line}");
                last.own.push(own);
                last.daemon.push(daemon);
            }
            None => all.push(Measurements {
                name: (*name).to_owned(),
                count,
                own: vec![own],
                daemon: vec![daemon],
                length,
            }),
        }
    }
    Ok(all)
}

fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

/// Instructions per operation. A negative figure, of a daemon that did no more than when it is idle, becomes zero.
fn per_operation(instructions: f64, count: u64) -> u64 {
    (instructions / count.max(1) as f64).round() as u64
}

/// 1234567 as 1,234,567.
pub fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::from(if number < 0 { "-" } else { "" });
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn key() -> Key {
        Key { kernel: "6.12.1-amd64".into(), rustc: "rustc 1.95.0".into(), clang: "clang version 14".into() }
    }

    const WITHOUT: &str = "idle 0 5 0 1000\nudp 10 900 0 1000\nudp 10 800 0 1000\n";

    #[test]
    fn own_is_the_least_and_the_daemon_the_median_less_what_it_does_when_idle() {
        let with = "idle 0 5 30 3000\nidle 0 5 40 3000\nidle 0 5 30 3000\n\
                    udp 10 1200 130 3000\nudp 10 1100 9000 3000\nudp 10 1300 120 3000\n";
        let figures = Figures::calculate(key(), WITHOUT, with).unwrap();
        assert_eq!(figures.idle_minute, 600_000_000);
        assert_eq!(
            figures.operations,
            [Operation { name: "udp".into(), own_without: 80, own_with: 110, daemon: 10 }]
        );
    }

    #[test]
    fn a_daemon_below_its_idle_figure_costs_nothing() {
        let with = "idle 0 5 30 3000\nudp 10 1200 29 3000\n";
        assert_eq!(Figures::calculate(key(), WITHOUT, with).unwrap().operations[0].daemon, 0);
    }

    #[test]
    fn an_incomplete_measurement_is_an_error_that_says_what_is_missing() {
        let error = |without: &str, with: &str| {
            format!(
                "{:#}",
                Figures::calculate(key(), without, with).map(|figures| figures.table()).unwrap_err()
            )
        };
        assert_eq!(error(WITHOUT, ""), "nothing was measured with picosnitch");
        assert_eq!(error(WITHOUT, "udp 10 1 2 3\n"), "the first measurement is udp instead of idle");
        assert_eq!(
            error(WITHOUT, "idle 0 5 30 3000\ntcp 10 1 2 3000\n"),
            "tcp was not measured without picosnitch"
        );
        assert_eq!(
            error("idle 0 5", ""),
            "in the measurements without picosnitch: this line has not five fields: idle 0 5"
        );
        assert_eq!(
            error(WITHOUT, "idle 0 5 x 3000\n"),
            "in the measurements with picosnitch: x is no number: idle 0 5 x 3000: invalid float literal"
        );
        assert_eq!(
            error(WITHOUT, "idle 0 5 1 3000\nidle 0 5 1 2000\n"),
            "in the measurements with picosnitch: repetitions differ: idle 0 5 1 2000"
        );
    }

    #[test]
    fn the_table_has_a_row_for_each_operation_and_one_for_the_idle_minute() {
        let operation = Operation { name: "udp".into(), own_without: 7500, own_with: 8800, daemon: 175 };
        let figures = Figures { key: key(), idle_minute: 129_764_000, operations: vec![operation] };
        assert_eq!(
            figures.table(),
            "Instructions per operation; 6.12.1-amd64, rustc 1.95.0, clang version 14\n\
             \n\
             operation            own without      own with   difference          daemon\n\
             udp                        7,500         8,800        1,300             175\n\
             idle-minute                                                     129,764,000\n"
        );
        assert_eq!(grouped(-1000), "-1,000");
    }
}
