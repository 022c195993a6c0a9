//! Digests that become known after records without them were written. Records never change: an event says what was missing.

use std::collections::BTreeMap;

use identity::digests::DigestState;
use model::{Bytes, Event, EventKind, Program, text::time};

/// Executables whose digest is awaited. Beyond that the oldest ones get no event.
const MAX_AWAITED: usize = 4096;

/// A program of which records without a digest were written.
#[derive(Debug)]
struct Awaited {
    begin: i64,
    uid: u32,
    path: Bytes,
    name: Bytes,
}

/// The executables whose digest is awaited, by their ids: the oldest first.
#[derive(Debug, Default)]
pub(super) struct LateDigests(BTreeMap<u32, Awaited>);

impl LateDigests {
    /// Takes note of a record at `begin` (unix seconds UTC) without the digest of an executable.
    pub(super) fn add(&mut self, executable: u32, uid: u32, program: &Program, begin: i64) {
        if self.0.len() >= MAX_AWAITED && !self.0.contains_key(&executable) {
            self.0.pop_first();
        }
        self.0.entry(executable).or_insert_with(|| {
            let (path, name) = (program.path.clone(), program.name.clone());
            Awaited { begin, uid, path, name }
        });
    }

    /// The event about an executable whose state is final now, if records without its digest were written.
    pub(super) fn take(&mut self, executable: u32, state: &DigestState) -> Option<Event> {
        let Awaited { begin, uid, path, name } = self.0.remove(&executable)?;
        let DigestState::Known(digest) = state else { return None };
        let text = "The digest of a program became known after records without it were written.";
        let mut event = Event::new(EventKind::LateDigest, time::now(), text);
        (event.begin, event.uid) = (Some(begin), Some(uid));
        (event.path, event.name, event.sha256) = (path, name, Some(*digest));
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Sha256;

    #[test]
    fn a_late_digest_is_an_event_once() {
        let mut late = LateDigests::default();
        let program = Program { path: b"/bin/x".to_vec(), ..Program::default() };
        late.add(7, 1000, &program, 100);
        late.add(7, 1000, &program, 110);
        late.add(8, 1000, &program, 110);
        let digest = Sha256([1; 32]);
        let event = late.take(7, &DigestState::Known(digest)).unwrap();
        assert_eq!((event.begin, event.uid, event.sha256), (Some(100), Some(1000), Some(digest)));
        assert_eq!(late.take(7, &DigestState::Known(digest)), None);
        assert_eq!(late.take(8, &DigestState::Unreadable("gone".into())), None);
    }

    #[test]
    fn what_is_awaited_is_bounded() {
        let mut late = LateDigests::default();
        for executable in 0..10_000 {
            late.add(executable, 0, &Program::default(), 1);
        }
        assert_eq!(late.0.len(), MAX_AWAITED);
    }
}
