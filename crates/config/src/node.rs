//! A parsed file as a tree with line numbers.

/// Some editors write it at the beginning of a file.
pub(super) const BYTE_ORDER_MARK: char = '\u{feff}';

/// A value of the file. Both formats are converted to this type, so that the same code checks both.
pub(super) enum NodeValue {
    Boolean(bool),
    Integer(i64),
    Text(String),
    Null,
    Array(Vec<Node>),
    Table(Vec<(String, Node)>),
    /// A value that no key accepts (a fraction, a date): the name of its type, and its text in the file.
    Unsupported(&'static str, String),
}

/// A value and the line of the file in which it is.
pub(super) struct Node {
    pub line: Option<usize>,
    pub value: NodeValue,
}

impl Node {
    /// The value in words for an error message, shortened.
    pub fn description(&self) -> String {
        match &self.value {
            NodeValue::Boolean(value) => format!("the boolean {value}"),
            NodeValue::Integer(value) => format!("the integer {value}"),
            NodeValue::Text(value) => format!("the string {}", quoted(value)),
            NodeValue::Null => "null".to_owned(),
            NodeValue::Array(_) => "an array".to_owned(),
            NodeValue::Table(_) => "a table".to_owned(),
            NodeValue::Unsupported(kind, text) => format!("the {kind} {}", text.escape_debug()),
        }
    }
}

/// A text of the file for an error message, quoted, escaped and shortened.
pub(super) fn quoted(text: &str) -> String {
    const MAX_CHARACTERS: usize = 60;
    let shown: String = text.chars().take(MAX_CHARACTERS).collect();
    let more = if shown.len() < text.len() { "..." } else { "" };
    format!("\"{}{more}\"", shown.escape_debug())
}
