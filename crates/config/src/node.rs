//! A parsed file as a tree with line numbers, and the reader that takes typed values out of it.

use std::{fmt::Display, ops::RangeInclusive, str::FromStr};

use super::Problem;

/// A value of the file. Both formats become this, so that both are checked by the same code.
pub(super) enum Raw {
    Boolean(bool),
    Integer(i64),
    Text(String),
    Null,
    Array(Vec<Node>),
    Table(Vec<(String, Node)>),
    /// Something no key takes (a fraction, a date): what it is called, how it is written.
    Other(&'static str, String),
}

/// A value and where it stands.
pub(super) struct Node {
    pub line: Option<usize>,
    pub raw: Raw,
}

impl Node {
    /// The value for an error message, shortened.
    pub fn shown(&self) -> String {
        match &self.raw {
            Raw::Boolean(value) => format!("the boolean {value}"),
            Raw::Integer(value) => format!("the integer {value}"),
            Raw::Text(value) => format!("the string {}", quoted(value)),
            Raw::Null => "null".to_owned(),
            Raw::Array(_) => "an array".to_owned(),
            Raw::Table(_) => "a table".to_owned(),
            Raw::Other(kind, text) => format!("the {kind} {}", text.escape_debug()),
        }
    }
}

/// A text of the file for an error message: quoted, escaped, shortened.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN: usize = 60;
    let cut: String = text.chars().take(SHOWN).collect();
    let more = if cut.len() < text.len() { "..." } else { "" };
    format!("\"{}{more}\"", cut.escape_debug())
}

/// Takes the entries of one table, checks them, and at its end complains about those nobody took.
pub(super) struct Reader<'a> {
    problems: &'a mut Vec<Problem>,
    /// The table's name, with a dot behind it; empty at the top.
    prefix: String,
    /// Where the table stands.
    line: Option<usize>,
    entries: Vec<(String, Node)>,
    known: Vec<&'static str>,
    /// Keys that were there, right or wrong.
    present: Vec<&'static str>,
}

impl<'a> Reader<'a> {
    /// A reader for `node`, which must be a table; `name` is its full name, empty at the top.
    pub fn new(problems: &'a mut Vec<Problem>, name: &str, node: Node) -> Self {
        let line = node.line;
        let entries = match node.raw {
            Raw::Table(entries) => entries,
            _ => {
                let what = if name.is_empty() { "the file" } else { name };
                let message = format!("{what}: {} where a table is expected", node.shown());
                problems.push(Problem { line, message });
                Vec::new()
            }
        };
        let prefix = if name.is_empty() { String::new() } else { format!("{name}.") };
        Self { problems, prefix, line, entries, known: Vec::new(), present: Vec::new() }
    }

    /// Adds a problem with `key`.
    pub fn problem(&mut self, line: Option<usize>, key: &str, message: impl Display) {
        self.problems
            .push(Problem { line: line.or(self.line), message: format!("{}{key}: {message}", self.prefix) });
    }

    /// The line of a key that is not taken yet.
    pub fn line_of(&self, key: &str) -> Option<usize> {
        self.entries.iter().find(|(name, _)| name == key).and_then(|(_, node)| node.line)
    }

    /// The value of a key, if it is there. `key` counts as known from then on.
    pub fn take(&mut self, key: &'static str) -> Option<Node> {
        self.known.push(key);
        let position = self.entries.iter().position(|(name, _)| name == key)?;
        self.present.push(key);
        Some(self.entries.remove(position).1)
    }

    /// A reader for the table `key`; empty if there is none.
    pub fn table(&mut self, key: &'static str) -> Reader<'_> {
        let node = self.take(key).unwrap_or(Node { line: None, raw: Raw::Table(Vec::new()) });
        self.sub(key, node)
    }

    /// A reader for `node`, the table `key` of this one.
    pub fn sub(&mut self, key: &str, node: Node) -> Reader<'_> {
        let name = format!("{}{key}", self.prefix);
        Reader::new(self.problems, &name, node)
    }

