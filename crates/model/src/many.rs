//! The word for several values in one place.

/// The word for several values in one place, in output and input: those of a folded record, see [`crate::Record::folded`].
pub const MANY: &str = "many";
