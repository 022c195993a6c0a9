//! The names of the hooks: one id for each BPF program of the object.

/// Defines [`HookId`] and the only table of program names.
macro_rules! hook_ids {
    ($($id:ident => $program:literal,)*) => {
        /// Identifies a hook, which is one BPF program of the object.
        #[allow(missing_docs, reason = "the variants are the names of the programs")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum HookId {
            $($id,)*
        }

        impl HookId {
            #[cfg(test)]
            pub(crate) const ALL: &[Self] = &[$(Self::$id,)*];

            /// Returns the name of the BPF program in the object.
            pub fn program(self) -> &'static str {
                match self {
                    $(Self::$id => $program,)*
                }
            }
        }
    };
}

hook_ids! {
    // Processes and cgroups.
    SchedProcessExec => "sched_process_exec",
    SchedProcessFork => "sched_process_fork",
    SchedProcessExit => "sched_process_exit",
    TaskRename => "task_rename",
    CgroupMkdir => "cgroup_mkdir",
    CgroupRename => "cgroup_rename",
    // Bytes.
    SockSendLength => "sock_send_length",
    SockRecvLength => "sock_recv_length",
    InetSendmsg => "inet_sendmsg",
    Inet6Sendmsg => "inet6_sendmsg",
    InetRecvmsg => "inet_recvmsg",
    Inet6Recvmsg => "inet6_recvmsg",
    SockCommonRecvmsg => "sock_common_recvmsg",
    PacketSendmsg => "packet_sendmsg",
    PacketSendmsgSpkt => "packet_sendmsg_spkt",
    PacketRecvmsg => "packet_recvmsg",
    InetSendpage => "inet_sendpage",
    TcpSpliceRead => "tcp_splice_read",
    TcpZerocopyReceive => "tcp_zerocopy_receive",
    MptcpSpliceRead => "mptcp_splice_read",
    // Peers of datagrams.
    SkbConsumeUdp => "skb_consume_udp",
    Sendmsg4 => "sendmsg4",
    Sendmsg6 => "sendmsg6",
    Recvmsg4 => "recvmsg4",
    Recvmsg6 => "recvmsg6",
    RawSendmsg => "raw_sendmsg",
    Rawv6Sendmsg => "rawv6_sendmsg",
    PingV4Sendmsg => "ping_v4_sendmsg",
    PingV6Sendmsg => "ping_v6_sendmsg",
    SockCreate => "sock_create",
    CgroupEgress => "cgroup_egress",
    CgroupIngress => "cgroup_ingress",
    // Connections.
    Connect4 => "connect4",
    Connect6 => "connect6",
    InetSockSetState => "inet_sock_set_state",
    SockRelease => "sock_release",
    InetRelease => "inet_release",
    PacketRelease => "packet_release",
    PacketSetRing => "packet_set_ring",
    // Backups.
    SchedProcessExecBackup => "sched_process_exec_backup",
    SchedProcessForkBackup => "sched_process_fork_backup",
    SchedProcessExitBackup => "sched_process_exit_backup",
    TaskRenameBackup => "task_rename_backup",
    SockSendLengthBackup => "sock_send_length_backup",
    SockRecvLengthBackup => "sock_recv_length_backup",
    SockSendLengthClassicBackup => "sock_send_length_classic_backup",
    SockRecvLengthClassicBackup => "sock_recv_length_classic_backup",
    // Resolver functions of C libraries.
    GetaddrinfoEntry => "getaddrinfo_entry",
    GetaddrinfoReturn => "getaddrinfo_return",
    GethostbynameREntry => "gethostbyname_r_entry",
    Gethostbyname2REntry => "gethostbyname2_r_entry",
    GethostbynameReturn => "gethostbyname_return",
    // Run or read on demand.
    IdentifyFd => "identify_fd",
    IterTask => "iter_task",
    IterTaskFile => "iter_task_file",
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use std::{collections::BTreeSet, mem::MaybeUninit};

    use libbpf_rs::skel::{OpenSkel, SkelBuilder};

    use super::*;
    use crate::abi::skeleton::PicosnitchSkelBuilder;

    #[test]
    fn every_program_of_the_object_has_an_id() {
        let mut object = MaybeUninit::uninit();
        let open = PicosnitchSkelBuilder::default().open(&mut object).unwrap();
        let programs: BTreeSet<String> =
            open.open_object().progs().map(|program| program.name().to_string_lossy().into_owned()).collect();
        let ids: BTreeSet<String> = HookId::ALL.iter().map(|id| id.program().to_owned()).collect();
        assert_eq!(programs, ids);
        assert_eq!(ids.len(), HookId::ALL.len(), "two ids share a program");
    }
}
