//! Lists of losses with one entry for each kind.

use model::Loss;

/// Adds losses to a list: losses of one kind become one.
pub(super) fn add_losses(losses: &mut Vec<Loss>, more: impl IntoIterator<Item = Loss>) {
    for loss in more {
        match losses.iter_mut().find(|known| known.kind == loss.kind) {
            Some(known) => known.count = known.count.saturating_add(loss.count),
            None => losses.push(loss),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::LossKind;

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
}
