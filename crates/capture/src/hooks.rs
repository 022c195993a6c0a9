//! The list of hooks.

use crate::{
    hook::{
        AttachKind::{self, Cgroup, ClassicTracepoint, Function, Iterator, TestRun, Tracepoint, Uprobe},
        Condition::{
            self, Always, LengthTracepoints, NoCgroup, NoLengthTracepoints, NoSkbConsumeUdp, PacketHooks,
            PreemptibleTracepoints,
        },
        Hook,
    },
    hook_id::HookId,
};

const fn hook(id: HookId, attach: AttachKind, condition: Condition, unseen: &'static str) -> Hook {
    Hook { id, attach, condition, essential: false, only_where_present: false, unseen }
}

const fn essential(id: HookId, attach: AttachKind, condition: Condition, unseen: &'static str) -> Hook {
    Hook { essential: true, ..hook(id, attach, condition, unseen) }
}

const fn where_present(
    id: HookId,
    function: &'static str,
    condition: Condition,
    unseen: &'static str,
) -> Hook {
    Hook { only_where_present: true, ..hook(id, Function(function), condition, unseen) }
}

const PEER_OF_SEND: &str = "the peers of unconnected UDP sockets that send (their bytes are counted)";
const PEER_OF_RECEIVE: &str = "the peers of unconnected UDP sockets that receive (their bytes are counted)";
const PEER_OF_RAW: &str = "the peers of raw and ping sockets (their bytes are counted)";
const SKIPPED: &str = "what happens while a hook on the same CPU is interrupted (it is counted and reported)";
const FIRST_OF_RAW: &str = "the peers of what the first raw or ping socket after the start sends at once, before the hooks on \
                            packets are attached (its bytes are counted)";
pub(crate) const RESOLVER_NAMES: &str =
    "the names that processes ask their C library for (answers of name servers are still seen)";
const EARLY_FAILURE: &str = "TCP connects that fail before the first packet (no route, no permission)";

