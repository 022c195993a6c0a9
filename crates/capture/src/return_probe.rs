//! Whether probes at the end of functions do no harm. From 6.11 on such a probe makes the probed program call the kernel
//! (`uretprobe`, arch/x86/entry/syscalls/syscall_64.tbl), and kernels that do not let that pass the filters of seccomp(2)
//! kill each sandboxed program that asks its C library for a name. So one of our own is tried first.

use std::{
    fs, io,
    process::{Command, Stdio},
};

use super::{BlindSpot, Capture};

/// The hidden role of the program that is tried.
pub const ROLE: &str = "return-probe";
/// The hook that cannot be used if it dies.
const HOOK: &str = "getaddrinfo_return";

/// What is probed.
#[inline(never)]
extern "C" fn probed() -> i32 {
    std::hint::black_box(0)
}

/// Runs the role: forbids itself all but to end, returns from a probed function, and ends with 0 if that went well.
pub fn run() -> std::process::ExitCode {
    // include/uapi/linux/filter.h, seccomp.h: loads the number of the call, lets exit_group(2) pass, kills for all else.
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
        let forbidden = libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0;
        libc::_exit(if forbidden { probed() } else { 1 })
    }
}

impl Capture {
    /// Tries it; if the program dies, C libraries are not listened to, and that is a blind spot.
    pub fn try_return_probes(&mut self) {
        if !self.can_probe_resolvers() {
            return;
        }
        let why = match self.is_harmless() {
            Ok(true) => return,
            Ok(false) => "this kernel kills sandboxed programs at the end of a function that is listened to (mended in Linux \
                          6.14 and in later versions of 6.12 and 6.13)"
                .to_owned(),
            Err(error) => format!("it cannot be tried whether that is harmless: {error}"),
        };
        self.add_blind_spot(BlindSpot { hook: HOOK, unseen: super::hooks::RESOLVER_NAMES, why });
    }

    fn is_harmless(&self) -> io::Result<bool> {
        let offset = offset_in_file(probed as *const () as u64)?;
        let _link = self.attach_to("/proc/self/exe", HOOK, offset, true).map_err(io::Error::other)?;
        let status = Command::new("/proc/self/exe")
            .args(["role", ROLE])
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        Ok(status.success())
    }
}

/// Where in its file the code at an address of this process lies.
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
