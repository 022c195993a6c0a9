//! Reading each record of a ClickHouse once.
//!
//! Nothing is unique there (see `announcement.rs`): windows that were sent more than once are read with FINAL, which makes one of equal
//! rows. It takes several times as long, so that only the times of such windows are read with it.

use crate::{
    error::ExportError,
    server::{
        Server,
        rows::Cell,
        tables::{Kind, RECORD},
    },
};

/// Times of repeated windows that are written into a statement. Beyond it all is read with FINAL.
const MAX_REPEATED: usize = 5000;

/// The times of windows in a range that may be there more than once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repeated {
    /// These, and no others.
    Times(Vec<i64>),
    /// More than are looked at.
    Many,
}

impl Repeated {
    /// Asks a server about the time from one second to another, of one log or of all.
    ///
    /// # Errors
    /// [`ExportError::Sql`], [`ExportError::Timeout`].
    pub async fn read(
        server: &mut Server,
        (since, until): (i64, i64),
        log: Option<i64>,
    ) -> Result<Self, ExportError> {
        let of_log = log.map(|log| format!(" AND log = {log}")).unwrap_or_default();
        let sql = format!(
            "SELECT DISTINCT time FROM picosnitch_repeated WHERE time BETWEEN {since} AND {until}{of_log} LIMIT {}",
            MAX_REPEATED + 1
        );
        let doing = "cannot read which windows were sent twice";
        let rows = server.select(&sql, &[], &[Kind::Integer], doing).await?;
        Ok(match rows.len() > MAX_REPEATED {
            true => Self::Many,
            false => Self::Times(rows.iter().flatten().filter_map(Cell::integer).collect()),
        })
    }

    /// The statements that together read each record once. `part` makes one of the table, with FINAL or without, and of a further
    /// condition, which is empty or begins with AND.
    pub fn parts(&self, mut part: impl FnMut(&str, &str) -> String) -> Vec<String> {
        let table = RECORD.name;
        let merged = format!("{table} FINAL");
        match self {
            Self::Times(times) if times.is_empty() => vec![part(table, "")],
            Self::Times(times) => {
                let list: Vec<String> = times.iter().map(i64::to_string).collect();
                let list = list.join(", ");
                vec![
                    part(table, &format!(" AND time NOT IN ({list})")),
                    part(&merged, &format!(" AND time IN ({list})")),
                ]
            }
            Self::Many => vec![part(&merged, "")],
        }
    }
}
