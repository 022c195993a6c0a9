//! The last drain whose flows are in the log, which the thread that writes it tells the recorder.

use std::sync::{Arc, Mutex, PoisonError};

use model::DrainId;

/// Shared by both.
#[derive(Clone, Debug, Default)]
pub(super) struct Recorded {
    drain: Arc<Mutex<Option<DrainId>>>,
}

impl Recorded {
    pub(super) fn get(&self) -> Option<DrainId> {
        *self.drain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set(&self, drain: Option<DrainId>) {
        *self.drain.lock().unwrap_or_else(PoisonError::into_inner) = drain;
    }
}
