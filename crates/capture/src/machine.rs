//! What the kernel half needs of the machine around it, checked before anything starts, so that a container, a namespace or a
//! bare chroot gets a sentence instead of an error number.

use std::{fs, io, path::Path};

use nix::sys::statfs::statfs;

use crate::error::CaptureError;

/// The `uid_map` of the initial user namespace: every id is itself.
const INITIAL_UID_MAP: [&str; 3] = ["0", "0", "4294967295"];
/// `BPF_PROG_GET_NEXT_ID` of bpf(2), the smallest command that needs the same rights as loading.
const BPF_PROG_GET_NEXT_ID: libc::c_int = 11;

/// Capabilities by number (capabilities(7)).
const CAP_SETGID: u32 = 6;
const CAP_SETUID: u32 = 7;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// Checks the mounts, the user namespace, the capabilities and the lockdown that picosnitch was started in.
///
/// # Errors
/// A sentence that says what is missing, and what to do.
pub fn check_machine() -> Result<(), CaptureError> {
    let refuse = |why: String| Err(CaptureError::Machine(why));
    if !is_mounted("/proc", libc::PROC_SUPER_MAGIC) {
        return refuse(
            "/proc is not mounted, and without it no program can be identified: run `mount -t proc proc /proc` first".into(),
        );
    }
    if read("/proc/self/uid_map").is_some_and(|map| !is_initial_namespace(&map)) {
        return refuse(
            "picosnitch was started in a user namespace (a rootless container, `unshare -U`), whose root has no rights over \
             the machine: start it outside, as root of the machine"
                .into(),
        );
    }
    if let Some(missing) = read("/proc/self/status").and_then(|status| missing_capabilities(&status)) {
        return refuse(format!(
            "root lacks {missing} here, as in a container without privileges: start picosnitch outside of the container, or \
             the container with all rights (`docker run --privileged --pid=host --network=host`)"
        ));
    }
    if !is_mounted("/sys", libc::SYSFS_MAGIC) {
        return refuse(
            "/sys is not mounted, and the description of the kernel (BTF) is there: run `mount -t sysfs sysfs /sys` first"
                .into(),
        );
    }
    if read("/sys/kernel/security/lockdown").is_some_and(|state| state.contains("[confidentiality]")) {
        return refuse(
            "the kernel is locked down (confidentiality), which forbids BPF programs to read its memory, so nothing can be \
             recorded: boot with lockdown=integrity, or without lockdown"
                .into(),
        );
    }
    check_bpf()
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

fn is_mounted(path: &str, magic: libc::c_long) -> bool {
    statfs(Path::new(path)).is_ok_and(|found| found.filesystem_type().0 == magic)
}

fn is_initial_namespace(uid_map: &str) -> bool {
    uid_map.split_ascii_whitespace().eq(INITIAL_UID_MAP)
}

/// The names of the capabilities that a process lacks, from its status file (proc_pid_status(5)); `None` if it has all.
fn missing_capabilities(status: &str) -> Option<String> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    let effective = u64::from_str_radix(line.trim(), 16).ok()?;
    let has = |number: u32| effective & (1 << number) != 0;
    let mut missing = Vec::new();
    let may_load = has(CAP_SYS_ADMIN) || (has(CAP_BPF) && has(CAP_PERFMON));
    if !may_load {
        missing.push("CAP_SYS_ADMIN");
    }
    for (number, name) in [(CAP_SETUID, "CAP_SETUID"), (CAP_SETGID, "CAP_SETGID")] {
        if !has(number) {
            missing.push(name);
        }
    }
    (!missing.is_empty()).then(|| missing.join(", "))
}

/// Checks that bpf(2) exists and may be called at all.
fn check_bpf() -> Result<(), CaptureError> {
    // `start_id`, `next_id` and `open_flags` of union bpf_attr.
    let mut attributes = [0_u32; 3];
    // SAFETY: the kernel reads and writes as many bytes as it is told.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_PROG_GET_NEXT_ID, attributes.as_mut_ptr(), size_of_val(&attributes))
    };
    let error = io::Error::last_os_error();
    match (result, error.raw_os_error()) {
        (-1, Some(libc::ENOSYS)) => Err(CaptureError::Machine(
            "this kernel has no BPF (CONFIG_BPF_SYSCALL), or a seccomp filter hides it: nothing can be recorded".into(),
        )),
        (-1, Some(libc::EPERM | libc::EACCES)) => Err(CaptureError::Machine(
            "the system call bpf(2) is forbidden here, by a seccomp filter or a security module: start picosnitch outside \
             of the container, or the container with `--security-opt seccomp=unconfined`"
                .into(),
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_initial_user_namespace_maps_every_id_to_itself() {
        assert!(is_initial_namespace("         0          0 4294967295\n"));
        for map in ["", "0 1000 1\n", "0 100000 65536\n", "0 0 65536\n", "0 0 4294967295\n1 1 1\n"] {
            assert!(!is_initial_namespace(map), "{map}");
        }
    }

    #[test]
    fn missing_capabilities_are_named() {
        let missing = |effective: &str| missing_capabilities(&format!("Name:\tx\nCapEff:\t{effective}\n"));
        assert_eq!(missing("000001ffffffffff"), None);
        assert_eq!(missing("000000c0000000c0"), None, "CAP_BPF and CAP_PERFMON");
        // Docker's default set.
        assert_eq!(missing("00000000a80425fb").as_deref(), Some("CAP_SYS_ADMIN"));
        assert_eq!(missing("0000000000000000").as_deref(), Some("CAP_SYS_ADMIN, CAP_SETUID, CAP_SETGID"));
        assert_eq!(missing_capabilities("no status"), None);
    }

    #[test]
    fn this_machine_has_proc() {
        assert!(is_mounted("/proc", libc::PROC_SUPER_MAGIC));
        assert!(!is_mounted("/proc", libc::SYSFS_MAGIC));
        assert!(!is_mounted("/no/such/place", libc::PROC_SUPER_MAGIC));
    }
}
