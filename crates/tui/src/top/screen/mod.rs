//! The screen of `top`: sums, the last minute, programs, connections, alerts, footer, status.

mod alerts;
mod chart;
mod connections;
mod header;
mod layout;
mod programs;
mod status;
mod time_of_day;

use jiff::tz::TimeZone;
use ratatui::layout::Rect;

pub use self::layout::HitAreas;
use self::{layout::Layout, time_of_day::time_of_day};
use super::{
    keys::{Action, BINDINGS},
    live_state::{FeedStatus, LiveState},
    state::TopState,
};
use crate::term::{
    canvas::Canvas,
    widgets::{draw_error, draw_footer, draw_help},
};

/// Draws the screen, as much of it as fits.
pub fn draw(mut canvas: Canvas<'_>, state: &mut TopState, live: &LiveState, zone: &TimeZone) -> HitAreas {
    let area = canvas.area;
    let layout = Layout::new(area, live.alerts.len(), state.focus);
    header::draw(canvas.within(layout.header), state, live);
    chart::draw_chart(canvas.within(layout.chart), live);
    chart::draw_axis(canvas.within(layout.axis), state.unit, live);
    let areas = HitAreas {
        programs: programs::draw(canvas.within(layout.programs), state),
        connections: connections::draw(canvas.within(layout.connections), state, live, zone),
    };
    alerts::draw(canvas.within(layout.alerts), live, zone);
    let last = [Action::Help, Action::Quit];
    draw_footer(canvas.within(layout.keys), &BINDINGS, &last, |action| state.offers(*action, live));
    status::draw(canvas.within(layout.status), state, live);
    if let Some(text) = stale_text(live, zone) {
        let bottom = layout.alerts.y.max(areas.programs.bottom()).max(areas.connections.bottom());
        canvas.within(Rect { height: bottom - area.y, ..area }).fade();
        draw_error(canvas.within(area), layout.keys, &text);
    }
    if state.help.shown {
        draw_help(canvas.within(area), &BINDINGS, &mut state.help);
    }
    canvas.finish();
    areas
}

/// Since when the numbers are not current any more, and why; `None` if they are.
fn stale_text(live: &LiveState, zone: &TimeZone) -> Option<String> {
    let why = match (&live.status, live.silent) {
        (FeedStatus::Lost(reason), _) => format!("{reason}; it is tried again"),
        (_, Some(seconds)) => {
            format!("nothing was sent for {seconds} s; see `picosnitch status`")
        }
        _ => return None,
    };
    // Before the first tick there is no news that could be old.
    let since = (live.time > 0.0).then(|| format!("no news since {}: ", time_of_day(live.time as i64, zone)));
    Some(since.unwrap_or_default() + &why)
}
