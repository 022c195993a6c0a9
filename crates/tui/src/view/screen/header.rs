//! Two lines above the chart: the period and the filters, and sums of all rows.

use ratatui::style::Style;

use crate::{
    term::{
        canvas::Canvas,
        text::{plural, shorten, width},
    },
    view::{filters::AppliedFilter, row_choice::Only, state::ViewState},
};
use calendar::point_text;
use model::text::units::grouped;
use store::{Sort, change_text};

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

/// What of the period is shown, in words.
fn choice_text(state: &ViewState) -> String {
    let scope = state.choice.scope_text().filter(|_| state.dimension().is_some());
    let only = match state.only() {
        Only::All => None,
        Only::New => Some("only what is new".to_owned()),
        Only::Changed => Some("only programs that changed".to_owned()),
    };
    [scope, only].into_iter().flatten().map(|text| format!("  {text}")).collect()
}

/// The period that the rows are compared with, the longest text first.
fn comparison_texts(state: &ViewState) -> Option<[String; 3]> {
    let before = state.before()?;
    let [start, end] = [before.start?, before.end?].map(|point| point_text(point, &state.time.zone));
    Some([
        format!("  compared with {start} to {end}"),
        format!("  compared with {start} on"),
        format!("  before: {start} on"),
    ])
}

/// Draws the period, what of it is shown, and the filters.
pub fn draw_header(mut canvas: Canvas<'_>, state: &ViewState) {
    /// Columns that a filter has at least, if the other texts can be shorter.
    const FILTER_WIDTH: usize = 16;
    let theme = canvas.theme;
    let mut x = 1 + canvas.put(1, 0, &state.time.describe(state.period()), theme.strong());
    if let Some(server) = &state.server {
        x += canvas.put(x, 0, &format!("  on {}", state.display.labels.sentence(server)), theme.dim());
    }
    x += canvas.put(x, 0, &choice_text(state), theme.strong());
    if let Some(texts) = comparison_texts(state) {
        let reserved = usize::from(x) + state.filters.iter().len() * FILTER_WIDTH;
        let rest = usize::from(canvas.area.width).saturating_sub(reserved);
        let text = texts.iter().find(|text| width(text) <= rest).unwrap_or(&texts[2]);
        x += canvas.put(x, 0, text, theme.strong());
    }
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

/// What the rows are sorted by, in words.
fn sort_text(state: &ViewState) -> String {
    let Some(dimension) = state.dimension() else { return "the latest first".to_owned() };
    let sorted = match state.sort() {
        Sort::Total => "bytes",
        Sort::Connections => "connections",
        Sort::Sent => "bytes sent",
        Sort::Received => "bytes received",
        Sort::FirstSeen => "first seen",
        Sort::LastSeen => "last seen",
        Sort::Digests => "hashes",
        Sort::Dimension(_) if dimension.is_time() => return "the latest first".to_owned(),
        Sort::Dimension(_) => return "by value".to_owned(),
    };
    match state.before() {
        Some(_) => format!("by change of {sorted}"),
        None => format!("by {sorted}"),
    }
}

/// The number of rows, in words.
fn rows_text(state: &ViewState) -> String {
    let noun = if state.dimension().is_some() { "row" } else { "event" };
    let more = if state.list.answer.more { "+" } else { "" };
    let shown = state.list.len();
    let found = if state.list.find.is_empty() { "" } else { " found" };
    format!("{shown}{more} {}{found}", plural(shown as u64, noun))
}

/// Draws the sums and the number of rows.
pub fn draw_totals(mut canvas: Canvas<'_>, state: &ViewState) {
    let theme = canvas.theme;
    let answer = &state.list.answer;
    let unit = state.display.unit;
    let mut parts = Vec::new();
    if state.dimension().is_some() {
        parts.extend([
            (unit.write(answer.total.received), "received"),
            (unit.write(answer.total.sent), "sent"),
            (grouped(answer.total.connections), "connections"),
        ]);
        parts.extend(answer.total_before.map(|before| {
            let change = change_text(answer.total, before);
            (if theme.ascii { change.replace('\u{d7}', "x") } else { change }, "")
        }));
        parts.extend(state.choice.scope_text().map(|text| (text, "")));
    }
    parts.push((rows_text(state), ""));
    if state.ignores_filters() {
        parts.push(("some filters do not apply to events".to_owned(), ""));
    }
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
    let sorted = sort_text(state);
    if usize::from(x) + width(&sorted) <= canvas.area.width.into() {
        canvas.put(x, 0, &sorted, theme.dim());
    }
}
