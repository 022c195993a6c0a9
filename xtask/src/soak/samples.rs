//! Memory and descriptors of each process over time.

use std::{collections::BTreeMap, fs};

use anyhow::Context;

use crate::{bench::recorder::Recorder, median::median};

/// One process at one time.
struct Process {
    /// Its role, and its number among those of the role.
    name: String,
    pss_kilobytes: f64,
    /// The part of it that is in no file: heap and stacks. For the reader only, who wants to know where growth comes from.
    anonymous_kilobytes: f64,
    descriptors: f64,
}

/// All processes at one time.
pub struct Sample(Vec<Process>);

impl Sample {
    /// Looks at all processes of a daemon.
    ///
    /// # Errors
    /// One of them has ended.
    pub fn take(recorder: &Recorder) -> anyhow::Result<Self> {
        let mut processes: Vec<Process> = Vec::new();
        for pid in recorder.processes()? {
            let role = role(pid)?;
            let number = processes.iter().filter(|process| process.name.starts_with(&role)).count();
            let name = if number == 0 { role } else { format!("{role} {}", number + 1) };
            let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))
                .with_context(|| format!("the {name} (process {pid}) has ended"))?;
            let pss_kilobytes = kilobytes(&rollup, "Pss:")?;
            let anonymous_kilobytes = kilobytes(&rollup, "Pss_Anon:")?;
            let descriptors = fs::read_dir(format!("/proc/{pid}/fd"))?.count() as f64;
            processes.push(Process { name, pss_kilobytes, anonymous_kilobytes, descriptors });
        }
        Ok(Self(processes))
    }

    /// A line for people.
    pub fn text(&self) -> String {
        let text = |process: &Process| {
            let Process { name, pss_kilobytes, anonymous_kilobytes, descriptors } = process;
            format!(
                "{name}: {pss_kilobytes} kB ({anonymous_kilobytes} in no file), {descriptors} descriptors"
            )
        };
        self.0.iter().map(text).collect::<Vec<_>>().join("; ")
    }
}

/// A figure of smaps_rollup (proc_pid_smaps(5)).
fn kilobytes(rollup: &str, field: &str) -> anyhow::Result<f64> {
    let value =
        rollup.lines().find_map(|line| line.strip_prefix(field)).with_context(|| format!("no {field}"))?;
    Ok(value.trim().trim_end_matches(" kB").parse()?)
}

/// The role of a process by its command line: `role NAME`, or the monitor.
fn role(pid: u32) -> anyhow::Result<String> {
    let line =
        fs::read(format!("/proc/{pid}/cmdline")).with_context(|| format!("process {pid} has ended"))?;
    let words: Vec<_> = line.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
    let at = words.iter().position(|word| word == "role");
    Ok(at.and_then(|at| words.get(at + 1)).map_or_else(|| "monitor".to_owned(), ToString::to_string))
}

/// Samples of each process in the order of time.
#[derive(Default)]
pub struct Samples {
    processes: BTreeMap<String, Vec<[f64; 2]>>,
}

impl Samples {
    pub fn add(&mut self, sample: Sample) {
        for process in sample.0 {
            let figures = [process.pss_kilobytes, process.descriptors];
            self.processes.entry(process.name).or_default().push(figures);
        }
    }

    /// Memory of each process in kB: in the first settled tenth (the second one) and in the last tenth.
    pub fn memory(&self) -> Vec<(&str, [f64; 2])> {
        self.tenths(0)
    }

    /// Descriptors of each process in the same tenths.
    pub fn descriptors(&self) -> Vec<(&str, [f64; 2])> {
        self.tenths(1)
    }

    fn tenths(&self, figure: usize) -> Vec<(&str, [f64; 2])> {
        let of =
            |samples: &[[f64; 2]]| median(&samples.iter().map(|sample| sample[figure]).collect::<Vec<_>>());
        let mut all = Vec::new();
        for (name, samples) in &self.processes {
            let tenth = (samples.len() / 10).max(1);
            // A process that came late, or went early, is compared by what there is of it.
            let settled = samples.get(tenth..2 * tenth).unwrap_or(samples);
            all.push((name.as_str(), [of(settled), of(&samples[samples.len() - tenth..])]));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn monitor(pss_kilobytes: f64, descriptors: f64) -> Sample {
        Sample(vec![Process { name: "monitor".into(), pss_kilobytes, anonymous_kilobytes: 0.0, descriptors }])
    }

    #[test]
    fn the_second_tenth_is_compared_with_the_last() {
        let mut samples = Samples::default();
        for number in 0..20 {
            samples.add(monitor(f64::from(number), 9.0));
        }
        assert_eq!(samples.memory(), [("monitor", [2.5, 18.5])]);
        assert_eq!(samples.descriptors(), [("monitor", [9.0, 9.0])]);
    }

    #[test]
    fn one_sample_is_both() {
        let mut samples = Samples::default();
        samples.add(monitor(7.0, 1.0));
        assert_eq!(samples.memory(), [("monitor", [7.0, 7.0])]);
    }
}
