//! Checks that return probes are harmless. Since 6.11 a return probe makes the probed program call the kernel (`uretprobe`,
//! arch/x86/entry/syscalls/syscall_64.tbl). Kernels that do not let this call pass the filters of seccomp(2) kill each
//! sandboxed program that calls a resolver function. So picosnitch probes a sandboxed process of its own first.

use std::{
    fs, io,
    process::{Command, Stdio},
};

use crate::{abi::skeleton::PicosnitchSkel, hook_id::HookId, resolver_probes::Probe};

/// The hidden role of the probed process.
pub const ROLE: &str = "return-probe";

/// The return probe that is tried: the others are attached in the same way.
pub(crate) const TRIED_HOOK: HookId = HookId::GetaddrinfoReturn;

/// The function that is probed.
#[inline(never)]
extern "C" fn probed() -> i32 {
    std::hint::black_box(0)
}

/// Runs the role: forbids every system call but exit_group(2), returns from a probed function, and exits with 0 if both
/// succeed.
pub fn run() -> std::process::ExitCode {
    // include/uapi/linux/filter.h, seccomp.h: load the number of the call, allow exit_group(2), kill for any other.
    let filter = [
        libc::sock_filter { code: 0x20, jt: 0, jf: 0, k: 0 },
        libc::sock_filter { code: 0x15, jt: 0, jf: 1, k: libc::SYS_exit_group as u32 },
        libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW },
        libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: libc::SECCOMP_RET_KILL_PROCESS },
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
    // SAFETY: the filter outlives the call, which copies it; the others take numbers only.
    unsafe {
        libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0);
        let is_sandboxed = libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0;
        libc::_exit(if is_sandboxed { probed() } else { 1 })
    }
}

/// Runs the role with a return probe attached. Returns a sentence that says why resolver functions cannot be probed, if they
/// cannot.
pub(crate) fn check(skeleton: &PicosnitchSkel<'_>) -> Result<(), String> {
    match survives(skeleton) {
        Ok(true) => Ok(()),
        Ok(false) => Err(
            "this kernel kills sandboxed programs when a probed function returns (fixed in Linux 6.14 and \
                 in later versions of 6.12 and 6.13)"
                .to_owned(),
        ),
        Err(error) => Err(format!("it cannot be tried whether return probes are harmless: {error}")),
    }
}

fn survives(skeleton: &PicosnitchSkel<'_>) -> io::Result<bool> {
    let offset = offset_in_file(probed as *const () as u64)?;
    let probe = Probe { hook: TRIED_HOOK, is_return: true };
    let _link = probe.attach(skeleton, "/proc/self/exe", offset).map_err(io::Error::other)?;
    let status = Command::new("/proc/self/exe")
        .args(["role", ROLE])
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    Ok(status.success())
}

/// Returns the offset in its file of the code at an address of this process.
fn offset_in_file(address: u64) -> io::Result<u64> {
    let maps = fs::read_to_string("/proc/self/maps")?;
    let find = |line: &str| {
        let mut fields = line.split(' ');
        let (begin, end) = fields.next()?.split_once('-')?;
        let number = |text: &str| u64::from_str_radix(text, 16).ok();
        let offset = number(fields.nth(1)?)?;
        (number(begin)?..number(end)?).contains(&address).then_some(address - number(begin)? + offset)
    };
    maps.lines().find_map(find).ok_or(io::ErrorKind::NotFound.into())
}
