//! The journal: which part of what the kernel has counted is recorded, drain by drain.
//!
//! A drain is written to the journal before its flows are sent, and the log stores the number of the last drain in it
//! together with their records. So the next run knows, whenever this one is killed, from which counters on nothing is recorded
//! yet: those after the drain that the log names.
//!
//! The file `series` names the series of drains that belongs to the pinned maps ([`Header`]). Each other file is named for the
//! series and a drain. It holds what was remembered after that drain, and the changes by each later one ([`Frame`]): a length
//! (u32, little-endian), and as many bytes of `postcard`. Only root can write them, and they are on a file system in memory, so
//! they are trusted.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::change::{Change, ReconcilerState};
use model::{DrainId, ProcessId};

/// Bytes of changes after which a new file begins.
const MAX_FILE_BYTES: u64 = 2 << 20;
/// Bytes of all files above which the oldest is deleted, though the log does not have all its drains yet.
const MAX_BYTES: u64 = 64 << 20;
/// Bytes of one frame at most: more is a damaged length.
const MAX_FRAME_BYTES: usize = MAX_BYTES as usize;
/// The file that names the series.
const SERIES: &str = "series";
const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// The content of the file `series`.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Header {
    /// Of the object and its settings, see [`super::object_number`].
    object: u64,
    series: u64,
    boot_id: String,
}

/// The changes by one drain, or for the first frame of a file all that was remembered after it.
#[derive(Serialize, Deserialize)]
struct Frame {
    number: u64,
    changes: Vec<Change>,
}

/// A journal that is written.
#[derive(Debug)]
pub(crate) struct Journal {
    directory: PathBuf,
    series: u64,
    file: File,
    /// The drains after which the files begin, in their order, and the sizes of the files.
    files: Vec<(u64, u64)>,
    /// The last drain that was written.
    number: u64,
    /// The processes that are in the newest file.
    processes: HashSet<ProcessId>,
}

/// What a journal says that an earlier run has left.
#[derive(Debug)]
pub(crate) struct Replayed {
    pub state: ReconcilerState,
    /// Bytes of flows that ended after the last drain in the log.
    pub lost_bytes: u64,
}

impl Journal {
    /// Begins a series of drains: after an earlier one with what was remembered at its end, or with nothing for new hooks.
    /// The files of all earlier series are deleted.
    ///
    /// # Errors
    /// The errors of the file system.
    pub fn begin(directory: &Path, object: u64, state: ReconcilerState) -> io::Result<Self> {
        make_directory(directory)?;
        let (series, path) = (random()?, directory.join(SERIES));
        let mut journal = Self {
            directory: directory.to_owned(),
            series,
            file: File::open("/dev/null")?,
            files: Vec::new(),
            number: 0,
            processes: HashSet::new(),
        };
        journal.begin_file(state.into_changes())?;
        let header = Header { object, series, boot_id: boot_id() };
        let new = path.with_extension("new");
        let _ = fs::remove_file(&new);
        create(&new)?.write_all(&frame(&header)?)?;
        fs::rename(new, &path)?;
        for (other, _, path) in files(directory)? {
            if other != series {
                fs::remove_file(path)?;
            }
        }
        Ok(journal)
    }

    /// The series, and the last drain.
    pub fn last_drain(&self) -> DrainId {
        DrainId { series: self.series, number: self.number }
    }

    /// Whether the newest file has this process.
    pub fn has_process(&self, process: ProcessId) -> bool {
        self.processes.contains(&process)
    }

    /// Whether the newest file is so long that [`Journal::begin_file`] is due.
    pub fn is_long(&self) -> bool {
        self.files.last().is_some_and(|(_, bytes)| *bytes > MAX_FILE_BYTES)
    }

    /// Writes the changes by the next drain.
    ///
    /// # Errors
    /// The errors of the file system. The journal must not be used any more then.
    pub fn add(&mut self, changes: Vec<Change>) -> io::Result<()> {
        self.number += 1;
        self.note_processes(&changes);
        let bytes = frame(&Frame { number: self.number, changes })?;
        self.file.write_all(&bytes)?;
        if let Some((_, size)) = self.files.last_mut() {
            *size += bytes.len() as u64;
        }
        Ok(())
    }

    /// Begins a new file with all that is remembered after the last drain.
    ///
    /// # Errors
    /// The errors of the file system. The journal must not be used any more then.
    pub fn begin_file(&mut self, remembered: Vec<Change>) -> io::Result<()> {
        let mut file = create(&self.path(self.number))?;
        self.processes.clear();
        self.note_processes(&remembered);
        let bytes = frame(&Frame { number: self.number, changes: remembered })?;
        file.write_all(&bytes)?;
        self.file = file;
        self.files.push((self.number, bytes.len() as u64));
        while self.files.len() > 2 && self.files.iter().map(|(_, bytes)| bytes).sum::<u64>() > MAX_BYTES {
            self.remove_oldest();
        }
        Ok(())
    }

