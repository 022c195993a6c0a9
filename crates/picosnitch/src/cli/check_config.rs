//! `picosnitch check-config`: prints the configuration and its file, or everything that is wrong with it.
//! Exit codes: 0, 77 (`EX_NOPERM`) for a file that this user may not read, or 78 (`EX_CONFIG`) for a bad file.

use std::process::ExitCode;

use serde_json::json;

use super::{
    common::{Common, EXIT_CONFIG, EXIT_NO_PERMISSION},
    output::print,
};
use config::{Config, Source};
use model::text::sanitize;

#[derive(clap::Args)]
pub struct Options {
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

pub fn run(common: &Common, options: &Options) -> anyhow::Result<ExitCode> {
    let layout = common.layout();
    match Config::load(&layout) {
        Ok(loaded) => {
            let notes = [loaded.config.not_yet_built(), loaded.config.missing_files()].concat();
            let config = serde_json::to_value(&loaded.config)?;
            let ignored: Vec<(String, String)> =
                loaded.config.log.ignore.iter().map(|rule| (rule.to_string(), rule.explanation())).collect();
            if options.json {
                let file = match &loaded.source {
                    Source::Toml(path) | Source::Json(path) => Some(path.to_string_lossy()),
                    Source::Defaults(_) => None,
                };
                let ignored: Vec<_> =
                    ignored.iter().map(|(rule, matches)| json!({"rule": rule, "matches": matches})).collect();
                print_json(
                    &json!({"valid": true, "file": file, "config": config, "ignored": ignored, "notes": notes}),
                )?;
            } else {
                let mut text = format!("{}: valid\n\n", loaded.source);
                describe("", &config, &mut text);
                if !ignored.is_empty() {
                    text += "\nNot logged (but notified, and kept in record.json):\n";
                    text.extend(ignored.iter().map(|(rule, matches)| format!("  {rule}: {matches}\n")));
                }
                text.extend(notes.iter().map(|note| format!("\nnote: {note}")));
                print(&format!("{}\n", lines(&text)))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(errors) => {
            if options.json {
                let problem =
                    |problem: &config::Problem| json!({"line": problem.line, "message": problem.message});
                let problems: Vec<_> = errors.problems.iter().map(problem).collect();
                let file = errors.file.to_string_lossy();
                let valid = if errors.is_unreadable { json!(null) } else { json!(false) };
                print_json(&json!({"valid": valid, "file": file, "problems": problems}))?;
            } else {
                eprintln!("{}", lines(&errors.to_string()));
            }
            Ok(ExitCode::from(if errors.is_unreadable { EXIT_NO_PERMISSION } else { EXIT_CONFIG }))
        }
    }
}

fn print_json(value: &serde_json::Value) -> anyhow::Result<()> {
    print(&format!("{}\n", sanitize::json_document(&serde_json::to_string_pretty(value)?)))
}

/// Makes text safe for a terminal and keeps its line ends.
fn lines(text: &str) -> String {
    text.lines().map(sanitize::message).collect::<Vec<_>>().join("\n")
}

/// Adds one line for each key, for example `log.retention_days = 365`.
fn describe(name: &str, value: &serde_json::Value, out: &mut String) {
    match value {
        serde_json::Value::Object(entries) => {
            for (key, value) in entries {
                let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                describe(&name, value, out);
            }
        }
        serde_json::Value::Null => *out += &format!("{name} is not set\n"),
        _ => *out += &format!("{name} = {value}\n"),
    }
}
