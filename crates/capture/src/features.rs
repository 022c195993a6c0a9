//! Features of the running kernel, found in its BTF and by trying, never by its version number.

use std::{
    ffi::OsString,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

use libbpf_rs::btf::{
    Btf,
    types::{Func, Typedef},
};

use crate::error::CaptureError;
use model::Mount;

/// Features of the running kernel.
#[derive(Clone, Debug, Default)]
pub struct Features {
    /// The wanted functions that the kernel has.
    functions: Vec<&'static str>,
    /// The wanted tracepoints that the kernel has, with types.
    tracepoints: Vec<&'static str>,
    /// The helper `bpf_get_current_task_btf` exists (5.11 and later).
    pub(crate) current_task_btf: bool,
    /// The kfuncs `bpf_cast_to_kern_ctx` and `bpf_rdonly_cast` exist (6.2 and later).
    pub(crate) casts: bool,
    /// The kfunc `bpf_preempt_disable` exists (6.10 and later).
    pub(crate) preempt_disable: bool,
    /// The helper `bpf_task_pt_regs` exists (5.15 and later).
    pub(crate) task_registers: bool,
    /// Another task can preempt a program on a tracepoint.
    pub(crate) preemptible_tracepoints: bool,
    /// Programs can be attached to kernel functions (fentry, fexit).
    pub ftrace: bool,
    /// Mount point of the version 2 cgroup hierarchy.
    pub cgroup: Option<PathBuf>,
}

impl Features {
    /// Looks up names in the kernel's BTF. [`Features::ftrace`] stays false: only attaching a program shows it.
    ///
    /// # Errors
    /// [`CaptureError::NoBtf`] for a kernel without type information.
    pub(crate) fn probe(
        functions: impl Iterator<Item = &'static str>,
        tracepoints: impl Iterator<Item = &'static str>,
    ) -> Result<Self, CaptureError> {
        if !Path::new("/sys/kernel/btf/vmlinux").exists() {
            return Err(CaptureError::NoBtf);
        }
        let btf = Btf::from_vmlinux().map_err(|_| CaptureError::NoBtf)?;
        // One pass over each kind of type: each look-up by name would be a pass of its own.
        let mut features = Self { cgroup: cgroup2_root(), ..Self::default() };
        let (wanted_functions, wanted_tracepoints): (Vec<_>, Vec<_>) =
            (functions.collect(), tracepoints.collect());
        for function in btf.type_by_kind::<Func<'_>>() {
            let Some(name) = function.name().and_then(|name| name.to_str()) else { continue };
            match name {
                "bpf_get_current_task_btf" => features.current_task_btf = true,
                "bpf_cast_to_kern_ctx" => features.casts = true,
                "bpf_task_pt_regs" => features.task_registers = true,
                "bpf_preempt_disable" => features.preempt_disable = true,
                // This function came with the flavour of SRCU that protects the programs of tracepoints since then.
                "init_srcu_struct_fast" => features.preemptible_tracepoints = true,
                _ => {}
            }
            features.functions.extend(wanted_functions.iter().filter(|wanted| **wanted == name));
        }
        for tracepoint in btf.type_by_kind::<Typedef<'_>>() {
            let name = tracepoint
                .name()
                .and_then(|name| name.to_str())
                .and_then(|name| name.strip_prefix("btf_trace_"));
            let Some(name) = name else { continue };
            features.tracepoints.extend(wanted_tracepoints.iter().filter(|wanted| **wanted == name));
        }
        Ok(features)
    }

    /// Whether the kernel has this function. It has to be one of the wanted ones.
    pub(crate) fn has_function(&self, name: &str) -> bool {
        self.functions.contains(&name)
    }

    /// Whether the tracepoints `sock_send_length` and `sock_recv_length` exist (6.3 and later).
    pub fn has_length_tracepoints(&self) -> bool {
        self.has_tracepoint("sock_send_length") && self.has_tracepoint("sock_recv_length")
    }

    /// Whether `skb_consume_udp` can be hooked, which sees each datagram that is received.
    pub(crate) fn has_skb_consume_udp(&self) -> bool {
        self.ftrace && self.has_function("skb_consume_udp")
    }

    /// Whether the kernel has this tracepoint. It has to be one of the wanted ones.
    pub(crate) fn has_tracepoint(&self, name: &str) -> bool {
        self.tracepoints.contains(&name)
    }
}

/// Finds the mount point of the version 2 cgroup hierarchy, which on a hybrid system is not /sys/fs/cgroup.
fn cgroup2_root() -> Option<PathBuf> {
    cgroup2_mount(&std::fs::read("/proc/self/mountinfo").ok()?)
}

/// Returns the mount point of the first `cgroup2` in a mountinfo file that shows the whole tree.
fn cgroup2_mount(mountinfo: &[u8]) -> Option<PathBuf> {
    let mount = Mount::parse_all(mountinfo).find(|mount| mount.kind == b"cgroup2" && mount.root == b"/")?;
    Some(PathBuf::from(OsString::from_vec(mount.point)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_of_cgroup2_is_found() {
        let hybrid = b"30 23 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
                      31 30 0:27 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n\
                      40 30 0:35 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
        assert_eq!(cgroup2_mount(hybrid), Some(PathBuf::from("/sys/fs/cgroup/unified")));
        let container = b"40 30 0:35 /user.slice /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(cgroup2_mount(container), None);
        assert_eq!(cgroup2_mount(b""), None);
    }

    #[test]
    fn a_mount_point_that_is_no_text_hides_nothing() {
        let mountinfo = b"30 23 0:50 / /home/user/\xff rw - fuse.sshfs user rw\n\
                          40 30 0:35 / /sys/fs/cgroup\\011\xff rw - cgroup2 cgroup2 rw\n";
        let point = OsString::from_vec(b"/sys/fs/cgroup\t\xff".to_vec());
        assert_eq!(cgroup2_mount(mountinfo), Some(PathBuf::from(point)));
    }
}
