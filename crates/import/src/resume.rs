//! Knows a source again that was imported before, in part or as a whole.

use std::collections::HashMap;

use store::{ImportMarker, ImportSource};

use crate::{error::ImportError, fields::ReadRow, source::Source};

/// Rows that are read at once.
const ROWS: usize = 1000;

/// Finds what was imported of a source, among all that was imported; `None` if it is new.
///
/// It is known by the content of single rows, at their numbers: it may have grown, may have lost its oldest rows, and may be an
/// older copy. A copy to which other rows were added than to the one that was imported is a source of its own, which goes on
/// behind the last row that is known to be common. If no row is where it was, the rows may have other numbers since the file was
/// made anew (VACUUM): then the last marker that is somewhere in the source tells how far it was read.
pub(crate) fn find_known(
    source: &mut Source,
    known: &[ImportSource],
) -> Result<Option<ImportSource>, ImportError> {
    let mut best: Option<Common> = None;
    for candidate in known {
        if let Some(common) = Common::find(source, candidate)?
            && best.as_ref().is_none_or(|best| best.rank() < common.rank())
        {
            best = Some(common);
        }
    }
    match best {
        Some(Common { source, last, is_other: true }) => {
            let mut other = ImportSource::new(source.progress.since);
            // Later rows that both have are left out, because the log has them.
            other.progress.last_row = last.row;
            Ok(Some(other))
        }
        Some(common) => Ok(Some(common.source.clone())),
        None if known.iter().all(|known| known.markers.is_empty()) => Ok(None),
        None => find_renumbered(source, known),
    }
}

/// What a source has in common with one that was imported.
struct Common<'a> {
    source: &'a ImportSource,
    /// The last row of which that is known.
    last: ImportMarker,
    /// A later row differs.
    is_other: bool,
}

impl<'a> Common<'a> {
    /// `None` if no row is the same.
    fn find(source: &mut Source, imported: &'a ImportSource) -> Result<Option<Self>, ImportError> {
        let mut row = Vec::new();
        let mut is_other = false;
        for marker in imported.markers.iter().rev() {
            source.read(marker.row.saturating_sub(1), 1, &mut row)?;
            let Some(found) = row.first().filter(|found| found.number == marker.row) else { continue };
            if found.digest() == marker.digest {
                return Ok(Some(Self { source: imported, last: *marker, is_other }));
            }
            is_other = true;
        }
        Ok(None)
    }

    /// The one with the most in common is best, and of those one that does not differ.
    fn rank(&self) -> (i64, bool, i64) {
        (self.last.row, !self.is_other, self.source.progress.last_row)
    }
}

/// Looks for the markers anywhere in the source.
fn find_renumbered(source: &mut Source, known: &[ImportSource]) -> Result<Option<ImportSource>, ImportError> {
    let mut markers: HashMap<[u8; 16], (usize, i64)> = HashMap::new();
    for (index, source) in known.iter().enumerate() {
        markers.extend(source.markers.iter().map(|marker| (marker.digest, (index, marker.row))));
    }
    // The last marker that was found: of which source, its number there, and its number here.
    let mut last: Option<(usize, i64, i64)> = None;
    let mut rows: Vec<ReadRow> = Vec::new();
    let mut after = 0;
    loop {
        source.read(after, ROWS, &mut rows)?;
        let Some(end) = rows.last() else { break };
        after = end.number;
        for row in &rows {
            if let Some((index, number)) = markers.get(&row.digest())
                && last.is_none_or(|(_, best, _)| *number >= best)
            {
                last = Some((*index, *number, row.number));
            }
        }
    }
    Ok(last.map(|(index, number, here)| {
        let mut found = known[index].clone();
        // An older copy ends before the last row that was imported.
        let moved = |row: i64| here.saturating_add(row.saturating_sub(number));
        found.progress.last_row = moved(found.progress.last_row);
        found.progress.again = found.progress.again.map(|(row, since)| (moved(row).max(0), since));
        found
    }))
}
