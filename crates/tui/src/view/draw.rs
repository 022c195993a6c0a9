//! The screen: tabs, where one is, sums, chart, rows, detail, footer. It says what it has room for.

use ratatui::{buffer::Buffer, layout::Rect, style::Style};

use super::{
    detail_pane,
    keys::BINDINGS,
    list,
    range::{self, LENGTHS, Window},
    state::{Applied, State},
    tabs::TABS,
};
use crate::term::{
    text::width,
    theme::Theme,
    widgets::{Sample, TabStrip, error, footer, help, put, sparkline, tab_strip},
};
use store::{Sort, values};

/// From here on the detail is at the right of the list.
const WIDE: u16 = 120;

/// Where things are on the screen, for the mouse.
#[derive(Debug, Default)]
pub struct Places {
    /// The tabs.
    pub tabs: TabStrip,
    /// The rows of the list.
    pub list: Rect,
}

/// The parts of the screen, each perhaps empty.
struct Layout {
    tabs: Rect,
    header: Rect,
    totals: Rect,
    chart: Rect,
    axis: Rect,
    list: Rect,
    detail: Rect,
    keys: Rect,
    state: Rect,
}

impl Layout {
    fn new(area: Rect, detail: bool) -> Self {
        let height = area.height;
        let mut y = area.y;
        let mut take = |lines: u16| {
            let lines = lines.min(area.bottom() - y);
            y += lines;
            Rect { y: y - lines, height: lines, ..area }
        };
        let chart = match height {
            0..16 => 0,
            16..30 => 2,
            30..50 => 4,
            _ => 8,
        };
        let tabs = take(1);
        let header = take(1);
        let totals = take(u16::from(height >= 8));
        let chart = take(chart);
        let axis = take(u16::from(chart.height > 0));
        let below = if height >= 8 { 2 } else { u16::from(height >= 5) };
        let mut list = take(height.saturating_sub(chart.bottom() - area.y + axis.height + below));
        let keys = take(u16::from(below > 1));
        let state = take(1);
        let mut pane = Rect::default();
        if detail && area.width >= WIDE {
            let wide = (area.width / 5 * 2).min(90);
            pane = Rect { x: list.right() - wide, width: wide, ..list };
            list.width -= wide + 2;
        } else if detail && list.height >= 12 {
            let lines = (list.height / 5 * 2).min(14);
            list.height -= lines;
            pane = Rect { y: list.bottom(), height: lines, ..list };
        }
        Self { tabs, header, totals, chart, axis, list, detail: pane, keys, state }
    }
}

/// Columns of the chart on a screen of this width.
pub fn chart_columns(width: u16) -> usize {
    usize::from(width.saturating_sub(2)).max(1)
}

/// Draws everything.
pub fn draw(buffer: &mut Buffer, area: Rect, state: &mut State, theme: Theme) -> Places {
    let layout = Layout::new(area, state.detail_shown);
    let titles: Vec<&str> = TABS.iter().map(|tab| tab.title).collect();
    let tabs = tab_strip(buffer, layout.tabs, &titles, state.tab, theme);
    header(buffer, layout.header, state, theme);
    totals(buffer, layout.totals, state, theme);
    chart(buffer, layout.chart, layout.axis, state, theme);
    let list = list::draw(buffer, layout.list, state, theme);
    detail_pane::draw(buffer, layout.detail, state, theme);
    footer(buffer, layout.keys, &BINDINGS, |action| state.offers(*action), theme);
    say_state(buffer, layout.state, state, theme);
    if let Some(text) = &state.error {
        error(buffer, area, &state.labels.typed(text), theme);
    }
    if state.help {
        help(buffer, area, &BINDINGS, theme);
    }
    theme.finish(buffer);
    Places { tabs, list }
}

/// The window in words.
pub fn window_text(state: &State, window: Window) -> String {
    let zone = &state.zone;
    match window {
        Window { start: Some(start), end: Some(end) }
            if state.at.is_some() || state.window() != range::last(state.length, state.now) =>
        {
            let over = if end > state.now { ", not over yet" } else { "" };
            let name = range::zone_name(start, zone);
            format!("{} to {} {name}{over}", range::point(start, zone), range::point(end, zone))
        }
        Window { start: Some(start), .. } => {
            let name = range::zone_name(start, zone);
            format!("last {}, since {} {name}", LENGTHS[state.length].name, range::point(start, zone))
        }
        _ => "all of the log".to_owned(),
    }
}

/// A filter in words: `exe=/usr/bin/curl`, `not port=443`.
fn filter_text(state: &State, applied: &Applied) -> String {
    match applied {
        Applied::Value { dimension, value, exclude } => {
            let not = if *exclude { "not " } else { "" };
            format!("{not}{dimension}={}", state.labels.text(*dimension, value, &state.zone))
        }
        Applied::Time(window) => {
            let point =
                |point: Option<i64>| point.map(|point| range::point(point, &state.zone)).unwrap_or_default();
            format!("time={} to {}", point(window.start), point(window.end))
        }
    }
}

