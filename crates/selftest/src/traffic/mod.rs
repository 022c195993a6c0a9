//! All scenarios; each module holds one group of them.

use crate::scenario::Scenario;

mod container;
mod datagram;
mod feature;
mod identity;
mod offload;
mod packet;
mod process;
mod raw;
mod stream;
mod stream_socket;
mod uring;
mod zero_copy;

/// Returns every scenario, in the order in which they run.
pub(crate) fn all_scenarios() -> Vec<Scenario> {
    let mut all = Vec::new();
    all.extend(stream::scenarios());
    all.extend(datagram::scenarios());
    all.extend(raw::scenarios());
    all.extend(packet::scenarios());
    all.extend(zero_copy::scenarios());
    all.extend(offload::scenarios());
    all.extend(uring::scenarios());
    all.extend(process::scenarios());
    all.extend(identity::scenarios());
    all.extend(container::scenarios());
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_unique_and_short_enough_for_a_path() {
        let mut names = std::collections::BTreeSet::new();
        for scenario in all_scenarios() {
            for actor in &scenario.actors {
                let name = format!("{}-{}", scenario.id, actor.role);
                assert!(name.len() <= 60, "{name}");
                assert!(names.insert(name.clone()), "{name} occurs twice");
            }
            assert!(scenario.actors.iter().any(|actor| actor.namespace.is_some()), "{}", scenario.id);
        }
        assert!(names.len() > 20);
    }
}
