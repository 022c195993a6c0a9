//! How much it matters that something is not seen.

/// How much it matters that something is not seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// Bytes, connections, peers or programs are missing.
    Matters,
    /// A detail is missing, or is less exact.
    Minor,
    /// Nothing is missing in the end, or it is counted and reported when it happens.
    Informational,
}

/// Beginnings of what is unseen that is a detail.
const MINOR: [&str; 8] = [
    "processes that change their name",
    "paths of cgroups",
    "new paths of cgroups",
    "which of several peers an unconnected UDP socket",
    "TCP connects that fail before the first packet",
    "the moment at which sockets close",
    "the names that processes ask their C library for",
    "bytes sent over AF_PACKET sockets of type SOCK_PACKET",
];

/// Beginnings of what is unseen that is counted in the end, or reported when it happens.
const INFORMATIONAL: [&str; 6] = [
    "when bytes are taken",
    "what happens while a hook on the same CPU is interrupted",
    "the peers of what the first raw or ping socket",
    "the moment at which AF_PACKET sockets close",
    "AF_PACKET receive rings that live shorter",
    "more that picosnitch doctor lists",
];

impl Weight {
    /// The weight of what is unseen, as [`BlindSpot::unseen`](crate::BlindSpot::unseen) describes it. What an unknown text
    /// describes may matter.
    pub fn of(unseen: &str) -> Self {
        let begins = |beginnings: &[&str]| beginnings.iter().any(|beginning| unseen.starts_with(beginning));
        if begins(&INFORMATIONAL) {
            Self::Informational
        } else if begins(&MINOR) {
            Self::Minor
        } else {
            Self::Matters
        }
    }

    /// The name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Matters => "matters",
            Self::Minor => "minor",
            Self::Informational => "informational",
        }
    }
}

/// The number of things that are unseen and matter; one that several hooks share counts once.
pub fn count_that_matter<'a>(unseen: impl IntoIterator<Item = &'a str>) -> usize {
    let mut known: Vec<&str> = Vec::new();
    for text in unseen {
        if Weight::of(text) == Weight::Matters && !known.contains(&text) {
            known.push(text);
        }
    }
    known.len()
}

/// What is unseen, in one line that says where to read more; `None` if that is nothing.
pub fn blind_spots_in_short<'a>(unseen: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let unseen: Vec<&str> = unseen.into_iter().collect();
    match (unseen.len(), count_that_matter(unseen.iter().copied())) {
        (0, _) => None,
        (_, 0) => Some("details only are not seen on this kernel: see sudo picosnitch doctor".to_owned()),
        (_, 1) => Some("1 blind spot that matters: see sudo picosnitch doctor".to_owned()),
        (_, count) => Some(format!("{count} blind spots that matter: see sudo picosnitch doctor")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hooks::HOOKS;

    #[test]
    fn every_beginning_is_that_of_a_hook_and_essential_hooks_matter() {
        for beginning in MINOR.iter().chain(&INFORMATIONAL[..5]) {
            assert!(HOOKS.iter().any(|hook| hook.unseen.starts_with(beginning)), "{beginning}");
        }
        for hook in HOOKS.iter().filter(|hook| hook.essential) {
            assert_eq!(Weight::of(hook.unseen), Weight::Matters, "{}", hook.unseen);
        }
        assert_eq!(Weight::of("something new"), Weight::Matters);
        let unseen = ["bytes sent", "bytes sent", "TCP connects", "processes that change their name"];
        assert_eq!(count_that_matter(unseen), 2);
        let short = |unseen: &[&'static str]| blind_spots_in_short(unseen.iter().copied());
        assert_eq!(short(&[]), None);
        assert!(short(&unseen[3..]).unwrap().starts_with("details only"));
        assert!(short(&unseen[..2]).unwrap().starts_with("1 blind spot that matters: "));
        assert!(short(&unseen).unwrap().starts_with("2 blind spots that matter: "));
    }
}
