//! What a log has of the traffic, as `picosnitch query` says it.

use std::{
    fmt::Write as _,
    path::PathBuf,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use super::{Amounts, Kind, Moved};

/// A log and the program that is asked about it.
pub struct Log {
    pub picosnitch: PathBuf,
    /// The base directory; `None` for the log of the system.
    pub base: Option<PathBuf>,
}

impl Log {
    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(&self.picosnitch);
        if let Some(base) = &self.base {
            command.arg("--base-dir").arg(base);
        }
        command.arg(name).arg("--json");
        command
    }

    /// Asks a question.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn query(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let output = self.command("query").args(arguments).output().context("cannot run picosnitch query")?;
        ensure!(output.status.success(), "query: {}", String::from_utf8_lossy(&output.stderr).trim());
        serde_json::from_slice(&output.stdout).context("query printed no JSON")
    }

    /// The answer of `picosnitch status`.
    ///
    /// # Errors
    /// It prints none.
    pub fn status(&self) -> anyhow::Result<Value> {
        let output = self.command("status").output().context("cannot run picosnitch status")?;
        serde_json::from_slice(&output.stdout).context("status printed no JSON")
    }

    /// Sums of the records that pass a filter.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn amounts(&self, filter: &str) -> anyhow::Result<Amounts> {
        let answer = self.query(&["--range", "all", "--group-by", "protocol", "--where", filter])?;
        let number =
            |name: &str| answer["total"][name].as_u64().with_context(|| format!("no total {name}: {answer}"));
        Ok(Amounts { connections: number("conns")?, sent: number("sent")?, received: number("received")? })
    }

    /// Events of a kind since a time.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn events(&self, kind: &str, since: i64) -> anyhow::Result<Vec<Value>> {
        let since = since.to_string();
        let answer = self.query(&["--events", "--kind", kind, "--since", &since])?;
        Ok(answer.as_array().context("events are an array")?.clone())
    }

    /// The sentences of the events of a kind since a time.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn sentences(&self, kind: &str, since: i64) -> anyhow::Result<Vec<String>> {
        let text = |event: &Value| event["text"].as_str().unwrap_or_default().to_owned();
        Ok(self.events(kind, since)?.iter().map(text).collect())
    }

    /// Waits until the log has exactly what was moved, at both ends, and looks once more after `settle`: it must have nothing
    /// twice.
    ///
    /// # Errors
    /// It has something else in the end; the text says what.
    pub fn wait_for(&self, moved: &[Moved], patience: Duration, settle: Duration) -> anyhow::Result<String> {
        let begin = Instant::now();
        loop {
            match self.compare(moved)? {
                None => break,
                Some(_) if begin.elapsed() < patience => thread::sleep(Duration::from_secs(2)),
                Some(difference) => bail!("{difference}"),
            }
        }
        thread::sleep(settle);
        if let Some(difference) = self.compare(moved)? {
            bail!("it was right, and later not: {difference}");
        }
        let mut seen = "exact:".to_owned();
        for Moved { kind, amounts, .. } in moved {
            let Amounts { connections, sent, received } = amounts;
            write!(seen, " {kind:?} {connections} conns {sent} sent {received} received;")?;
        }
        Ok(seen)
    }

    /// Connections and bytes at both ends of a port that the log has not, and those that it has too many.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn difference(&self, moved: &Moved) -> anyhow::Result<[u64; 2]> {
        let (mut missing, mut surplus) = (0, 0);
        for (_, expected, seen) in self.both_ends(moved)? {
            for (expected, seen) in [
                (expected.connections, seen.connections),
                (expected.sent, seen.sent),
                (expected.received, seen.received),
            ] {
                missing += expected.saturating_sub(seen);
                surplus += seen.saturating_sub(expected);
            }
        }
        Ok([missing, surplus])
    }

    /// What is expected and what is seen, at the client's and at the server's end.
    fn both_ends(&self, moved: &Moved) -> anyhow::Result<[(&'static str, Amounts, Amounts); 2]> {
        let end = |dimension: &str, expected: Amounts| {
            let mut seen = self.amounts(&format!("{dimension}={}", moved.port))?;
            // A socket that is not connected has no connections to count.
            if moved.kind == Kind::Datagrams {
                seen.connections = expected.connections;
            }
            anyhow::Ok((expected, seen))
        };
        let (client, server) = (end("port", moved.amounts)?, end("lport", moved.amounts.reversed())?);
        Ok([("client", client.0, client.1), ("server", server.0, server.1)])
    }

    /// What differs from what was moved; `None` if nothing does.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn compare(&self, moved: &[Moved]) -> anyhow::Result<Option<String>> {
        let mut differences = String::new();
        for one in moved {
            for (end, expected, seen) in self.both_ends(one)? {
                if seen != expected {
                    let kind = one.kind;
                    write!(differences, "{kind:?}, {end}: expected {expected:?}, seen {seen:?}; ")?;
                }
            }
        }
        Ok((!differences.is_empty()).then_some(differences))
    }
}
