//! Capabilities (capabilities(7)), which a web server has none of.

use std::io;

/// The version of capset(2) with 64 bits (linux/capability.h).
const VERSION: u32 = 0x2008_0522;
/// More than any kernel has; it refuses the first that it does not know.
const MAX_CAPABILITIES: libc::c_ulong = 64;

#[repr(C)]
struct Header {
    version: u32,
    pid: libc::c_int,
}

/// 32 capabilities.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
struct Sets {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Gives up, with the right to do so, the capabilities that a program could get by execve(2).
pub(crate) fn limit() {
    for capability in 0..MAX_CAPABILITIES {
        // SAFETY: numbers only.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } != 0 {
            break;
        }
    }
}

/// Gives up all capabilities.
///
/// # Errors
/// See capset(2).
pub(crate) fn drop_all() -> io::Result<()> {
    let mut header = Header { version: VERSION, pid: 0 };
    let none = [Sets { effective: 0, permitted: 0, inheritable: 0 }; 2];
    let mut held = none;
    // SAFETY: both are of the layout of this version.
    let found = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, held.as_mut_ptr()) };
    // A service without capabilities may not even be allowed the call below.
    if found == 0 && held == none {
        return Ok(());
    }
    // The kernel takes out of the ambient set what is no longer permitted.
    // SAFETY: both are of the layout of this version, and are only read.
    if unsafe { libc::syscall(libc::SYS_capset, &raw const header, none.as_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
