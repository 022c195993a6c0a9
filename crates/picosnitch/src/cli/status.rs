//! `picosnitch status`: prints whether the daemon records and what it missed, then what it does and what it cannot see.
//!
//! The exit codes are those that the LSB defines for init scripts: 0 running, 3 not running, 4 unknown, or
//! running but stopped by a signal.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::{common::Common, daemon_state, output::print};
use config::layout::Layout;
use daemon::monitor::{self, EndReason, Instance};
use live::{
    client::{ClientError, LiveClient},
    protocol::HelloLine,
};
use model::{
    Consequence, Losses,
    text::{sanitize, time},
};

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
                describe(client.status(), is_stopped)
            };
            print(&text)?;
            Ok(if is_stopped { ExitCode::from(UNKNOWN) } else { ExitCode::SUCCESS })
        }
        Err(ClientError::NotRunning) => {
            let why = why_ended(&layout);
            let mut text = "Not recording: picosnitch is not running.".to_owned();
            if let Some(why) = &why {
                text += &format!(" {why}");
            }
            text += &format!(" To start it: {}", model::service::command("start"));
            print_failure(options, &json!({"running": false, "why": why}), &text)?;
            Ok(ExitCode::from(NOT_RUNNING))
        }
        Err(error) => {
            let why = format!("{:#}", daemon_state::explain(error, &layout));
            let text = format!("Not known whether anything is recorded: {why}");
            print_failure(options, &json!({"running": null, "why": why}), &text)?;
            Ok(ExitCode::from(UNKNOWN))
        }
    }
}

/// A sentence about the end of the last daemon; `None` if it was stopped, or it is not known.
fn why_ended(layout: &Layout) -> Option<String> {
    if let Some(EndReason { time, why }) = monitor::read_end_reason(layout) {
        let why = sanitize::shorten(&sanitize::message(&why), MAX_SENTENCE);
        return Some(format!("It has ended at {}: {}.", time::local(time), why.trim_end_matches('.')));
    }
    // Only root may look.
    let Ok(Instance::None(Some(pid))) = monitor::find_instance(layout) else { return None };
    Some(format!(
        "It has ended without a word (process {pid}): it was killed, perhaps because memory ran out; the kernel's log (dmesg) may \
         say more."
    ))
}

fn print_failure(options: &Options, document: &Value, text: &str) -> anyhow::Result<()> {
    if options.json { print(&format!("{document:#}\n")) } else { print(&format!("{text}\n")) }
}

/// The status of the daemon as text.
fn describe(status: &HelloLine, is_stopped: bool) -> String {
    let text = |text: &str| sanitize::shorten(&sanitize::message(text), MAX_SENTENCE);
    let mut lines = vec![if is_stopped { stopped(status) } else { verdict(status) }];
    let mut add = |name: &str, what: String| lines.push(format!("  {name:<13} {what}"));
    for (name, missed) in missed(status) {
        add(name, text(&missed));
    }
    add("version", format!("{} (process {})", text(&status.version), status.monitor));
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
    for copy in status.servers.iter().take(MAX_LISTED) {
        add(&text(&copy.name), text(&copy.sentence(time::now())));
    }
    let mut errors = match status.errors {
        0 => "none since the start".to_owned(),
        count => format!("{count} since the start"),
    };
    if let Some(last) = &status.last_error {
        errors += &format!("; the last one, at {}: {}", time::local(last.time), text(&last.text));
    }
    add("errors", errors);
    if let Some(blind_spots) = capture::blind_spots_in_short(status.unseen.iter().map(String::as_str)) {
        add("not seen", blind_spots);
    }
    for wall in status.unprotected.iter().take(MAX_LISTED) {
        add("not enforced", text(wall));
    }
    lines.join("\n") + "\n"
}

/// What the daemon has lost since its start. A newer daemon may have kinds that this version does not know.
fn losses(status: &HelloLine) -> Losses {
    Losses::from_names(status.losses.iter().map(|(name, count)| (name.as_str(), *count)))
}

/// The verdict on a daemon whose monitor is stopped by a signal.
fn stopped(status: &HelloLine) -> String {
    let monitor = status.monitor;
    format!(
        "Not recording: the monitor (process {monitor}) is stopped. Let it go on with `sudo kill -CONT {monitor}`."
    )
}

