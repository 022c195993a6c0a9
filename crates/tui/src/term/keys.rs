//! Key bindings: one list serves the keyboard, the footer and the help.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// An action and its keys.
#[derive(Debug)]
pub struct Binding<A: 'static> {
    /// Each of these keys triggers the action.
    pub keys: &'static [KeyCode],
    pub action: A,
    /// The keys as the help names them; the footer takes the first.
    pub name: &'static str,
    /// One or two words for the footer; empty if the action is only in the help.
    pub short: &'static str,
    /// A sentence for the help; empty if that of another key says it.
    pub help: &'static str,
}

/// The action of a key. Keys held with Control, Alt or Super have none; check [`is_quit`] and [`is_suspend`] first.
pub fn action<A: Copy>(bindings: &[Binding<A>], key: KeyEvent) -> Option<A> {
    if key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT | KeyModifiers::SUPER) {
        return None;
    }
    bindings.iter().find(|binding| binding.keys.contains(&key.code)).map(|binding| binding.action)
}

/// Whether the key is Ctrl-C or Ctrl-\, which end a screen in every state.
pub fn is_quit(key: KeyEvent) -> bool {
    is_control(key, &['c', '\\', '4'])
}

/// Whether the key is Ctrl-Z.
pub fn is_suspend(key: KeyEvent) -> bool {
    is_control(key, &['z'])
}

/// Whether the key is Ctrl-L, which redraws the screen.
pub fn is_redraw(key: KeyEvent) -> bool {
    is_control(key, &['l'])
}

fn is_control(key: KeyEvent, characters: &[char]) -> bool {
    key.modifiers.contains(KeyModifiers::CONTROL)
        && matches!(key.code, KeyCode::Char(typed) if characters.contains(&typed.to_ascii_lowercase()))
}
