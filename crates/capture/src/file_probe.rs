//! Identifying the file of a descriptor by its inode, as the hook on `execve` identifies executables.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd},
    sync::{Mutex, PoisonError},
};

use model::FileIdentity;

use crate::abi::{self, types};

/// Identifies the files of descriptors of this process, through a BPF program.
pub struct FileProbe {
    program: Option<OwnedFd>,
    /// The map with the result of the program, for one caller at a time.
    result: Mutex<OwnedFd>,
}

/// The file of a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FdInfo {
    /// Identity and state of the file.
    pub file: FileIdentity,
    /// Magic number of its file system (include/uapi/linux/magic.h).
    pub magic: u64,
    /// Number of names that the file has; 0 when it was deleted.
    pub links: u32,
}

impl FileProbe {
    pub(crate) fn new(program: Option<OwnedFd>, result: OwnedFd) -> Self {
        Self { program, result: Mutex::new(result) }
    }

    /// Identifies the file of `descriptor`. It reads only the inode in memory, so it does not wait for the file system.
    ///
    /// # Errors
    /// When the kernel has refused the program, or the descriptor is not open.
    pub fn identify(&self, descriptor: BorrowedFd<'_>) -> io::Result<FdInfo> {
        let program = self.program.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        let map = self.result.lock().unwrap_or_else(PoisonError::into_inner);
        let arguments = [descriptor.as_raw_fd() as u64];
        let mut options = libbpf_sys::bpf_test_run_opts {
            sz: size_of::<libbpf_sys::bpf_test_run_opts>() as _,
            ctx_in: arguments.as_ptr().cast(),
            ctx_size_in: size_of_val(&arguments) as u32,
            ..Default::default()
        };
        // SAFETY: the options and what they point to live through the call; it writes to nothing else.
        let result = unsafe { libbpf_sys::bpf_prog_test_run_opts(program.as_raw_fd(), &mut options) };
        if result < 0 {
            return Err(io::Error::from_raw_os_error(-result));
        }
        let mut info = [0_u8; size_of::<types::fd_info>()];
        let zero = 0_u32;
        // SAFETY: the map's key is four bytes and its value as long as `info`.
        let result = unsafe {
            libbpf_sys::bpf_map_lookup_elem(
                map.as_raw_fd(),
                (&raw const zero).cast(),
                info.as_mut_ptr().cast(),
            )
        };
        if result < 0 {
            return Err(io::Error::from_raw_os_error(-result));
        }
        let info: types::fd_info = abi::read(&info).ok_or(io::ErrorKind::InvalidData)?;
        if info.found == 0 {
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        }
        Ok(FdInfo { file: info.file.into(), magic: info.magic, links: info.links })
    }
}
