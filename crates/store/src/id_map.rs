//! A map from ids of rows to numbers. Ids are mostly small and dense, and hashing each took longer than reading its row.

use std::collections::HashMap;

use foldhash::fast::FixedState;

/// Ids below this have a place in a vector.
const MAX_DENSE: usize = 1 << 22;

/// The number of an id without one.
const NONE: i64 = i64::MIN;

/// Numbers other than `i64::MIN`, by id.
#[derive(Default)]
pub(crate) struct IdMap {
    dense: Vec<i64>,
    sparse: HashMap<i64, i64, FixedState>,
    len: usize,
}

impl IdMap {
    pub fn insert(&mut self, id: i64, number: i64) {
        let before = match usize::try_from(id) {
            Ok(place) if place < MAX_DENSE => {
                if self.dense.len() <= place {
                    self.dense.resize((place + 1).next_power_of_two(), NONE);
                }
                let before = std::mem::replace(&mut self.dense[place], number);
                (before != NONE).then_some(before)
            }
            _ => self.sparse.insert(id, number),
        };
        self.len += usize::from(before.is_none());
    }

    #[inline]
    pub fn get(&self, id: i64) -> Option<i64> {
        match usize::try_from(id) {
            Ok(place) if place < MAX_DENSE => self.dense.get(place).copied().filter(|number| *number != NONE),
            _ => self.sparse.get(&id).copied(),
        }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// The ids and their numbers, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (i64, i64)> {
        let dense = self.dense.iter().enumerate().map(|(id, number)| (id as i64, *number));
        dense
            .filter(|(_, number)| *number != NONE)
            .chain(self.sparse.iter().map(|(id, number)| (*id, *number)))
    }
}

impl FromIterator<(i64, i64)> for IdMap {
    fn from_iter<T: IntoIterator<Item = (i64, i64)>>(numbers: T) -> Self {
        let mut map = Self::default();
        numbers.into_iter().for_each(|(id, number)| map.insert(id, number));
        map
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_id_is_found() {
        let ids = [0, 1, 70, MAX_DENSE as i64 - 1, MAX_DENSE as i64, i64::MAX, -1, i64::MIN];
        let mut map: IdMap = ids.iter().map(|id| (*id, id / 2)).collect();
        map.insert(70, 7);
        assert_eq!(map.len(), ids.len());
        assert_eq!((map.get(70), map.get(71), map.get(-2)), (Some(7), None, None));
        let mut found: Vec<i64> = map.iter().map(|(id, _)| id).collect();
        found.sort_unstable();
        let mut expected = ids;
        expected.sort_unstable();
        assert_eq!(found, expected);
    }
}
