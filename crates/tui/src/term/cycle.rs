//! Stepping through a fixed list of choices, around its ends.

/// The choice after `current` in `all`, or the one before it.
pub fn cycle<T: Copy + PartialEq>(all: &[T], current: T, forward: bool) -> T {
    let index = all.iter().position(|choice| *choice == current).unwrap_or(0);
    let step = if forward { 1 } else { all.len() - 1 };
    all[(index + step) % all.len()]
}
