//! One hook: where it attaches, on which kernels it is needed, and what stays unseen without it.

use AttachKind::{Cgroup, ClassicTracepoint, Function, Iterator, TestRun, Tracepoint, Uprobe};
use Condition::{
    Always, LengthTracepoints, NoCgroup, NoLengthTracepoints, NoSkbConsumeUdp, PacketHooks,
    PreemptibleTracepoints,
};

use crate::{features::Features, hook_id::HookId};

/// Something that is not seen on this kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlindSpot {
    /// The hook that is missing.
    pub hook: HookId,
    /// Describes what is unseen, or seen less exactly, without it; a noun phrase for people.
    pub unseen: &'static str,
    /// Says why the hook is missing.
    pub why: String,
}

/// How a hook is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AttachKind {
    /// Attached to a tracepoint with types (`tp_btf`).
    Tracepoint(&'static str),
    /// Attached to a tracepoint through perf_event_open(2) (`tp`), which needs tracefs.
    ClassicTracepoint(&'static str),
    /// Attached to the entry or exit of a kernel function (`fentry`, `fexit`).
    Function(&'static str),
    /// Attached to the root of the version 2 cgroup hierarchy.
    Cgroup,
    /// Not attached: an iterator is read on demand.
    Iterator,
    /// Not attached: the program is run on demand with `BPF_PROG_TEST_RUN`.
    TestRun,
    /// Attached to functions of C libraries (`uprobe`), when a process is found to use one.
    Uprobe,
}

/// On which kernels a hook is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    Always,
    /// Where the tracepoints that report lengths exist (6.3 and later).
    LengthTracepoints,
    /// Where they do not exist.
    NoLengthTracepoints,
    /// Where the tracepoints that report lengths exist, and `skb_consume_udp` cannot be hooked.
    NoSkbConsumeUdp,
    /// Where no version 2 cgroup hierarchy is mounted.
    NoCgroup,
    /// Where tracepoints can be preempted, so that their programs need backups.
    PreemptibleTracepoints,
    /// Loaded always, but attached only when a raw or ping socket, or one that hides its peers, shows up.
    PacketHooks,
}

/// One BPF program and what it needs.
#[derive(Debug)]
pub(crate) struct Hook {
    pub id: HookId,
    pub attach: AttachKind,
    pub condition: Condition,
    /// Nothing can be recorded without it.
    pub essential: bool,
    /// Without the kernel function there is no blind spot: the kernel lacks the path that the hook would see.
    pub only_where_present: bool,
    /// Becomes [`BlindSpot::unseen`] when the hook is missing.
    pub unseen: &'static str,
}

impl Hook {
    /// Whether it is a tracing program, which the kernel skips while it is already running on the CPU.
    pub(crate) fn is_traced(&self) -> bool {
        matches!(self.attach, Tracepoint(_) | Function(_))
    }

    /// Whether it is loaded, but attached later or never.
    pub(crate) fn is_on_demand(&self) -> bool {
        matches!(self.attach, Iterator | TestRun | Uprobe) || self.condition == PacketHooks
    }

    /// Whether this kernel needs the hook, given its features.
    pub(crate) fn is_wanted(&self, features: &Features) -> bool {
        let lengths = features.has_length_tracepoints();
        match self.condition {
            Always | PacketHooks => true,
            LengthTracepoints => lengths,
            NoLengthTracepoints => !lengths,
            NoSkbConsumeUdp => lengths && !features.has_skb_consume_udp(),
            PreemptibleTracepoints => features.preemptible_tracepoints,
            NoCgroup => features.cgroup.is_none(),
        }
    }

    /// Returns `Ok` when attaching may be tried, else a sentence that says why it cannot succeed.
    pub(crate) fn check(&self, features: &Features) -> Result<(), String> {
        match self.attach {
            Tracepoint(name) | ClassicTracepoint(name) if !features.has_tracepoint(name) => {
                Err(format!("this kernel has no tracepoint {name}"))
            }
            Function(name) if !features.has_function(name) => {
                Err(format!("this kernel has no function {name}"))
            }
            Function(_) if !features.ftrace => {
                Err("this kernel cannot attach programs to its functions (it needs CONFIG_DYNAMIC_FTRACE)"
                    .into())
            }
            Uprobe if !cfg!(target_arch = "x86_64") => Err("only known on x86-64".into()),
            Cgroup if features.cgroup.is_none() => {
                Err("no version 2 cgroup hierarchy is mounted here (`mount -t cgroup2 none \
                     /sys/fs/cgroup/unified` makes one)"
                    .into())
            }
            _ => Ok(()),
        }
    }
}
