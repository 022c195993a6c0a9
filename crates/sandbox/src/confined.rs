//! The last step of the roles that learn from their first message which files they need.

use std::{
    env, io,
    path::{Path, PathBuf},
};

use crate::{
    file_access::{FileAccess, directories_of},
    system_calls::{self, Process},
    web_server::require_one_thread,
};

/// The zones of time, in which the lines of the logs are written.
const ZONES: [&str; 4] =
    ["/usr/share/zoneinfo", "/usr/lib/zoneinfo", "/usr/share/lib/zoneinfo", "/etc/localtime"];
/// SQLite asks it for random numbers.
const RANDOM: &str = "/dev/urandom";
/// What the resolver of the C library reads, and where distributions keep the certificates of authorities. The files in /etc are
/// replaced when the machine changes its network, so that the rule is of their directory; its secrets have modes of their own.
pub(crate) const RESOLVER: [&str; 6] = [
    "/etc",
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/run/NetworkManager",
    "/usr/share/ca-certificates",
    "/usr/share/pki",
];
pub(crate) const DNS_PORT: u16 = 53;

/// The files of the recorder.
#[derive(Clone, Copy, Debug)]
pub struct RecorderFiles<'a> {
    /// The files that it writes; others are made beside them.
    pub written: &'a [&'a Path],
    /// The files that it reads, which may be replaced.
    pub read: &'a [&'a Path],
}

impl RecorderFiles<'_> {
    /// Gives up all files but these, and all system calls that the recorder does not make. Must be called by the only thread,
    /// after [`enter`](crate::enter) and before data of strangers is read.
    ///
    /// # Errors
    /// The errors of the calls; `Other` if there is another thread. The caller must not go on then.
    pub fn confine(&self) -> io::Result<()> {
        require_one_thread()?;
        let there = ZONES.iter().chain([&RANDOM]).map(PathBuf::from).filter(|path| path.exists());
        let mut readable: Vec<PathBuf> = there.collect();
        readable.extend(zone_file());
        readable.extend(self.read.iter().flat_map(|file| directories_of(file)));
        let writable = self.written.iter().flat_map(|file| directories_of(file)).collect();
        FileAccess { readable, writable, ports: Vec::new() }.restrict()?;
        system_calls::restrict(Process::Recorder)
    }
}

/// The file that the variable TZ names, if it is no name of a zone (tzset(3)).
fn zone_file() -> Option<PathBuf> {
    let zone = env::var_os("TZ")?.into_string().ok()?;
    Some(PathBuf::from(zone.trim_start_matches(':'))).filter(|path| path.is_absolute())
}

/// What the exporter may use.
#[derive(Clone, Copy, Debug)]
pub struct ExporterAccess<'a> {
    /// The ports of the servers that it asks, or to which it sends the log.
    pub ports: &'a [u16],
    /// The log, if it reads it; it may be replaced, and has files beside it.
    pub log: Option<&'a Path>,
}

impl ExporterAccess<'_> {
    /// Gives up all files but those of the resolver and the certificates of authorities, and the directory of the log if it reads it, all
    /// ports of other machines but these and that of name servers, and all system calls that the exporter does not make. Must be called by the only thread, after
    /// [`enter`](crate::enter) and before it connects to anything.
    ///
    /// # Errors
    /// The errors of the calls; `Other` if there is another thread. The caller must not go on then.
    pub fn confine(&self) -> io::Result<()> {
        require_one_thread()?;
        let there = ZONES.iter().chain(&RESOLVER).chain([&RANDOM]).map(PathBuf::from);
        let mut readable: Vec<PathBuf> = there.filter(|path| path.exists()).collect();
        readable.extend(self.log.into_iter().flat_map(directories_of));
        let ports = [DNS_PORT].into_iter().chain(self.ports.iter().copied()).collect();
        FileAccess { readable, writable: Vec::new(), ports }.restrict()?;
        system_calls::restrict(Process::Exporter)
    }
}
