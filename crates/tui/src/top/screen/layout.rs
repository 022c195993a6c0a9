//! Where each part of the screen is.

use ratatui::layout::Rect;

use crate::{term::rows::take_rows, top::state::Pane};

/// Width from which the connections are at the right of the programs instead of below them.
const MIN_WIDTH_SIDE_BY_SIDE: u16 = 160;
/// Height of both lists together from which both are shown.
const MIN_HEIGHT_TWO_LISTS: u16 = 10;

/// The rows of both lists, which the mouse can hit.
#[derive(Clone, Copy, Debug, Default)]
pub struct HitAreas {
    pub programs: Rect,
    pub connections: Rect,
}

/// The parts of the screen; one that does not fit is empty.
pub struct Layout {
    pub header: Rect,
    pub chart: Rect,
    pub axis: Rect,
    pub programs: Rect,
    pub connections: Rect,
    pub alerts: Rect,
    pub keys: Rect,
    pub status: Rect,
}

impl Layout {
    pub fn new(area: Rect, alerts: usize, focus: Pane) -> Self {
        let height = area.height;
        let mut rest = area;
        let mut take = |rows| take_rows(&mut rest, rows);
        let (chart, max_alerts) = match height {
            0..16 => (0, 0),
            16..30 => (2, 3),
            30..50 => (4, 5),
            _ => (8, 8),
        };
        let alerts = if alerts > 0 && max_alerts > 0 { alerts.min(max_alerts) as u16 + 1 } else { 0 };
        let header = take(1);
        let chart = take(chart);
        let axis = take(u16::from(chart.height > 0));
        let below = if height >= 8 { 2 } else { u16::from(height >= 5) };
        let lists = take(height.saturating_sub(chart.bottom() - area.y + axis.height + alerts + below));
        let alerts = take(alerts);
        let keys = take(u16::from(below > 1));
        let status = take(1);
        let (mut programs, mut connections) = (lists, lists);
        if lists.width >= MIN_WIDTH_SIDE_BY_SIDE {
            programs.width = lists.width / 2 - 1;
            connections.x = programs.right() + 2;
            connections.width = lists.right() - connections.x;
        } else if lists.height >= MIN_HEIGHT_TWO_LISTS {
            programs.height = lists.height.div_ceil(2);
            connections.y = programs.bottom();
            connections.height = lists.bottom() - connections.y;
        } else {
            let hidden = if focus == Pane::Programs { &mut connections } else { &mut programs };
            *hidden = Rect::default();
        }
        Self { header, chart, axis, programs, connections, alerts, keys, status }
    }
}
