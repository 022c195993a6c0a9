//! The result of the selftest, and the table that it prints.

use serde::Serialize;

/// The result of one comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The log contains exactly what the actors did.
    Pass,
    /// The log differs, or the scenario failed.
    Fail,
    /// The kernel lacks something that the scenario needs.
    Skipped,
}

impl Verdict {
    pub(crate) fn of(is_equal: bool) -> Self {
        if is_equal { Self::Pass } else { Self::Fail }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Skipped => "skipped",
        }
    }
}

/// One comparison: a line of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// The id of the scenario.
    pub id: String,
    /// `sent`, `received`, `connections`, `identity`, `windows`, `report`; `all` when the scenario did not run.
    pub direction: String,
    /// The amount that the actors moved or did, in the unit of the direction: bytes, connections, flows or windows.
    pub expected: u64,
    /// The amount that was recorded for this traffic, under any program.
    pub recorded: u64,
    /// The amount that was recorded for this traffic under the right program.
    pub attributed: u64,
    /// The result of the comparison.
    pub verdict: Verdict,
    /// The first differences, or the reason of a failure or a skip.
    pub note: String,
}

impl Comparison {
    /// Makes a comparison without counts.
    pub(crate) fn new(id: &str, direction: &str, verdict: Verdict, note: &str) -> Self {
        Self {
            id: id.to_owned(),
            direction: direction.to_owned(),
            expected: 0,
            recorded: 0,
            attributed: 0,
            verdict,
            note: note.to_owned(),
        }
    }
}

/// The result of the selftest on this kernel.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Release of the running kernel.
    pub kernel: String,
    /// The comparisons, in the order of the scenarios.
    pub scenarios: Vec<Comparison>,
}

impl Report {
    /// Whether none of the comparisons has failed.
    pub fn is_good(&self) -> bool {
        self.scenarios.iter().all(|line| line.verdict != Verdict::Fail)
    }

    /// Returns the table as text. Comparisons that passed with nothing expected and nothing recorded are left out.
    pub fn table(&self) -> String {
        let mut rows = vec![
            ["scenario", "direction", "expected", "recorded", "attributed", "verdict", "note"]
                .map(str::to_owned),
        ];
        for line in &self.scenarios {
            let is_empty = line.expected == 0 && line.recorded == 0 && line.direction != "report";
            if line.verdict == Verdict::Pass && (is_empty || line.direction == "identity") {
                continue;
            }
            rows.push([
                line.id.clone(),
                line.direction.clone(),
                line.expected.to_string(),
                line.recorded.to_string(),
                line.attributed.to_string(),
                line.verdict.name().to_owned(),
                printable(&line.note),
            ]);
        }
        let mut widths = [0; 7];
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut text = String::new();
        for row in &rows {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let width = widths[column];
                match column {
                    2..=4 => line.push_str(&format!("{cell:>width$}  ")),
                    6 => line.push_str(cell),
                    _ => line.push_str(&format!("{cell:<width$}  ")),
                }
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text.push_str(&self.summary());
        text
    }

    fn summary(&self) -> String {
        let count = |verdict| {
            let ids = self.scenarios.iter().filter(|line| line.verdict == verdict).map(|line| &line.id);
            ids.collect::<std::collections::BTreeSet<_>>().len()
        };
        let all = self.scenarios.iter().map(|line| &line.id).collect::<std::collections::BTreeSet<_>>().len();
        let (failed, skipped) = (count(Verdict::Fail), count(Verdict::Skipped));
        let passed = all - failed - skipped;
        format!("\nLinux {}: {passed} passed, {failed} failed, {skipped} skipped\n", self.kernel)
    }
}

/// Escapes control characters: notes may contain paths and names that another user chose.
fn printable(note: &str) -> String {
    note.chars()
        .flat_map(|character| match character.is_control() {
            true => character.escape_default().collect::<Vec<_>>(),
            false => vec![character],
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(verdict: Verdict, expected: u64) -> Comparison {
        Comparison {
            id: "tcp".to_owned(),
            direction: "sent".to_owned(),
            expected,
            recorded: expected,
            attributed: expected,
            verdict,
            note: "a\x1b[31m".to_owned(),
        }
    }

    #[test]
    fn one_failure_fails_the_report() {
        let mut report = Report { kernel: "6.1".to_owned(), scenarios: vec![line(Verdict::Pass, 1)] };
        assert!(report.is_good());
        report.scenarios.push(line(Verdict::Skipped, 0));
        assert!(report.is_good());
        report.scenarios.push(line(Verdict::Fail, 0));
        assert!(!report.is_good());
    }

    #[test]
    fn the_table_has_no_control_characters_and_omits_empty_passes() {
        let scenarios = vec![line(Verdict::Pass, 0), line(Verdict::Pass, 12), line(Verdict::Fail, 0)];
        let table = Report { kernel: "6.1".to_owned(), scenarios }.table();
        assert!(!table.contains('\x1b'));
        assert_eq!(table.lines().filter(|row| row.starts_with("tcp")).count(), 2);
        assert!(table.ends_with("Linux 6.1: 0 passed, 1 failed, 0 skipped\n"));
    }

    #[test]
    fn the_json_has_the_documented_shape() {
        let report = Report { kernel: "6.1".to_owned(), scenarios: vec![line(Verdict::Pass, 3)] };
        let json = serde_json::to_value(report).unwrap();
        assert_eq!(json["kernel"], "6.1");
        assert_eq!(json["scenarios"][0]["verdict"], "pass");
        assert_eq!(json["scenarios"][0]["expected"], 3);
        assert_eq!(json["scenarios"][0]["id"], "tcp");
    }
}
