//! Which sums of a ClickHouse count.
//!
//! It has no transactions. So rows of sums have a random number, their attempt, and count once there is a claim with that number, which
//! is written after them: what an exporter that died has left behind counts never. A claim may arrive late, from an exporter that was
//! given up, when the same windows have been claimed anew. So the claims of a log make a chain from its first window on: of those that
//! begin with the same window the one with the smallest attempt counts, and then those that begin behind its last window. Each window is
//! in one claim of the chain at most, whatever arrives when.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    error::ExportError,
    server::{Server, rows::Cell, tables::Kind},
    sum_kind::SumKind,
};

/// What of the sums of a log counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claimed {
    /// All windows up to this one are in sums; 0 if none is.
    pub last_window: i64,
    /// Attempts that have a claim, and do not count.
    pub void: Vec<i64>,
}

/// Returns what counts of the sums of a kind, by id of a log: of one or of all that have some.
///
/// # Errors
/// [`ExportError::Sql`], [`ExportError::Timeout`].
pub async fn claimed(
    server: &mut Server,
    kind: SumKind,
    log: Option<i64>,
) -> Result<BTreeMap<i64, Claimed>, ExportError> {
    const DOING: &str = "cannot read the sums";
    let of_log = log.map(|log| format!(" AND log = {log}")).unwrap_or_default();
    let claims = format!("FROM picosnitch_sum_claim WHERE kind = {}{of_log}", kind.number());
    // Nearly always the claims are the chain: none begins where another does, and together they have all windows.
    let sql = format!(
        "SELECT log, max(last_window), count() = uniqExact(first_window) \
         AND sum(last_window - first_window + 1) = max(last_window) {claims} GROUP BY log"
    );
    let mut found = BTreeMap::new();
    let mut unclear = Vec::new();
    for row in server.select(&sql, &[], &[Kind::Integer; 3], DOING).await? {
        let [Cell::Integer(log), Cell::Integer(last_window), Cell::Integer(is_chain)] = row[..] else {
            continue;
        };
        match is_chain {
            0 => unclear.push(log.to_string()),
            _ => _ = found.insert(log, Claimed { last_window, void: Vec::new() }),
        }
    }
    if !unclear.is_empty() {
        let sql = format!(
            "SELECT log, first_window, last_window, attempt {claims} AND log IN ({})",
            unclear.join(", ")
        );
        let mut by_log: BTreeMap<i64, Vec<[i64; 3]>> = BTreeMap::new();
        for row in server.select(&sql, &[], &[Kind::Integer; 4], DOING).await? {
            let [Cell::Integer(log), Cell::Integer(first), Cell::Integer(last), Cell::Integer(attempt)] =
                row[..]
            else {
                continue;
            };
            by_log.entry(log).or_default().push([first, last, attempt]);
        }
        found.extend(by_log.into_iter().map(|(log, claims)| (log, chain(&claims))));
    }
    Ok(found)
}

/// Finds the chain of claims, each the first window, the last window and the attempt.
fn chain(claims: &[[i64; 3]]) -> Claimed {
    let mut by_first: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
    for [first, last, attempt] in claims {
        let chosen = by_first.entry(*first).or_insert((*attempt, *last));
        *chosen = (*chosen).min((*attempt, *last));
    }
    let mut last_window = 0;
    let mut counted = BTreeSet::new();
    while let Some((attempt, last)) = by_first.get(&(last_window + 1))
        && *last > last_window
    {
        counted.insert(*attempt);
        last_window = *last;
    }
    let all: BTreeSet<i64> = claims.iter().map(|[.., attempt]| *attempt).collect();
    Claimed { last_window, void: all.difference(&counted).copied().collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_window_is_in_one_claim_of_the_chain() {
        let claimed = |last_window, void: &[i64]| Claimed { last_window, void: void.to_vec() };
        for (claims, expected) in [
            (&[][..], claimed(0, &[])),
            (&[[1, 10, 7], [11, 20, 3]], claimed(20, &[])),
            // A row that is there twice.
            (&[[1, 10, 7], [1, 10, 7]], claimed(10, &[])),
            // One that came late, and those that were made behind the other.
            (&[[1, 10, 7], [1, 12, 5], [11, 20, 3]], claimed(12, &[3, 7])),
            (&[[1, 10, 7], [1, 12, 8], [11, 20, 3], [13, 20, 1]], claimed(20, &[1, 8])),
            // One that a replica does not have yet.
            (&[[1, 10, 7], [21, 30, 3]], claimed(10, &[3])),
            (&[[5, 10, 7]], claimed(0, &[7])),
            // Nonsense by hand.
            (&[[1, 0, 7], [1, -5, 8]], claimed(0, &[7, 8])),
        ] {
            assert_eq!(chain(claims), expected, "{claims:?}");
        }
    }
}
