//! A map from ids of rows to values. Ids are mostly small and dense, and hashing each took longer than reading its row.

use std::collections::HashMap;

use foldhash::fast::FixedState;

/// Ids below this have a place in a vector. Tables number their rows from 1 on, so hardly one is larger.
const MAX_DENSE: usize = 1 << 22;

/// Values by id.
pub(crate) struct IdMap<T> {
    dense: Vec<Option<T>>,
    sparse: HashMap<i64, T, FixedState>,
    len: usize,
}

impl<T> Default for IdMap<T> {
    fn default() -> Self {
        Self { dense: Vec::new(), sparse: HashMap::default(), len: 0 }
    }
}

impl<T: Copy> IdMap<T> {
    #[inline]
    pub fn insert(&mut self, id: i64, value: T) {
        let before = match usize::try_from(id) {
            Ok(place) if place < MAX_DENSE => {
                if self.dense.len() <= place {
                    self.dense.resize((place + 1).next_power_of_two(), None);
                }
                self.dense[place].replace(value)
            }
            _ => self.sparse.insert(id, value),
        };
        self.len += usize::from(before.is_none());
    }

    /// The value of an id; `None` if it has none.
    #[inline]
    pub fn get(&self, id: i64) -> Option<T> {
        match usize::try_from(id) {
            Ok(place) if place < MAX_DENSE => self.dense.get(place).copied().flatten(),
            _ => self.sparse.get(&id).copied(),
        }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// The ids and their values, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (i64, T)> {
        let dense = (0..).zip(&self.dense).filter_map(|(id, value)| value.map(|value| (id, value)));
        dense.chain(self.sparse.iter().map(|(id, value)| (*id, *value)))
    }
}

impl<T: Copy> FromIterator<(i64, T)> for IdMap<T> {
    fn from_iter<I: IntoIterator<Item = (i64, T)>>(values: I) -> Self {
        let mut map = Self::default();
        values.into_iter().for_each(|(id, value)| map.insert(id, value));
        map
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_id_is_found() {
        let ids = [0, 1, 70, MAX_DENSE as i64 - 1, MAX_DENSE as i64, i64::MAX, -1, i64::MIN];
        let mut map: IdMap<i64> = ids.iter().map(|id| (*id, id / 2)).collect();
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
