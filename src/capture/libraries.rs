//! The programs that hear what processes ask their C library: attached to every C library that is in use.

use std::{
    collections::HashMap,
    os::fd::{AsRawFd, BorrowedFd},
};

use libbpf_rs::{Link, UprobeOpts, skel::Skel};
use serde::{Deserialize, Serialize};

use super::{Capture, CaptureError};

/// C libraries that are listened to at a time: one for each distribution that containers come from.
const MOST_LIBRARIES: usize = 64;

/// A function of a C library that tells the addresses of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Function {
    /// getaddrinfo(3)
    GetAddrInfo,
    /// gethostbyname_r(3)
    GetHostByName,
    /// gethostbyname2_r(3)
    GetHostByName2,
}

impl Function {
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
            Self::GetAddrInfo => ["asks_getaddrinfo", "asked_getaddrinfo"],
            Self::GetHostByName => ["asks_gethostbyname", "asked_gethostbyname"],
            Self::GetHostByName2 => ["asks_gethostbyname2", "asked_gethostbyname"],
        }
    }
}

/// What is attached to each library, and when (a number that grows).
#[derive(Default)]
pub(super) struct Libraries {
    links: HashMap<u64, Vec<Link>>,
}

impl Capture {
    /// Whether this kernel lets questions to C libraries be heard.
    pub fn can_hear_libraries(&self) -> bool {
        !self.blind_spots().iter().any(|spot| spot.hook.starts_with("ask"))
    }

    /// Hears what any process asks the C library that `library` is open on: its functions lie at these offsets (bytes
    /// from the beginning of the file). Of too many libraries, the one with the smallest `number` is given up.
    ///
    /// # Errors
    /// When the kernel refuses: the file lies on a file system that cannot be listened to, or an offset is no instruction.
    pub fn hear_library(
        &mut self,
        number: u64,
        library: BorrowedFd<'_>,
        offsets: &[(Function, u64)],
    ) -> Result<(), CaptureError> {
        let path = format!("/proc/self/fd/{}", library.as_raw_fd());
        let mut links = Vec::new();
        for (function, offset) in offsets {
            for (at, name) in function.programs().into_iter().enumerate() {
                let failed = || CaptureError::bpf(format!("{} cannot be listened to", function.symbol()));
                let program = self.skeleton.object().progs_mut().find(|program| program.name() == name);
                let program =
                    program.ok_or_else(|| failed()(libbpf_rs::Error::from_raw_os_error(libc::ENOENT)))?;
                let options = UprobeOpts { retprobe: at == 1, ..UprobeOpts::default() };
                let link = program
                    .attach_uprobe_with_opts(
                        -1,
                        &path,
                        usize::try_from(*offset).unwrap_or(usize::MAX),
                        options,
                    )
                    .map_err(failed())?;
                links.push(link);
            }
        }
        let libraries = &mut self.libraries.links;
        libraries.insert(number, links);
        if libraries.len() > MOST_LIBRARIES
            && let Some(oldest) = libraries.keys().min().copied()
        {
            libraries.remove(&oldest);
        }
        Ok(())
    }
}