    /// Deletes the files that are not needed when the log has all flows up to this drain.
    pub fn forget_before(&mut self, recorded: DrainId) {
        if recorded.series != self.series {
            return;
        }
        while self.files.get(1).is_some_and(|(number, _)| *number <= recorded.number) {
            self.remove_oldest();
        }
    }

    fn remove_oldest(&mut self) {
        let (number, _) = self.files.remove(0);
        let _ = fs::remove_file(self.path(number));
    }

    fn path(&self, number: u64) -> PathBuf {
        self.directory.join(format!("{:x}-{number}", self.series))
    }

    fn note_processes(&mut self, changes: &[Change]) {
        let of = |change: &Change| if let Change::Process(id, _) = change { Some(*id) } else { None };
        self.processes.extend(changes.iter().filter_map(of));
    }
}

/// The series of the journal in a directory, and whether it belongs to this object; `None` if it has none of this boot.
pub(crate) fn series_of(directory: &Path, object: u64) -> Option<(u64, bool)> {
    let header: Header = read_frame(&mut File::open(directory.join(SERIES)).ok()?).ok()??;
    (header.boot_id == boot_id()).then_some((header.series, header.object == object))
}

/// Reads what an earlier run has left, up to the drain that the log has. A log that knows another series has none of this one,
/// and of a log that knows none it is not known what it has: all is taken to be in it.
///
/// # Errors
/// The errors of the file system, `InvalidData` for files that are no journal, and `NotFound` if the files do not reach back
/// to that drain.
pub(crate) fn replay(directory: &Path, series: u64, recorded: Option<DrainId>) -> io::Result<Replayed> {
    let until = match recorded {
        Some(drain) if drain.series == series => drain.number,
        Some(_) => 0,
        None => u64::MAX,
    };
    let mut files = files(directory)?;
    files.retain(|(of, ..)| *of == series);
    let first = files.iter().rposition(|(_, number, _)| *number <= until).ok_or(io::ErrorKind::NotFound)?;
    let mut replayed = Replayed { state: ReconcilerState::default(), lost_bytes: 0 };
    let mut unrecorded = HashMap::new();
    for (index, (.., path)) in files[first..].iter().enumerate() {
        let mut file = File::open(path)?;
        // What a later file begins with is known from the frames before it.
        let mut is_known = index > 0;
        while let Some(Frame { number, changes }) = read_frame(&mut file)? {
            if std::mem::take(&mut is_known) {
                continue;
            }
            if number <= until {
                replayed.state.apply(changes);
            } else {
                replayed.lost_bytes += replayed.state.ended_bytes(changes, &mut unrecorded);
            }
        }
    }
    Ok(replayed)
}

/// Reads a frame; `None` at the end, and for one that was not written to its end.
fn read_frame<T: DeserializeOwned>(file: &mut File) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    match file.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_FRAME_BYTES {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = Vec::new();
    file.take(length as u64).read_to_end(&mut bytes)?;
    if bytes.len() < length {
        return Ok(None);
    }
    postcard::from_bytes(&bytes).map(Some).map_err(|_| io::ErrorKind::InvalidData.into())
}

fn frame(content: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut bytes = postcard::to_extend(content, vec![0; 4]).map_err(io::Error::other)?;
    let length = u32::try_from(bytes.len() - 4).map_err(io::Error::other)?;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    Ok(bytes)
}

/// The files: series, and the drain after which each begins, in their order.
fn files(directory: &Path) -> io::Result<Vec<(u64, u64, PathBuf)>> {
    let parse = |name: &str| {
        let (series, number) = name.split_once('-')?;
        Some((u64::from_str_radix(series, 16).ok()?, number.parse().ok()?))
    };
    let mut files: Vec<(u64, u64, PathBuf)> = fs::read_dir(directory)?
        .flatten()
        .filter_map(|entry| {
            let (series, number) = parse(entry.file_name().to_str()?)?;
            Some((series, number, entry.path()))
        })
        .collect();
    files.sort_unstable();
    Ok(files)
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path)
}

fn make_directory(directory: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(DIRECTORY_MODE).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made?,
    }
    let found = fs::symlink_metadata(directory)?;
    let is_ours =
        found.is_dir() && found.uid() == nix::unistd::geteuid().as_raw() && found.mode() & 0o22 == 0;
    if is_ours {
        Ok(())
    } else {
        Err(io::Error::other("the directory of the journal belongs to somebody else"))
    }
}

fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    // SQLite has signed integers.
    Ok(u64::from_ne_bytes(bytes) >> 1)
}

fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{abi::FlowKey, flow::FlowCounters};

    fn key(socket: u64) -> FlowKey {
        FlowKey { socket, ..FlowKey::default() }
    }

    fn counted(socket: u64, sent: u64) -> Change {
        Change::Counted(key(socket), FlowCounters { sent, ..FlowCounters::default() })
    }

    fn sent(replayed: &Replayed, socket: u64) -> Option<u64> {
        replayed.state.flows.get(&key(socket)).map(|counters| counters.sent)
    }

    #[test]
    fn the_log_decides_what_is_recorded() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("journal");
        let mut journal = Journal::begin(&directory, 7, ReconcilerState::default()).unwrap();
        journal.add(vec![counted(1, 10), counted(2, 5)]).unwrap();
        journal.add(vec![counted(1, 20), Change::Ended(key(2), 3)]).unwrap();
        journal.add(vec![counted(1, 30), counted(3, 7), Change::Ended(key(3), 4)]).unwrap();
        let DrainId { series, number } = journal.last_drain();
        assert_eq!((number, series_of(&directory, 7)), (3, Some((series, true))));
        assert_eq!(series_of(&directory, 8), Some((series, false)), "another object");
        for (recorded, flow, lost, ended) in [
            (Some(DrainId { series, number: 1 }), Some(10), 7, 0),
            (Some(DrainId { series, number: 2 }), Some(20), 7, 1),
            (Some(DrainId { series, number: 3 }), Some(30), 0, 1),
            (Some(DrainId { series: series ^ 1, number: 3 }), None, 12, 0),
            (None, Some(30), 0, 1),
        ] {
            let replayed = replay(&directory, series, recorded).unwrap();
            assert_eq!((sent(&replayed, 1), replayed.lost_bytes), (flow, lost), "{recorded:?}");
            assert_eq!(replayed.state.ended.len(), ended, "{recorded:?}");
        }
    }

    #[test]
    fn a_series_goes_on_after_an_earlier_one_however_often_it_is_killed() {
        let place = tempfile::tempdir().unwrap();
        let mut journal = Journal::begin(place.path(), 7, ReconcilerState::default()).unwrap();
        (1..=5).for_each(|number| journal.add(vec![counted(1, number * 10)]).unwrap());
        let recorded = Some(DrainId { number: 2, ..journal.last_drain() });
        for _ in 0..3 {
            // The log has stored nothing since.
            let (series, _) = series_of(place.path(), 7).unwrap();
            let replayed = replay(place.path(), series, recorded).unwrap();
            assert_eq!(sent(&replayed, 1), Some(20));
            let mut journal = Journal::begin(place.path(), 7, replayed.state).unwrap();
            journal.add(vec![counted(1, 77)]).unwrap();
        }
        assert_eq!(files(place.path()).unwrap().len(), 1);
    }

    #[test]
    fn files_that_the_log_has_are_deleted_and_the_rest_reaches_back() {
        let place = tempfile::tempdir().unwrap();
        let mut journal = Journal::begin(place.path(), 7, ReconcilerState::default()).unwrap();
        for number in 1..=9 {
            journal.add(vec![counted(1, number)]).unwrap();
            if number % 3 == 0 {
                journal.begin_file(vec![counted(1, number)]).unwrap();
            }
        }
        let series = journal.last_drain().series;
        let at = |number| Some(DrainId { series, number });
        journal.forget_before(DrainId { series, number: 5 });
        assert_eq!(files(place.path()).unwrap().iter().map(|file| file.1).collect::<Vec<_>>(), [3, 6, 9]);
        for number in 3..=9 {
            assert_eq!(sent(&replay(place.path(), series, at(number)).unwrap(), 1), Some(number));
        }
        let gone = replay(place.path(), series, at(2)).unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_torn_frame_is_no_drain_and_a_damaged_one_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let mut journal = Journal::begin(place.path(), 7, ReconcilerState::default()).unwrap();
        journal.add(vec![counted(1, 1)]).unwrap();
        journal.add(vec![counted(1, 2)]).unwrap();
        let series = journal.last_drain().series;
        let (_, _, path) = files(place.path()).unwrap().pop().unwrap();
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert_eq!(sent(&replay(place.path(), series, None).unwrap(), 1), Some(1));
        fs::write(&path, [0xff; 64]).unwrap();
        assert!(replay(place.path(), series, None).is_err());
        fs::write(place.path().join(SERIES), "x").unwrap();
        assert_eq!(series_of(place.path(), 7), None);
    }
}
