//! The alerts, the latest first.

use jiff::tz::TimeZone;
use ratatui::style::Style;

use super::time_of_day::time_of_day;
use crate::{
    term::canvas::Canvas,
    top::{alert::Highlight, live_state::LiveState},
};

/// Draws a rule and as many alerts as fit.
pub fn draw(mut canvas: Canvas<'_>, live: &LiveState, zone: &TimeZone) {
    let theme = canvas.theme;
    let lines = canvas.area.height.saturating_sub(1);
    if lines == 0 {
        return;
    }
    let more = live.alerts.len().saturating_sub(lines.into());
    let title = if more > 0 { format!("Alerts, and {more} before") } else { "Alerts".to_owned() };
    canvas.rule(&title);
    for (y, alert) in (1..=lines).zip(&live.alerts) {
        let x = 1 + canvas.put(1, y, &time_of_day(alert.time, zone), theme.dim()) + 2;
        let (sign, style) = match alert.highlight {
            Highlight::New => ("+", theme.novel()),
            Highlight::Wrong => ("!", theme.wrong()),
        };
        canvas.put(x, y, sign, style);
        canvas.put(x + 2, y, &alert.text, Style::new());
    }
}
