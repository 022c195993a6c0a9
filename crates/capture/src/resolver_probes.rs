//! The programs that hear what processes ask their C library: attached to every C library that is in use.

use std::{
    collections::HashMap,
    os::fd::{AsRawFd, BorrowedFd},
};

use libbpf_rs::{Link, UprobeOpts, skel::Skel};
use serde::{Deserialize, Serialize};

use super::{Capture, CaptureError};

/// C libraries that are listened to at a time: one for each distribution that containers come from.
const MAX_LIBRARIES: usize = 64;

/// Functions of one that are listened to: each may come in two versions.
const MAX_FUNCTIONS: usize = 6;

/// A function of a C library that tells the addresses of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ResolverFunction {
    /// getaddrinfo(3)
    GetAddrInfo,
    /// gethostbyname_r(3)
    GetHostByName,
    /// gethostbyname2_r(3)
    GetHostByName2,
}

impl ResolverFunction {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::GetAddrInfo, Self::GetHostByName, Self::GetHostByName2];

    /// Its symbol.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::GetAddrInfo => "getaddrinfo",
            Self::GetHostByName => "gethostbyname_r",
            Self::GetHostByName2 => "gethostbyname2_r",
        }
    }

    /// The programs at its beginning and at its end.
    fn programs(self) -> [&'static str; 2] {
        match self {
            Self::GetAddrInfo => ["getaddrinfo_entry", "getaddrinfo_return"],
            Self::GetHostByName => ["gethostbyname_r_entry", "gethostbyname_return"],
            Self::GetHostByName2 => ["gethostbyname2_r_entry", "gethostbyname_return"],
        }
    }
}

/// What is attached to each library, and whether it is one of the host's.
#[derive(Default)]
pub(super) struct ResolverProbes {
    links: HashMap<u64, (bool, Vec<Link>)>,
}

impl Capture {
    /// Whether this kernel lets questions to C libraries be heard.
    pub fn can_probe_resolvers(&self) -> bool {
        !self.blind_spots().iter().any(|spot| spot.hook.starts_with("ask"))
    }

    /// Hears what any process asks the C library that `library` is open on: its functions lie at these offsets (bytes
    /// from the beginning of the file). Of too many libraries, the one with the smallest `number` is given up, of the host's
    /// (`is_ours`) only when there are no others.
    ///
    /// # Errors
    /// When the kernel refuses: the file lies on a file system that cannot be listened to, or an offset is no instruction.
    /// What could be attached before stays.
    pub fn attach_resolver_probes(
        &mut self,
        (number, is_ours): (u64, bool),
        library: BorrowedFd<'_>,
        offsets: &[(ResolverFunction, u64)],
    ) -> Result<(), CaptureError> {
        let path = format!("/proc/self/fd/{}", library.as_raw_fd());
        let mut links = Vec::new();
        let mut refused = None;
        for (function, offset) in offsets.iter().take(MAX_FUNCTIONS) {
            for (at, name) in function.programs().into_iter().enumerate() {
                match self.attach_to(&path, name, *offset, at == 1) {
                    Ok(link) => links.push(link),
                    Err(error) => {
                        let what = format!("{} cannot be listened to", function.symbol());
                        refused = Some(CaptureError::bpf(what)(error));
                    }
                }
            }
        }
        let libraries = &mut self.resolver_probes.links;
        libraries.insert(number, (is_ours, links));
        if libraries.len() > MAX_LIBRARIES {
            let oldest = libraries.iter().map(|(number, (is_ours, _))| (*is_ours, *number)).min();
            oldest.and_then(|(_, number)| libraries.remove(&number));
        }
        refused.map_or(Ok(()), Err)
    }

    pub(super) fn attach_to(
        &self,
        path: &str,
        program: &str,
        offset: u64,
        at_end: bool,
    ) -> libbpf_rs::Result<Link> {
        let program = self.skeleton.object().progs_mut().find(|known| known.name() == program);
        let program = program.ok_or_else(|| libbpf_rs::Error::from_raw_os_error(libc::ENOENT))?;
        let options = UprobeOpts { retprobe: at_end, ..UprobeOpts::default() };
        program.attach_uprobe_with_opts(-1, path, usize::try_from(offset).unwrap_or(usize::MAX), options)
    }
}
