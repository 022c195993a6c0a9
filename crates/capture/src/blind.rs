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
pub(super) enum Means {
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
    Call,
    /// Functions of C libraries (`uprobe`), attached when one is found in use.
    Library,
}

/// When a hook is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    Always,
    /// Only with the tracepoints that tell lengths (6.3 and later).
    LengthTracepoints,
    /// Only without them.
    NoLengthTracepoints,
    /// Only where `datagram_consumed` cannot be attached.
    NoDatagramConsumed,
    /// Only without cgroup programs.
    NoCgroup,
    /// Only where tracepoints can be preempted.
    Seconds,
    /// Loaded, but attached only when a raw or ping socket, or one that hides its peers, is there.
    Packets,
}

/// One BPF program.
#[derive(Debug)]
pub(super) struct Hook {
    pub program: &'static str,
    pub means: Means,
    pub when: When,
    /// Nothing can be recorded without it.
    pub essential: bool,
    /// Its absence from the kernel is no loss: the kernel then lacks the path that it watches.
    pub only_where_present: bool,
    pub unseen: &'static str,
}

const fn hook(program: &'static str, means: Means, when: When, unseen: &'static str) -> Hook {
    Hook { program, means, when, essential: false, only_where_present: false, unseen }
}

const fn essential(program: &'static str, means: Means, when: When, unseen: &'static str) -> Hook {
    Hook { essential: true, ..hook(program, means, when, unseen) }
}

const fn where_present(
    program: &'static str,
    function: &'static str,
    when: When,
    unseen: &'static str,
) -> Hook {
    Hook { only_where_present: true, ..hook(program, Means::Function(function), when, unseen) }
}

const PEER_OF_SEND: &str = "the peers of unconnected UDP sockets that send (their bytes are counted)";
const PEER_OF_RECEIVE: &str = "the peers of unconnected UDP sockets that receive (their bytes are counted)";
const PEER_OF_RAW: &str = "the peers of raw and ping sockets (their bytes are counted)";
const SECOND: &str = "what happens while a hook on the same CPU is interrupted (it is counted and reported)";
const FIRST_OF_RAW: &str = "the peers of what the first raw or ping socket after the start sends at once, before the hooks on \
                            packets are attached (its bytes are counted)";
pub(super) const ASKED: &str =
    "the names that processes ask their C library for (answers of name servers are still seen)";
const EARLY_FAILURE: &str = "TCP connects that fail before the first packet (no route, no permission)";

