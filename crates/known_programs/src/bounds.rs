//! Which bounds of the tables were reached.

/// What a table had no more room for, each as the plural that the sentence for the user needs.
#[derive(Debug, Default)]
pub(super) struct ReachedBounds {
    new: Vec<&'static str>,
    reported: Vec<&'static str>,
}

impl ReachedBounds {
    pub(super) fn add(&mut self, entries: &'static str) {
        if !self.new.contains(&entries) && !self.reported.contains(&entries) {
            self.new.push(entries);
        }
    }

    /// A sentence for each bound that was reached for the first time since the last call.
    pub(super) fn take_sentences(&mut self) -> Vec<String> {
        let new = std::mem::take(&mut self.new);
        self.reported.extend(&new);
        new.into_iter()
            .map(|entries| {
                format!(
                    "record.json has no room for more {entries}: those not seen for the longest time are removed, and there \
                     is an alert when they are seen again; there is no alert for further names of one program."
                )
            })
            .collect()
    }
}
