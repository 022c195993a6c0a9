//! Reads the JSON text of record.json as a stream: the memory that it takes does not depend on the number of programs in the
//! file, and what comes before a damage is taken. The values of one program, and the value of a key that picosnitch does not
//! use, are read whole before they are bounded.

use std::{borrow::Cow, fmt, io::Read, sync::Arc};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, MapAccess, Visitor},
};

use super::{programs::KnownPrograms, table::Tables, table_id::TableId};
use model::{
    Sha256,
    text::lossless::{from_text, to_text},
};

/// Upper bound for the text of all keys that picosnitch does not use.
const MAX_OTHER_BYTES: usize = 1024 * 1024;

/// Adds what the text has to `known`.
///
/// # Errors
/// A description of the damage. What came before it is in `known`.
pub(super) fn parse(text: impl Read, known: &mut KnownPrograms) -> Result<(), String> {
    let mut reader = serde_json::Deserializer::from_reader(text);
    let parsed = RecordSeed(known).deserialize(&mut reader).and_then(|()| reader.end());
    parsed.map_err(|error| error.to_string())
}

/// Replaces each lone surrogate from U+DC80 to U+DCFF, which the JSON parser encodes as if it were a character, by the byte that it
/// stands for where the original picosnitch wrote the file (PEP 383, surrogateescape).
fn without_surrogates(bytes: &[u8]) -> Cow<'_, [u8]> {
    let byte = |at: usize| match bytes[at..] {
        [0xed, high @ 0xb2..=0xb3, low @ 0x80..=0xbf, ..] => Some(high << 6 | low & 0x3f),
        _ => None,
    };
    if (0..bytes.len()).all(|at| byte(at).is_none()) {
        return Cow::Borrowed(bytes);
    }
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let escaped = byte(at);
        out.push(escaped.unwrap_or(bytes[at]));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    Cow::Owned(out)
}

/// A string of the file. Bytes that are not valid UTF-8, which picosnitch does not write, stand for themselves.
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl Visitor<'_> for TextVisitor {
            type Value = Text;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a text")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Text, E> {
                // There is one text for each sequence of bytes.
                Ok(Text(to_text(&from_text(without_surrogates(bytes)))))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Text, E> {
                self.visit_bytes(text.as_bytes())
            }
        }
        deserializer.deserialize_bytes(TextVisitor)
    }
}

/// The whole file.
struct RecordSeed<'a>(&'a mut KnownPrograms);

impl<'de> DeserializeSeed<'de> for RecordSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for RecordSeed<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut other_bytes = 0;
        while let Some(Text(key)) = map.next_key()? {
            if let Some(table) = TableId::of_key(&key) {
                map.next_value_seed(TableSeed { table, tables: &mut self.0.tables })?;
                continue;
            }
            let value: serde_json::Value = map.next_value()?;
            other_bytes += key.len() + value.to_string().len();
            if other_bytes <= MAX_OTHER_BYTES {
                self.0.other_keys.insert(key, value);
            } else {
                self.0.tables.bounds.add("keys that picosnitch does not use (1 MiB)");
            }
        }
        Ok(())
    }
}

/// One table of the file.
struct TableSeed<'a> {
    table: TableId,
    tables: &'a mut Tables,
}

impl<'de> DeserializeSeed<'de> for TableSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for TableSeed<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "an object as value of {:?}", self.table.key())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Text(key)) = map.next_key()? {
            let key = self.tables.share(key);
            if self.table == TableId::Digests {
                let Verdicts(verdicts) = map.next_value()?;
                for (digest, verdict) in verdicts {
                    self.tables.add(self.table, &key, &digest);
                    self.tables.set_verdict(&key, &digest, &verdict);
                }
            } else {
                self.tables.touch(self.table, &key);
                for Text(value) in map.next_value::<Vec<Text>>()? {
                    let value = self.tables.share(value);
                    self.tables.add(self.table, &key, &value);
                }
            }
            self.tables.trim_while_reading();
        }
        Ok(())
    }
}

/// The digests of one path with their verdicts.
struct Verdicts(Vec<(Arc<str>, String)>);

impl<'de> Deserialize<'de> for Verdicts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct VerdictsVisitor;
        impl<'de> Visitor<'de> for VerdictsVisitor {
            type Value = Verdicts;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, "an object of digests and verdicts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Verdicts, A::Error> {
                let mut verdicts = Vec::new();
                while let Some(Text(digest)) = map.next_key()? {
                    let verdict = map.next_value::<Option<Text>>()?.map_or(String::new(), |Text(text)| text);
                    // The original picosnitch writes a sentence in place of a digest that it could not compute.
                    if let Some(digest) = Sha256::from_hex(&digest) {
                        verdicts.push((digest.to_hex().into(), verdict));
                    }
                }
                Ok(Verdicts(verdicts))
            }
        }
        deserializer.deserialize_map(VerdictsVisitor)
    }
}
