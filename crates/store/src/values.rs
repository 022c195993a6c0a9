//! Values of the log as bytes and names, the same in every output.

use model::{MANY, PORT_MANY, text::command_line};

use crate::query::{Dimension, Value, domain_source_name, family_name, protocol_name};

/// A value as bytes: bytes as they are, command lines with the quotes of a shell ([`command_line::quote`]), names and numbers as
/// text, nothing for an unknown value. Another program may have
/// chosen these bytes: [`model::text::sanitize`] makes them safe for an output.
pub fn bytes(dimension: Dimension, value: &Value) -> Vec<u8> {
    match value {
        Value::None => Vec::new(),
        Value::Many => MANY.into(),
        Value::Bytes(bytes) if dimension.is_command_line() => command_line::quote(bytes).into_owned(),
        Value::Bytes(bytes) => bytes.clone(),
        Value::Address(address) => address.to_string().into_bytes(),
        Value::Sha256(digest) => digest.to_hex().into_bytes(),
        Value::Integer(number) => {
            named(dimension, *number).map_or_else(|| number.to_string(), str::to_owned).into_bytes()
        }
    }
}

/// Whether an output shows the number as text: its dimension has names (also if this number has none), or it is the port
/// [`PORT_MANY`].
pub fn is_text(dimension: Dimension, number: i64) -> bool {
    matches!(dimension, Dimension::Protocol | Dimension::Family | Dimension::DomainSource)
        || named(dimension, number).is_some()
}

/// The name of a number; `None` if its dimension has no names, or the number has none.
pub(crate) fn named(dimension: Dimension, number: i64) -> Option<&'static str> {
    match dimension {
        Dimension::Protocol => protocol_name(number),
        Dimension::Family => family_name(number),
        Dimension::DomainSource => domain_source_name(number),
        Dimension::Weekday => calendar::weekday_name(number),
        Dimension::Port | Dimension::LocalPort if number == PORT_MANY => Some(MANY),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_show_where_arguments_end() {
        let shown = |line: &[u8]| bytes(Dimension::CommandLine, &Value::Bytes(line.to_vec()));
        assert_eq!(shown(b"bash\0-c\0S\0A\0B"), b"bash -c S A B");
        assert_eq!(shown(b"bash\0-c\0S\0A B"), b"bash -c S 'A B'");
        assert_eq!(shown(b"bash\0-c\0S\0A\0"), b"bash -c S A ''");
        assert_eq!(shown(b"a line of an older version"), b"a line of an older version");
        assert_eq!(bytes(Dimension::Executable, &Value::Bytes(b"/a b".to_vec())), b"/a b");
    }
}
