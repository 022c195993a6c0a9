//! The option `--theme` of the screens.

use clap::builder::{PossibleValuesParser, TypedValueParser};

use tui::ThemeChoice;

/// Reads the name of a theme.
pub fn parser() -> impl TypedValueParser<Value = ThemeChoice> {
    PossibleValuesParser::new(ThemeChoice::ALL.map(ThemeChoice::name))
        .map(|name| ThemeChoice::from_name(&name).unwrap_or_default())
}
