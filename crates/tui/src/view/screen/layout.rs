//! Where each part of the screen is.

use ratatui::layout::Rect;

use crate::term::{rows::take_rows, widgets::TabStrip};

/// Width from which the detail is at the right of the list instead of below it.
const MIN_WIDTH_SIDE_BY_SIDE: u16 = 120;

/// The areas that the mouse can hit.
#[derive(Debug, Default)]
pub struct HitAreas {
    pub tabs: TabStrip,
    /// The rows of the list.
    pub list: Rect,
}

/// The parts of the screen; one that does not fit is empty.
pub struct Layout {
    pub tabs: Rect,
    pub header: Rect,
    pub totals: Rect,
    pub chart: Rect,
    pub axis: Rect,
    pub list: Rect,
    pub detail: Rect,
    pub keys: Rect,
    pub status: Rect,
}

impl Layout {
    pub fn new(area: Rect, detail_shown: bool) -> Self {
        let height = area.height;
        let mut rest = area;
        let mut take = |rows| take_rows(&mut rest, rows);
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
        let status = take(1);
        let mut detail = Rect::default();
        if detail_shown && area.width >= MIN_WIDTH_SIDE_BY_SIDE {
            let width = (area.width / 5 * 2).min(90);
            detail = Rect { x: list.right() - width, width, ..list };
            list.width -= width + 2;
        } else if detail_shown && list.height >= 12 {
            let lines = (list.height / 5 * 2).min(14);
            list.height -= lines;
            detail = Rect { y: list.bottom(), height: lines, ..list };
        }
        Self { tabs, header, totals, chart, axis, list, detail, keys, status }
    }
}

/// Columns of the chart on a screen of this width.
pub fn chart_columns(width: u16) -> usize {
    usize::from(width.saturating_sub(2)).max(1)
}
