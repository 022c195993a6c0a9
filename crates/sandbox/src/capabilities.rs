//! Capabilities (capabilities(7)): the monitor keeps some, and no other process has any.

use std::io;

/// The version of capset(2) with 64 bits (linux/capability.h).
const VERSION: u32 = 0x2008_0522;
/// More than any kernel has; it refuses the first that it does not know.
const MAX_CAPABILITIES: u32 = 64;
/// Bits of one of the two words of a set.
const WORD_BITS: u32 = 32;

#[repr(C)]
struct Header {
    version: u32,
    pid: libc::c_int,
}

/// 32 capabilities.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Sets {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Gives up, with the right to do so, the capabilities that a program could get by execve(2). Makes system calls only.
pub(crate) fn limit() {
    limit_to(&[]);
}

/// What a role may have until it has become its user: CAP_SETGID, CAP_SETUID, CAP_SETPCAP.
pub(crate) const OF_ROLE_START: [u32; 3] = [6, 7, 8];

/// The same but for these.
pub(crate) fn limit_to(kept: &[u32]) {
    for capability in (0..MAX_CAPABILITIES).filter(|capability| !kept.contains(capability)) {
        // SAFETY: numbers only.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(capability), 0, 0, 0) } != 0 {
            break;
        }
    }
}

/// Gives up all capabilities. Makes system calls only.
///
/// # Errors
/// See capset(2).
pub(crate) fn drop_all() -> io::Result<()> {
    // A service without capabilities may not even be allowed to set them.
    if get()? == [Sets::default(); 2] { Ok(()) } else { set([Sets::default(); 2]) }
}

/// Gives up all capabilities but these, for this thread and the programs that it executes. Those that it does not have it does
/// not get.
///
/// # Errors
/// See capget(2) and capset(2).
pub(crate) fn keep(kept: &[u32]) -> io::Result<()> {
    limit_to(kept);
    let mut words = [0_u32; 2];
    for capability in kept {
        if let Some(word) = words.get_mut((capability / WORD_BITS) as usize) {
            *word |= 1 << (capability % WORD_BITS);
        }
    }
    let mut held = get()?;
    for (sets, word) in held.iter_mut().zip(words) {
        sets.permitted &= word;
        sets.effective &= word;
        sets.inheritable = 0;
    }
    set(held)
}

fn get() -> io::Result<[Sets; 2]> {
    let mut header = Header { version: VERSION, pid: 0 };
    let mut held = [Sets::default(); 2];
    // SAFETY: both are of the layout of this version.
    if unsafe { libc::syscall(libc::SYS_capget, &raw mut header, held.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(held)
}

/// Sets the three sets. The kernel takes out of the ambient set what is no longer permitted and inheritable.
fn set(sets: [Sets; 2]) -> io::Result<()> {
    let header = Header { version: VERSION, pid: 0 };
    // SAFETY: both are of the layout of this version, and are only read.
    if unsafe { libc::syscall(libc::SYS_capset, &raw const header, sets.as_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
