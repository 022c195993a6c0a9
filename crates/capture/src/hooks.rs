//! The hooks: what each of them sees, what it needs, and what stays unseen without it.

use super::Features;

/// Something that is not seen on this kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlindSpot {
    /// The hook that is missing (the name of its BPF program).
    pub hook: &'static str,
    /// What is unseen, or seen less exactly, without it.
    pub unseen: &'static str,
    /// Why it is missing.
    pub why: String,
}

/// How a hook is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AttachKind {
    /// A tracepoint with types (`tp_btf`).
    Tracepoint(&'static str),
    /// A tracepoint as perf_event_open(2) attaches to it (`tp`); it needs tracefs.
    ClassicTracepoint(&'static str),
    /// Entry or exit of a kernel function (`fentry`, `fexit`).
    Function(&'static str),
    /// The root of the version 2 cgroup hierarchy.
    Cgroup,
    /// Read when asked for.
    Iterator,
    /// Run when asked for.
    TestRun,
    /// Functions of C libraries (`uprobe`), attached when one is found in use.
    Uprobe,
}

/// When a hook is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    Always,
    /// Only with the tracepoints that tell lengths (6.3 and later).
    LengthTracepoints,
    /// Only without them.
    NoLengthTracepoints,
    /// Only where `skb_consume_udp` cannot be attached.
    NoDatagramConsumed,
    /// Only without cgroup programs.
    NoCgroup,
    /// Only where tracepoints can be preempted.
    PreemptibleTracepoints,
    /// Loaded, but attached only when a raw or ping socket, or one that hides its peers, is there.
    PacketHooks,
}

/// One BPF program.
#[derive(Debug)]
pub(super) struct Hook {
    pub program: &'static str,
    pub attach: AttachKind,
    pub condition: Condition,
    /// Nothing can be recorded without it.
    pub essential: bool,
    /// Its absence from the kernel is no loss: the kernel then lacks the path that it watches.
    pub only_where_present: bool,
    pub unseen: &'static str,
}

const fn hook(program: &'static str, attach: AttachKind, condition: Condition, unseen: &'static str) -> Hook {
    Hook { program, attach, condition, essential: false, only_where_present: false, unseen }
}

const fn essential(
    program: &'static str,
    attach: AttachKind,
    condition: Condition,
    unseen: &'static str,
) -> Hook {
    Hook { essential: true, ..hook(program, attach, condition, unseen) }
}

const fn where_present(
    program: &'static str,
    function: &'static str,
    condition: Condition,
    unseen: &'static str,
) -> Hook {
    Hook { only_where_present: true, ..hook(program, AttachKind::Function(function), condition, unseen) }
}

const PEER_OF_SEND: &str = "the peers of unconnected UDP sockets that send (their bytes are counted)";
const PEER_OF_RECEIVE: &str = "the peers of unconnected UDP sockets that receive (their bytes are counted)";
const PEER_OF_RAW: &str = "the peers of raw and ping sockets (their bytes are counted)";
const SECOND: &str = "what happens while a hook on the same CPU is interrupted (it is counted and reported)";
const FIRST_OF_RAW: &str = "the peers of what the first raw or ping socket after the start sends at once, before the hooks on \
                            packets are attached (its bytes are counted)";
pub(super) const RESOLVER_NAMES: &str =
    "the names that processes ask their C library for (answers of name servers are still seen)";
const EARLY_FAILURE: &str = "TCP connects that fail before the first packet (no route, no permission)";

/// All hooks. Before the tracepoints of 6.3 the functions of `struct proto_ops` are watched.
pub(super) const HOOKS: &[Hook] = &[
    essential(
        "sched_process_exec",
        AttachKind::Tracepoint("sched_process_exec"),
        Condition::Always,
        "programs that start",
    ),
    essential(
        "sched_process_fork",
        AttachKind::Tracepoint("sched_process_fork"),
        Condition::Always,
        "processes that are made",
    ),
    essential(
        "sched_process_exit",
        AttachKind::Tracepoint("sched_process_exit"),
        Condition::Always,
        "processes that end",
    ),
    hook(
        "task_rename",
        AttachKind::Tracepoint("task_rename"),
        Condition::Always,
        "processes that change their name",
    ),
    hook(
        "cgroup_mkdir",
        AttachKind::Tracepoint("cgroup_mkdir"),
        Condition::Always,
        "paths of cgroups made after the start",
    ),
    hook(
        "cgroup_rename",
        AttachKind::Tracepoint("cgroup_rename"),
        Condition::Always,
        "new paths of cgroups that are renamed",
    ),
    essential(
        "sock_send_length",
        AttachKind::Tracepoint("sock_send_length"),
        Condition::LengthTracepoints,
        "bytes sent",
    ),
    essential(
        "sock_recv_length",
        AttachKind::Tracepoint("sock_recv_length"),
        Condition::LengthTracepoints,
        "bytes received",
    ),
    essential(
        "inet_sendmsg",
        AttachKind::Function("inet_sendmsg"),
        Condition::NoLengthTracepoints,
        "bytes sent",
    ),
    essential(
        "inet6_sendmsg",
        AttachKind::Function("inet6_sendmsg"),
        Condition::NoLengthTracepoints,
        "bytes sent over IPv6",
    ),
    essential(
        "inet_recvmsg",
        AttachKind::Function("inet_recvmsg"),
        Condition::NoLengthTracepoints,
        "bytes received",
    ),
    essential(
        "inet6_recvmsg",
        AttachKind::Function("inet6_recvmsg"),
        Condition::NoLengthTracepoints,
        "bytes received, IPv6",
    ),
    hook(
        "sock_common_recvmsg",
        AttachKind::Function("sock_common_recvmsg"),
        Condition::NoLengthTracepoints,
        "bytes received by raw IPv6 sockets",
    ),
    hook(
        "packet_sendmsg",
        AttachKind::Function("packet_sendmsg"),
        Condition::NoLengthTracepoints,
        "bytes sent over AF_PACKET",
    ),
    hook(
        "packet_sendmsg_spkt",
        AttachKind::Function("packet_sendmsg_spkt"),
        Condition::NoLengthTracepoints,
        "bytes sent over AF_PACKET sockets of type SOCK_PACKET",
    ),
    hook(
        "packet_recvmsg",
        AttachKind::Function("packet_recvmsg"),
        Condition::NoLengthTracepoints,
        "bytes received over AF_PACKET",
    ),
    where_present(
        "inet_sendpage",
        "inet_sendpage",
        Condition::NoLengthTracepoints,
        "bytes sent with sendfile and splice",
    ),
    hook(
        "tcp_splice_read",
        AttachKind::Function("tcp_splice_read"),
        Condition::Always,
        "when bytes are taken from TCP with splice (they are counted at each write of the log and at the close)",
    ),
    hook(
        "tcp_zerocopy_receive",
        AttachKind::Function("tcp_zerocopy_receive"),
        Condition::Always,
        "when bytes are taken with TCP_ZEROCOPY_RECEIVE (they are counted at each write of the log and at the close)",
    ),
    where_present(
        "mptcp_splice_read",
        "mptcp_splice_read",
        Condition::Always,
        "bytes taken from MPTCP with splice",
    ),
    hook(
        "skb_consume_udp",
        AttachKind::Function("skb_consume_udp"),
        Condition::Always,
        "which of several peers an unconnected UDP socket hears when its program does not ask for the address (the \
         last one heard is taken)",
    ),
    hook("sendmsg4", AttachKind::Cgroup, Condition::LengthTracepoints, PEER_OF_SEND),
    hook("sendmsg6", AttachKind::Cgroup, Condition::LengthTracepoints, PEER_OF_SEND),
    hook("recvmsg4", AttachKind::Cgroup, Condition::NoDatagramConsumed, PEER_OF_RECEIVE),
    hook("recvmsg6", AttachKind::Cgroup, Condition::NoDatagramConsumed, PEER_OF_RECEIVE),
    hook("sock_create", AttachKind::Cgroup, Condition::Always, PEER_OF_RAW),
    hook("cgroup_egress", AttachKind::Cgroup, Condition::PacketHooks, PEER_OF_RAW),
    hook("cgroup_ingress", AttachKind::Cgroup, Condition::PacketHooks, PEER_OF_RAW),
    hook("connect4", AttachKind::Cgroup, Condition::Always, EARLY_FAILURE),
    hook("connect6", AttachKind::Cgroup, Condition::Always, EARLY_FAILURE),
    hook(
        "inet_sock_set_state",
        AttachKind::Tracepoint("inet_sock_set_state"),
        Condition::NoCgroup,
        "TCP connects",
    ),
    hook("sock_release", AttachKind::Cgroup, Condition::Always, "the moment at which sockets close"),
    hook(
        "inet_release",
        AttachKind::Function("inet_release"),
        Condition::NoCgroup,
        "the moment at which sockets close",
    ),
    hook(
        "packet_release",
        AttachKind::Function("packet_release"),
        Condition::Always,
        "the moment at which AF_PACKET sockets close (they are forgotten when idle)",
    ),
    hook(
        "packet_set_ring",
        AttachKind::Function("packet_set_ring"),
        Condition::Always,
        "AF_PACKET receive rings that live shorter than a window (others are found and reported)",
    ),
    hook(
        "sched_process_exec_backup",
        AttachKind::Tracepoint("sched_process_exec"),
        Condition::PreemptibleTracepoints,
        SECOND,
    ),
    hook(
        "sched_process_fork_backup",
        AttachKind::Tracepoint("sched_process_fork"),
        Condition::PreemptibleTracepoints,
        SECOND,
    ),
    hook(
        "sched_process_exit_backup",
        AttachKind::Tracepoint("sched_process_exit"),
        Condition::PreemptibleTracepoints,
        SECOND,
    ),
    hook(
        "task_rename_backup",
        AttachKind::Tracepoint("task_rename"),
        Condition::PreemptibleTracepoints,
        SECOND,
    ),
    hook("raw_sendmsg", AttachKind::Function("raw_sendmsg"), Condition::LengthTracepoints, FIRST_OF_RAW),
    hook("rawv6_sendmsg", AttachKind::Function("rawv6_sendmsg"), Condition::LengthTracepoints, FIRST_OF_RAW),
    hook(
        "ping_v4_sendmsg",
        AttachKind::Function("ping_v4_sendmsg"),
        Condition::LengthTracepoints,
        FIRST_OF_RAW,
    ),
    hook(
        "ping_v6_sendmsg",
        AttachKind::Function("ping_v6_sendmsg"),
        Condition::LengthTracepoints,
        FIRST_OF_RAW,
    ),
    hook(
        "sock_send_length_backup",
        AttachKind::Tracepoint("sock_send_length"),
        Condition::PreemptibleTracepoints,
        SECOND,
    ),
    hook(
        "sock_recv_length_backup",
        AttachKind::Tracepoint("sock_recv_length"),
        Condition::PreemptibleTracepoints,
        SECOND,
    ),
    hook(
        "sock_send_length_classic_backup",
        AttachKind::ClassicTracepoint("sock_send_length"),
        Condition::PreemptibleTracepoints,
        SECOND,
    ),
    hook(
        "sock_recv_length_classic_backup",
        AttachKind::ClassicTracepoint("sock_recv_length"),
        Condition::PreemptibleTracepoints,
        SECOND,
    ),
    hook("getaddrinfo_entry", AttachKind::Uprobe, Condition::Always, RESOLVER_NAMES),
    hook("getaddrinfo_return", AttachKind::Uprobe, Condition::Always, RESOLVER_NAMES),
    hook("gethostbyname_r_entry", AttachKind::Uprobe, Condition::Always, RESOLVER_NAMES),
    hook("gethostbyname2_r_entry", AttachKind::Uprobe, Condition::Always, RESOLVER_NAMES),
    hook("gethostbyname_return", AttachKind::Uprobe, Condition::Always, RESOLVER_NAMES),
    hook("identify_fd", AttachKind::TestRun, Condition::Always, "the SHA-256 of executables"),
    hook("iter_task", AttachKind::Iterator, Condition::Always, "processes that started before picosnitch"),
    hook(
        "iter_task_file",
        AttachKind::Iterator,
        Condition::Always,
        "sockets that were opened before picosnitch",
    ),
];

impl Hook {
    /// Whether it is a tracing program, which the kernel does not let interrupt itself.
    pub(super) fn is_traced(&self) -> bool {
        matches!(self.attach, AttachKind::Tracepoint(_) | AttachKind::Function(_))
    }

    /// Whether this kernel needs the hook, given what it has.
    pub(super) fn is_wanted(&self, features: &Features) -> bool {
        let lengths = features.has_length_tracepoints();
        match self.condition {
            Condition::Always | Condition::PacketHooks => true,
            Condition::LengthTracepoints => lengths,
            Condition::NoLengthTracepoints => !lengths,
            Condition::NoDatagramConsumed => lengths && !features.has_datagram_consumed(),
            Condition::PreemptibleTracepoints => features.preemptible_tracepoints,
            Condition::NoCgroup => features.cgroup.is_none(),
        }
    }

    /// Why the hook cannot be attached; `Ok` when it may be tried.
    pub(super) fn is_possible(&self, features: &Features) -> Result<(), String> {
        match self.attach {
            AttachKind::Tracepoint(name) | AttachKind::ClassicTracepoint(name) if !features.has_tracepoint(name) => {
                Err(format!("this kernel has no tracepoint {name}"))
            }
            AttachKind::Function(name) if !features.has_function(name) => Err(format!("this kernel has no function {name}")),
            AttachKind::Function(_) if !features.ftrace => {
                Err("this kernel cannot attach programs to its functions (it needs CONFIG_DYNAMIC_FTRACE)".into())
            }
            AttachKind::Uprobe if !cfg!(target_arch = "x86_64") => Err("only known on x86-64".into()),
            AttachKind::Cgroup if features.cgroup.is_none() => Err("no version 2 cgroup hierarchy is mounted here (`mount \
                                                               -t cgroup2 none /sys/fs/cgroup/unified` makes one)"
                .into()),
            _ => Ok(()),
        }
    }
}
