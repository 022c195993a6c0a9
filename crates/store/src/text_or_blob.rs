//! The storage of bytes that other programs chose.

use model::MANY;
use rusqlite::{
    ToSql,
    types::{ToSqlOutput, ValueRef},
};

/// Bytes as SQLite stores them: TEXT if they are UTF-8 without NUL, otherwise a BLOB, so that no byte is lost and any
/// tool shows the usual case. A filter must compare with the same type: no TEXT equals a BLOB.
pub(crate) struct TextOrBlob<'a>(pub &'a [u8]);

impl<'a> TextOrBlob<'a> {
    /// The text if the bytes are stored as TEXT.
    pub fn text(&self) -> Option<&'a str> {
        std::str::from_utf8(self.0).ok().filter(|text| !text.contains('\0'))
    }
}

impl ToSql for TextOrBlob<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let value = self.text().map_or(ValueRef::Blob(self.0), ValueRef::from);
        Ok(ToSqlOutput::Borrowed(value))
    }
}

/// Several texts in one place, as SQLite stores them: a BLOB with the bytes of "many". A text with the same bytes is TEXT.
pub(crate) struct ManyText;

impl ToSql for ManyText {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Blob(MANY.as_bytes())))
    }
}
