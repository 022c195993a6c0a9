//! The memory of collections after a burst.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::Hash,
};

/// Elements for which a collection may keep room whatever it holds.
const SMALL: usize = 256;

/// A collection that gives memory back. One that was filled once keeps its block of memory otherwise, and it may be the block at
/// the end of the heap, which cannot get smaller before.
pub trait ShrinkAfterBurst {
    /// Keeps room for twice as many elements as there are, if there is room for more than four times as many.
    fn shrink_after_burst(&mut self);
}

macro_rules! shrink_after_burst {
    ($([$($parameter:tt)*] $collection:ty;)*) => {$(
        impl<$($parameter)*> ShrinkAfterBurst for $collection {
            fn shrink_after_burst(&mut self) {
                if self.capacity() > SMALL && self.len() < self.capacity() / 4 {
                    self.shrink_to(self.len() * 2);
                }
            }
        }
    )*};
}

shrink_after_burst! {
    [K: Hash + Eq, V] HashMap<K, V>;
    [T: Hash + Eq] HashSet<T>;
    [T] Vec<T>;
    [T] VecDeque<T>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_of_a_burst_is_given_back_and_that_for_what_is_there_stays() {
        let mut map: HashMap<u32, u64> = (0..10_000).map(|number| (number, 0)).collect();
        let full = map.capacity();
        map.shrink_after_burst();
        assert_eq!(map.capacity(), full);
        map.retain(|number, _| *number < 500);
        map.shrink_after_burst();
        assert!((1000..full / 4).contains(&map.capacity()), "{}", map.capacity());
        let shrunk = map.capacity();
        map.retain(|number, _| *number < 460);
        map.shrink_after_burst();
        assert_eq!(map.capacity(), shrunk, "it is not moved again for a little");
        let mut queue: VecDeque<u32> = VecDeque::with_capacity(SMALL);
        queue.shrink_after_burst();
        assert_eq!(queue.capacity(), SMALL);
    }
}
