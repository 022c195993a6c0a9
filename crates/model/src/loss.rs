//! Losses: what was not seen, or not stored, and what that means for the log, in the same words everywhere.

use serde::{Deserialize, Serialize};

/// A kind of loss. Every loss has a count and a sentence, so that silence means that nothing was lost.
///
/// In JSON a kind has its name in snake case (`flow_table_full`); the log stores a number (`docs/schema.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossKind {
    /// Process events (exec, fork, exit) that did not fit into the ring buffer.
    ProcessEvents,
    /// Sends, receives and connects that found the kernel's flow table full; their bytes are in no record.
    FlowTableFull,
    /// The bytes of those sends and receives.
    FlowTableBytes,
    /// Closed sockets whose event did not fit into the ring buffer. Their traffic is recorded all the same.
    ReleaseEvents,
    /// Hook calls that the kernel skipped because the same hook was interrupted on that CPU.
    SkippedCalls,
    /// Flows that the monitor could not hand to the recorder.
    Channel,
    /// Records that could not be written to the log.
    Log,
    /// DNS answers and connection handshakes that were not captured; flows may lack their domain.
    Names,
    /// Sockets whose bytes this kernel does not show, for example an `AF_PACKET` ring.
    UncountableSocket,
}

impl LossKind {
    /// Every kind, in the order in which they are listed.
    pub const ALL: [Self; 9] = [
        Self::SkippedCalls,
        Self::FlowTableFull,
        Self::FlowTableBytes,
        Self::Channel,
        Self::Log,
        Self::UncountableSocket,
        Self::ProcessEvents,
        Self::Names,
        Self::ReleaseEvents,
    ];

    /// The kind's name in JSON, for example `flow_table_full`.
    pub fn name(self) -> String {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::String(name)) => name,
            _ => String::new(),
        }
    }

    /// The kind with this name; `None` if this version does not know it.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// What a loss of this kind means for the log: the worst that may be.
    pub fn consequence(self) -> Consequence {
        match self {
            Self::FlowTableFull
            | Self::FlowTableBytes
            | Self::SkippedCalls
            | Self::Channel
            | Self::Log
            | Self::UncountableSocket => Consequence::TrafficMissing,
            Self::ProcessEvents => Consequence::ProgramUnknown,
            Self::Names => Consequence::DomainUnknown,
            Self::ReleaseEvents => Consequence::NothingMissing,
        }
    }

    /// The things that were lost, as a noun that fits the count.
    fn noun(self, count: u64) -> &'static str {
        let (one, many) = match self {
            Self::ProcessEvents => ("process event", "process events"),
            Self::FlowTableFull => ("send, receive or connect", "sends, receives or connects"),
            Self::FlowTableBytes => ("byte", "bytes"),
            Self::ReleaseEvents => ("closed socket", "closed sockets"),
            Self::SkippedCalls => ("call of a hook", "calls of hooks"),
            Self::Channel => ("flow", "flows"),
            Self::Log => ("record", "records"),
            Self::Names => ("DNS answer or connection handshake", "DNS answers or connection handshakes"),
            Self::UncountableSocket => ("socket", "sockets"),
        };
        if count == 1 { one } else { many }
    }
}

/// What a loss means for the log, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consequence {
    /// Some traffic is in no record.
    TrafficMissing,
    /// Some records may lack their program.
    ProgramUnknown,
    /// Some records may lack their domain.
    DomainUnknown,
    /// Everything is recorded, some of it later than usual.
    NothingMissing,
}

impl Consequence {
    /// Every consequence, the worst first.
    pub const ALL: [Self; 4] =
        [Self::TrafficMissing, Self::ProgramUnknown, Self::DomainUnknown, Self::NothingMissing];

    /// The consequence as a part of a sentence.
    pub fn clause(self) -> &'static str {
        match self {
            Self::TrafficMissing => "some traffic is in no record",
            Self::ProgramUnknown => "some traffic may lack its program",
            Self::DomainUnknown => "some connections may lack their domain",
            Self::NothingMissing => "nothing is missing",
        }
    }
}

/// The amount of one kind that was lost in one window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// The kind of the loss.
    pub kind: LossKind,
    /// Number of events, calls, bytes, flows, records or sockets; `kind` determines the unit.
    pub count: u64,
}

/// Adds losses to a list with one entry for each kind.
pub fn add_losses(losses: &mut Vec<Loss>, more: impl IntoIterator<Item = Loss>) {
    for loss in more {
        match losses.iter_mut().find(|known| known.kind == loss.kind) {
            Some(known) => known.count = known.count.saturating_add(loss.count),
            None => losses.push(loss),
        }
    }
}

