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

pub use self::layout::HitAreas;
use self::layout::Layout;
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
    if let FeedStatus::Lost(reason) = &live.status {
        draw_error(canvas.within(area), &format!("{reason}; it is tried again"));
    } else if let Some(seconds) = live.silent {
        let text = format!("picosnitch has sent nothing for {seconds} s; `picosnitch status` may say why");
        draw_error(canvas.within(area), &text);
    }
    if state.help.shown {
        draw_help(canvas.within(area), &BINDINGS, &mut state.help);
    }
    canvas.finish();
    areas
}
