//! What people call the numbers of an answer, and the colours of its programs.

use std::collections::BTreeMap;

use serde::Serialize;
use server_query::SourceError;
use store::{Dimension, Source, Value};
use system_names::{Services, Users};
use utoipa::ToSchema;

use crate::readers::LogFile;

/// Names and colours of the values of an answer.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct Labels {
    /// By dimension (`uid`, `port`, `lport`): names of numbers.
    labels: BTreeMap<&'static str, BTreeMap<i64, String>>,
    /// The colour of each program (exe, pexe, gpexe), from 1 to 8.
    slots: BTreeMap<String, u8>,
}

impl Labels {
    /// For rows of values of these dimensions.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn of_rows<'a>(
        file: &LogFile,
        group_by: &[Dimension],
        rows: impl Iterator<Item = &'a [Value]> + Clone,
    ) -> Result<Self, SourceError> {
        let mut labels = Self::default();
        for (at, dimension) in group_by.iter().enumerate() {
            let values = rows.clone().filter_map(|values| values.get(at));
            match dimension {
                // The users of other machines have other names.
                Dimension::Uid if file.reader.has_hosts() => {}
                Dimension::Uid => labels.add_users(values),
                Dimension::Port | Dimension::LocalPort => labels.add_services(*dimension, values),
                Dimension::Executable | Dimension::ParentExecutable | Dimension::GrandparentExecutable => {
                    for value in values {
                        if let Value::Bytes(path) = value {
                            labels.add_program(file, path)?;
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(labels)
    }

    fn add_users<'a>(&mut self, values: impl Iterator<Item = &'a Value>) {
        let users = Users::load();
        let names = self.labels.entry(Dimension::Uid.name()).or_default();
        for uid in values.filter_map(integer) {
            if let Some(name) = users.name(uid) {
                names.insert(uid, name.to_owned());
            }
        }
    }

    fn add_services<'a>(&mut self, dimension: Dimension, values: impl Iterator<Item = &'a Value>) {
        let services = Services::load();
        let names = self.labels.entry(dimension.name()).or_default();
        for port in values.filter_map(integer) {
            if let Some(name) = u16::try_from(port).ok().and_then(|port| services.name(port)) {
                names.insert(port, name.to_owned());
            }
        }
    }

    /// Adds the colour of a program.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn add_program(&mut self, file: &LogFile, path: &[u8]) -> Result<(), SourceError> {
        if !path.is_empty() {
            let slot = file.slots.of(&file.reader, path)?;
            self.slots.insert(model::text::lossless::to_text(path), slot);
        }
        Ok(())
    }

    /// Adds the names of users, if they are those of this machine.
    pub fn add_uids(&mut self, file: &LogFile, uids: impl Iterator<Item = u32>) {
        if file.reader.has_hosts() {
            return;
        }
        let uids: Vec<Value> = uids.map(|uid| Value::Integer(uid.into())).collect();
        self.add_users(uids.iter());
    }

    /// Adds those of another answer.
    pub fn extend(&mut self, other: Self) {
        for (dimension, names) in other.labels {
            self.labels.entry(dimension).or_default().extend(names);
        }
        self.slots.extend(other.slots);
    }
}

fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Integer(number) => Some(*number),
        _ => None,
    }
}
