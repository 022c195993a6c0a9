//! The accepted figures: a file in the repository with one entry for each kernel, rustc and clang.

use std::{fs, path::Path};

use anyhow::Context;
use serde::Serialize;

use super::figures::{Figures, Key, grouped};

/// How far a program's own figure may be from the accepted one.
const OWN_TOLERANCE: f64 = 0.02;

/// How far the daemon's figure may be from the accepted one.
const DAEMON_TOLERANCE: f64 = 0.05;

/// All entries of the file, in the order of their keys.
pub struct Accepted(Vec<Figures>);

/// How the figures of a run compare with the accepted ones.
#[derive(Debug, PartialEq, Serialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub enum Comparison {
    /// The file has no entry for this kernel, rustc and clang.
    UnknownKey,
    /// All figures are within their tolerances.
    Within,
    /// Some figure is higher or lower than its tolerance allows, or the file lists other operations.
    Differs { differences: Vec<Difference> },
}

/// A figure that is not within its tolerance. `None`: that side does not have the operation.
#[derive(Debug, PartialEq, Serialize)]
pub struct Difference {
    figure: String,
    accepted: Option<u64>,
    measured: Option<u64>,
}

impl Accepted {
    /// Reads the file; one that does not exist has no entries.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let text = match fs::read(file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self(Vec::new())),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
        };
        let entries = serde_json::from_slice(&text)
            .with_context(|| format!("{} does not hold accepted figures", file.display()))?;
        Ok(Self(entries))
    }

    pub fn write(&self, file: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(&self.0).context("cannot encode the figures")? + "\n";
        fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
    }

    /// Adds an entry, which replaces that of the same key.
    pub fn accept(&mut self, figures: Figures) {
        self.0.retain(|entry| entry.key != figures.key);
        self.0.push(figures);
        self.0.sort_by(|one, other| one.key.cmp(&other.key));
    }

    pub fn compare(&self, measured: &Figures) -> Comparison {
        match self.0.iter().find(|entry| entry.key == measured.key) {
            None => Comparison::UnknownKey,
            Some(accepted) => {
                let differences = differences(accepted, measured);
                if differences.is_empty() { Comparison::Within } else { Comparison::Differs { differences } }
            }
        }
    }
}

impl Comparison {
    /// A message about the meaning of the comparison and the next step.
    pub fn message(&self, key: &Key) -> String {
        let Key { kernel, rustc, clang } = key;
        match self {
            Self::Within => "cost: all figures are within the tolerance of the accepted ones".into(),
            Self::UnknownKey => format!(
                "cost: xtask/cost/accepted.json has no figures for {kernel}, {rustc}, {clang}: nothing was compared. \
                 Run `cargo xtask cost --accept` with code whose cost is accepted, and commit the file."
            ),
            Self::Differs { differences } => {
                let lines: Vec<String> = differences.iter().map(Difference::line).collect();
                format!(
                    "cost: these figures differ from the accepted ones by more than {} % (own) or {} % (daemon):\n{}\n\
                     If the new figures are wanted, run `cargo xtask cost --accept` and commit \
                     xtask/cost/accepted.json with the change that causes them.",
                    OWN_TOLERANCE * 100.0,
                    DAEMON_TOLERANCE * 100.0,
                    lines.join("\n")
                )
            }
        }
    }
}

impl Difference {
    fn line(&self) -> String {
        let figure = &self.figure;
        let text = |number: u64| grouped(number.cast_signed());
        match (self.accepted, self.measured) {
            (Some(accepted), Some(measured)) => {
                let percent = (measured as f64 / accepted as f64 - 1.0) * 100.0;
                let word = if measured > accepted { "WORSE" } else { "better" };
                format!(
                    "  {figure}: accepted {}, now {} ({percent:+.1} %, {word})",
                    text(accepted),
                    text(measured)
                )
            }
            (None, Some(measured)) => format!("  {figure}: {}, which was never accepted", text(measured)),
            (accepted, None) => {
                format!("  {figure}: accepted {}, no longer measured", accepted.map(text).unwrap_or_default())
            }
        }
    }
}

/// All figures with their tolerances. What the program takes without picosnitch is not among them: it is not
/// picosnitch's cost.
fn tolerances(figures: &Figures) -> Vec<(String, u64, f64)> {
    let mut all = vec![("idle-minute daemon".to_owned(), figures.idle_minute, DAEMON_TOLERANCE)];
    for operation in &figures.operations {
        all.push((format!("{} own", operation.name), operation.own_with, OWN_TOLERANCE));
        all.push((format!("{} daemon", operation.name), operation.daemon, DAEMON_TOLERANCE));
    }
    all
}

