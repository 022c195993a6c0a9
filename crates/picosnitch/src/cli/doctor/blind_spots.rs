//! What is not seen here, grouped by the reason.

use capture::{Capture, Weight};
use serde_json::{Value, json};

use model::text::sanitize;

/// Traffic that picosnitch sees on no kernel.
pub(super) const NEVER_SEEN: &[&str] = &[
    "AF_XDP sockets: their frames pass no socket function",
    "frames in AF_PACKET receive rings: that one is in use is reported, its bytes are not counted",
    "when io_uring takes bytes straight from a network card (zero-copy receive): they are counted at the close",
    "traffic of the kernel itself that no process asked for, such as answers to ping",
    "traffic of virtual machines that have a network card of their own",
];

/// What is unseen for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BlindSpots {
    /// The reason; empty if only root can find it out.
    pub why: String,
    /// How much the worst of them matters.
    pub weight: Weight,
    /// What is unseen, the worst first.
    pub unseen: Vec<(Weight, String)>,
}

/// Groups what is unseen, with its reason, by that; the worst first.
pub(super) fn group(spots: impl IntoIterator<Item = (String, String)>) -> Vec<BlindSpots> {
    let mut groups: Vec<BlindSpots> = Vec::new();
    for (unseen, why) in spots {
        let weight = Weight::of(&unseen);
        let at = match groups.iter().position(|group| group.why == why) {
            Some(at) => at,
            None => {
                groups.push(BlindSpots { why, weight, unseen: Vec::new() });
                groups.len() - 1
            }
        };
        let group = &mut groups[at];
        group.weight = group.weight.min(weight);
        if !group.unseen.contains(&(weight, unseen.clone())) {
            group.unseen.push((weight, unseen));
        }
    }
    groups.iter_mut().for_each(|group| group.unseen.sort_by_key(|(weight, _)| *weight));
    groups.sort_by_key(|group| group.weight);
    groups
}

/// Those of hooks that were tried.
pub(super) fn of_capture(capture: &Capture) -> Vec<BlindSpots> {
    group(capture.blind_spots().iter().map(|spot| (spot.unseen.to_owned(), spot.why.clone())))
}

/// Those that a daemon tells, which does not tell the reasons.
pub(super) fn of_daemon(unseen: &[String]) -> Vec<BlindSpots> {
    group(unseen.iter().map(|unseen| (unseen.clone(), String::new())))
}

/// The number of things that matter.
pub(super) fn count_that_matter(groups: &[BlindSpots]) -> usize {
    let unseen = groups.iter().flat_map(|group| &group.unseen);
    capture::count_that_matter(unseen.map(|(_, unseen)| unseen.as_str()))
}

impl BlindSpots {
    pub fn lines(&self) -> Vec<String> {
        let why = match self.why.is_empty() {
            true => "sudo picosnitch doctor says why".to_owned(),
            false => sanitize::message(&self.why),
        };
        let mut lines = vec![format!("  because {why}:")];
        lines.extend(self.unseen.iter().map(|(weight, unseen)| {
            format!("    {:<16} {}", format!("({})", weight.name()), sanitize::message(unseen))
        }));
        lines
    }

    pub fn json(&self) -> Value {
        let unseen: Vec<Value> = self
            .unseen
            .iter()
            .map(|(weight, unseen)| json!({"unseen": unseen, "weight": weight.name()}))
            .collect();
        json!({"why": self.why, "weight": self.weight.name(), "unseen": unseen})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_reason_is_said_once_with_the_worst_first() {
        let spot = |unseen: &str, why: &str| (unseen.to_owned(), why.to_owned());
        let groups = group([
            spot("processes that change their name", "a"),
            spot("TCP connects that fail before the first packet (no route, no permission)", "b"),
            spot("bytes sent", "b"),
            spot("bytes sent", "b"),
        ]);
        let of = |group: &BlindSpots| (group.why.clone(), group.weight, group.unseen.len());
        assert_eq!(
            groups.iter().map(of).collect::<Vec<_>>(),
            [("b".to_owned(), Weight::Matters, 2), ("a".to_owned(), Weight::Minor, 1)]
        );
        assert_eq!(groups[0].unseen[0].1, "bytes sent");
        assert_eq!(count_that_matter(&groups), 1);
        assert!(group([]).is_empty());
    }
}
