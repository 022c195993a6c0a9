//! In which country an address is, and whose network it belongs to: from files on this machine, never by asking anybody.
//!
//! The files are MaxMind DB files (<https://maxmind.github.io/MaxMind-DB/>) of any publisher: the fields that the usual ones
//! have are understood.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Seek},
    net::IpAddr,
    os::{fd::AsRawFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use maxminddb::{Mmap, Reader};
use nix::{
    fcntl::OFlag,
    sys::{
        memfd::{MFdFlags, memfd_create},
        stat::Mode,
    },
};
use serde::{Deserialize, Serialize};

use super::special::{inner, purpose};
use model::GeoInfo;

/// Where packages put the file of countries.
const PACKAGED: [&str; 2] =
    ["/usr/share/picosnitch/country.mmdb", "/usr/local/share/picosnitch/country.mmdb"];
/// A larger file is refused; the largest free ones have 60 MB.
const MAX_BYTES: u64 = 1 << 30;
/// Addresses whose answers are kept.
const MAX_KNOWN: usize = 16_384;
/// Time between two looks whether a file was replaced.
const LOOK: Duration = Duration::from_secs(60);
/// Characters of a network's name.
const LONGEST_NAME: usize = 100;

/// Which files are used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Files {
    /// Countries; `None`: the packaged file, where there is one.
    pub country: Option<PathBuf>,
    /// Networks (autonomous systems).
    pub network: Option<PathBuf>,
}

/// Answers for addresses.
pub struct Geography {
    databases: Vec<Database>,
    known: HashMap<IpAddr, GeoInfo>,
    looked: Instant,
    directory: PathBuf,
}

struct Database {
    path: PathBuf,
    /// What the file was when it was read.
    version: Option<Version>,
    reader: Option<Reader<Mmap>>,
    /// The user was told that this version cannot be used.
    told: bool,
}

/// Device, inode, size and modification time, which differ when a file was replaced or written.
type Version = (u64, u64, u64, i64, i64);

/// What is read of an entry. Publishers differ: `country.iso_code` and `autonomous_system_*` (GeoLite2, DB-IP),
/// `country_code` (ip-location-db), `country`, `asn` and `as_name` (IPinfo).
#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    country: Option<Country>,
    country_code: Option<String>,
    registered_country: Option<Country>,
    autonomous_system_number: Option<u32>,
    autonomous_system_organization: Option<String>,
    asn: Option<Number>,
    as_name: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Country {
    Code(String),
    Record { iso_code: Option<String> },
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Number(u32),
    Text(String),
}

impl Geography {
    /// Opens the files; sentences for the user where that fails. `directory` is one for files of our own.
    pub fn start(files: &Files, directory: &Path) -> (Self, Vec<String>) {
        let packaged = || PACKAGED.iter().map(PathBuf::from).find(|path| path.exists());
        let paths = [files.country.clone().or_else(packaged), files.network.clone()];
        let databases = paths.into_iter().flatten();
        let databases =
            databases.map(|path| Database { path, version: None, reader: None, told: false }).collect();
        let mut geography = Self {
            databases,
            known: HashMap::new(),
            looked: Instant::now(),
            directory: directory.to_owned(),
        };
        let problems = geography.read();
        (geography, problems)
    }

    /// Reads files again that were replaced; sentences for the user where that fails, in which case what was read before
    /// still counts.
    pub fn look_again(&mut self) -> Vec<String> {
        if self.looked.elapsed() < LOOK {
            return Vec::new();
        }
        self.looked = Instant::now();
        self.read()
    }

    fn read(&mut self) -> Vec<String> {
        let mut problems = Vec::new();
        for database in &mut self.databases {
            let version = version(&database.path);
            if version == database.version && (version.is_some() || database.told) {
                continue;
            }
            database.version = version;
            database.told = false;
            match open(&database.path, &self.directory) {
                Ok(reader) => {
                    database.reader = Some(reader);
                    self.known.clear();
                }
                Err(why) => {
                    database.told = true;
                    problems.push(format!(
                        "{} cannot be used ({why}): the countries or networks that it tells are those of the last \
                         time, or unknown. It must be a MaxMind DB file that the user picosnitch may read.",
                        database.path.display()
                    ));
                }
            }
        }
        problems
    }

    /// Where an address is.
    pub fn location(&mut self, address: IpAddr) -> GeoInfo {
        if let Some(known) = self.known.get(&address) {
            return known.clone();
        }
        let location = self.look_up(inner(address));
        if self.known.len() >= MAX_KNOWN {
            self.known.clear();
        }
        self.known.insert(address, location.clone());
        location
    }

    fn look_up(&self, address: IpAddr) -> GeoInfo {
        if let Some(purpose) = purpose(address) {
            return GeoInfo { country: purpose.into(), ..GeoInfo::default() };
        }
        let mut location = GeoInfo::default();
        for reader in self.databases.iter().filter_map(|database| database.reader.as_ref()) {
            // A damaged file knows nothing.
            let Ok(Some(entry)) = reader.lookup(address).and_then(|found| found.decode::<Entry>()) else {
                continue;
            };
            if let Some(code) = entry.country()
                && location.country.is_empty()
            {
                location.country = code.into();
            }
            if let Some((number, name)) = entry.network()
                && location.network_number == 0
            {
                location.network_number = number;
                location.network = name.into();
            }
        }
        location
    }
}

