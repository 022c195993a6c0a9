//! What the machine is: its kernel, namespaces and mounts.

use std::{fs, path::Path};

use super::check::{Check, Rating};

/// The inode of the initial process-id namespace (`PROC_PID_INIT_INO`, include/linux/proc_ns.h).
const INITIAL_PID_NAMESPACE: &str = "pid:[4026531836]";
/// Where the kernel describes its types.
const BTF: &str = "/sys/kernel/btf/vmlinux";
/// Address families that are not counted, by the names of their protocols in `/proc/net/protocols`.
const FAMILIES: [(&str, &[&str]); 7] = [
    ("AF_VSOCK", &["AF_VSOCK", "VSOCK"]),
    ("AF_SMC", &["SMC", "SMC6"]),
    ("AF_RXRPC", &["RXRPC"]),
    ("AF_RDS", &["RDS"]),
    ("AF_TIPC", &["TIPC"]),
    ("AF_KCM", &["KCM"]),
    ("AF_XDP", &["XDP"]),
];

/// The checks of the machine; `monitor` is the process of a daemon that runs.
pub(super) fn checks(monitor: Option<u32>) -> Vec<Check> {
    vec![kernel(), btf(), cgroup2(), pid_namespace(monitor), families()]
}

fn kernel() -> Check {
    let release = nix::sys::utsname::uname()
        .map(|name| name.release().to_string_lossy().into_owned())
        .unwrap_or_else(|_| "unknown".to_owned());
    let text = format!("Linux {release}");
    match version(&release) {
        Some(version) if version < (5, 10) => Check::new(
            "kernel",
            Rating::Fatal,
            format!("{text} is too old: 5.10 or later is needed"),
            release,
        )
        .advise("install a later kernel of your distribution"),
        _ => Check::good("kernel", text, release),
    }
}

/// Major and minor number of a release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|byte: char| !byte.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn btf() -> Check {
    match Path::new(BTF).exists() {
        true => Check::good("btf", "the kernel describes its types (BTF)", "yes"),
        false => Check::new(
            "btf",
            Rating::Fatal,
            "this kernel has no BTF, without which nothing can be recorded",
            "no",
        )
        .advise("use a kernel with CONFIG_DEBUG_INFO_BTF, as distributions have, and mount /sys"),
    }
}

fn cgroup2() -> Check {
    let mounts = fs::read("/proc/self/mountinfo").unwrap_or_default();
    match model::Mount::parse_all(&mounts).any(|mount| mount.kind == b"cgroup2") {
        true => Check::good("cgroup2", "there is a version 2 cgroup hierarchy", "yes"),
        false => Check::new(
            "cgroup2",
            Rating::Matters,
            "no version 2 cgroup hierarchy is mounted: peers of some sockets, units and containers are unknown",
            "no",
        )
        .advise("mount -t cgroup2 none /sys/fs/cgroup/unified, or boot with systemd.unified_cgroup_hierarchy=1"),
    }
}

fn pid_namespace(monitor: Option<u32>) -> Check {
    const NAME: &str = "pid_namespace";
    let process = monitor.map_or("self".to_owned(), |pid| pid.to_string());
    match fs::read_link(format!("/proc/{process}/ns/pid")) {
        Ok(found) if found.as_os_str() == INITIAL_PID_NAMESPACE => {
            Check::good(NAME, "it runs in the machine's own process-id namespace", "initial")
        }
        Ok(_) => Check::new(
            NAME,
            Rating::Matters,
            "it runs in a process-id namespace of its own: programs that ran before the start have no path",
            "other",
        )
        .advise("start it outside, or the container with --pid=host"),
        Err(_) => Check::needs_root(NAME, "in which process-id namespace it runs"),
    }
}

/// A family that a kernel has loaded, with its sockets.
#[derive(Debug, PartialEq, Eq)]
struct LoadedFamily {
    name: &'static str,
    sockets: u64,
}

/// The families of `/proc/net/protocols` (name, size, sockets, ...) that are not counted.
fn loaded_families(protocols: &str) -> Vec<LoadedFamily> {
    let mut loaded: Vec<LoadedFamily> = Vec::new();
    for line in protocols.lines().skip(1) {
        let mut columns = line.split_whitespace();
        let (Some(protocol), Some(sockets)) = (columns.next(), columns.nth(1)) else { continue };
        let Some((name, _)) = FAMILIES.iter().find(|(_, protocols)| protocols.contains(&protocol)) else {
            continue;
        };
        let sockets = sockets.parse().unwrap_or(0);
        match loaded.iter_mut().find(|family| family.name == *name) {
            Some(family) => family.sockets += sockets,
            None => loaded.push(LoadedFamily { name, sockets }),
        }
    }
    loaded
}

fn families() -> Check {
    const NAME: &str = "address_families";
    let protocols = fs::read_to_string("/proc/net/protocols").unwrap_or_default();
    let loaded = loaded_families(&protocols);
    let used: Vec<String> = loaded
        .iter()
        .filter(|family| family.sockets > 0)
        .map(|family| format!("{} ({} sockets)", family.name, family.sockets))
        .collect();
    let names: Vec<&str> = FAMILIES.iter().map(|(name, _)| *name).collect();
    let of_all = names.join(", ");
    if !used.is_empty() {
        let used = used.join(", ");
        return Check::new(
            NAME,
            Rating::Matters,
            format!("sockets of families that are not counted are in use: {used}"),
            used,
        )
        .advise("there is nothing to do about it but to know it; `ss --all` may show who uses them");
    }
    let loaded: Vec<&str> = loaded.iter().map(|family| family.name).collect();
    match loaded.is_empty() {
        true => Check::new(
            NAME,
            Rating::Informational,
            format!("traffic of {of_all} is not counted; no program of this network namespace uses it"),
            "none loaded",
        ),
        false => {
            let loaded = loaded.join(", ");
            Check::new(
                NAME,
                Rating::Minor,
                format!(
                    "traffic of {of_all} is not counted; the kernel has loaded {loaded}, without sockets now"
                ),
                loaded,
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_by_number() {
        assert_eq!(version("6.12.0-1-amd64"), Some((6, 12)));
        assert_eq!(version("5.9"), Some((5, 9)));
        assert_eq!(version("unknown"), None);
        assert!(version("5.10.0").unwrap() >= (5, 10) && version("5.9.1").unwrap() < (5, 10));
    }

    #[test]
    fn families_that_are_not_counted_are_found_with_their_sockets() {
        let protocols = "protocol  size sockets  memory press maxhdr  slab module     cl co di ac\n\
                         SMC6      1000      1      -1   NI       0   yes  smc\n\
                         SMC       1000      2      -1   NI       0   yes  smc\n\
                         AF_VSOCK  1000      0      -1   NI       0   yes  vsock\n\
                         TCP       2304      5       3   no     320   yes  kernel\n\
                         short\n";
        let loaded = loaded_families(protocols);
        let expected =
            [LoadedFamily { name: "AF_SMC", sockets: 3 }, LoadedFamily { name: "AF_VSOCK", sockets: 0 }];
        assert_eq!(loaded, expected);
        assert_eq!(loaded_families(""), []);
    }
}
