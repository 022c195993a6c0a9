//! The rows of the connections list, built from the live state whenever it has changed.

use std::{cmp::Reverse, collections::BTreeSet};

use super::{live_state::LiveState, program_rows::ProgramRow, sort_column::SortColumn};

/// The connections of a program.
#[derive(Clone, Debug, Default)]
pub struct ConnectionRows {
    /// Ids of the connections, as they are sorted.
    pub ids: Vec<u64>,
    /// Where the program listens, as safe text such as `tcp *:80`.
    pub listening: BTreeSet<String>,
}

/// The connections of a program that have `find`, which is in lower case, in their peer.
pub fn connections(live: &LiveState, program: &ProgramRow, sort: SortColumn, find: &str) -> ConnectionRows {
    let mut included = vec![false; live.lineages.len()];
    program.lineages.iter().for_each(|lineage| included[*lineage] = true);
    let mut rows = ConnectionRows::default();
    let mut keyed = Vec::new();
    for (id, connection) in live.connections.iter().filter(|(_, connection)| included[connection.lineage]) {
        if connection.is_listening {
            if connection.ended.is_none() {
                rows.listening.insert(format!("{} {}", connection.protocol, connection.peer));
            }
            continue;
        }
        if !find.is_empty() && !connection.peer.to_lowercase().contains(find) {
            continue;
        }
        let (rate, total) = (connection.rate.second(&live.clock).sum(), connection.total.sum());
        let key = match sort {
            SortColumn::Second | SortColumn::TenSeconds => (rate, total),
            SortColumn::Total => (total, rate),
            SortColumn::Connections => (connection.began.map_or(0, |began| (began * 1e3) as u64), 0),
            SortColumn::Name => (0, 0),
        };
        let name = if sort == SortColumn::Name { connection.peer.as_str() } else { "" };
        keyed.push((connection.ended.is_some(), Reverse(key), name, Reverse(*id)));
    }
    keyed.sort_unstable();
    rows.ids = keyed.into_iter().map(|(_, _, _, Reverse(id))| id).collect();
    rows
}
