//! Countries and networks of addresses, from files on this machine; no server is asked.
//!
//! The files are MaxMind DB files (<https://maxmind.github.io/MaxMind-DB/>). The fields that the common publishers use are
//! understood.

use std::{
    collections::HashMap,
    env,
    fs::{self, File},
    io::{self, Seek},
    net::IpAddr,
    os::{fd::AsRawFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use maxminddb::{Mmap, Reader};
use nix::{fcntl::OFlag, sys::stat::Mode};
use rustix::fs::{MemfdFlags, memfd_create};
use serde::{Deserialize, Serialize};

use crate::{
    geo_record::GeoRecord,
    special_purpose::{embedded_ipv4, special_purpose},
};
use model::GeoInfo;

/// Paths at which packages install the file of countries.
const PACKAGED: [&str; 2] =
    ["/usr/share/picosnitch/country.mmdb", "/usr/local/share/picosnitch/country.mmdb"];
/// The same, as seen from the directory above that of the program: a venv, or an archive that was unpacked anywhere.
const BESIDE: &str = "share/picosnitch/country.mmdb";
/// A larger file is refused. The largest free files have 60 MB.
const MAX_FILE_BYTES: u64 = 1 << 30;
/// Number of addresses whose results are cached; when they are reached, the cache is cleared.
const MAX_CACHED: usize = 16_384;
/// Interval at which the files are checked for replacement.
const CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// The paths of the files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GeoFiles {
    /// The file of countries; if `None`, the packaged file is used, if there is one.
    pub country: Option<PathBuf>,
    /// The file of networks (autonomous systems).
    pub network: Option<PathBuf>,
}

/// The files, and a cache of their results.
pub struct Geography {
    databases: Vec<GeoDatabase>,
    cache: HashMap<IpAddr, GeoInfo>,
    last_check: Instant,
    /// Directory for the copies of the files.
    directory: PathBuf,
}

struct GeoDatabase {
    path: PathBuf,
    /// The version that was opened last, also if it could not be used; `None` if there was no file.
    version: Option<FileVersion>,
    /// The last version that could be used.
    reader: Option<Reader<Mmap>>,
    /// It has been reported to the user that this version cannot be used.
    is_reported: bool,
}

/// Metadata of a file that changes when the file is replaced or written.
#[derive(PartialEq, Eq)]
struct FileVersion {
    device: u64,
    inode: u64,
    size: u64,
    modified_seconds: i64,
    modified_nanoseconds: i64,
}

/// All files that [`Geography`] may read, also those that are not there now.
pub fn geography_files(files: &GeoFiles) -> Vec<PathBuf> {
    let given = [files.country.clone(), files.network.clone()];
    given.into_iter().flatten().chain(candidates()).collect()
}

/// The file of countries that came with this program.
pub fn packaged_country_file() -> Option<PathBuf> {
    candidates().find(|path| path.exists())
}

/// Where that file may be.
fn candidates() -> impl Iterator<Item = PathBuf> {
    let program = env::current_exe().ok();
    let beside = program.and_then(|path| Some(path.parent()?.parent()?.join(BESIDE)));
    beside.into_iter().chain(PACKAGED.iter().map(PathBuf::from))
}

impl Geography {
    /// Opens the files. Returns a sentence for the user about each file that cannot be used. Copies of the files are made in
    /// `directory`.
    pub fn open(files: &GeoFiles, directory: &Path) -> (Self, Vec<String>) {
        let paths = [files.country.clone().or_else(packaged_country_file), files.network.clone()];
        let databases = paths.into_iter().flatten();
        let databases = databases
            .map(|path| GeoDatabase { path, version: None, reader: None, is_reported: false })
            .collect();
        let mut geography = Self {
            databases,
            cache: HashMap::new(),
            last_check: Instant::now(),
            directory: directory.to_owned(),
        };
        let problems = geography.reload();
        (geography, problems)
    }

    /// Opens the files again that were replaced, at most once a minute. Returns a sentence for the user about each file that
    /// cannot be used; the last version that could be used stays in use.
    pub fn reload_if_due(&mut self) -> Vec<String> {
        if self.last_check.elapsed() < CHECK_INTERVAL {
            return Vec::new();
        }
        self.last_check = Instant::now();
        self.reload()
    }

    fn reload(&mut self) -> Vec<String> {
        let mut problems = Vec::new();
        for database in &mut self.databases {
            let version = file_version(&database.path);
            if version == database.version && (version.is_some() || database.is_reported) {
                continue;
            }
            database.version = version;
            database.is_reported = false;
            match open_copy(&database.path, &self.directory) {
                Ok(reader) => {
                    database.reader = Some(reader);
                    self.cache.clear();
                }
                Err(why) => {
                    database.is_reported = true;
                    problems.push(format!(
                        "{} cannot be used ({why}): countries or networks are taken from the version of it that \
                         was read before, or stay unknown if there was none. It must be a MaxMind DB file that the \
                         user picosnitch may read.",
                        database.path.display()
                    ));
                }
            }
        }
        problems
    }

    /// Returns country and network of an address.
    pub fn locate(&mut self, address: IpAddr) -> GeoInfo {
        if let Some(cached) = self.cache.get(&address) {
            return cached.clone();
        }
        let geo = self.look_up(embedded_ipv4(address));
        if self.cache.len() >= MAX_CACHED {
            self.cache.clear();
        }
        self.cache.insert(address, geo.clone());
        geo
    }

    fn look_up(&self, address: IpAddr) -> GeoInfo {
        if let Some(purpose) = special_purpose(address) {
            return GeoInfo { country: purpose.into(), ..GeoInfo::default() };
        }
        let mut geo = GeoInfo::default();
        for reader in self.databases.iter().filter_map(|database| database.reader.as_ref()) {
            // A damaged file counts as one without the address.
            let Ok(Some(record)) = reader.lookup(address).and_then(|entry| entry.decode::<GeoRecord>())
            else {
                continue;
            };
            if let Some(code) = record.country()
                && geo.country.is_empty()
            {
                geo.country = code.into();
            }
            if let Some((number, name)) = record.network()
                && geo.network_number == 0
            {
                geo.network_number = number;
                geo.network = name.into();
            }
        }
        geo
    }
}

fn file_version(path: &Path) -> Option<FileVersion> {
    let metadata = fs::metadata(path).ok()?;
    Some(FileVersion {
        device: metadata.dev(),
        inode: metadata.ino(),
        size: metadata.size(),
        modified_seconds: metadata.mtime(),
        modified_nanoseconds: metadata.mtime_nsec(),
    })
}

/// Opens a copy that no other process can change: if a mapped file is truncated, access to it kills this process.
fn open_copy(path: &Path, directory: &Path) -> io::Result<Reader<Mmap>> {
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() > MAX_FILE_BYTES {
        return Err(io::Error::other("not a regular file of at most 1 GiB"));
    }
    let flags = OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC | OFlag::O_EXCL;
    let copy = match nix::fcntl::open(directory, flags, Mode::S_IRUSR) {
        Ok(file) => file,
        // Not every file system supports O_TMPFILE; a memfd takes memory, but always works.
        Err(_) => memfd_create(c"picosnitch", MemfdFlags::CLOEXEC)?,
    };
    let mut copy = File::from(copy);
    io::copy(&mut file, &mut copy)?;
    copy.rewind()?;
    let path = format!("/proc/self/fd/{}", copy.as_raw_fd());
    // SAFETY: the file has no name, and only this function has a descriptor of it, which it closes at its end, so that the
    // mapped file cannot change.
    unsafe { Reader::open_mmap(path) }.map_err(|error| io::Error::other(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const COUNTRIES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/country.mmdb");

    fn open(country: &Path, directory: &Path) -> (Geography, Vec<String>) {
        Geography::open(&GeoFiles { country: Some(country.to_owned()), network: None }, directory)
    }

    fn country(geography: &mut Geography, address: &str) -> Arc<str> {
        geography.locate(address.parse().unwrap()).country
    }

    #[test]
    fn the_packaged_file_has_countries() {
        let directory = tempfile::tempdir().unwrap();
        let (mut geography, problems) = open(Path::new(COUNTRIES), directory.path());
        assert_eq!(problems, [""; 0]);
        for (address, expected) in [
            ("193.0.6.139", "NL"),
            ("8.8.8.8", "US"),
            ("133.11.0.1", "JP"),
            ("2606:4700::1111", "US"),
            ("64:ff9b::8.8.8.8", "US"),
            ("10.1.2.3", "private"),
            ("::ffff:127.0.0.1", "loopback"),
        ] {
            assert_eq!(&*country(&mut geography, address), expected, "{address}");
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "the copy has no name");
    }

    #[test]
    fn a_replaced_file_is_reopened_and_a_damaged_one_is_reported() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("country.mmdb");
        let (mut geography, problems) = open(&file, directory.path());
        assert!(problems.len() == 1 && problems[0].contains("No such file"), "{problems:?}");
        assert_eq!(geography.reload(), [""; 0], "reported once");
        assert_eq!(&*country(&mut geography, "193.0.6.139"), "");
        fs::copy(COUNTRIES, &file).unwrap();
        assert_eq!(geography.reload(), [""; 0]);
        assert_eq!(&*country(&mut geography, "193.0.6.139"), "NL");
        // Truncated in place: the version before it stays in use.
        File::options().write(true).open(&file).unwrap().set_len(100_000).unwrap();
        assert_eq!(geography.reload().len(), 1);
        assert_eq!(&*country(&mut geography, "133.11.0.1"), "JP");
        assert_eq!(geography.reload(), [""; 0], "reported once");
        fs::remove_file(&file).unwrap();
        assert_eq!(geography.reload().len(), 1);
        assert_eq!(geography.reload(), [""; 0], "reported once");
        assert_eq!(&*country(&mut geography, "8.8.8.8"), "US");
    }
}
