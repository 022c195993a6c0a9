//! The background of the terminal: the question for its colour (OSC 11), and the answer among the keys.
//!
//! Nobody waits for the answer. It may come at any time, late or never, and is taken out of the stream of keys wherever it
//! comes: crossterm does not know it and would hand it over as Alt-], `1`, `1`, `;` and so on.

use std::time::{Duration, Instant};

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// Asks for the colour of the background (XTerm Control Sequences, OSC 11). Terminals that do not know it ignore it.
pub const QUESTION: &[u8] = b"\x1b]11;?\x1b\\";
/// How long an answer may be under way from its first to its last byte.
const MAX_DURATION: Duration = Duration::from_secs(1);
/// Characters of an answer; the longest are `11;rgba:` and four numbers of four digits.
const MAX_LENGTH: usize = 32;
/// Relative luminance from which black is easier to read than white.
const LIGHT_FROM: f64 = 0.179;

/// What is known of the background.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Background {
    #[default]
    Unknown,
    Dark,
    Light,
}

impl Background {
    /// The background of an answer such as `11;rgb:ffff/ffff/dddd`.
    fn from_answer(text: &str) -> Option<Self> {
        let (_, numbers) = text.split_once(':')?;
        let mut parts = numbers.split('/').map(fraction);
        let (red, green, blue) = (parts.next()??, parts.next()??, parts.next()??);
        Some(if luminance(red, green, blue) >= LIGHT_FROM { Self::Light } else { Self::Dark })
    }
}

/// A hexadecimal number as a fraction of the largest of its length.
fn fraction(digits: &str) -> Option<f64> {
    let value = u32::from_str_radix(digits, 16).ok().filter(|_| digits.len() <= 4)?;
    Some(f64::from(value) / f64::from((1 << (4 * digits.len())) - 1))
}

/// Relative luminance as in the Web Content Accessibility Guidelines, of fractions.
pub(super) fn luminance(red: f64, green: f64, blue: f64) -> f64 {
    let linear = |part: f64| if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) };
    0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue)
}

/// What the filter makes of a key.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Filtered {
    /// Keys that were typed.
    pub keys: Vec<KeyEvent>,
    /// The answer that ends with this key.
    pub background: Option<Background>,
}

/// Takes answers out of the stream of keys.
#[derive(Debug, Default)]
pub struct AnswerFilter {
    /// The keys of an answer that has begun, and when it did.
    held: Vec<KeyEvent>,
    since: Option<Instant>,
    /// The text of these keys.
    text: String,
    /// Whether the last key was Esc: it is the first byte of an answer if the next one comes alone.
    after_escape: bool,
}

impl AnswerFilter {
    /// Takes the next key.
    pub fn take(&mut self, key: KeyEvent, now: Instant) -> Filtered {
        if self.since.is_some_and(|since| now.saturating_duration_since(since) > MAX_DURATION) {
            // An answer that was cut short.
            self.clear();
        }
        let after_escape = std::mem::replace(&mut self.after_escape, key.code == KeyCode::Esc);
        let alt = key.modifiers.contains(KeyModifiers::ALT);
        if self.since.is_none() {
            if key.code == KeyCode::Char(']') && (alt || after_escape) {
                self.since = Some(now);
                self.held.push(key);
                return Filtered::default();
            }
            return Filtered { keys: vec![key], background: None };
        }
        self.held.push(key);
        match key.code {
            // ESC and a backslash, together or each alone, or BEL.
            KeyCode::Char('\\') if alt || after_escape => self.end(),
            KeyCode::Char('g') if key.modifiers.contains(KeyModifiers::CONTROL) => self.end(),
            KeyCode::Esc => Filtered::default(),
            KeyCode::Char(character) if !alt && self.may_continue(character) => {
                self.text.push(character);
                Filtered::default()
            }
            _ => {
                let keys = std::mem::take(&mut self.held);
                self.clear();
                Filtered { keys, background: None }
            }
        }
    }

    fn clear(&mut self) {
        (self.since, self.after_escape) = (None, false);
        self.held.clear();
        self.text.clear();
    }

    fn end(&mut self) -> Filtered {
        let background = Background::from_answer(&self.text);
        self.clear();
        Filtered { keys: Vec::new(), background }
    }

