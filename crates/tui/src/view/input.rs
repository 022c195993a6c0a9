//! Keys and mouse: what they change in the state.

use crossterm::event::{KeyCode, KeyEvent, MouseButton, MouseEvent, MouseEventKind};

use super::{
    keys::{Action, BINDINGS},
    screen::HitAreas,
    state::{Effect, ViewState},
    tab::Tab,
};
use crate::term::keys;

/// Rows that the wheel moves.
const WHEEL_ROWS: usize = 3;
const HELP_ROWS: isize = 3;

/// Applies a key to the state.
pub fn on_key(state: &mut ViewState, key: KeyEvent) -> Effect {
    if state.help.shown {
        state.help.on_key(key);
        return Effect::None;
    }
    if state.list.finding {
        match key.code {
            KeyCode::Char(character) => return state.type_character(character),
            KeyCode::Backspace => return state.delete_character(),
            KeyCode::Enter => {
                state.list.finding = false;
                return Effect::None;
            }
            _ => {}
        }
    }
    keys::action(&BINDINGS, key).map_or(Effect::None, |action| state.act(action))
}

/// Applies a mouse button or a turn of the wheel.
pub fn on_mouse(state: &mut ViewState, areas: &HitAreas, mouse: MouseEvent) -> Effect {
    let selected = state.list.position.selected;
    match mouse.kind {
        MouseEventKind::ScrollUp if state.help.shown => state.scroll_help(-HELP_ROWS),
        MouseEventKind::ScrollDown if state.help.shown => state.scroll_help(HELP_ROWS),
        MouseEventKind::ScrollUp => state.select(selected.saturating_sub(WHEEL_ROWS)),
        MouseEventKind::ScrollDown => state.select(selected.saturating_add(WHEEL_ROWS)),
        MouseEventKind::Down(MouseButton::Left) => click(state, areas, mouse),
        MouseEventKind::Down(MouseButton::Right) => state.act(Action::Unfilter),
        _ => Effect::None,
    }
}

fn click(state: &mut ViewState, areas: &HitAreas, mouse: MouseEvent) -> Effect {
    if state.help.shown {
        state.help.shown = false;
        return Effect::None;
    }
    if let Some(index) = areas.tabs.at(mouse.column, mouse.row) {
        return Tab::all(state.is_of_server()).get(index).map_or(Effect::None, |tab| state.go_to_tab(*tab));
    }
    if !areas.list.contains((mouse.column, mouse.row).into()) {
        return Effect::None;
    }
    match state.list.position.row_at(mouse.row, areas.list, state.list.len()) {
        // A second click on a row sets a filter.
        Some(row) if row == state.list.position.selected => state.act(Action::Filter),
        Some(row) => state.select(row),
        None => Effect::None,
    }
}
