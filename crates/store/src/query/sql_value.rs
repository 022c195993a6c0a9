//! Values of dimensions as SQLite stores them.

use model::{MANY, Scope, Sha256};
use rusqlite::types::{Value as SqlValue, ValueRef};

use super::{
    dimension::{Dimension, ValueType},
    value::Value,
};
use crate::{
    address_bytes::{address_from_bytes, address_to_bytes},
    text_or_blob::TextOrBlob,
};

/// Reads a stored value. A value that does not have the type of its dimension (the file was edited) is returned with
/// the type that it has.
pub(crate) fn value_from_sql(dimension: Dimension, stored: ValueRef<'_>) -> Value {
    match (dimension.value_type(), stored) {
        (_, ValueRef::Null) => Value::None,
        (_, ValueRef::Integer(number)) => Value::Integer(number),
        (ValueType::Bytes, ValueRef::Blob(bytes)) if bytes == MANY.as_bytes() => Value::Many,
        (ValueType::Address, ValueRef::Blob(bytes)) => {
            address_from_bytes(bytes).map_or_else(|| Value::Bytes(bytes.to_vec()), Value::Address)
        }
        (ValueType::Scope, ValueRef::Blob(bytes)) => match address_from_bytes(bytes) {
            Some(address) => Value::Bytes(Scope::of(address).name().into()),
            None => Value::None,
        },
        (ValueType::Sha256, ValueRef::Blob(bytes)) => match bytes.try_into() {
            Ok(digest) => Value::Sha256(Sha256(digest)),
            Err(_) => Value::Bytes(bytes.to_vec()),
        },
        (_, ValueRef::Text(bytes) | ValueRef::Blob(bytes)) => Value::Bytes(bytes.to_vec()),
        (_, ValueRef::Real(number)) => Value::Bytes(number.to_string().into_bytes()),
    }
}

/// The value as the tables store it.
pub(crate) fn value_to_sql(value: &Value) -> SqlValue {
    match value {
        Value::None => SqlValue::Null,
        Value::Many => SqlValue::Blob(MANY.into()),
        Value::Bytes(bytes) => match TextOrBlob(bytes).text() {
            Some(text) => SqlValue::Text(text.to_owned()),
            None => SqlValue::Blob(bytes.clone()),
        },
        Value::Integer(number) => SqlValue::Integer(*number),
        Value::Address(address) => SqlValue::Blob(address_to_bytes(*address)),
        Value::Sha256(digest) => SqlValue::Blob(digest.0.to_vec()),
    }
}