impl Loss {
    /// The count and what it counts, such as `7 flows`.
    pub fn amount(&self) -> String {
        format!("{} {}", self.count, self.kind.noun(self.count))
    }

    /// A sentence for the user: what was lost, and what that means for the log.
    pub fn sentence(&self) -> String {
        let amount = self.amount();
        let number = |one: &'static str, many: &'static str| if self.count == 1 { one } else { many };
        let (is, was) = (number("is", "are"), number("was", "were"));
        match self.kind {
            LossKind::ProcessEvents => format!(
                "{amount} {was} lost because the kernel's ring buffer was full: some traffic may lack its program. A \
                 larger monitor.ring_buffer_pages helps."
            ),
            LossKind::FlowTableFull | LossKind::FlowTableBytes => {
                format!("{amount} {is} in no record because the kernel's flow table was full.")
            }
            LossKind::ReleaseEvents => format!(
                "{amount} {was} noticed late because the kernel's ring buffer was full. Nothing is missing: {} traffic \
                 is recorded.",
                number("its", "their")
            ),
            LossKind::SkippedCalls => format!(
                "{amount} {was} skipped by the kernel, on a processor that was in the middle of another: some traffic \
                 may be in no record, or lack its program."
            ),
            LossKind::Channel => format!("{amount} {is} in no record because the recorder was too slow."),
            LossKind::Log => format!("{amount} could not be written to the log and {is} lost."),
            LossKind::Names => {
                format!("{amount} came too fast: some connections may lack their domain.")
            }
            LossKind::UncountableSocket => {
                format!("{amount} moved bytes that this kernel does not show; they are in no record.")
            }
        }
    }
}

/// Losses of some time, one of each kind, as they are told to people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// In the order of [`LossKind::ALL`].
    known: Vec<Loss>,
    /// Names and counts of kinds that this version does not know.
    other: Vec<(String, u64)>,
}

impl Losses {
    /// Losses of kinds that are known. Losses of one kind become one, and those of nothing are left out.
    pub fn new(losses: &[Loss]) -> Self {
        let sum = |kind| {
            let of_kind = losses.iter().filter(|loss| loss.kind == kind);
            Loss { kind, count: of_kind.fold(0, |sum, loss| sum.saturating_add(loss.count)) }
        };
        let known = LossKind::ALL.into_iter().map(sum).filter(|loss| loss.count > 0).collect();
        Self { known, other: Vec::new() }
    }