    /// Sets `target` to the boolean of `key`.
    pub fn boolean(&mut self, key: &'static str, target: &mut bool) {
        match self.take(key) {
            None => {}
            Some(Node { raw: Raw::Boolean(value), .. }) => *target = value,
            Some(node) => {
                let message = format!("{} is not allowed; allowed: true or false", node.shown());
                self.problem(node.line, key, message);
            }
        }
    }

    /// The integer of `key` if it is there and in `range`.
    pub fn integer<T>(&mut self, key: &'static str, range: RangeInclusive<T>) -> Option<T>
    where
        T: TryFrom<i64> + PartialOrd + Display,
    {
        let node = self.take(key)?;
        if let Raw::Integer(value) = node.raw
            && let Ok(value) = T::try_from(value)
            && range.contains(&value)
        {
            return Some(value);
        }
        let message = format!(
            "{} is not allowed; allowed: an integer from {} to {}",
            node.shown(),
            range.start(),
            range.end()
        );
        self.problem(node.line, key, message);
        None
    }

    /// As [`Reader::integer`], but the key may also be null.
    pub fn optional<T>(&mut self, key: &'static str, range: RangeInclusive<T>) -> Option<T>
    where
        T: TryFrom<i64> + PartialOrd + Display,
    {
        let is_null = |(name, node): &(String, Node)| name == key && matches!(node.raw, Raw::Null);
        if self.entries.iter().any(is_null) {
            self.take(key);
            return None;
        }
        self.integer(key, range)
    }

    /// The text of `key` if it is there and `valid` holds; `allowed` says what is.
    pub fn text(&mut self, key: &'static str, allowed: &str, valid: fn(&str) -> bool) -> Option<String> {
        let node = self.take(key)?;
        if let Raw::Text(value) = &node.raw
            && valid(value)
        {
            return Some(value.clone());
        }
        let message = format!("{} is not allowed; allowed: {allowed}", node.shown());
        self.problem(node.line, key, message);
        None
    }

    /// As [`Reader::text`], but the value is not shown in the error.
    pub fn secret(&mut self, key: &'static str, allowed: &str, valid: fn(&str) -> bool) -> Option<String> {
        let node = self.take(key)?;
        if let Raw::Text(value) = &node.raw
            && valid(value)
        {
            return Some(value.clone());
        }
        self.problem(
            node.line,
            key,
            format!("the value (not shown here) is not allowed; allowed: {allowed}"),
        );
        None
    }

    /// One of a list of words.
    pub fn word<T: FromStr>(&mut self, key: &'static str, allowed: &str) -> Option<T> {
        let node = self.take(key)?;
        if let Raw::Text(value) = &node.raw
            && let Ok(value) = value.parse()
        {
            return Some(value);
        }
        let message = format!("{} is not allowed; allowed: {allowed}", node.shown());
        self.problem(node.line, key, message);
        None
    }

    /// Complains about each of `keys` that is missing.
    pub fn require(&mut self, keys: &[&'static str]) {
        for key in keys {
            self.require_one_of(&[*key]);
        }
    }

    /// Complains if none of `keys` is there.
    pub fn require_one_of(&mut self, keys: &[&'static str]) {
        if let [first, others @ ..] = keys
            && !keys.iter().any(|key| self.present.contains(key))
        {
            let or: String = others.iter().map(|key| format!(" (or {key})")).collect();
            self.problem(None, first, format!("missing{or}; it has no default"));
        }
    }

    /// Complains about every entry that was not taken.
    pub fn finish(mut self) {
        let known = self.known.join(", ");
        for (key, node) in std::mem::take(&mut self.entries) {
            let message = format!("unknown key; known here: {known}");
            self.problem(node.line, &key.escape_debug().to_string(), message);
        }
    }
}
