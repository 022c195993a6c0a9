//! Takes typed values out of the tree of a file.

use std::{fmt::Display, ops::RangeInclusive, str::FromStr};

use super::{
    node::{Node, NodeValue},
    problem::Problem,
};

/// Takes typed values out of one table and collects the problems. [`TableReader::finish`] reports the entries that were not
/// taken.
pub(super) struct TableReader<'a> {
    problems: &'a mut Vec<Problem>,
    /// Full name of the table with a dot at its end; empty for the whole file.
    prefix: String,
    line: Option<usize>,
    entries: Vec<(String, Node)>,
    /// Keys that this table may have.
    known: Vec<&'static str>,
    /// Keys that the table has, also with a wrong value.
    present: Vec<&'static str>,
}

impl<'a> TableReader<'a> {
    /// Makes a reader for `node`, which must be a table; `name` is its full name, empty for the whole file.
    pub fn new(problems: &'a mut Vec<Problem>, name: &str, node: Node) -> Self {
        let line = node.line;
        let entries = match node.value {
            NodeValue::Table(entries) => entries,
            _ => {
                let what = if name.is_empty() { "the file" } else { name };
                let message = format!("{what}: {} where a table is expected", node.description());
                problems.push(Problem { line, message });
                Vec::new()
            }
        };
        let prefix = if name.is_empty() { String::new() } else { format!("{name}.") };
        Self { problems, prefix, line, entries, known: Vec::new(), present: Vec::new() }
    }

    /// Adds a problem of `key`.
    pub fn problem(&mut self, line: Option<usize>, key: &str, message: impl Display) {
        self.problems
            .push(Problem { line: line.or(self.line), message: format!("{}{key}: {message}", self.prefix) });
    }

    /// The line of a key that was not taken yet.
    pub fn line_of(&self, key: &str) -> Option<usize> {
        self.entries.iter().find(|(name, _)| name == key).and_then(|(_, node)| node.line)
    }

    /// Takes the value of a key, if the table has it. The key counts as known from then on.
    pub fn take(&mut self, key: &'static str) -> Option<Node> {
        self.known.push(key);
        let position = self.entries.iter().position(|(name, _)| name == key)?;
        self.present.push(key);
        Some(self.entries.remove(position).1)
    }

    /// Takes all entries that were not taken yet: the table has names that its user chose.
    pub fn take_all(&mut self) -> Vec<(String, Node)> {
        std::mem::take(&mut self.entries)
    }

    /// Makes a reader for the table `key`; it is empty without that table.
    pub fn table(&mut self, key: &'static str) -> TableReader<'_> {
        let node = self.take(key).unwrap_or(Node { line: None, value: NodeValue::Table(Vec::new()) });
        self.sub(key, node)
    }

    /// Makes a reader for `node`, which is the table `key` of this one.
    pub fn sub(&mut self, key: &str, node: Node) -> TableReader<'_> {
        let name = format!("{}{key}", self.prefix);
        TableReader::new(self.problems, &name, node)
    }

    /// Sets `target` to the boolean of `key`, if the table has it.
    pub fn boolean(&mut self, key: &'static str, target: &mut bool) {
        match self.take(key) {
            None => {}
            Some(Node { value: NodeValue::Boolean(value), .. }) => *target = value,
            Some(node) => {
                let message = format!("{} is not allowed; allowed: true or false", node.description());
                self.problem(node.line, key, message);
            }
        }
    }

    /// Takes the integer of `key`; `None` if the table does not have it, or if it is outside `range`.
    pub fn integer<T>(&mut self, key: &'static str, range: RangeInclusive<T>) -> Option<T>
    where
        T: TryFrom<i64> + PartialOrd + Display,
    {
        let node = self.take(key)?;
        if let NodeValue::Integer(value) = node.value
            && let Ok(value) = T::try_from(value)
            && range.contains(&value)
        {
            return Some(value);
        }
        let message = format!(
            "{} is not allowed; allowed: an integer from {} to {}",
            node.description(),
            range.start(),
            range.end()
        );
        self.problem(node.line, key, message);
        None
    }

    /// Takes an integer as [`TableReader::integer`] does, but the value may also be null.
    pub fn optional<T>(&mut self, key: &'static str, range: RangeInclusive<T>) -> Option<T>
    where
        T: TryFrom<i64> + PartialOrd + Display,
    {
        let is_null = |(name, node): &(String, Node)| name == key && matches!(node.value, NodeValue::Null);
        if self.entries.iter().any(is_null) {
            self.take(key);
            return None;
        }
        self.integer(key, range)
    }

    /// Takes the text of `key`; `None` if the table does not have it, or if `is_valid` is false. `allowed` describes the
    /// valid texts.
    pub fn text(&mut self, key: &'static str, allowed: &str, is_valid: fn(&str) -> bool) -> Option<String> {
        let node = self.take(key)?;
        if let NodeValue::Text(value) = &node.value
            && is_valid(value)
        {
            return Some(value.clone());
        }
        let message = format!("{} is not allowed; allowed: {allowed}", node.description());
        self.problem(node.line, key, message);
        None
    }

    /// Takes a text as [`TableReader::text`] does, but the problem does not show the value.
    pub fn secret(&mut self, key: &'static str, allowed: &str, is_valid: fn(&str) -> bool) -> Option<String> {
        let node = self.take(key)?;
        if let NodeValue::Text(value) = &node.value
            && is_valid(value)
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

    /// Takes one of a list of words; `allowed` has the list.
    pub fn keyword<T: FromStr>(&mut self, key: &'static str, allowed: &str) -> Option<T> {
        let node = self.take(key)?;
        if let NodeValue::Text(value) = &node.value
            && let Ok(value) = value.parse()
        {
            return Some(value);
        }
        let message = format!("{} is not allowed; allowed: {allowed}", node.description());
        self.problem(node.line, key, message);
        None
    }

    /// Adds a problem for each of `keys` that is missing.
    pub fn require(&mut self, keys: &[&'static str]) {
        for key in keys {
            self.require_one_of(&[*key]);
        }
    }

    /// Adds a problem if the table has none of `keys`.
    pub fn require_one_of(&mut self, keys: &[&'static str]) {
        if let [first, others @ ..] = keys
            && !keys.iter().any(|key| self.present.contains(key))
        {
            let or: String = others.iter().map(|key| format!(" (or {key})")).collect();
            self.problem(None, first, format!("missing{or}; it has no default"));
        }
    }

    /// Adds a problem for every entry that was not taken.
    pub fn finish(mut self) {
        let known = self.known.join(", ");
        for (key, node) in std::mem::take(&mut self.entries) {
            let message = format!("unknown key; known here: {known}");
            self.problem(node.line, &key.escape_debug().to_string(), message);
        }
    }
}
