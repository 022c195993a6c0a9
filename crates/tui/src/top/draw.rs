//! The screen: sums, the last minute, programs, connections, alerts, footer. It says what it has room for.

use std::collections::HashSet;

use jiff::{Timestamp, tz::TimeZone};
use ratatui::{buffer::Buffer, layout::Rect, style::Style};

use super::{
    connections,
    keys::BINDINGS,
    model::{Mark, Model, Source},
    programs,
    rates::{Bytes, MINUTE},
    rows::Sort,
    state::{Pane, Places, State},
};
use crate::term::{
    text::width,
    theme::Theme,
    widgets::{Sample, error, footer, help, put, sparkline},
};
use model::text::format::ByteUnit;

/// From here on the connections are at the right of the programs.
const WIDE: u16 = 160;
/// Lines below which there is one list only.
const TWO_LISTS: u16 = 10;

/// The parts of the screen, each perhaps empty.
struct Layout {
    header: Rect,
    chart: Rect,
    axis: Rect,
    programs: Rect,
    connections: Rect,
    alerts: Rect,
    keys: Rect,
    state: Rect,
}

impl Layout {
    fn new(area: Rect, alerts: usize, focus: Pane) -> Self {
        let height = area.height;
        let mut y = area.y;
        let mut take = |lines: u16| {
            let lines = lines.min(area.bottom() - y);
            y += lines;
            Rect { y: y - lines, height: lines, ..area }
        };
        let (chart, most_alerts) = match height {
            0..16 => (0, 0),
            16..30 => (2, 3),
            30..50 => (4, 5),
            _ => (8, 8),
        };
        let alerts = if alerts > 0 && most_alerts > 0 { alerts.min(most_alerts) as u16 + 1 } else { 0 };
        let header = take(1);
        let chart = take(chart);
        let axis = take(u16::from(chart.height > 0));
        let below = if height >= 8 { 2 } else { u16::from(height >= 5) };
        let lists = take(height.saturating_sub(chart.bottom() - area.y + axis.height + alerts + below));
        let alerts = take(alerts);
        let keys = take(u16::from(below > 1));
        let state = take(1);
        let (mut programs, mut connections) = (lists, lists);
        if lists.width >= WIDE {
            programs.width = lists.width / 2 - 1;
            connections.x = programs.right() + 2;
            connections.width = lists.right() - connections.x;
        } else if lists.height >= TWO_LISTS {
            programs.height = lists.height.div_ceil(2);
            connections.y = programs.bottom();
            connections.height = lists.bottom() - connections.y;
        } else {
            let hidden = if focus == Pane::Programs { &mut connections } else { &mut programs };
            *hidden = Rect::default();
        }
        Self { header, chart, axis, programs, connections, alerts, keys, state }
    }
}

/// Draws everything.
pub fn draw(
    buffer: &mut Buffer,
    area: Rect,
    state: &mut State,
    model: &Model,
    (theme, zone): (Theme, &TimeZone),
) -> Places {
    let layout = Layout::new(area, model.alerts.len(), state.focus);
    header(buffer, layout.header, state, model, theme);
    chart(buffer, layout.chart, layout.axis, state.unit, model, theme);
    let places = Places {
        programs: programs::draw(buffer, layout.programs, state, theme),
        connections: connections::draw(buffer, layout.connections, state, model, (theme, zone)),
    };
    alerts(buffer, layout.alerts, model, (theme, zone));
    footer(buffer, layout.keys, &BINDINGS, |action| state.offers(*action, model), theme);
    say_state(buffer, layout.state, state, model, theme);
    if let Source::Lost(why) = &model.source {
        error(buffer, area, &format!("{why}; it is tried again"), theme);
    }
    if state.help {
        help(buffer, area, &BINDINGS, theme);
    }
    theme.finish(buffer);
    places
}

/// A moment of today.
pub fn clock(seconds: i64, zone: &TimeZone) -> String {
    Timestamp::from_second(seconds)
        .map_or_else(|_| seconds.to_string(), |time| zone.to_datetime(time).strftime("%H:%M:%S").to_string())
}

/// A line with a title in it.
pub fn rule(buffer: &mut Buffer, area: Rect, title: &str, style: Style, theme: Theme) {
    let line = if theme.ascii { "-" } else { "─" };
    put(buffer, area, 0, 0, &line.repeat(area.width.into()), theme.dim(), theme);
    let inside = Rect { width: area.width.saturating_sub(2), ..area };
    put(buffer, inside, 1, 0, &format!(" {title} "), style, theme);
}

fn header(buffer: &mut Buffer, area: Rect, state: &State, model: &Model, theme: Theme) {
    let mut sum = Bytes::default();
    model.families.iter().for_each(|family| sum.add(family.rates.second(&model.clock)));
    let open: u64 = model.families.iter().map(|family| family.open).sum();
    // In the tree there are rows of those who only started others.
    let programs: HashSet<&[u8]> = state
        .rows
        .iter()
        .flat_map(|row| &row.families)
        .filter_map(|family| Some(model.families.get(*family)?.chain[2].as_slice()))
        .collect();
    let (rows, sorted) = (
        programs.len(),
        match state.sort {
            Sort::Second => "the last second",
            Sort::TenSeconds => "the last 10 s",
            Sort::Total => "total",
            Sort::Connections => "connections",
            Sort::Name => "name",
        },
    );
    let parts = [
        (state.unit.write(sum.received) + "/s", "received".to_owned()),
        (state.unit.write(sum.sent) + "/s", "sent".to_owned()),
        (rows.to_string(), some(rows as u64, "program")),
        (open.to_string(), some(open, "connection")),
    ];
    let mut x = 1;
    if state.paused {
        x += put(buffer, area, x, 0, " paused ", theme.selected(), theme) + 2;
    }
    for (number, what) in &parts {
        x += put(buffer, area, x, 0, number, theme.strong(), theme) + 1;
        x += put(buffer, area, x, 0, what, theme.dim(), theme) + 2;
    }
    let sorted = format!("by {sorted}");
    if usize::from(x) + width(&sorted) <= area.width.into() {
        put(buffer, area, x, 0, &sorted, theme.dim(), theme);
    }
}

