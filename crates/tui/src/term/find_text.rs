//! The text that the user types to narrow a list.

/// Characters of the text that are kept.
const MAX_CHARACTERS: usize = 200;

/// The text that rows must contain; empty: all rows are shown.
#[derive(Clone, Debug, Default)]
pub struct FindText(String);

impl FindText {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text in lower case: case does not matter in a search.
    pub fn to_lowercase(&self) -> String {
        self.0.to_lowercase()
    }

    /// Adds a character; beyond the bound it is dropped.
    pub fn push(&mut self, character: char) {
        if self.0.chars().count() < MAX_CHARACTERS {
            self.0.push(character);
        }
    }

    /// Removes the last character. Returns false if there was none.
    pub fn pop(&mut self) -> bool {
        self.0.pop().is_some()
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }
}
