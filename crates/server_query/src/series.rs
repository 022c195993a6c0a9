//! Sums over time for charts.

use model::Counters;
use store::{Dimension, Filter, GroupSeries, Query, Range, SeriesByGroup, Sort, Value};

use crate::{
    error::ServerQueryError,
    reader::{Groups, counters, groups_within},
    session::Connection,
};

/// The expression for the largest of the edges that a column with a time has reached. No record is before the first edge.
pub(crate) fn interval(column: &str, edges: &[i64]) -> String {
    // Small numbers alone would be of 32 bits.
    format!("0 * {column} + {}", choice(column, edges))
}

/// A tree of comparisons, so that a record is compared with few edges.
fn choice(column: &str, edges: &[i64]) -> String {
    match edges {
        [] => column.to_owned(),
        [edge] => edge.to_string(),
        _ => {
            let (before, from) = edges.split_at(edges.len() / 2);
            let middle = from.first().copied().unwrap_or_default();
            let [before, from] = [before, from].map(|edges| choice(column, edges));
            format!("CASE WHEN {column} < {middle} THEN {before} ELSE {from} END")
        }
    }
}

/// Whether there are charts by the values of a dimension: those of time are the other axis.
fn is_charted(dimension: Dimension) -> bool {
    dimension != Dimension::Time && !dimension.is_calendar()
}

/// The records between the first and the last edge.
fn range_of(edges: &[i64]) -> Option<Range> {
    match edges {
        [begin, .., end] => Some(Range { since: Some(*begin), until: Some(end.saturating_sub(1)) }),
        _ => None,
    }
}

/// The sums by the values of dimensions, and by interval.
async fn sums(
    server: &mut Connection,
    query: &Query,
    edges: &[i64],
    by: Option<Dimension>,
) -> Result<Groups, ServerQueryError> {
    let Some(range) = range_of(edges) else { return Ok(Groups::new()) };
    let query = Query { group_by: [Dimension::Time].into_iter().chain(by).collect(), ..query.clone() };
    groups_within(server, &query, range, edges).await
}

/// The interval of a group by time.
fn index(values: &[Value], edges: &[i64]) -> Option<usize> {
    match values.first() {
        Some(Value::Integer(time)) => edges.partition_point(|edge| edge <= time).checked_sub(1),
        _ => None,
    }
}

/// The sums between each two neighbours of `edges`.
pub(crate) async fn series(
    server: &mut Connection,
    query: &Query,
    edges: &[i64],
) -> Result<Vec<Counters>, ServerQueryError> {
    let mut series = vec![Counters::default(); edges.len().saturating_sub(1)];
    for (values, counters) in counters(sums(server, query, edges, None).await?) {
        if let Some(sum) = index(&values, edges).and_then(|at| series.get_mut(at)) {
            *sum += counters;
        }
    }
    Ok(series)
}

/// As [`series`], and for the `top` groups of the query's one dimension. They are found first, so that only they have sums by interval.
pub(crate) async fn series_by(
    server: &mut Connection,
    query: &Query,
    edges: &[i64],
    top: usize,
) -> Result<SeriesByGroup, ServerQueryError> {
    let total = series(server, query, edges).await?;
    let (dimension, range) = match (&query.group_by[..], range_of(edges)) {
        ([dimension], Some(range)) if top > 0 && is_charted(*dimension) => (*dimension, range),
        _ => return Ok(SeriesByGroup { groups: Vec::new(), total }),
    };
    let largest = Query {
        sort: Sort::Total,
        reverse: false,
        offset: None,
        limit: Some(top as u64),
        seen: None,
        ..query.clone()
    };
    let found = counters(groups_within(server, &largest, range, &[]).await?);
    let rows = store::Answer::of_groups(&largest, found, None).rows;
    let values: Vec<Value> = rows.into_iter().filter_map(|row| row.values.into_iter().next()).collect();
    if values.is_empty() {
        return Ok(SeriesByGroup { groups: Vec::new(), total });
    }
    // Filters for values of one dimension are alternatives. These values pass those that are replaced.
    let mut of_largest = query.clone();
    of_largest.filters.retain(|filter| filter.is_exclude() || filter.dimension() != dimension);
    of_largest.filters.extend(values.iter().map(|value| Filter::equal(dimension, value.clone(), false)));
    let sums = counters(sums(server, &of_largest, edges, Some(dimension)).await?);
    let empty = vec![Counters::default(); edges.len() - 1];
    let mut groups: Vec<GroupSeries> =
        values.into_iter().map(|value| GroupSeries { value, sums: empty.clone() }).collect();
    for (values, counters) in sums {
        let group = groups.iter_mut().find(|group| values.get(1) == Some(&group.value));
        let sum = group.zip(index(&values, edges)).and_then(|(group, at)| group.sums.get_mut(at));
        if let Some(sum) = sum {
            *sum += counters;
        }
    }
    Ok(SeriesByGroup { groups, total })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_compared_with_few_edges() {
        assert_eq!(interval("time", &[5]), "0 * time + 5");
        assert_eq!(interval("time", &[5, 7]), "0 * time + CASE WHEN time < 7 THEN 5 ELSE 7 END");
        let edges: Vec<i64> = (0..1000).collect();
        let deepest = interval("time", &edges).split("END").fold((0_i64, 0_i64), |(depth, most), part| {
            let depth = depth + part.matches("CASE").count() as i64;
            (depth - 1, most.max(depth))
        });
        assert!(deepest.1 <= 10, "{deepest:?}");
    }
}
