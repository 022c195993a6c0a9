//! `picosnitch status`: prints whether the daemon runs, what it does, and what it cannot see.
//!
//! The exit codes are those that the LSB defines for init scripts: 0 running, 3 not running, 4 unknown.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::{common::Common, output::print};
use config::layout::Layout;
use live::client::{ClientError, LiveClient};
use model::{
    error_chain,
    text::{sanitize, time},
};

/// Exit code of a daemon that does not run.
const NOT_RUNNING: u8 = 3;
/// Exit code when the state of the daemon cannot be found out.
const UNKNOWN: u8 = 4;
#[derive(clap::Args)]
pub struct Options {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(common: &Common, options: &Options) -> anyhow::Result<ExitCode> {
    let layout = Layout::new(common.base_dir.as_deref(), common.config.as_deref());
    match LiveClient::connect(&layout.run_dir.join(live::SOCKET_NAME)) {
        Ok(client) => {
            // The client has read it as JSON before.
            let mut state: Value = serde_json::from_slice(client.hello())?;
            let text = if options.json {
                state["running"] = true.into();
                format!("{}\n", sanitize::json_document(&format!("{state:#}")))
            } else {
                describe(&state)
            };
            print(&text)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(ClientError::NotRunning) => {
            print_failure(options, &json!({"running": false}), "picosnitch is not running")?;
            Ok(ExitCode::from(NOT_RUNNING))
        }
        Err(error) => {
            let why = error_chain(&error);
            print_failure(options, &json!({"running": null, "why": why}), &why)?;
            Ok(ExitCode::from(UNKNOWN))
        }
    }
}

fn print_failure(options: &Options, document: &Value, text: &str) -> anyhow::Result<()> {
    if options.json { print(&format!("{document:#}\n")) } else { print(&format!("{text}\n")) }
}

/// The state of the daemon (its `hello` line) as text.
fn describe(state: &Value) -> String {
    let text = |value: &Value| sanitize::terminal(value.as_str().unwrap_or_default().as_bytes());
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let moment = |value: &Value| time::local(value.as_i64().unwrap_or(0));
    let mut lines = vec![format!(
        "picosnitch {} is recording since {} (process {})",
        text(&state["version"]),
        moment(&state["since"]),
        number(&state["monitor"])
    )];
    let mut add = |name: &str, what: String| lines.push(format!("  {name:<13} {what}"));
    for (name, key) in
        [("log", "database"), ("known", "record"), ("alerts in", "exe_log"), ("text log", "conn_log")]
    {
        if !state["files"][key].is_null() {
            add(name, text(&state["files"][key]));
        }
    }
    add(
        "programs",
        format!(
            "{} known, {} being hashed, {} alerts since the start",
            number(&state["programs"]),
            number(&state["digests_pending"]),
            number(&state["alerts"])
        ),
    );
    let virustotal = &state["virustotal"];
    if virustotal.is_object() {
        add("VirusTotal", text(&virustotal["text"]));
    }
    match number(&state["errors"]) {
        0 => add("errors", "none since the start".to_owned()),
        count => add(
            "errors",
            format!(
                "{count} since the start; the last one, at {}: {}",
                moment(&state["last_error"]["time"]),
                text(&state["last_error"]["text"])
            ),
        ),
    }
    let losses: Vec<String> = state["losses"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(kind, count)| format!("{} {}", number(count), sanitize::terminal(kind.as_bytes())))
        .collect();
    add("lost", if losses.is_empty() { "nothing".to_owned() } else { losses.join(", ") });
    for unseen in state["unseen"].as_array().into_iter().flatten() {
        add("not seen", text(unseen));
    }
    lines.join("\n") + "\n"
}
