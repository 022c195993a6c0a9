/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Iterators over existing processes and open sockets, in all namespaces. */
#ifndef PICOSNITCH_ITERATORS_H
#define PICOSNITCH_ITERATORS_H

#include "connection.h"

SEC("iter/task")
int iter_task(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct process_event *event;
	__u32 user = SCRATCH_ITERATOR;

	if (!task || BPF_CORE_READ(task, pid) != BPF_CORE_READ(task, tgid))
		return 0;
	event = bpf_map_lookup_elem(&scratch, &user);
	if (!event)
		return 0;
	disable_preemption();
	event->kind = EVENT_EXISTING_PROCESS;
	describe_process(event, task, BPF_CORE_READ(task, mm, exe_file));
	bpf_seq_write(ctx->meta->seq, event, event_bytes(event));
	enable_preemption();
	return 0;
}

#define S_IFMT 0170000 /* include/uapi/linux/stat.h */
#define S_IFSOCK 0140000

/* A flavour of struct sock for its bit field of locks (SOCK_BINDPORT_LOCK: the program chose the port, include/net/sock.h). */
struct sock___locks {
	unsigned char sk_userlocks : 4;
} __attribute__((preserve_access_index));
#define SOCK_BINDPORT_LOCK 8

/*
 * Computes how many bytes programs have sent through a TCP socket, from the socket's own counters. A SYN counts as one byte in
 * bytes_acked (tcp_snd_una_update() in net/ipv4/tcp_input.c), and a FIN in write_seq.
 */
static __always_inline __u64 tcp_sent(struct sock *sk)
{
	struct tcp_sock *tcp = (struct tcp_sock *)sk;
	__u64 acked = 0;
	__u32 una = 0, waiting = 0;
	__u8 state = BPF_CORE_READ(sk, __sk_common.skc_state);

	if (BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP || BPF_CORE_READ(sk, sk_type) != SOCK_STREAM)
		return -1;
	/* An upper-layer protocol (kernel TLS) sends bytes that no program has given to it. */
	if (state == TCP_LISTEN || state == TCP_CLOSE || state == TCP_SYN_SENT ||
	    BPF_CORE_READ(tcp, inet_conn.icsk_ulp_ops))
		return -1;
	una = BPF_CORE_READ(tcp, snd_una);
	acked = BPF_CORE_READ(tcp, bytes_acked);
	waiting = BPF_CORE_READ(tcp, write_seq) - una;
	/* The softirq that takes an acknowledgement changes two of them: once more then. Older verifiers refuse a loop here. */
	if (una != BPF_CORE_READ(tcp, snd_una) || acked != BPF_CORE_READ(tcp, bytes_acked)) {
		una = BPF_CORE_READ(tcp, snd_una);
		acked = BPF_CORE_READ(tcp, bytes_acked);
		waiting = BPF_CORE_READ(tcp, write_seq) - una;
	}
	if (state == TCP_FIN_WAIT1 || state == TCP_FIN_WAIT2 || state == TCP_CLOSING || state == TCP_LAST_ACK)
		acked -= 1;
	return acked + waiting;
}

SEC("iter/task_file")
int iter_task_file(struct bpf_iter__task_file *ctx)
{
	struct socket_event event = { .socket.kind = EVENT_OPEN_SOCKET, .sent = -1 };
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct sock___locks *locks;
	struct socket *socket;
	struct sock *sk;

	if (!task || !file || (BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return 0;
	socket = BPF_CORE_READ(file, private_data);
	/* An open file of this type is a struct socket: an AF_UNIX socket in a directory cannot be opened as a file. */
	sk = BPF_CORE_READ(socket, sk);
	locks = (struct sock___locks *)sk;
	event.family = BPF_CORE_READ(sk, __sk_common.skc_family);
	if (event.family != AF_INET && event.family != AF_INET6 && event.family != AF_PACKET)
		return 0;
	event.socket.socket = BPF_CORE_READ(file, f_inode, i_ino);
	process_id_of(task, &event.socket.process);
	event.uid = BPF_CORE_READ(task, real_cred, uid.val);
	event.cgroup = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
	event.netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	event.protocol = BPF_CORE_READ(sk, sk_protocol);
	event.state = BPF_CORE_READ(sk, __sk_common.skc_state);
	if (event.family == AF_PACKET) {
		event.socket.receive_ring = BPF_CORE_READ((struct packet_sock *)sk, rx_ring.pg_vec) != NULL;
	} else {
		event.socket.needs_packets = !has_ports(BPF_CORE_READ(sk, sk_type), event.protocol);
		event.socket.local_port = local_port_of(sk);
		event.peer_port = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
		if (event.family == AF_INET) {
			map_ipv4(event.socket.local, BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr));
			map_ipv4(event.peer, BPF_CORE_READ(sk, __sk_common.skc_daddr));
		} else {
			BPF_CORE_READ_INTO(&event.socket.local, sk, __sk_common.skc_v6_rcv_saddr);
			BPF_CORE_READ_INTO(&event.peer, sk, __sk_common.skc_v6_daddr);
		}
		if (bpf_core_field_exists(locks->sk_userlocks))
			event.bound = (BPF_CORE_READ_BITFIELD_PROBED(locks, sk_userlocks) & SOCK_BINDPORT_LOCK) != 0;
		tcp_consumed(sk, &event.socket);
		event.sent = tcp_sent(sk);
	}
	bpf_seq_write(ctx->meta->seq, &event, sizeof(event));
	return 0;
}

#endif
