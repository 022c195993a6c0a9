//! How something changed from one period to the other, in a word or a number.

use std::cmp::Ordering;

use model::Counters;
use store::{Change, ComparedRow};

/// How a row changed: `new`, `gone`, `same`, or by how much.
pub fn change_text(row: &ComparedRow) -> String {
    match (row.change(), row.now, row.before) {
        (Change::Grown | Change::Shrunk, Some(now), Some(before)) => percent(now, before),
        (change, ..) => change.name().to_owned(),
    }
}

/// The difference of the bytes in percent of those before, or without bytes that of the connections.
pub fn percent(now: Counters, before: Counters) -> String {
    let bytes = |counters: Counters| counters.sent.saturating_add(counters.received);
    let (now, before) = match (bytes(now), bytes(before)) {
        (0, 0) => (now.connections, before.connections),
        both => both,
    };
    match now.cmp(&before) {
        Ordering::Equal => "same".to_owned(),
        _ if before == 0 => "new".to_owned(),
        _ => {
            let percent = (now as f64 / before as f64 - 1.0) * 100.0;
            match percent.abs() >= 1000.0 {
                true => format!("\u{d7}{:.0}", now as f64 / before as f64),
                false => format!("{percent:+.0} %"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_words_or_numbers() {
        let some = |sent| Some(Counters { connections: 1, sent, received: 0 });
        for (now, before, text) in [
            (some(5), None, "new"),
            (None, some(5), "gone"),
            (some(5), some(5), "same"),
            (some(112), some(100), "+12 %"),
            (some(50), some(100), "-50 %"),
            (some(5000), some(100), "\u{d7}50"),
        ] {
            assert_eq!(change_text(&ComparedRow { values: Vec::new(), now, before }), text);
        }
    }
}