/// All hooks. Before the tracepoints of 6.3 the functions of `struct proto_ops` are watched.
pub(super) const HOOKS: &[Hook] = &[
    essential(
        "process_executed",
        Means::Tracepoint("sched_process_exec"),
        When::Always,
        "programs that start",
    ),
    essential(
        "process_forked",
        Means::Tracepoint("sched_process_fork"),
        When::Always,
        "processes that are made",
    ),
    essential("process_exited", Means::Tracepoint("sched_process_exit"), When::Always, "processes that end"),
    hook(
        "process_renamed",
        Means::Tracepoint("task_rename"),
        When::Always,
        "processes that change their name",
    ),
    hook(
        "cgroup_made",
        Means::Tracepoint("cgroup_mkdir"),
        When::Always,
        "paths of cgroups made after the start",
    ),
    hook(
        "cgroup_renamed",
        Means::Tracepoint("cgroup_rename"),
        When::Always,
        "new paths of cgroups that are renamed",
    ),
    essential("sent_length", Means::Tracepoint("sock_send_length"), When::LengthTracepoints, "bytes sent"),
    essential(
        "received_length",
        Means::Tracepoint("sock_recv_length"),
        When::LengthTracepoints,
        "bytes received",
    ),
    essential("sent_inet", Means::Function("inet_sendmsg"), When::NoLengthTracepoints, "bytes sent"),
    essential(
        "sent_inet6",
        Means::Function("inet6_sendmsg"),
        When::NoLengthTracepoints,
        "bytes sent over IPv6",
    ),
    essential("received_inet", Means::Function("inet_recvmsg"), When::NoLengthTracepoints, "bytes received"),
    essential(
        "received_inet6",
        Means::Function("inet6_recvmsg"),
        When::NoLengthTracepoints,
        "bytes received, IPv6",
    ),
    hook(
        "received_common",
        Means::Function("sock_common_recvmsg"),
        When::NoLengthTracepoints,
        "bytes received by raw IPv6 sockets",
    ),
    hook(
        "sent_packet",
        Means::Function("packet_sendmsg"),
        When::NoLengthTracepoints,
        "bytes sent over AF_PACKET",
    ),
    hook(
        "sent_packet_spkt",
        Means::Function("packet_sendmsg_spkt"),
        When::NoLengthTracepoints,
        "bytes sent over AF_PACKET sockets of type SOCK_PACKET",
    ),
    hook(
        "received_packet",
        Means::Function("packet_recvmsg"),
        When::NoLengthTracepoints,
        "bytes received over AF_PACKET",
    ),
    where_present(
        "sent_page",
        "inet_sendpage",
        When::NoLengthTracepoints,
        "bytes sent with sendfile and splice",
    ),
    hook(
        "received_splice",
        Means::Function("tcp_splice_read"),
        When::Always,
        "when bytes are taken from TCP with splice (they are counted at each write of the log and at the close)",
    ),
    hook(
        "received_zero_copy",
        Means::Function("tcp_zerocopy_receive"),
        When::Always,
        "when bytes are taken with TCP_ZEROCOPY_RECEIVE (they are counted at each write of the log and at the close)",
    ),
    where_present(
        "received_splice_mptcp",
        "mptcp_splice_read",
        When::Always,
        "bytes taken from MPTCP with splice",
    ),
    hook(
        "datagram_consumed",
        Means::Function("skb_consume_udp"),
        When::Always,
        "which of several peers an unconnected UDP socket hears when its program does not ask for the address (the \
         last one heard is taken)",
    ),
    hook("sending_to4", Means::Cgroup, When::LengthTracepoints, PEER_OF_SEND),
    hook("sending_to6", Means::Cgroup, When::LengthTracepoints, PEER_OF_SEND),
    hook("received_from4", Means::Cgroup, When::NoDatagramConsumed, PEER_OF_RECEIVE),
    hook("received_from6", Means::Cgroup, When::NoDatagramConsumed, PEER_OF_RECEIVE),
    hook("socket_made", Means::Cgroup, When::Always, PEER_OF_RAW),
    hook("packet_leaves", Means::Cgroup, When::Packets, PEER_OF_RAW),
    hook("packet_comes", Means::Cgroup, When::Packets, PEER_OF_RAW),
    hook("connecting4", Means::Cgroup, When::Always, EARLY_FAILURE),
    hook("connecting6", Means::Cgroup, When::Always, EARLY_FAILURE),
    hook("state_changed", Means::Tracepoint("inet_sock_set_state"), When::NoCgroup, "TCP connects"),
    hook("socket_released", Means::Cgroup, When::Always, "the moment at which sockets close"),
    hook(
        "inet_released",
        Means::Function("inet_release"),
        When::NoCgroup,
        "the moment at which sockets close",
    ),
    hook(
        "packet_released",
        Means::Function("packet_release"),
        When::Always,
        "the moment at which AF_PACKET sockets close (they are forgotten when idle)",
    ),
    hook(
        "ring_set",
        Means::Function("packet_set_ring"),
        When::Always,
        "AF_PACKET receive rings that live shorter than a window (others are found and reported)",
    ),
    hook("process_executed_2", Means::Tracepoint("sched_process_exec"), When::Seconds, SECOND),
    hook("process_forked_2", Means::Tracepoint("sched_process_fork"), When::Seconds, SECOND),
    hook("process_exited_2", Means::Tracepoint("sched_process_exit"), When::Seconds, SECOND),
    hook("process_renamed_2", Means::Tracepoint("task_rename"), When::Seconds, SECOND),
    hook("sending_raw4", Means::Function("raw_sendmsg"), When::LengthTracepoints, FIRST_OF_RAW),
    hook("sending_raw6", Means::Function("rawv6_sendmsg"), When::LengthTracepoints, FIRST_OF_RAW),
    hook("sending_ping4", Means::Function("ping_v4_sendmsg"), When::LengthTracepoints, FIRST_OF_RAW),
    hook("sending_ping6", Means::Function("ping_v6_sendmsg"), When::LengthTracepoints, FIRST_OF_RAW),
    hook("sent_length_2", Means::Tracepoint("sock_send_length"), When::Seconds, SECOND),
    hook("received_length_2", Means::Tracepoint("sock_recv_length"), When::Seconds, SECOND),
    hook("sent_length_3", Means::ClassicTracepoint("sock_send_length"), When::Seconds, SECOND),
    hook("received_length_3", Means::ClassicTracepoint("sock_recv_length"), When::Seconds, SECOND),
    hook("asks_getaddrinfo", Means::Library, When::Always, ASKED),
    hook("asked_getaddrinfo", Means::Library, When::Always, ASKED),
    hook("asks_gethostbyname", Means::Library, When::Always, ASKED),
    hook("asks_gethostbyname2", Means::Library, When::Always, ASKED),
    hook("asked_gethostbyname", Means::Library, When::Always, ASKED),
    hook("describe_descriptor", Means::Call, When::Always, "the SHA-256 of executables"),
    hook("existing_processes", Means::Iterator, When::Always, "processes that started before picosnitch"),
    hook("existing_sockets", Means::Iterator, When::Always, "sockets that were opened before picosnitch"),
];

impl Hook {
    /// Whether it is a tracing program, which the kernel does not let interrupt itself.
    pub(super) fn is_traced(&self) -> bool {
        matches!(self.means, Means::Tracepoint(_) | Means::Function(_))
    }

    /// Whether this kernel needs the hook, given what it has.
    pub(super) fn is_wanted(&self, features: &Features) -> bool {
        let lengths = features.has_length_tracepoints();
        match self.when {
            When::Always | When::Packets => true,
            When::LengthTracepoints => lengths,
            When::NoLengthTracepoints => !lengths,
            When::NoDatagramConsumed => lengths && !features.has_datagram_consumed(),
            When::Seconds => features.preemptible_tracepoints,
            When::NoCgroup => features.cgroup.is_none(),
        }
    }

    /// Why the hook cannot be attached; `Ok` when it may be tried.
    pub(super) fn is_possible(&self, features: &Features) -> Result<(), String> {
        match self.means {
            Means::Tracepoint(name) | Means::ClassicTracepoint(name) if !features.has_tracepoint(name) => {
                Err(format!("this kernel has no tracepoint {name}"))
            }
            Means::Function(name) if !features.has_function(name) => Err(format!("this kernel has no function {name}")),
            Means::Function(_) if !features.ftrace => {
                Err("this kernel cannot attach programs to its functions (it needs CONFIG_DYNAMIC_FTRACE)".into())
            }
            Means::Library if !cfg!(target_arch = "x86_64") => Err("only known on x86-64".into()),
            Means::Cgroup if features.cgroup.is_none() => Err("no version 2 cgroup hierarchy is mounted here (`mount \
                                                               -t cgroup2 none /sys/fs/cgroup/unified` makes one)"
                .into()),
            _ => Ok(()),
        }
    }
}
