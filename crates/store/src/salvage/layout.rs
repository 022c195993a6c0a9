//! What differs between the schema versions of a log.

/// The schema version of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout(pub i64);

impl Layout {
    pub fn context_table(self) -> &'static str {
        if self.0 < 5 { "talker" } else { "context" }
    }

    pub fn context_column(self) -> &'static str {
        self.context_table()
    }

    pub fn hash_column(self) -> &'static str {
        if self.0 < 5 { "lookup" } else { "content_hash" }
    }

    /// Whether there are countries, networks, containers and applications.
    pub fn has_geo(self) -> bool {
        self.0 >= 3
    }

    /// Whether there are windows, events and folded records.
    pub fn has_windows(self) -> bool {
        self.0 >= 6
    }

    /// Whether events name the process that changed a file.
    pub fn has_writers(self) -> bool {
        self.0 >= 7
    }

    /// Whether there are the times of ports.
    pub fn has_ports_seen(self) -> bool {
        self.0 >= 7
    }

    /// The number of groups that are summed in a record.
    pub fn folded_column(self) -> &'static str {
        if self.has_windows() { "folded" } else { "0" }
    }
}
