//! When values were first and last seen on the hosts of a server: the times of their first and last records there.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
};

use model::{MANY, Sha256};
use store::{Dimension, Filter, ProgramSeen, Query, Range, Seen, Value};

use crate::{error::ServerQueryError, reader::groups_within, session::Connection};

/// All records of the hosts that filters select, by these dimensions.
fn of_hosts(group_by: Vec<Dimension>, filters: &[Filter]) -> Query {
    let filters = filters.iter().filter(|filter| filter.dimension() == Dimension::Host).cloned().collect();
    Query { group_by, filters, ..Query::default() }
}

/// When the values of a query's one dimension were seen, whatever its range and its filters but those of hosts; `None` if it does not
/// want to know, or if that is not told of its dimensions.
pub(crate) async fn seen_of(
    server: &mut Connection,
    query: &Query,
) -> Result<Option<HashMap<Value, Seen>>, ServerQueryError> {
    let dimension = match (query.seen, &query.group_by[..]) {
        (Some(_), [dimension]) if dimension.is_seen() => *dimension,
        _ => return Ok(None),
    };
    let mut group_by = vec![dimension];
    // Of a program its digests are told, too.
    group_by.extend((dimension == Dimension::Executable).then_some(Dimension::Sha256));
    let query = of_hosts(group_by, &query.filters);
    let mut seen: HashMap<Value, Seen> = HashMap::new();
    let mut digests: HashMap<Value, BTreeMap<Sha256, i64>> = HashMap::new();
    for (values, (_, first, last)) in groups_within(server, &query, Range::default(), &[]).await? {
        let mut values = values.into_iter();
        let Some(value) = values.next() else { continue };
        if let Some(Value::Sha256(digest)) = values.next()
            && value != Value::Many
        {
            digests.entry(value.clone()).or_default().insert(digest, first);
        }
        let of_value = seen.entry(value).or_insert(Seen { first, last, digests: 0, changed: None });
        of_value.first = of_value.first.min(first);
        of_value.last = of_value.last.max(last);
    }
    for (value, digests) in digests {
        if let Some(seen) = seen.get_mut(&value) {
            seen.digests = digests.len() as u64;
            seen.changed = digests.values().copied().max().filter(|_| digests.len() > 1);
        }
    }
    Ok(Some(seen))
}

/// When each program was first and last seen, the latest first.
pub(crate) async fn programs_seen(
    server: &mut Connection,
    filters: &[Filter],
) -> Result<Vec<ProgramSeen>, ServerQueryError> {
    let query = of_hosts(vec![Dimension::Executable, Dimension::Sha256, Dimension::Uid], filters);
    let mut programs = Vec::new();
    for (values, (_, first, last)) in groups_within(server, &query, Range::default(), &[]).await? {
        let [path, digest, Value::Integer(uid)] = &values[..] else { continue };
        let path = match path {
            Value::Bytes(path) => path.clone(),
            // The log has the word for several programs as a path.
            _ => MANY.into(),
        };
        let sha256 = match digest {
            Value::Sha256(digest) => Some(*digest),
            _ => None,
        };
        let uid = u32::try_from(*uid).unwrap_or(u32::MAX);
        programs.push(ProgramSeen { path, sha256, uid, first, last });
    }
    programs.sort_by(|a, b| {
        let key = |program: &ProgramSeen| (Reverse(program.last), program.path.clone(), program.sha256);
        key(a).cmp(&key(b)).then(a.uid.cmp(&b.uid))
    });
    Ok(programs)
}