fn header(buffer: &mut Buffer, area: Rect, state: &State, theme: Theme) {
    let text = window_text(state, state.window());
    let mut x = 1 + put(buffer, area, 1, 0, &text, theme.strong(), theme);
    let filters: Vec<String> = state.layers.iter().map(|layer| filter_text(state, &layer.applied)).collect();
    for (index, filter) in filters.iter().enumerate() {
        let sign = if index == 0 { "  " } else { " > " };
        x += put(buffer, area, x, 0, sign, theme.dim(), theme);
        let left = filters.len() - index;
        // Each gets its share of what is left of the line.
        let room = usize::from(area.width.saturating_sub(x)) / left;
        let filter = crate::term::text::shorten(filter, room.saturating_sub(3).max(6), theme.ascii);
        x += put(buffer, area, x, 0, &filter, Style::new(), theme);
    }
}

fn totals(buffer: &mut Buffer, area: Rect, state: &State, theme: Theme) {
    let total = state.rows.total;
    let sorted = match state.sort {
        Sort::Total => "bytes",
        Sort::Connections => "connections",
        Sort::Sent => "bytes sent",
        Sort::Received => "bytes received",
        Sort::Dimension(_) => "value",
    };
    let more = if state.rows.more { "+" } else { "" };
    let rows = match state.find.is_empty() {
        true if state.shown.len() == 1 => "1 row".to_owned(),
        true => format!("{}{more} rows", state.shown.len()),
        false => format!("{} of {}{more} rows", state.shown.len(), state.rows.rows.len()),
    };
    let parts = [
        (state.unit.write(total.received), "received"),
        (state.unit.write(total.sent), "sent"),
        (total.connections.to_string(), "connections"),
        (rows, ""),
        (String::new(), ""),
    ];
    let mut x = 1;
    for (number, what) in parts.iter().filter(|(number, _)| !number.is_empty()) {
        x += put(buffer, area, x, 0, number, theme.strong(), theme) + 1;
        if !what.is_empty() {
            x += put(buffer, area, x, 0, what, theme.dim(), theme) + 1;
        }
        x += 1;
    }
    put(buffer, area, x, 0, &format!("by {sorted}"), theme.dim(), theme);
}

fn chart(buffer: &mut Buffer, area: Rect, axis: Rect, state: &State, theme: Theme) {
    let series = &state.series;
    let (Some(start), Some(end)) = (series.edges.first(), series.edges.last()) else { return };
    let columns = chart_columns(area.width);
    let area = Rect { x: area.x + 1, width: area.width.saturating_sub(2), ..area };
    let pieces = series.sums.len().max(1);
    let sample = |column: usize| {
        let piece = column * pieces / columns;
        let sum = series.sums.get(piece).copied().unwrap_or_default();
        Sample {
            received: sum.received,
            sent: sum.sent,
            lost: series.lossy.get(piece).copied().unwrap_or(false),
            open: series.edges.get(piece + 1).is_some_and(|edge| *edge > state.now),
        }
    };
    let samples: Vec<Sample> = (0..columns).map(sample).collect();
    sparkline(buffer, area, &samples, theme.plain_bar(), theme);

    let (from, to) = (range::point(*start, &state.zone), range::point(*end, &state.zone));
    put(buffer, axis, 1, 0, &from, theme.dim(), theme);
    let at = axis.width.saturating_sub(width(&to) as u16 + 1);
    if usize::from(at) > width(&from) + 2 {
        put(buffer, axis, at, 0, &to, theme.dim(), theme);
    }
    let most = |amount: fn(&model::Counters) -> u64| series.sums.iter().map(amount).max().unwrap_or(0);
    let peak = format!(
        "peak {} received, {} sent",
        state.unit.write(most(|sum| sum.received)),
        state.unit.write(most(|sum| sum.sent))
    );
    let left = width(&from) as u16 + 3;
    let room = at.saturating_sub(left + 2);
    if usize::from(room) >= width(&peak) {
        put(buffer, axis, left + (room - width(&peak) as u16) / 2, 0, &peak, theme.dim(), theme);
    }
}

/// The last line: what the user types or has to know now, else what state the log is in.
fn say_state(buffer: &mut Buffer, area: Rect, state: &State, theme: Theme) {
    let mut x = 0;
    let mut say = |text: &str, style: Style| {
        x += put(buffer, area, x, 0, text, style, theme);
        x += put(buffer, area, x, 0, "  ", Style::new(), theme);
    };
    if state.finding || !state.find.is_empty() {
        let cursor = if state.finding { "_" } else { "" };
        say(&format!("find: {}{cursor}", state.labels.typed(&state.find)), theme.strong());
    }
    if let Some(notice) = &state.notice {
        return say(notice, theme.new_thing());
    }
    if !state.rows.losses.is_empty() {
        say(&format!("incomplete, lost here: {}", values::losses(&state.rows.losses)), theme.wrong());
    }
    match state.rows.extent {
        Some((first, last)) => {
            let (first, last) = (range::point(first, &state.zone), range::point(last, &state.zone));
            say(&format!("log from {first} to {last}"), theme.dim());
        }
        None if !state.waiting => say("the log is empty", theme.dim()),
        None => {}
    }
}