impl Entry {
    /// Two letters of ISO 3166-1.
    fn country(&self) -> Option<String> {
        let code = |country: &Option<Country>| match country {
            Some(Country::Code(code)) => Some(code.clone()),
            Some(Country::Record { iso_code }) => iso_code.clone(),
            None => None,
        };
        let found = [code(&self.country), self.country_code.clone(), code(&self.registered_country)];
        let is_code = |code: &String| code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_alphabetic());
        found.into_iter().flatten().find(is_code).map(|code| code.to_ascii_uppercase())
    }

    /// Number and name of the autonomous system.
    fn network(&self) -> Option<(u32, String)> {
        let number = self.autonomous_system_number.or_else(|| match self.asn.as_ref()? {
            Number::Number(number) => Some(*number),
            Number::Text(text) => text.trim_start_matches("AS").parse().ok(),
        })?;
        let name = self.autonomous_system_organization.as_ref().or(self.as_name.as_ref());
        let name = name.map(|name| name.chars().take(LONGEST_NAME).collect()).unwrap_or_default();
        (number != 0).then_some((number, name))
    }
}

fn version(path: &Path) -> Option<Version> {
    let found = fs::metadata(path).ok()?;
    Some((found.dev(), found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
}

/// Opens a copy that nobody else can change: a mapped file that somebody cuts would kill this process.
fn open(path: &Path, directory: &Path) -> io::Result<Reader<Mmap>> {
    let mut file = File::open(path)?;
    let found = file.metadata()?;
    if !found.is_file() || found.len() > MAX_BYTES {
        return Err(io::Error::other("not a regular file of at most 1 GiB"));
    }
    let flags = OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC | OFlag::O_EXCL;
    let copy = nix::fcntl::open(directory, flags, Mode::S_IRUSR)
        // Not every file system has files without a name; memory costs more, but is everywhere.
        .or_else(|_| memfd_create(c"picosnitch", MFdFlags::MFD_CLOEXEC))?;
    let mut copy = File::from(copy);
    io::copy(&mut file, &mut copy)?;
    copy.rewind()?;
    let path = format!("/proc/self/fd/{}", copy.as_raw_fd());
    // SAFETY: the file has no name, and nobody but this function has a descriptor of it, which is closed at its end.
    unsafe { Reader::open_mmap(path) }.map_err(|error| io::Error::other(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const COUNTRIES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/country.mmdb");

    fn start(country: &Path, directory: &Path) -> (Geography, Vec<String>) {
        Geography::start(&Files { country: Some(country.to_owned()), network: None }, directory)
    }

    fn country(geography: &mut Geography, address: &str) -> Arc<str> {
        geography.location(address.parse().unwrap()).country
    }

    #[test]
    fn the_packaged_file_knows_countries() {
        let place = tempfile::tempdir().unwrap();
        let (mut geography, problems) = start(Path::new(COUNTRIES), place.path());
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
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0, "the copy has no name");
    }

    #[test]
    fn a_file_that_is_replaced_is_read_again_and_a_damaged_one_is_told() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("country.mmdb");
        let (mut geography, problems) = start(&file, place.path());
        assert!(problems.len() == 1 && problems[0].contains("No such file"), "{problems:?}");
        assert_eq!(geography.read(), [""; 0], "said once");
        assert_eq!(&*country(&mut geography, "193.0.6.139"), "");
        fs::copy(COUNTRIES, &file).unwrap();
        assert_eq!(geography.read(), [""; 0]);
        assert_eq!(&*country(&mut geography, "193.0.6.139"), "NL");
        // Cut in place: what was read before goes on to count.
        File::options().write(true).open(&file).unwrap().set_len(100_000).unwrap();
        assert_eq!(geography.read().len(), 1);
        assert_eq!(&*country(&mut geography, "133.11.0.1"), "JP");
        assert_eq!(geography.read(), [""; 0], "said once");
        fs::remove_file(&file).unwrap();
        assert_eq!(geography.read().len(), 1);
        assert_eq!(geography.read(), [""; 0], "said once");
        assert_eq!(&*country(&mut geography, "8.8.8.8"), "US");
    }

    #[test]
    fn publishers_differ() {
        let entry = |json: &str| serde_json::from_str::<Entry>(json).unwrap();
        for json in [
            r#"{"country": {"iso_code": "DE", "geoname_id": 1, "names": {"en": "Germany"}}}"#,
            r#"{"country_code": "de"}"#,
            r#"{"country": "DE", "country_name": "Germany"}"#,
            r#"{"registered_country": {"iso_code": "DE"}}"#,
            r#"{"country": {"iso_code": "Germany"}, "country_code": "DE"}"#,
        ] {
            assert_eq!(entry(json).country().as_deref(), Some("DE"), "{json}");
        }
        for json in [
            r#"{"autonomous_system_number": 15169, "autonomous_system_organization": "Google LLC"}"#,
            r#"{"asn": "AS15169", "as_name": "Google LLC", "as_domain": "google.com"}"#,
            r#"{"asn": 15169, "as_name": "Google LLC"}"#,
        ] {
            assert_eq!(entry(json).network(), Some((15169, "Google LLC".to_owned())), "{json}");
        }
        assert_eq!(entry("{}").country(), None);
        assert_eq!(entry(r#"{"asn": "-"}"#).network(), None);
    }
}