fn differences(accepted: &Figures, measured: &Figures) -> Vec<Difference> {
    let (accepted, measured) = (tolerances(accepted), tolerances(measured));
    let mut all = Vec::new();
    for (figure, now, tolerance) in &measured {
        let before = accepted.iter().find(|(name, ..)| name == figure).map(|(_, before, _)| *before);
        if before.is_none_or(|before| now.abs_diff(before) as f64 > tolerance * before as f64) {
            all.push(Difference { figure: figure.clone(), accepted: before, measured: Some(*now) });
        }
    }
    for (figure, before, _) in accepted {
        if !measured.iter().any(|(name, ..)| *name == figure) {
            all.push(Difference { figure, accepted: Some(before), measured: None });
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::figures::{Operation, tests::key};
    use super::*;

    fn figures(own_with: u64, daemon: u64) -> Figures {
        let operation = Operation { name: "udp".into(), own_without: 900, own_with, daemon };
        Figures { key: key(), idle_minute: 1_000_000, operations: vec![operation] }
    }

    fn accepted() -> Accepted {
        let mut accepted = Accepted(Vec::new());
        accepted.accept(figures(1000, 1000));
        accepted
    }

    #[test]
    fn own_figures_may_differ_by_two_percent_and_those_of_the_daemon_by_five() {
        for (own, daemon) in [(1000, 1000), (1020, 1050), (980, 950)] {
            assert_eq!(accepted().compare(&figures(own, daemon)), Comparison::Within);
        }
        for (own, daemon, figure, measured) in [
            (1021, 1000, "udp own", 1021),
            (979, 1000, "udp own", 979),
            (1000, 1051, "udp daemon", 1051),
            (1000, 949, "udp daemon", 949),
        ] {
            let difference =
                Difference { figure: figure.into(), accepted: Some(1000), measured: Some(measured) };
            assert_eq!(
                accepted().compare(&figures(own, daemon)),
                Comparison::Differs { differences: vec![difference] }
            );
        }
        let busier = Figures { idle_minute: 1_060_000, ..figures(1000, 1000) };
        assert!(accepted().compare(&busier).message(&key()).contains("idle-minute daemon"));
    }

    #[test]
    fn what_the_program_takes_without_picosnitch_is_not_compared() {
        let mut other = figures(1000, 1000);
        other.operations[0].own_without = 1;
        assert_eq!(accepted().compare(&other), Comparison::Within);
    }

    #[test]
    fn figures_of_another_kernel_or_compiler_are_not_compared() {
        let changes: [fn(&mut Key); 3] =
            [|key| key.kernel.push('1'), |key| key.rustc.push('1'), |key| key.clang.push('1')];
        for change in changes {
            let mut other = figures(5000, 5000);
            change(&mut other.key);
            assert_eq!(accepted().compare(&other), Comparison::UnknownKey);
        }
    }

    #[test]
    fn another_list_of_operations_is_a_difference() {
        let mut more = figures(1000, 1000);
        more.operations.push(Operation { name: "tcp".into(), ..more.operations[0].clone() });
        let message = accepted().compare(&more).message(&key());
        assert!(message.contains("\n  tcp own: 1,000, which was never accepted\n"), "{message}");
        let none = Figures { operations: Vec::new(), ..figures(0, 0) };
        let message = accepted().compare(&none).message(&key());
        assert!(message.contains("\n  udp daemon: accepted 1,000, no longer measured\n"), "{message}");
    }

    #[test]
    fn the_message_says_what_is_worse_and_what_is_better() {
        let message = accepted().compare(&figures(1100, 900)).message(&key());
        assert!(message.contains("  udp own: accepted 1,000, now 1,100 (+10.0 %, WORSE)\n"), "{message}");
        assert!(message.contains("  udp daemon: accepted 1,000, now 900 (-10.0 %, better)\n"), "{message}");
    }

    #[test]
    fn the_file_keeps_one_entry_for_each_key() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("accepted.json");
        let mut accepted = Accepted::read(&file).unwrap();
        let mut older = figures(7, 8);
        older.key.kernel = "5.10.0-amd64".into();
        for figures in [figures(1, 2), figures(3, 4), older.clone()] {
            accepted.accept(figures);
        }
        accepted.write(&file).unwrap();
        assert_eq!(Accepted::read(&file).unwrap().0, [older, figures(3, 4)]);
        fs::write(&file, "[{}]").unwrap();
        assert!(Accepted::read(&file).is_err());
    }
}
