//! `cargo xtask instructions`: how many instructions the verifier processes for each BPF program, natively and under
//! stock kernels, as docs/instructions.md.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context, ensure};
use serde::Deserialize;

use crate::vm;

/// The verifier gives up at a million (`BPF_COMPLEXITY_LIMIT_INSNS`), and each release counts differently: what is
/// far below that stays loadable.
const LIMIT: u64 = 100_000;

/// Where the guest leaves its answer.
const ANSWERS: &str = "/mnt/answers";

/// Options of the chore.
#[derive(clap::Args)]
pub struct Options {
    /// Only check that the largest number is below 100,000; write no document
    #[arg(long)]
    check: bool,
    /// Series or exact name of a Debian kernel; may be repeated [default: those of `cargo xtask vm`]
    #[arg(long, value_name = "KERNEL")]
    kernel: Vec<String>,
    /// Use this picosnitch; otherwise the release build, which is brought up to date first
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

/// The answer of `picosnitch role instructions`.
#[derive(Deserialize)]
struct Answer {
    kernel: String,
    /// `None`: the kernel refused it.
    programs: BTreeMap<String, Option<u64>>,
}

/// Runs the chore.
pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has no parent directory")?;
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => vm::release_binary(root)?,
    };
    let native = Command::new(root.join("scripts/as-root"))
        .arg(&binary)
        .args(["role", "instructions"])
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run picosnitch")?;
    ensure!(native.status.success(), "picosnitch failed on this kernel");
    let mut answers: Vec<Answer> = vec![serde_json::from_slice(&native.stdout).context("no answer in JSON")?];

    let place = tempfile::tempdir().context("cannot make a directory for the answers")?;
    let script = format!("picosnitch role instructions >{ANSWERS}/$(uname -r)");
    let outcome = vm::run(&vm::Options {
        kernel: options.kernel.clone(),
        binary: Some(binary),
        tests: false,
        share: vec![format!("{}:{ANSWERS}:rw", place.path().display())],
        timeout: 600,
        memory: "1G".into(),
        machine: Vec::new(),
        command: vec!["sh".into(), "-c".into(), script],
    })?;
    ensure!(outcome == ExitCode::SUCCESS, "not every kernel gave an answer");
    for file in fs::read_dir(place.path()).context("cannot read the answers")? {
        let text = fs::read(file?.path()).context("cannot read an answer")?;
        answers.push(serde_json::from_slice(&text).context("an answer is no JSON")?);
    }
    answers.sort_by_key(|answer| numbers(&answer.kernel));

    let largest = answers.iter().flat_map(|answer| answer.programs.values().flatten()).max();
    let largest = *largest.context("no program was counted")?;
    if !options.check {
        let path = root.join("docs/instructions.md");
        fs::write(&path, document(&answers, largest))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    eprintln!("the largest program: {largest} instructions (to stay below {LIMIT})");
    Ok(if options.check && largest >= LIMIT { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The series of a kernel: 6.1 of 6.1.0-50-amd64.
fn series(release: &str) -> String {
    release.split(['.', '-']).take(2).collect::<Vec<_>>().join(".")
}

fn numbers(release: &str) -> Vec<u64> {
    series(release).split('.').filter_map(|number| number.parse().ok()).collect()
}

fn document(answers: &[Answer], largest: u64) -> String {
    let mut text = format!(
        "# What the verifier counts\n\n\
         Instructions that the kernel's verifier processed for each BPF program, by kernel. It gives up at 1,000,000;\n\
         picosnitch wants to stay below {LIMIT}. The largest is in bold; a dash: the program is not used on that\n\
         kernel (another hook sees the same, or the kernel lacks what it attaches to).\n\n\
         Made by `cargo xtask instructions`; `cargo xtask instructions --check` fails at {LIMIT}.\n\n| program |"
    );
    for answer in answers {
        let _ = write!(text, " {} |", series(&answer.kernel));
    }
    text += "\n| --- |";
    text += &" ---: |".repeat(answers.len());
    text.push('\n');
    let programs: BTreeSet<&String> = answers.iter().flat_map(|answer| answer.programs.keys()).collect();
    let most = |program: &String| answers.iter().filter_map(|answer| *answer.programs.get(program)?).max();
    let mut programs: Vec<_> = programs.into_iter().collect();
    programs.sort_by_key(|program| std::cmp::Reverse(most(program)));
    for program in programs {
        let _ = write!(text, "| `{program}` |");
        for answer in answers {
            let _ = match answer.programs.get(program) {
                Some(Some(count)) if *count == largest => write!(text, " **{count}** |"),
                Some(Some(count)) => write!(text, " {count} |"),
                Some(None) => write!(text, " refused |"),
                None => write!(text, " - |"),
            };
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_row_a_program_and_a_column_a_kernel() {
        let answer = |kernel: &str, programs: &[(&str, Option<u64>)]| Answer {
            kernel: kernel.into(),
            programs: programs.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect(),
        };
        let answers = [
            answer("5.10.0-32-amd64", &[("a", Some(7)), ("b", None)]),
            answer("6.12.107+deb13", &[("b", Some(900))]),
        ];
        let text = document(&answers, 900);
        assert!(text.ends_with(
            "| program | 5.10 | 6.12 |\n| --- | ---: | ---: |\n| `b` | refused | **900** |\n| `a` | 7 | - |\n"
        ));
        assert!(numbers("6.12.107+deb13") > numbers("6.1.0-50-amd64"));
    }
}
