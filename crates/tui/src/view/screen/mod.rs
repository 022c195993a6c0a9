//! The screen of `view`: tabs, header, totals, chart, list, detail, footer, status.

mod chart;
mod detail;
mod events;
mod header;
mod layout;
mod list;
mod status;

use self::layout::Layout;
pub use self::layout::{HitAreas, chart_columns};
use super::{
    keys::{Action, BINDINGS},
    state::ViewState,
    tab::Tab,
};
use crate::term::{
    canvas::Canvas,
    widgets::{draw_error, draw_footer, draw_help, draw_tab_strip},
};

/// Draws the screen, as much of it as fits.
pub fn draw(mut canvas: Canvas<'_>, state: &mut ViewState) -> HitAreas {
    let area = canvas.area;
    let layout = Layout::new(area, state.detail.shown);
    let tabs = Tab::all(state.is_of_server());
    let titles: Vec<&str> = tabs.iter().map(|tab| tab.title()).collect();
    let selected = tabs.iter().position(|tab| *tab == state.tab).unwrap_or(0);
    let tabs = draw_tab_strip(canvas.within(layout.tabs), &titles, selected);
    header::draw_header(canvas.within(layout.header), state);
    header::draw_totals(canvas.within(layout.totals), state);
    chart::draw_chart(canvas.within(layout.chart), state);
    chart::draw_axis(canvas.within(layout.axis), state);
    let list = list::draw(canvas.within(layout.list), state);
    detail::draw(canvas.within(layout.detail), state);
    let last = [Action::Help, Action::Quit];
    draw_footer(canvas.within(layout.keys), &BINDINGS, &last, |action| state.offers(*action));
    status::draw(canvas.within(layout.status), state);
    if let Some(text) = &state.queries.error {
        draw_error(canvas.within(area), layout.keys, &state.display.labels.sentence(text));
    }
    if state.help.shown {
        draw_help(canvas.within(area), &BINDINGS, &mut state.help);
    }
    canvas.finish();
    HitAreas { tabs, list }
}