/// All hooks, in the order in which they are attached: a backup after its primary program. Before the length tracepoints
/// of 6.3, the functions of `struct proto_ops` are hooked.
pub(crate) const HOOKS: &[Hook] = &[
    essential(HookId::SchedProcessExec, Tracepoint("sched_process_exec"), Always, "programs that start"),
    essential(HookId::SchedProcessFork, Tracepoint("sched_process_fork"), Always, "processes that are made"),
    essential(HookId::SchedProcessExit, Tracepoint("sched_process_exit"), Always, "processes that end"),
    hook(HookId::TaskRename, Tracepoint("task_rename"), Always, "processes that change their name"),
    hook(HookId::CgroupMkdir, Tracepoint("cgroup_mkdir"), Always, "paths of cgroups made after the start"),
    hook(HookId::CgroupRename, Tracepoint("cgroup_rename"), Always, "new paths of cgroups that are renamed"),
    essential(HookId::SockSendLength, Tracepoint("sock_send_length"), LengthTracepoints, "bytes sent"),
    essential(HookId::SockRecvLength, Tracepoint("sock_recv_length"), LengthTracepoints, "bytes received"),
    essential(HookId::InetSendmsg, Function("inet_sendmsg"), NoLengthTracepoints, "bytes sent"),
    essential(HookId::Inet6Sendmsg, Function("inet6_sendmsg"), NoLengthTracepoints, "bytes sent over IPv6"),
    essential(HookId::InetRecvmsg, Function("inet_recvmsg"), NoLengthTracepoints, "bytes received"),
    essential(HookId::Inet6Recvmsg, Function("inet6_recvmsg"), NoLengthTracepoints, "bytes received, IPv6"),
    hook(
        HookId::SockCommonRecvmsg,
        Function("sock_common_recvmsg"),
        NoLengthTracepoints,
        "bytes received by raw IPv6 sockets",
    ),
    hook(HookId::PacketSendmsg, Function("packet_sendmsg"), NoLengthTracepoints, "bytes sent over AF_PACKET"),
    hook(
        HookId::PacketSendmsgSpkt,
        Function("packet_sendmsg_spkt"),
        NoLengthTracepoints,
        "bytes sent over AF_PACKET sockets of type SOCK_PACKET",
    ),
    hook(
        HookId::PacketRecvmsg,
        Function("packet_recvmsg"),
        NoLengthTracepoints,
        "bytes received over AF_PACKET",
    ),
    where_present(
        HookId::InetSendpage,
        "inet_sendpage",
        NoLengthTracepoints,
        "bytes sent with sendfile and splice",
    ),
    hook(
        HookId::TcpSpliceRead,
        Function("tcp_splice_read"),
        Always,
        "when bytes are taken from TCP with splice (they are counted at each write of the log and at the close)",
    ),
    hook(
        HookId::TcpZerocopyReceive,
        Function("tcp_zerocopy_receive"),
        Always,
        "when bytes are taken with TCP_ZEROCOPY_RECEIVE (they are counted at each write of the log and at the close)",
    ),
    where_present(HookId::MptcpSpliceRead, "mptcp_splice_read", Always, "bytes taken from MPTCP with splice"),
    hook(
        HookId::SkbConsumeUdp,
        Function("skb_consume_udp"),
        Always,
        "which of several peers an unconnected UDP socket receives from when its program does not ask for the address \
         (the last one is taken)",
    ),
    hook(HookId::Sendmsg4, Cgroup, LengthTracepoints, PEER_OF_SEND),
    hook(HookId::Sendmsg6, Cgroup, LengthTracepoints, PEER_OF_SEND),
    hook(HookId::Recvmsg4, Cgroup, NoSkbConsumeUdp, PEER_OF_RECEIVE),
    hook(HookId::Recvmsg6, Cgroup, NoSkbConsumeUdp, PEER_OF_RECEIVE),
    hook(HookId::SockCreate, Cgroup, Always, PEER_OF_RAW),
    hook(HookId::CgroupEgress, Cgroup, PacketHooks, PEER_OF_RAW),
    hook(HookId::CgroupIngress, Cgroup, PacketHooks, PEER_OF_RAW),
    hook(HookId::Connect4, Cgroup, Always, EARLY_FAILURE),
    hook(HookId::Connect6, Cgroup, Always, EARLY_FAILURE),
    hook(HookId::InetSockSetState, Tracepoint("inet_sock_set_state"), NoCgroup, "TCP connects"),
    hook(HookId::SockRelease, Cgroup, Always, "the moment at which sockets close"),
    hook(HookId::InetRelease, Function("inet_release"), NoCgroup, "the moment at which sockets close"),
    hook(
        HookId::PacketRelease,
        Function("packet_release"),
        Always,
        "the moment at which AF_PACKET sockets close (they are forgotten when idle)",
    ),
    hook(
        HookId::PacketSetRing,
        Function("packet_set_ring"),
        Always,
        "AF_PACKET receive rings that live shorter than a window (others are found and reported)",
    ),
    hook(HookId::SchedProcessExecBackup, Tracepoint("sched_process_exec"), PreemptibleTracepoints, SKIPPED),
    hook(HookId::SchedProcessForkBackup, Tracepoint("sched_process_fork"), PreemptibleTracepoints, SKIPPED),
    hook(HookId::SchedProcessExitBackup, Tracepoint("sched_process_exit"), PreemptibleTracepoints, SKIPPED),
    hook(HookId::TaskRenameBackup, Tracepoint("task_rename"), PreemptibleTracepoints, SKIPPED),
    hook(HookId::RawSendmsg, Function("raw_sendmsg"), LengthTracepoints, FIRST_OF_RAW),
    hook(HookId::Rawv6Sendmsg, Function("rawv6_sendmsg"), LengthTracepoints, FIRST_OF_RAW),
    hook(HookId::PingV4Sendmsg, Function("ping_v4_sendmsg"), LengthTracepoints, FIRST_OF_RAW),
    hook(HookId::PingV6Sendmsg, Function("ping_v6_sendmsg"), LengthTracepoints, FIRST_OF_RAW),
    hook(HookId::SockSendLengthBackup, Tracepoint("sock_send_length"), PreemptibleTracepoints, SKIPPED),
    hook(HookId::SockRecvLengthBackup, Tracepoint("sock_recv_length"), PreemptibleTracepoints, SKIPPED),
    hook(
        HookId::SockSendLengthClassicBackup,
        ClassicTracepoint("sock_send_length"),
        PreemptibleTracepoints,
        SKIPPED,
    ),
    hook(
        HookId::SockRecvLengthClassicBackup,
        ClassicTracepoint("sock_recv_length"),
        PreemptibleTracepoints,
        SKIPPED,
    ),
    hook(HookId::GetaddrinfoEntry, Uprobe, Always, RESOLVER_NAMES),
    hook(HookId::GetaddrinfoReturn, Uprobe, Always, RESOLVER_NAMES),
    hook(HookId::GethostbynameREntry, Uprobe, Always, RESOLVER_NAMES),
    hook(HookId::Gethostbyname2REntry, Uprobe, Always, RESOLVER_NAMES),
    hook(HookId::GethostbynameReturn, Uprobe, Always, RESOLVER_NAMES),
    hook(HookId::IdentifyFd, TestRun, Always, "the SHA-256 of executables"),
    hook(HookId::IterTask, Iterator, Always, "processes that started before picosnitch"),
    hook(HookId::IterTaskFile, Iterator, Always, "sockets that were opened before picosnitch"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_has_one_hook() {
        for id in HookId::ALL {
            assert_eq!(HOOKS.iter().filter(|hook| hook.id == *id).count(), 1, "{id:?}");
        }
    }
}
