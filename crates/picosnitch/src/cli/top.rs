//! `picosnitch top`: shows in the terminal what happens now.
//!
//! Exit codes: 0, 1 after an error; a signal ends the process as it ends any other.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use serde_json::json;

use super::{common::Common, daemon_state, output::print_more, theme};
use config::layout::Layout;
use live::client::LiveClient;
use tui::{
    ThemeChoice,
    top::{self, TopError},
};

#[derive(clap::Args)]
#[command(
    after_help = "Keys: Tab goes to the connections of the selected program and back, arrows move, s sort, t tree by \
    parents, / find, space hold still, u units, c colours, x dismiss alerts, ? all keys, q quit.\n\
    It asks the running picosnitch (root, or the group picosnitch). NO_COLOR switches colours off, \
    PICOSNITCH_BACKGROUND=light or dark says what the background is, COLORTERM=truecolor that the terminal has all \
    colours."
)]
pub struct Options {
    /// Print what happens as it happens, one JSON object a line (docs/live.md)
    #[arg(long)]
    json: bool,
    /// Colours for this background, or none; auto asks the terminal. The choice is remembered
    #[arg(long, value_name = "THEME", value_parser = theme::parser())]
    theme: Option<ThemeChoice>,
    /// Write to this file at the end how many frames were drawn, and how many milliseconds the longest took, as JSON
    #[arg(long, hide = true, value_name = "FILE")]
    figures: Option<PathBuf>,
}

pub fn run(common: &Common, options: &Options) -> anyhow::Result<ExitCode> {
    let layout = common.layout();
    let socket = layout.run_dir.join(live::SOCKET_NAME);
    if options.json {
        return print_lines(&socket, &layout);
    }
    let figures = top::run(&socket, options.theme).map_err(|error| match error {
        TopError::Feed(error) => daemon_state::explain(error, &layout),
        error => error.into(),
    })?;
    if let Some(file) = &options.figures {
        let longest = figures.longest.as_secs_f64() * 1e3;
        let text = json!({"frames": figures.frames, "longest_milliseconds": longest}).to_string();
        fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the daemon's lines, which the daemon has made safe for a terminal.
fn print_lines(socket: &Path, layout: &Layout) -> anyhow::Result<ExitCode> {
    let mut client = LiveClient::subscribe(socket).map_err(|error| daemon_state::explain(error, layout))?;
    let mut line = client.hello().to_vec();
    while print_more(&line)? {
        client.read_line(&mut line)?;
    }
    Ok(ExitCode::SUCCESS)
}
