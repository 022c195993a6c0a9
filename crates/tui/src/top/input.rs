//! Keys and mouse: what they change in the state.

use crossterm::event::{KeyCode, KeyEvent, MouseButton, MouseEvent, MouseEventKind};

use super::{
    keys::BINDINGS,
    screen::HitAreas,
    state::{Effect, Pane, TopState},
};
use crate::term::keys;

/// Rows that the wheel moves.
const WHEEL_ROWS: isize = 3;

/// Applies a key to the state.
pub fn on_key(state: &mut TopState, key: KeyEvent) -> Effect {
    if state.help.shown {
        state.help.on_key(key);
        return Effect::None;
    }
    if state.finding {
        match key.code {
            KeyCode::Char(character) => return state.type_character(character),
            KeyCode::Backspace => return state.delete_character(),
            KeyCode::Enter => {
                state.finding = false;
                return Effect::None;
            }
            _ => {}
        }
    }
    keys::action(&BINDINGS, key).map_or(Effect::None, |action| state.act(action))
}

/// Applies a mouse button or a turn of the wheel.
pub fn on_mouse(state: &mut TopState, areas: &HitAreas, mouse: MouseEvent) -> Effect {
    let at = (mouse.column, mouse.row).into();
    let pane = if areas.connections.contains(at) { Pane::Connections } else { Pane::Programs };
    let help = state.help.shown;
    match mouse.kind {
        MouseEventKind::ScrollUp if help => state.scroll_help(-WHEEL_ROWS),
        MouseEventKind::ScrollDown if help => state.scroll_help(WHEEL_ROWS),
        MouseEventKind::ScrollUp => state.step(pane, -WHEEL_ROWS),
        MouseEventKind::ScrollDown => state.step(pane, WHEEL_ROWS),
        MouseEventKind::Down(MouseButton::Left) if help => {
            state.help.shown = false;
            Effect::None
        }
        MouseEventKind::Down(MouseButton::Left) => {
            let (area, position) = match pane {
                Pane::Programs => (areas.programs, state.programs.selection.position),
                Pane::Connections => (areas.connections, state.connections.selection.position),
            };
            let row = position.row_at(mouse.row, area, state.rows(pane));
            let Some(row) = row.filter(|_| area.contains(at)) else { return Effect::None };
            state.focus = pane;
            state.select(pane, row)
        }
        _ => Effect::None,
    }
}