/// One sentence: whether it records, and what is missing.
fn verdict(status: &HelloLine) -> String {
    let since = time::local(status.since);
    let losses = losses(status);
    match losses.is_anything_missing() {
        false => format!("Recording. Nothing was missed since {since}."),
        true => {
            let summary = sanitize::shorten(&sanitize::terminal(losses.summary().as_bytes()), MAX_SENTENCE);
            format!("Recording since {since}, but not everything: {summary}.")
        }
    }
}

/// A sentence for each loss since the start, the worst first, and how to find out when.
fn missed(status: &HelloLine) -> Vec<(&'static str, String)> {
    let heading = |consequence| match consequence {
        Consequence::NothingMissing => "late",
        _ => "missed",
    };
    let sentences = losses(status).sentences();
    let mut lines: Vec<_> =
        sentences.into_iter().map(|(consequence, sentence)| (heading(consequence), sentence)).collect();
    let more = lines.len().saturating_sub(MAX_LISTED);
    lines.truncate(MAX_LISTED);
    if more > 0 {
        lines.push(("missed", format!("and {more} more kinds")));
    }
    if !lines.is_empty() {
        lines.push(("when", "picosnitch query --events --kind loss --range all".to_owned()));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::LossKind;

    #[test]
    fn the_text_is_bounded_and_says_what_is_left_out() {
        let mut status = HelloLine {
            unseen: (0..50).map(|number| format!("sentence {number} {}", "x".repeat(5000))).collect(),
            losses: (0..50).map(|number| (format!("kind_{number}"), 1)).collect(),
            last_error: Some(live::protocol::LastError { time: 0, text: "\u{1b}".repeat(16 * 1024) }),
            ..HelloLine::default()
        };
        let text = describe(&status, false);
        assert!(
            text.contains("not seen      50 blind spots that matter: see sudo picosnitch doctor")
                && text.contains("and 30 more kinds"),
            "{text}"
        );
        assert!(text.len() < (MAX_LISTED + 5) * (MAX_SENTENCE + 100), "{}", text.len());
        status.unseen = vec!["processes that change their name".to_owned()];
        status.losses.clear();
        let text = describe(&status, false);
        assert!(!text.contains(" more") && text.contains("details only are not seen"), "{text}");
    }

    #[test]
    fn the_first_line_says_whether_anything_is_missing() {
        let verdict_of = |losses: &[(LossKind, u64)]| {
            let losses = losses.iter().map(|(kind, count)| (kind.name(), *count)).collect();
            let text = describe(&HelloLine { losses, ..HelloLine::default() }, false);
            text.lines().next().unwrap().to_owned()
        };
        let nothing = verdict_of(&[]);
        assert!(nothing.starts_with("Recording. Nothing was missed since "), "{nothing}");
        assert_eq!(verdict_of(&[(LossKind::ReleaseEvents, 5), (LossKind::Channel, 0)]), nothing);
        let text = verdict_of(&[(LossKind::ProcessEvents, 12), (LossKind::Names, 1)]);
        let expected = ", but not everything: some traffic may lack its program (12 process events), some connections may \
                        lack their domain (1 DNS answer or connection handshake).";
        assert!(text.starts_with("Recording since ") && text.ends_with(expected), "{text}");
        for kind in LossKind::ALL {
            let losses = [(kind.name(), 7)].into();
            let text = describe(&HelloLine { losses, ..HelloLine::default() }, false);
            assert_eq!(text.contains("  missed        7 "), kind != LossKind::ReleaseEvents, "{text}");
            assert_eq!(text.contains("Nothing was missed"), kind == LossKind::ReleaseEvents, "{text}");
            let name = kind.name();
            assert!(!name.contains('_') || !text.contains(&name), "{text}");
        }
        assert!(
            describe(&HelloLine { monitor: 7, ..HelloLine::default() }, true)
                .starts_with("Not recording: the monitor (process 7)")
        );
        let other = HelloLine { losses: [("new_kind".to_owned(), 3)].into(), ..HelloLine::default() };
        assert!(
            describe(&other, false).contains("some traffic is in no record (3 new_kind).")
                && describe(&other, false).contains("  missed        3 new_kind: ")
        );
    }
}
