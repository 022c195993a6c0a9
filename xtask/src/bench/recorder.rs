//! The picosnitch that is measured.

use std::{
    fs,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

/// A picosnitch with files of its own.
pub struct Recorder {
    child: Child,
    pub directory: PathBuf,
    /// Seconds from the start of the process to "recording".
    pub started: f64,
}

impl Recorder {
    /// Starts it with a configuration, in the directory that an earlier start has made.
    pub fn start_with(binary: &Path, configuration: &str) -> anyhow::Result<Self> {
        let directory = Self::start(binary)?.stop()?;
        fs::write(directory.join("config.toml"), configuration)?;
        Self::start(binary)
    }

    pub fn start(binary: &Path) -> anyhow::Result<Self> {
        let directory = std::env::temp_dir().join(format!("picosnitch-bench-{}", std::process::id()));
        let begin = Instant::now();
        let mut child = Command::new(binary)
            .arg("start-no-daemon")
            .arg("--base-dir")
            .arg(&directory)
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {}", binary.display()))?;
        let mut lines = BufReader::new(child.stderr.take().context("no standard error")?).lines();
        let mut said = String::new();
        for line in lines.by_ref() {
            let line = line?;
            if line.ends_with(": recording") {
                let started = begin.elapsed().as_secs_f64();
                // A thread reads later output, so that the recorder never blocks on a full pipe.
                thread::spawn(move || lines.for_each(drop));
                // What it finds at its start (programs to digest) is not the cost of the loads.
                thread::sleep(Duration::from_millis(1500));
                return Ok(Self { child, directory, started });
            }
            said.push_str(&line);
            said.push('\n');
        }
        bail!("picosnitch did not start to record (root is needed):\n{said}");
    }

    pub fn stop(mut self) -> anyhow::Result<PathBuf> {
        Command::new("kill").arg(self.child.id().to_string()).status()?;
        let status = self.child.wait()?;
        if !status.success() {
            bail!("picosnitch ended with {status}");
        }
        Ok(self.directory.clone())
    }

    /// The monitor and the recorder.
    pub fn processes(&self) -> io::Result<Vec<u32>> {
        let id = self.child.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"))?;
        let mut all = vec![id];
        all.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        Ok(all)
    }

    pub fn pss_kilobytes(&self) -> io::Result<f64> {
        let mut sum = 0.0;
        for process in self.processes()? {
            let rollup = fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
            let line = rollup.lines().find(|line| line.starts_with("Pss:")).unwrap_or_default();
            sum += line
                .split_whitespace()
                .nth(1)
                .and_then(|number| number.parse::<f64>().ok())
                .unwrap_or(f64::NAN);
        }
        Ok(sum)
    }

    pub fn cpu_seconds(&self) -> io::Result<f64> {
        self.processes()?.into_iter().map(cpu_seconds).sum()
    }
}

/// Seconds that all threads of a process were on a CPU.
pub fn cpu_seconds(process: u32) -> io::Result<f64> {
    let mut nanoseconds = 0.0;
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        // The first number of schedstat is the time on the CPU in nanoseconds.
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        nanoseconds += text.split(' ').next().and_then(|number| number.parse::<f64>().ok()).unwrap_or(0.0);
    }
    Ok(nanoseconds / 1e9)
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
