//! Two lines above the chart: the period and the filters, and sums of all rows.

use ratatui::style::Style;

use crate::{
    term::{
        canvas::Canvas,
        text::{shorten, width},
    },
    view::{filters::AppliedFilter, state::ViewState},
};
use calendar::point_text;
use store::Sort;

/// A filter in words, such as `exe=/usr/bin/curl` or `not port=443`.
fn filter_text(state: &ViewState, filter: &AppliedFilter) -> String {
    match filter {
        AppliedFilter::Value { dimension, value, exclude } => {
            let not = if *exclude { "not " } else { "" };
            format!("{not}{dimension}={}", state.label(*dimension, value))
        }
        AppliedFilter::Period(period) => {
            let text = |point: Option<i64>| {
                point.map(|point| point_text(point, &state.time.zone)).unwrap_or_default()
            };
            format!("time={} to {}", text(period.start), text(period.end))
        }
    }
}

/// Draws the period and the filters.
pub fn draw_header(mut canvas: Canvas<'_>, state: &ViewState) {
    let theme = canvas.theme;
    let mut x = 1 + canvas.put(1, 0, &state.time.describe(state.period()), theme.strong());
    let filters = state.filters.iter();
    let count = filters.len();
    for (index, filter) in filters.enumerate() {
        let sign = if index == 0 { "  " } else { " > " };
        x += canvas.put(x, 0, sign, theme.dim());
        // The rest of the line is divided among the remaining filters.
        let share = usize::from(canvas.area.width.saturating_sub(x)) / (count - index);
        let text = shorten(&filter_text(state, filter), share.saturating_sub(3).max(6), theme.ascii);
        x += canvas.put(x, 0, &text, Style::new());
    }
}

/// Draws the sums and the number of rows.
pub fn draw_totals(mut canvas: Canvas<'_>, state: &ViewState) {
    let theme = canvas.theme;
    let answer = &state.list.answer;
    let sorted = match state.display.sort {
        Sort::Total => "bytes",
        Sort::Connections => "connections",
        Sort::Sent => "bytes sent",
        Sort::Received => "bytes received",
        Sort::FirstSeen => "first seen",
        Sort::LastSeen => "last seen",
        Sort::Digests => "digests",
        Sort::Dimension(_) => "value",
    };
    let more = if answer.more { "+" } else { "" };
    let shown = state.list.len();
    let rows = match state.list.find.is_empty() {
        true if shown == 1 => "1 row".to_owned(),
        true => format!("{shown}{more} rows"),
        false => format!("{shown} of {}{more} rows", answer.rows.len()),
    };
    let unit = state.display.unit;
    let parts = [
        (unit.write(answer.total.received), "received"),
        (unit.write(answer.total.sent), "sent"),
        (answer.total.connections.to_string(), "connections"),
        (rows, ""),
    ];
    let mut x = 1;
    for (number, noun) in &parts {
        if usize::from(x) + width(number) + 1 + width(noun) > canvas.area.width.into() {
            return;
        }
        x += canvas.put(x, 0, number, theme.strong()) + 1;
        if !noun.is_empty() {
            x += canvas.put(x, 0, noun, theme.dim()) + 1;
        }
        x += 1;
    }
    let sorted = format!("by {sorted}");
    if usize::from(x) + width(&sorted) <= canvas.area.width.into() {
        canvas.put(x, 0, &sorted, theme.dim());
    }
}
