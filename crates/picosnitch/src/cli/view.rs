//! `picosnitch view`: the history in the terminal. Exit codes: 0, 1 for an error; after a signal as everywhere.

use std::process::ExitCode;

use super::{
    common::Common,
    source::{SourceOptions, explain_source},
    theme,
};
use tui::{
    ThemeChoice,
    view::{self, ViewError},
};

#[derive(clap::Args)]
#[command(
    after_help = "Keys: space or Enter shows only what has the value of the row, Backspace goes back, Tab and \
    arrows move, t/T longer and shorter, h/H earlier and later, s sort, / find, n only what is new, \
    N only programs that changed, = compare with the time before, i internet or local only, u units, c colours, ? all keys, \
    q quit.\n\
    Of a server there is the dimension host, the first tab.\n\
    It only reads, and works while picosnitch records. NO_COLOR switches colours off, PICOSNITCH_BACKGROUND=light or \
    dark says what the background is, COLORTERM=truecolor that the terminal has all colours."
)]
pub struct Options {
    #[command(flatten)]
    source: SourceOptions,
    /// Colours for this background, or none; auto asks the terminal. The choice is remembered
    #[arg(long, value_name = "THEME", value_parser = theme::parser())]
    theme: Option<ThemeChoice>,
}

pub fn run(common: &Common, options: &Options) -> anyhow::Result<ExitCode> {
    let layout = common.layout();
    let source = options.source.read(common)?;
    // Verdicts are about the programs of this machine.
    let record_json = options.source.is_own_log().then_some(layout.record_json);
    match view::run(source.clone(), record_json, options.theme) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(ViewError::Source(error)) => Err(explain_source(error, &source, "view")),
        Err(error) => Err(error.into()),
    }
}
