//! Which key does what: one list serves the keyboard, the footer and the help.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// A line of the list.
#[derive(Debug)]
pub struct Binding<A: 'static> {
    /// The keys, all of which do it.
    pub keys: &'static [KeyCode],
    /// What they do.
    pub action: A,
    /// The keys as the help names them.
    pub name: &'static str,
    /// One or two words for the footer; empty: only in the help.
    pub short: &'static str,
    /// A sentence for the help.
    pub help: &'static str,
}

/// What a key does. Keys held with Control or Alt do nothing here: [`is_quit`] and [`is_suspend`] are asked first.
pub fn action<A: Copy>(bindings: &[Binding<A>], key: KeyEvent) -> Option<A> {
    if key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT | KeyModifiers::SUPER) {
        return None;
    }
    bindings.iter().find(|binding| binding.keys.contains(&key.code)).map(|binding| binding.action)
}

/// Ctrl-C, and Ctrl-\: they end every screen in every state.
pub fn is_quit(key: KeyEvent) -> bool {
    is_control(key, &['c', '\\', '4'])
}

/// Ctrl-Z.
pub fn is_suspend(key: KeyEvent) -> bool {
    is_control(key, &['z'])
}

/// Ctrl-L: draw everything anew.
pub fn is_redraw(key: KeyEvent) -> bool {
    is_control(key, &['l'])
}

fn is_control(key: KeyEvent, characters: &[char]) -> bool {
    key.modifiers.contains(KeyModifiers::CONTROL)
        && matches!(key.code, KeyCode::Char(typed) if characters.contains(&typed.to_ascii_lowercase()))
}
