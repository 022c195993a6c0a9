//! What screens ask beside sums: when something was lost.

use super::{error::StoreError, reader::Reader, schema::failed};

impl Reader {
    /// In which pieces between `edges` something was lost.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn lossy(&self, edges: &[i64]) -> Result<Vec<bool>, StoreError> {
        let read = || {
            let mut found = Vec::with_capacity(edges.len().saturating_sub(1));
            let sql = "SELECT EXISTS (SELECT 1 FROM loss WHERE time >= ?1 AND time < ?2)";
            let mut statement = self.connection.prepare(sql)?;
            for edge in edges.windows(2) {
                found.push(statement.query_row([edge[0], edge[1]], |row| row.get(0))?);
            }
            Ok(found)
        };
        read().map_err(failed(&self.path, "cannot read the losses"))
    }
}
