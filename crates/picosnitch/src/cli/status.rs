//! `picosnitch status`: whether the daemon runs, what it does, and what it could not see.
//! Exit codes as the LSB has them for init scripts: 0 running, 3 not running, 4 not known.

use std::{
    io::{self, BufRead, BufReader, Read},
    os::unix::net::UnixStream,
    path::Path,
    process::ExitCode,
    time::Duration,
};

use serde_json::{Value, json};

use super::{Common, print};
use config::layout::Layout;
use model::text::{format, time};

/// Exit codes.
const NOT_RUNNING: u8 = 3;
const NOT_KNOWN: u8 = 4;
/// How long a daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of its answer.
const MAX_ANSWER: u64 = 1 << 20;

/// Options of the command.
#[derive(clap::Args)]
pub struct Options {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(common: &Common, options: &Options) -> anyhow::Result<ExitCode> {
    let layout = Layout::new(common.base_dir.as_deref(), common.config.as_deref());
    let socket = layout.run_dir.join(live::NAME);
    match ask(&socket) {
        Ok(mut state) => {
            let text = if options.json {
                state["running"] = true.into();
                format!("{}\n", format::json_document(&format!("{state:#}")))
            } else {
                describe(&state)
            };
            print(&text)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            answer(options, &json!({"running": false}), "picosnitch is not running")?;
            Ok(ExitCode::from(NOT_RUNNING))
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let why = "asking picosnitch needs root, or membership in the group picosnitch: run `sudo picosnitch status`";
            answer(options, &json!({"running": null, "why": why}), why)?;
            Ok(ExitCode::from(NOT_KNOWN))
        }
        Err(error) => {
            let why = format!("picosnitch does not answer at {}: {error}", socket.display());
            answer(options, &json!({"running": null, "why": why}), &why)?;
            Ok(ExitCode::from(NOT_KNOWN))
        }
    }
}

fn answer(options: &Options, document: &Value, text: &str) -> anyhow::Result<()> {
    if options.json { print(&format!("{document:#}\n")) } else { print(&format!("{text}\n")) }
}

/// The first line of the live socket.
fn ask(socket: &Path) -> io::Result<Value> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new(stream.take(MAX_ANSWER)).read_line(&mut line)?;
    match serde_json::from_str::<Value>(&line) {
        Ok(state) if state["event"] == "hello" => Ok(state),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "its answer is not understood")),
    }
}

fn describe(state: &Value) -> String {
    let text = |value: &Value| format::terminal(value.as_str().unwrap_or_default().as_bytes());
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let moment = |value: &Value| time::local(value.as_i64().unwrap_or(0));
    let mut lines = vec![format!(
        "picosnitch {} is recording since {} (process {})",
        text(&state["version"]),
        moment(&state["since"]),
        number(&state["monitor"])
    )];
    let mut say = |name: &str, what: String| lines.push(format!("  {name:<13} {what}"));
    for (name, key) in
        [("log", "database"), ("known", "record"), ("alerts in", "exe_log"), ("text log", "conn_log")]
    {
        if !state["files"][key].is_null() {
            say(name, text(&state["files"][key]));
        }
    }
    say(
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
        say("VirusTotal", text(&virustotal["text"]));
    }
    match number(&state["errors"]) {
        0 => say("errors", "none since the start".to_owned()),
        count => say(
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
        .map(|(kind, count)| format!("{} {}", number(count), format::terminal(kind.as_bytes())))
        .collect();
    say("lost", if losses.is_empty() { "nothing".to_owned() } else { losses.join(", ") });
    for unseen in state["unseen"].as_array().into_iter().flatten() {
        say("not seen", text(unseen));
    }
    lines.join("\n") + "\n"
}