/// One, or several.
fn some(count: u64, one: &str) -> String {
    if count == 1 { one.to_owned() } else { format!("{one}s") }
}

/// One column for so many slots, or so many columns for each.
fn samples(model: &Model, columns: usize) -> Vec<Sample> {
    let (slots, wide) = (MINUTE.div_ceil(columns.max(1)), (columns / MINUTE).max(1));
    // The same slots stand together from one frame to the next.
    let first = model.clock.slots.saturating_sub(model.minute.len());
    let mut groups: Vec<(usize, Sample, u64)> = Vec::new();
    for (index, (rate, lost)) in model.minute.iter().enumerate() {
        let group = (first + index) / slots;
        if groups.last().is_none_or(|(known, ..)| *known != group) {
            groups.push((group, Sample::default(), 0));
        }
        if let Some((_, sample, count)) = groups.last_mut() {
            sample.received = sample.received.saturating_add(rate.received);
            sample.sent = sample.sent.saturating_add(rate.sent);
            sample.lost |= *lost;
            *count += 1;
        }
    }
    let finished = groups.into_iter().map(|(_, sample, count)| Sample {
        received: sample.received / count.max(1),
        sent: sample.sent / count.max(1),
        open: count < slots as u64,
        ..sample
    });
    let drawn: Vec<Sample> = finished.flat_map(|sample| std::iter::repeat_n(sample, wide)).collect();
    let skipped = drawn.len().saturating_sub(columns);
    let blank = columns.saturating_sub(drawn.len());
    std::iter::repeat_n(Sample::default(), blank).chain(drawn.into_iter().skip(skipped)).collect()
}

fn chart(buffer: &mut Buffer, area: Rect, axis: Rect, unit: ByteUnit, model: &Model, theme: Theme) {
    if area.width < 4 {
        return;
    }
    let area = Rect { x: area.x + 1, width: area.width - 2, ..area };
    sparkline(buffer, area, &samples(model, area.width.into()), theme.plain_bar(), theme);
    put(buffer, axis, 1, 0, "1 min ago", theme.dim(), theme);
    let at = axis.width.saturating_sub(4);
    put(buffer, axis, at, 0, "now", theme.dim(), theme);
    let most =
        |amount: fn(&Bytes) -> u64| model.minute.iter().map(|(rate, _)| amount(rate)).max().unwrap_or(0);
    let peak = format!(
        "peak {}/s received, {}/s sent",
        unit.write(most(|rate| rate.received)),
        unit.write(most(|rate| rate.sent))
    );
    let room = usize::from(axis.width).saturating_sub(20);
    if room >= width(&peak) {
        put(buffer, axis, 12 + ((room - width(&peak)) / 2) as u16, 0, &peak, theme.dim(), theme);
    }
}

fn alerts(buffer: &mut Buffer, area: Rect, model: &Model, (theme, zone): (Theme, &TimeZone)) {
    let lines = area.height.saturating_sub(1);
    if lines == 0 {
        return;
    }
    let more = model.alerts.len().saturating_sub(lines.into());
    let title = if more > 0 { format!("Alerts, and {more} before") } else { "Alerts".to_owned() };
    rule(buffer, area, &title, theme.strong(), theme);
    for (y, alert) in (1..=lines).zip(&model.alerts) {
        let x = 1 + put(buffer, area, 1, y, &clock(alert.time, zone), theme.dim(), theme) + 2;
        let (sign, style) = match alert.mark {
            Mark::New => ("+", theme.new_thing()),
            Mark::Wrong => ("!", theme.wrong()),
        };
        put(buffer, area, x, y, sign, style, theme);
        put(buffer, area, x + 2, y, &alert.text, Style::new(), theme);
    }
}

/// The last line: what the user types or has to know now, else who tells all this.
fn say_state(buffer: &mut Buffer, area: Rect, state: &State, model: &Model, theme: Theme) {
    let mut x = 0;
    let mut say = |text: &str, style: Style| {
        x += put(buffer, area, x, 0, text, style, theme);
        x += put(buffer, area, x, 0, "  ", Style::new(), theme);
    };
    for (pane, name) in [(Pane::Programs, "find"), (Pane::Connections, "find peer")] {
        let find = &state.find[pane as usize];
        let typing = state.finding && state.focus == pane;
        if typing || !find.is_empty() {
            let cursor = if typing { "_" } else { "" };
            let find = crate::term::text::safe(find.as_bytes(), theme.ascii);
            say(&format!("{name}: {find}{cursor}"), theme.strong());
        }
    }
    if let Some(notice) = &state.notice {
        return say(notice, theme.new_thing());
    }
    if model.untold > 0 {
        say(
            &format!("{} {} not shown: too many", model.untold, some(model.untold, "connection")),
            theme.wrong(),
        );
    }
    if model.unreadable > 0 {
        say(
            &format!("{} {} not understood", model.unreadable, some(model.unreadable, "line")),
            theme.wrong(),
        );
    }
    match area.y {
        // There is room for nothing else.
        0 => {}
        _ => say(&model.daemon, theme.dim()),
    }
}
