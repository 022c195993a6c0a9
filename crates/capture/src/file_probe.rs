//! Which file a descriptor is, in the kernel's own numbers: comparable with what the hook on `execve` saw.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd},
    sync::{Mutex, PoisonError},
};

use super::abi::{self, types};
use model::FileIdentity;

/// Asks the kernel half about descriptors of this process.
pub struct FileProbe {
    program: Option<OwnedFd>,
    /// The map in which the program leaves its answer: one question at a time.
    answers: Mutex<OwnedFd>,
}

/// What was found out about a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FdInfo {
    /// Which file it is.
    pub file: FileIdentity,
    /// Magic number of its file system (include/uapi/linux/magic.h).
    pub magic: u64,
    /// Names that the file has; 0 when it was deleted.
    pub links: u32,
}

impl FileProbe {
    pub(super) fn new(program: Option<OwnedFd>, answers: OwnedFd) -> Self {
        Self { program, answers: Mutex::new(answers) }
    }

    /// Which file `descriptor` is. Nothing of the file is read, so this does not wait for its file system.
    ///
    /// # Errors
    /// When the kernel has refused the program, or the descriptor is not open.
    pub fn identify(&self, descriptor: BorrowedFd<'_>) -> io::Result<FdInfo> {
        let program = self.program.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
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
        let mut answer = [0_u8; size_of::<types::fd_info>()];
        let zero = 0_u32;
        // SAFETY: the map's key is four bytes and its value as long as `answer`.
        let result = unsafe {
            libbpf_sys::bpf_map_lookup_elem(
                answers.as_raw_fd(),
                (&raw const zero).cast(),
                answer.as_mut_ptr().cast(),
            )
        };
        if result < 0 {
            return Err(io::Error::from_raw_os_error(-result));
        }
        let answer: types::fd_info = abi::read(&answer).ok_or(io::ErrorKind::InvalidData)?;
        if answer.found == 0 {
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        }
        Ok(FdInfo { file: answer.file.into(), magic: answer.magic, links: answer.links })
    }
}