    /// Losses by the names of their kinds, as another version of picosnitch may report them.
    pub fn from_names<'a>(counts: impl IntoIterator<Item = (&'a str, u64)>) -> Self {
        let (mut known, mut other) = (Vec::new(), Vec::<(String, u64)>::new());
        for (name, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            if let Some(kind) = LossKind::from_name(name) {
                known.push(Loss { kind, count });
            } else if let Some((_, sum)) = other.iter_mut().find(|(other, _)| other == name) {
                *sum = sum.saturating_add(count);
            } else {
                other.push((name.to_owned(), count));
            }
        }
        Self { other, ..Self::new(&known) }
    }

    /// The worst consequence; `None` without a loss. A loss of an unknown kind may be a loss of traffic.
    pub fn worst(&self) -> Option<Consequence> {
        Consequence::ALL.into_iter().find(|consequence| self.has(*consequence))
    }

    fn has(&self, consequence: Consequence) -> bool {
        self.known.iter().any(|loss| loss.kind.consequence() == consequence)
            || (consequence == Consequence::TrafficMissing && !self.other.is_empty())
    }

    /// Whether there is something that the log lacks.
    pub fn is_anything_missing(&self) -> bool {
        self.worst().is_some_and(|worst| worst != Consequence::NothingMissing)
    }

    /// A sentence about each loss, with what it means, the worst first. Operations and bytes that found the flow table
    /// full are one loss.
    pub fn sentences(&self) -> Vec<(Consequence, String)> {
        let count = |kind| self.known.iter().find(|loss| loss.kind == kind).map(Loss::amount);
        let both = count(LossKind::FlowTableFull).zip(count(LossKind::FlowTableBytes));
        let mut sentences = Vec::new();
        for loss in &self.known {
            let sentence = match (loss.kind, &both) {
                (LossKind::FlowTableFull, Some((operations, bytes))) => {
                    format!(
                        "{operations} ({bytes}) are in no record because the kernel's flow table was full."
                    )
                }
                (LossKind::FlowTableBytes, Some(_)) => continue,
                _ => loss.sentence(),
            };
            sentences.push((loss.kind.consequence(), sentence));
        }
        let other = self.other.iter().map(|(name, count)| {
            (Consequence::TrafficMissing, format!("{count} {name}: this version does not know what that is."))
        });
        sentences.extend(other);
        sentences.sort_by_key(|(consequence, _)| *consequence);
        sentences
    }

    /// All losses in one clause, the worst consequence first; empty without a loss. Late news are not mentioned if
    /// something is missing.
    ///
    /// For example `some traffic is in no record (7 flows), some connections may lack their domain (3 DNS answers or
    /// connection handshakes)`.
    pub fn summary(&self) -> String {
        let is_anything_missing = self.is_anything_missing();
        let mut clauses = Vec::new();
        for consequence in Consequence::ALL {
            if !self.has(consequence) || (consequence == Consequence::NothingMissing && is_anything_missing) {
                continue;
            }
            let of_kind = self.known.iter().filter(|loss| loss.kind.consequence() == consequence);
            let mut amounts: Vec<String> = of_kind.map(Loss::amount).collect();
            if consequence == Consequence::TrafficMissing {
                amounts.extend(self.other.iter().map(|(name, count)| format!("{count} {name}")));
            }
            let late = if consequence == Consequence::NothingMissing { " noticed late" } else { "" };
            clauses.push(format!("{} ({}{late})", consequence.clause(), amounts.join(", ")));
        }
        clauses.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn losses(counts: &[(LossKind, u64)]) -> Losses {
        let losses: Vec<_> = counts.iter().map(|(kind, count)| Loss { kind: *kind, count: *count }).collect();
        Losses::new(&losses)
    }

    #[test]
    fn losses_of_one_kind_are_added_up() {
        let loss = |kind, count| Loss { kind, count };
        let mut losses = vec![loss(LossKind::Log, 1)];
        add_losses(
            &mut losses,
            [loss(LossKind::Names, 2), loss(LossKind::Log, u64::MAX), loss(LossKind::Names, 3)],
        );
        assert_eq!(losses, [loss(LossKind::Log, u64::MAX), loss(LossKind::Names, 5)]);
    }

    #[test]
    fn names_are_in_snake_case_and_lead_back_to_their_kinds() {
        for kind in LossKind::ALL {
            let name = kind.name();
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            assert_eq!(LossKind::from_name(&name), Some(kind));
        }
        assert_eq!(LossKind::from_name("FlowTableBytes"), None);
        let mut all = LossKind::ALL.to_vec();
        all.sort_by_key(|kind| kind.consequence());
        assert_eq!(all, LossKind::ALL, "the worst first");
    }

    #[test]
    fn a_full_flow_table_is_one_loss() {
        let both = losses(&[(LossKind::FlowTableBytes, 630_000), (LossKind::FlowTableFull, 90_000)]);
        let sentence = "90000 sends, receives or connects (630000 bytes) are in no record because the kernel's flow \
                        table was full.";
        assert_eq!(both.sentences(), [(Consequence::TrafficMissing, sentence.to_owned())]);
        assert_eq!(
            both.summary(),
            "some traffic is in no record (90000 sends, receives or connects, 630000 bytes)"
        );
        let bytes = losses(&[(LossKind::FlowTableBytes, 1)]);
        let sentence = "1 byte is in no record because the kernel's flow table was full.";
        assert_eq!(bytes.sentences()[0].1, sentence);
    }

    #[test]
    fn the_worst_consequence_comes_first() {
        let all = losses(&[(LossKind::ReleaseEvents, 5), (LossKind::Names, 2), (LossKind::ProcessEvents, 1)]);
        assert_eq!(all.worst(), Some(Consequence::ProgramUnknown));
        assert_eq!(
            all.summary(),
            "some traffic may lack its program (1 process event), some connections may lack their domain (2 DNS \
             answers or connection handshakes)"
        );
        let consequences: Vec<_> = all.sentences().into_iter().map(|(consequence, _)| consequence).collect();
        assert_eq!(consequences, Consequence::ALL[1..]);
    }

    #[test]
    fn without_a_gap_nothing_is_missing() {
        assert_eq!((losses(&[]).worst(), losses(&[(LossKind::Log, 0)]).worst()), (None, None));
        assert_eq!(losses(&[]).summary(), "");
        let late = losses(&[(LossKind::ReleaseEvents, 1), (LossKind::ReleaseEvents, 2)]);
        assert!(!late.is_anything_missing());
        assert_eq!(late.summary(), "nothing is missing (3 closed sockets noticed late)");
    }

    #[test]
    fn a_kind_of_a_later_version_may_be_traffic() {
        let losses = Losses::from_names([("new_kind", 1), ("newer_kind", 0), ("names", 1), ("new_kind", 2)]);
        assert_eq!(losses.worst(), Some(Consequence::TrafficMissing));
        assert!(
            losses.summary().starts_with("some traffic is in no record (3 new_kind), "),
            "{}",
            losses.summary()
        );
        assert_eq!(losses.sentences().len(), 2);
    }
}
