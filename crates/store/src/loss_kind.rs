//! The numbers under which the log stores kinds of loss.

use model::LossKind;

/// The stored number of a kind; it must never change.
pub(crate) fn loss_kind_number(kind: LossKind) -> i64 {
    match kind {
        LossKind::ProcessEvents => 1,
        LossKind::FlowTableFull => 2,
        LossKind::Channel => 3,
        LossKind::Log => 4,
        LossKind::UncountableSocket => 5,
        LossKind::FlowTableBytes => 6,
        LossKind::ReleaseEvents => 7,
        LossKind::SkippedCalls => 8,
        LossKind::Names => 9,
    }
}

/// The kind with a stored number; `None` for a number that this version does not know.
pub(crate) fn loss_kind_of(number: i64) -> Option<LossKind> {
    LossKind::ALL.into_iter().find(|kind| loss_kind_number(*kind) == number)
}
