//! The chart of bytes over time, and its axis.

use ratatui::layout::Rect;

use super::layout::chart_columns;
use crate::{
    term::{
        canvas::Canvas,
        text::width,
        widgets::{Sample, draw_sparkline},
    },
    view::state::ViewState,
};
use calendar::point_text;
use model::Counters;

/// Draws the chart. A part of the period takes several columns if there are fewer parts than columns.
pub fn draw_chart(mut canvas: Canvas<'_>, state: &ViewState) {
    let (area, theme) = (canvas.area, canvas.theme);
    let series = &state.chart;
    if series.edges.is_empty() {
        return;
    }
    let columns = chart_columns(area.width);
    let parts = series.sums.len().max(1);
    let sample = |column: usize| {
        let part = column * parts / columns;
        let sum = series.sums.get(part).copied().unwrap_or_default();
        Sample {
            received: sum.received,
            sent: sum.sent,
            lost: series.losses.get(part).copied().flatten(),
            open: series.edges.get(part + 1).is_some_and(|edge| *edge > state.time.now),
        }
    };
    let samples: Vec<Sample> = (0..columns).map(sample).collect();
    let inside = Rect { x: area.x + 1, width: area.width.saturating_sub(2), ..area };
    draw_sparkline(canvas.within(inside), &samples, theme.plain_bar());
}

/// Draws both ends of the period, and between them the largest numbers of the chart.
pub fn draw_axis(mut canvas: Canvas<'_>, state: &ViewState) {
    let (area, style) = (canvas.area, canvas.theme.dim());
    let series = &state.chart;
    let (Some(start), Some(end)) = (series.edges.first(), series.edges.last()) else { return };
    let (from, to) = (point_text(*start, &state.time.zone), point_text(*end, &state.time.zone));
    canvas.put(1, 0, &from, style);
    let at = area.width.saturating_sub(width(&to) as u16 + 1);
    if usize::from(at) > width(&from) + 2 {
        canvas.put(at, 0, &to, style);
    }
    let largest = |count: fn(&Counters) -> u64| series.sums.iter().map(count).max().unwrap_or(0);
    let unit = state.display.unit;
    let of_all = if series.is_of_all { "all rows, " } else { "" };
    let peak = format!(
        "{of_all}peak {} received, {} sent",
        unit.write(largest(|sum| sum.received)),
        unit.write(largest(|sum| sum.sent))
    );
    let left = width(&from) as u16 + 3;
    let available = at.saturating_sub(left + 2);
    if usize::from(available) >= width(&peak) {
        canvas.put(left + (available - width(&peak) as u16) / 2, 0, &peak, style);
    }
}
