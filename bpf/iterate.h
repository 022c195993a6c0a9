/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Iterators: what exists already, in all namespaces. */
#ifndef PICOSNITCH_ITERATE_H
#define PICOSNITCH_ITERATE_H

#include "connection.h"

SEC("iter/task")
int existing_processes(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct process_event *event;
	__u32 slot = 1;

	if (!task || BPF_CORE_READ(task, pid) != BPF_CORE_READ(task, tgid))
		return 0;
	event = bpf_map_lookup_elem(&scratch, &slot);
	if (!event)
		return 0;
	stay_alone();
	event->kind = EVENT_EXISTING;
	describe(event, task, BPF_CORE_READ(task, mm, exe_file));
	bpf_seq_write(ctx->meta->seq, event, event_bytes(event));
	alone_no_more();
	return 0;
}

#define S_IFMT 0170000 /* include/uapi/linux/stat.h */
#define S_IFSOCK 0140000

SEC("iter/task_file")
int existing_sockets(struct bpf_iter__task_file *ctx)
{
	struct release_event event = { .kind = EVENT_SOCKET };
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct socket *socket;
	struct sock *sk;
	__u16 family;

	if (!task || !file || (BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return 0;
	socket = BPF_CORE_READ(file, private_data);
	/* The socket file system's inodes are sockets; one in a directory (AF_UNIX) is not open as a file. */
	sk = BPF_CORE_READ(socket, sk);
	family = BPF_CORE_READ(sk, __sk_common.skc_family);
	if (family != AF_INET && family != AF_INET6 && family != AF_PACKET)
		return 0;
	event.socket = BPF_CORE_READ(file, f_inode, i_ino);
	process_id_of(task, &event.process);
	if (family == AF_PACKET) {
		event.receive_ring = BPF_CORE_READ((struct packet_sock *)sk, rx_ring.pg_vec) != NULL;
	} else {
		event.needs_packets = !has_ports(BPF_CORE_READ(sk, sk_type), BPF_CORE_READ(sk, sk_protocol));
		event.local_port = local_port_of(sk);
		if (family == AF_INET)
			map_ipv4(event.local, BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr));
		else
			BPF_CORE_READ_INTO(&event.local, sk, __sk_common.skc_v6_rcv_saddr);
		tcp_consumed(sk, &event);
	}
	bpf_seq_write(ctx->meta->seq, &event, sizeof(event));
	return 0;
}

#endif
