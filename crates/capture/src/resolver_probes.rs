//! Probes of the resolver functions in C libraries, attached to each library that is in use.

use std::{
    collections::HashMap,
    os::fd::{AsRawFd, BorrowedFd},
};

use libbpf_rs::{Link, UprobeOpts};
use serde::{Deserialize, Serialize};

use crate::{abi::skeleton::PicosnitchSkel, error::CaptureError, hook_id::HookId, load::find_program};

/// Libraries that are probed at a time: one for each distribution that containers come from.
const MAX_LIBRARIES: usize = 64;

/// Functions of one library that are probed: each may come in two versions.
const MAX_FUNCTIONS: usize = 6;

/// A function of a C library that resolves a name to addresses.
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
    /// Every resolver function that is probed.
    pub const ALL: [Self; 3] = [Self::GetAddrInfo, Self::GetHostByName, Self::GetHostByName2];

    /// Returns the function's symbol in the library.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::GetAddrInfo => "getaddrinfo",
            Self::GetHostByName => "gethostbyname_r",
            Self::GetHostByName2 => "gethostbyname2_r",
        }
    }

    /// The hooks at its entry and at its return.
    pub(crate) fn hooks(self) -> [HookId; 2] {
        match self {
            Self::GetAddrInfo => [HookId::GetaddrinfoEntry, HookId::GetaddrinfoReturn],
            Self::GetHostByName => [HookId::GethostbynameREntry, HookId::GethostbynameReturn],
            Self::GetHostByName2 => [HookId::Gethostbyname2REntry, HookId::GethostbynameReturn],
        }
    }
}

/// A C library to probe.
#[derive(Clone, Copy, Debug)]
pub struct CLibrary<'fd> {
    /// Number of the library, in the order in which libraries were found in use.
    pub number: u64,
    /// Whether it belongs to the host, not to a container. The host's libraries are given up last.
    pub is_ours: bool,
    /// A descriptor of its file.
    pub file: BorrowedFd<'fd>,
}

/// The probes of one library.
struct LibraryProbes {
    is_ours: bool,
    /// Keep the probes attached.
    _links: Vec<Link>,
}

/// The probes of all libraries, by the number of the library.
#[derive(Default)]
pub(crate) struct ResolverProbes {
    libraries: HashMap<u64, LibraryProbes>,
}

impl ResolverProbes {
    /// Attaches the probes to a library. Of more than [`MAX_LIBRARIES`], the one with the smallest number is detached; one
    /// of the host only when there are no others.
    ///
    /// # Errors
    /// The last error of the kernel; the probes that could be attached stay.
    pub(crate) fn attach(
        &mut self,
        skeleton: &PicosnitchSkel<'_>,
        library: CLibrary<'_>,
        offsets: &[(ResolverFunction, u64)],
    ) -> Result<(), CaptureError> {
        let path = format!("/proc/self/fd/{}", library.file.as_raw_fd());
        let mut links = Vec::new();
        let mut refused = None;
        for (function, offset) in offsets.iter().take(MAX_FUNCTIONS) {
            let [entry, exit] = function.hooks();
            let probes = [Probe { hook: entry, is_return: false }, Probe { hook: exit, is_return: true }];
            for probe in probes {
                match probe.attach(skeleton, &path, *offset) {
                    Ok(link) => links.push(link),
                    Err(error) => {
                        let what = format!("{} cannot be probed", function.symbol());
                        refused = Some(CaptureError::bpf(what)(error));
                    }
                }
            }
        }
        self.libraries.insert(library.number, LibraryProbes { is_ours: library.is_ours, _links: links });
        if self.libraries.len() > MAX_LIBRARIES {
            let oldest = self.libraries.iter().map(|(number, probes)| (probes.is_ours, *number)).min();
            oldest.and_then(|(_, number)| self.libraries.remove(&number));
        }
        refused.map_or(Ok(()), Err)
    }
}

/// One program at the entry or at the return of a function in user space.
pub(crate) struct Probe {
    pub hook: HookId,
    pub is_return: bool,
}

impl Probe {
    /// Attaches the program to the function at `offset` in the file, in all processes.
    pub(crate) fn attach(
        &self,
        skeleton: &PicosnitchSkel<'_>,
        path: &str,
        offset: u64,
    ) -> libbpf_rs::Result<Link> {
        let options = UprobeOpts { retprobe: self.is_return, ..UprobeOpts::default() };
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        find_program(skeleton, self.hook)?.attach_uprobe_with_opts(-1, path, offset, options)
    }
}