    /// Whether the text of an answer can go on with this character.
    fn may_continue(&self, character: char) -> bool {
        let at = self.text.len();
        match (at, character) {
            (0..=6, _) => "11;rgb:".chars().nth(at) == Some(character) || (at == 6 && character == 'a'),
            (7, ':') => self.text.ends_with('a'),
            _ => at < MAX_LENGTH && (character.is_ascii_hexdigit() || character == '/'),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(code: KeyCode, modifiers: KeyModifiers) -> KeyEvent {
        KeyEvent::new(code, modifiers)
    }

    fn plain(text: &str) -> Vec<KeyEvent> {
        text.chars().map(|character| key(KeyCode::Char(character), KeyModifiers::NONE)).collect()
    }

    /// Feeds keys and returns what was typed, and the last answer.
    fn feed(filter: &mut AnswerFilter, keys: &[KeyEvent]) -> (Vec<KeyEvent>, Option<Background>) {
        let now = Instant::now();
        let (mut typed, mut background) = (Vec::new(), None);
        for key in keys {
            let filtered = filter.take(*key, now);
            typed.extend(filtered.keys);
            background = filtered.background.or(background);
        }
        (typed, background)
    }

    /// The keys that crossterm makes of an answer.
    fn answer(colour: &str) -> Vec<KeyEvent> {
        let mut keys = vec![key(KeyCode::Char(']'), KeyModifiers::ALT)];
        keys.extend(plain(&format!("11;{colour}")));
        keys.push(key(KeyCode::Char('\\'), KeyModifiers::ALT));
        keys
    }

    #[test]
    fn answers_are_no_keys() {
        let light = Some(Background::Light);
        let dark = Some(Background::Dark);
        for (colour, background) in [
            ("rgb:ffff/ffff/ffff", light),
            ("rgb:FDFD/F6F6/E3E3", light),
            ("rgb:0000/0000/0000", dark),
            ("rgb:00/2b/36", dark),
            ("rgba:ffff/ffff/ffff/ffff", light),
            ("rgb:f/f/0", light),
            ("rgb:1e1e/1e1e/1e1e", dark),
            ("rgb:", None),
            ("rgb:ffff/ffff", None),
        ] {
            let keys = [plain("ab"), answer(colour), plain("c")].concat();
            assert_eq!(feed(&mut AnswerFilter::default(), &keys), (plain("abc"), background), "{colour}");
        }
        // Ended by BEL instead of ESC and a backslash.
        let mut bell = answer("rgb:ffff/ffff/ffff");
        bell.pop();
        bell.push(key(KeyCode::Char('g'), KeyModifiers::CONTROL));
        assert_eq!(feed(&mut AnswerFilter::default(), &bell), (vec![], light));
    }

    #[test]
    fn a_slow_line_may_divide_an_answer_anywhere() {
        let escape = key(KeyCode::Esc, KeyModifiers::NONE);
        let keys = [vec![escape], plain("]11;rgb:ffff/ffff/ffff"), vec![escape], plain("\\q")].concat();
        let expected = [vec![escape], plain("q")].concat();
        assert_eq!(feed(&mut AnswerFilter::default(), &keys), (expected, Some(Background::Light)));
    }

    #[test]
    fn what_is_no_answer_is_typed() {
        let alt = key(KeyCode::Char(']'), KeyModifiers::ALT);
        for rest in ["", "q", "11x", "11;rgb:zz", "12;rgb:ffff"] {
            let keys = [vec![alt], plain(rest), vec![key(KeyCode::Enter, KeyModifiers::NONE)]].concat();
            assert_eq!(feed(&mut AnswerFilter::default(), &keys), (keys, None), "{rest}");
        }
        let keys = plain("]11;rgb:ffff/ffff/ffff");
        assert_eq!(feed(&mut AnswerFilter::default(), &keys), (keys, None));
        // Whatever comes after an answer that was cut short is typed.
        let mut filter = AnswerFilter::default();
        let now = Instant::now();
        for key in &answer("rgb:ffff/ffff/ffff")[..10] {
            assert_eq!(filter.take(*key, now), Filtered::default());
        }
        let later = filter.take(plain("d")[0], now + MAX_DURATION * 2);
        assert_eq!(later.keys, plain("d"));
    }
}
