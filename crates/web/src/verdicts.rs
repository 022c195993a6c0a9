//! VirusTotal's verdicts from record.json, which is read again when it has changed.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use known_programs::KnownPrograms;
use model::Sha256;

/// The verdicts by digest.
pub(crate) type VerdictsByDigest = Arc<HashMap<Sha256, String>>;

/// When the file and its journal, to which verdicts go first, were changed.
type Changed = [Option<SystemTime>; 2];

/// The verdicts of a file.
pub(crate) struct Verdicts {
    path: PathBuf,
    read: Mutex<Option<(Changed, VerdictsByDigest)>>,
}

impl Verdicts {
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), read: Mutex::default() }
    }

    /// The verdicts as they are now; none if the file cannot be read.
    pub fn now(&self) -> VerdictsByDigest {
        let changed = [self.path.clone(), known_programs::journal_path(&self.path)]
            .map(|path| fs::metadata(path).and_then(|file| file.modified()).ok());
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        match &*read {
            Some((time, verdicts)) if *time == changed => Arc::clone(verdicts),
            _ => {
                let known = KnownPrograms::load(&self.path).unwrap_or_default();
                let verdicts = known.verdicts().into_iter().filter(|(_, verdict)| !verdict.is_empty());
                let verdicts: VerdictsByDigest =
                    Arc::new(verdicts.map(|(digest, verdict)| (digest, verdict.to_owned())).collect());
                *read = Some((changed, Arc::clone(&verdicts)));
                verdicts
            }
        }
    }
}
