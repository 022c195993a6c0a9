//! `picosnitch status`: prints whether the daemon runs, what it does, and what it cannot see.
//!
//! The exit codes are those that the LSB defines for init scripts: 0 running, 3 not running, 4 unknown, or
//! running but stopped by a signal.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::{common::Common, daemon_state, output::print};
use live::{
    client::{ClientError, LiveClient},
    protocol::HelloLine,
};
use model::text::{sanitize, time};

/// Exit code of a daemon that does not run.
const NOT_RUNNING: u8 = 3;
/// Sentences of one list, and characters of one sentence, that are printed as text; `--json` prints all.
const MAX_LISTED: usize = 20;
const MAX_SENTENCE: usize = 1000;
/// Exit code when the state of the daemon cannot be found out.
const UNKNOWN: u8 = 4;

#[derive(clap::Args)]
pub struct Options {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(common: &Common, options: &Options) -> anyhow::Result<ExitCode> {
    let layout = common.layout();
    match LiveClient::connect(&layout.run_dir.join(live::SOCKET_NAME)) {
        Ok(client) => {
            let monitor = client.status().monitor;
            let is_stopped = daemon_state::is_stopped(monitor);
            let text = if options.json {
                let mut state: Value = serde_json::from_slice(client.hello())?;
                state["running"] = true.into();
                state["stopped"] = is_stopped.into();
                format!("{}\n", sanitize::json_document(&format!("{state:#}")))
            } else {
                describe(client.status())
            };
            print(&text)?;
            if !is_stopped {
                return Ok(ExitCode::SUCCESS);
            }
            if !options.json {
                print(&format!(
                    "  stopped       the monitor (process {monitor}) is stopped, so that nothing is recorded: let it go on with \
                     `sudo kill -CONT {monitor}`\n"
                ))?;
            }
            Ok(ExitCode::from(UNKNOWN))
        }
        Err(ClientError::NotRunning) => {
            print_failure(options, &json!({"running": false}), "picosnitch is not running")?;
            Ok(ExitCode::from(NOT_RUNNING))
        }
        Err(error) => {
            let why = format!("{:#}", daemon_state::explain(error, &layout));
            print_failure(options, &json!({"running": null, "why": why}), &why)?;
            Ok(ExitCode::from(UNKNOWN))
        }
    }
}

fn print_failure(options: &Options, document: &Value, text: &str) -> anyhow::Result<()> {
    if options.json { print(&format!("{document:#}\n")) } else { print(&format!("{text}\n")) }
}

/// The status of the daemon as text.
fn describe(status: &HelloLine) -> String {
    let text = |text: &str| sanitize::shorten(&sanitize::terminal(text.as_bytes()), MAX_SENTENCE);
    let mut lines = vec![format!(
        "picosnitch {} is recording since {} (process {})",
        text(&status.version),
        time::local(status.since),
        status.monitor
    )];
    let mut add = |name: &str, what: String| lines.push(format!("  {name:<13} {what}"));
    let files = &status.files;
    for (name, path) in [
        ("log", files.database.as_ref()),
        ("known", Some(&files.record)),
        ("alerts in", Some(&files.exe_log)),
        ("text log", files.conn_log.as_ref()),
    ] {
        if let Some(path) = path {
            add(name, text(path));
        }
    }
    add(
        "programs",
        format!(
            "{} known, {} being hashed, {} alerts since the start",
            status.programs, status.digests_pending, status.alerts
        ),
    );
    if let Some(progress) = status.virustotal["text"].as_str() {
        add("VirusTotal", text(progress));
    }
    let mut errors = match status.errors {
        0 => "none since the start".to_owned(),
        count => format!("{count} since the start"),
    };
    if let Some(last) = &status.last_error {
        errors += &format!("; the last one, at {}: {}", time::local(last.time), text(&last.text));
    }
    add("errors", errors);
    let mut losses: Vec<String> =
        status.losses.iter().map(|(kind, count)| format!("{count} {}", text(kind))).collect();
    let more = losses.len().saturating_sub(MAX_LISTED);
    losses.truncate(MAX_LISTED);
    if more > 0 {
        losses.push(format!("and {more} more kinds"));
    }
    add("lost", if losses.is_empty() { "nothing".to_owned() } else { losses.join(", ") });
    for unseen in status.unseen.iter().take(MAX_LISTED) {
        add("not seen", text(unseen));
    }
    let more = status.unseen.len().saturating_sub(MAX_LISTED);
    if more > 0 {
        add("not seen", format!("and {more} more; picosnitch status --json lists all"));
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_bounded_and_says_what_is_left_out() {
        let mut status = HelloLine {
            unseen: (0..50).map(|number| format!("sentence {number} {}", "x".repeat(5000))).collect(),
            losses: (0..50).map(|number| (format!("kind_{number}"), 1)).collect(),
            last_error: Some(live::protocol::LastError { time: 0, text: "\u{1b}".repeat(16 * 1024) }),
            ..HelloLine::default()
        };
        let text = describe(&status);
        assert!(text.contains("and 30 more; ") && text.contains("and 30 more kinds"), "{text}");
        assert!(text.len() < (MAX_LISTED + 5) * (MAX_SENTENCE + 100), "{}", text.len());
        status.unseen.truncate(MAX_LISTED);
        status.losses.clear();
        assert!(!describe(&status).contains(" more"));
    }
}
