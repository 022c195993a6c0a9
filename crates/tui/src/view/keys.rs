//! The keys of `view`: those of the original picosnitch, and more.

use crossterm::event::KeyCode as K;

use crate::term::keys::Binding;

/// The action of a key; [`BINDINGS`] has a sentence about each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
    NextTab,
    PreviousTab,
    Filter,
    Exclude,
    Unfilter,
    Earlier,
    Later,
    Longer,
    Shorter,
    NextUnit,
    PreviousUnit,
    NextSort,
    PreviousSort,
    Find,
    Escape,
    Detail,
    Copy,
    Theme,
    Refresh,
    Help,
    Quit,
}

const fn key(
    keys: &'static [K],
    action: Action,
    name: &'static str,
    short: &'static str,
    help: &'static str,
) -> Binding<Action> {
    Binding { keys, action, name, short, help }
}

/// All keys, in the order of the footer and the help.
pub const BINDINGS: [Binding<Action>; 27] = [
    key(&[K::Char(' '), K::Enter], Action::Filter, "space Enter", "filter", "show only what has this value"),
    key(&[K::Char('e')], Action::Exclude, "e", "exclude", "show only what does not have this value"),
    key(&[K::Backspace], Action::Unfilter, "Backspace", "back", "remove the last filter"),
    key(&[K::Tab, K::Right, K::Char('l')], Action::NextTab, "Tab right", "tabs", "next tab"),
    key(&[K::BackTab, K::Left], Action::PreviousTab, "Shift-Tab left", "", "tab before"),
    key(&[K::Char('t')], Action::Longer, "t", "range", "longer time"),
    key(&[K::Char('T')], Action::Shorter, "T", "", "shorter time"),
    key(&[K::Char('h')], Action::Earlier, "h", "earlier", "back in history, by the calendar"),
    key(&[K::Char('H')], Action::Later, "H", "later", "forward in history, up to now"),
    key(&[K::Char('s')], Action::NextSort, "s", "sort", "sort by the next column"),
    key(&[K::Char('S')], Action::PreviousSort, "S", "", "sort by the column before"),
    key(&[K::Char('u')], Action::NextUnit, "u", "units", "next unit of bytes"),
    key(&[K::Char('U')], Action::PreviousUnit, "U", "", "unit of bytes before"),
    key(&[K::Char('/')], Action::Find, "/", "find", "only rows with this text in them"),
    key(&[K::Esc], Action::Escape, "Esc", "", "leave the search"),
    key(&[K::Char('d')], Action::Detail, "d", "detail", "show or hide the detail"),
    key(
        &[K::Char('y')],
        Action::Copy,
        "y",
        "copy",
        "copy the row to the clipboard (if the terminal lets it)",
    ),
    key(&[K::Char('r')], Action::Refresh, "r", "refresh", "ask the log again"),
    key(&[K::Char('c')], Action::Theme, "c", "", "colours: auto, dark, light, none"),
    key(&[K::Up, K::Char('k')], Action::Up, "up k", "", "row above (mouse: wheel)"),
    key(&[K::Down, K::Char('j')], Action::Down, "down j", "", "row below (mouse: wheel)"),
    key(&[K::PageUp], Action::PageUp, "PgUp", "", "page above"),
    key(&[K::PageDown], Action::PageDown, "PgDn", "", "page below"),
    key(&[K::Home, K::Char('g')], Action::First, "Home g", "", "first row"),
    key(&[K::End, K::Char('G')], Action::Last, "End G", "", "last row"),
    key(&[K::Char('?'), K::F(1)], Action::Help, "?", "help", "all keys"),
    key(&[K::Char('q')], Action::Quit, "q", "quit", "quit (Ctrl-C always does)"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_does_two_things() {
        let mut seen = Vec::new();
        for binding in &BINDINGS {
            for key in binding.keys {
                assert!(!seen.contains(key), "{key:?}");
                seen.push(*key);
            }
        }
    }
}
