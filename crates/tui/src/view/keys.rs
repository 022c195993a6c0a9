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
    New,
    Changed,
    Compare,
    Scope,
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

/// All keys: first those of the footer, the most important first, then the rest of the help. A key without a sentence is in
/// that of the one before it.
pub const BINDINGS: [Binding<Action>; 31] = [
    key(&[K::Char(' '), K::Enter], Action::Filter, "space Enter", "filter", "show only what has this value"),
    key(&[K::Backspace], Action::Unfilter, "Backspace", "back", "remove the last filter"),
    key(&[K::Tab, K::Right, K::Char('l')], Action::NextTab, "Tab Shift-Tab", "tabs", "next tab, tab before"),
    key(&[K::BackTab, K::Left], Action::PreviousTab, "Shift-Tab left", "", ""),
    key(&[K::Char('t')], Action::Longer, "t T", "range", "longer, shorter time"),
    key(&[K::Char('T')], Action::Shorter, "T", "", ""),
    key(&[K::Char('h')], Action::Earlier, "h H", "earlier", "back, forward in history by the calendar"),
    key(&[K::Char('H')], Action::Later, "H", "later", ""),
    key(&[K::Char('/')], Action::Find, "/ Esc", "find", "only what has this text in it; leave"),
    key(&[K::Esc], Action::Escape, "Esc", "", ""),
    key(&[K::Char('s')], Action::NextSort, "s S", "sort", "sort by the next column, the one before"),
    key(&[K::Char('S')], Action::PreviousSort, "S", "", ""),
    key(&[K::Char('n')], Action::New, "n N", "new", "only what is new, programs that changed"),
    key(&[K::Char('N')], Action::Changed, "N", "", ""),
    key(&[K::Char('=')], Action::Compare, "=", "compare", "compare with the time before"),
    key(&[K::Char('i')], Action::Scope, "i", "scope", "only the internet, only local, both"),
    key(&[K::Char('d')], Action::Detail, "d", "detail", "show or hide the detail"),
    key(&[K::Char('e')], Action::Exclude, "e", "exclude", "show only what has another value"),
    key(&[K::Char('u')], Action::NextUnit, "u U", "units", "next unit of bytes, the one before"),
    key(&[K::Char('U')], Action::PreviousUnit, "U", "", ""),
    key(&[K::Char('y')], Action::Copy, "y", "copy", "copy the row, if the terminal lets it"),
    key(&[K::Char('r')], Action::Refresh, "r", "refresh", "ask the log again"),
    key(&[K::Char('c')], Action::Theme, "c", "colours", "theme: auto, dark, light, none"),
    key(&[K::Up, K::Char('k')], Action::Up, "up down", "", "row above, below (or k j, wheel)"),
    key(&[K::Down, K::Char('j')], Action::Down, "down j", "", ""),
    key(&[K::PageUp], Action::PageUp, "PgUp PgDn", "", "page above, below"),
    key(&[K::PageDown], Action::PageDown, "PgDn", "", ""),
    key(&[K::Home, K::Char('g')], Action::First, "Home End", "", "first, last row (or g G)"),
    key(&[K::End, K::Char('G')], Action::Last, "End G", "", ""),
    key(&[K::Char('?'), K::F(1)], Action::Help, "? F1", "help", "all keys"),
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
