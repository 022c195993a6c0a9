/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Hooks at the two ends of a socket's life: connect, and the release by its last user. */
#ifndef PICOSNITCH_CONNECTION_H
#define PICOSNITCH_CONNECTION_H

#include "datagram.h"

/* TCP: before anything can fail. The flow is nearly always new: only a socket that tries again has one. */
static __always_inline int count_connect(struct bpf_sock_addr *ctx, bool ipv6)
{
	struct flow_key key = { .protocol = IPPROTO_TCP };
	struct sock *sk, *owner;

	if (ctx->protocol != IPPROTO_TCP)
		return 1;
	sk = sock_of_address(ctx);
	key.socket = socket_inode(sk, have_casts);
	if (!key.socket)
		return 1; /* the kernel's own */
	owner = have_casts ? sk->sk_socket->sk : BPF_CORE_READ(sk, sk_socket, sk);
	if (owner != sk) {
		/* A subflow of MPTCP: the first one connects the program's socket, the others only join. */
		if (BPF_CORE_READ(owner, __sk_common.skc_state) == TCP_ESTABLISHED)
			return 1;
		key.protocol = BPF_CORE_READ(owner, sk_protocol);
	}
	current_process_of_cgroup(&key.process);
	read_address(ctx, ipv6, key.peer);
	/* To connect to "any" is to connect to loopback: tcp_v4_connect(), tcp_v6_connect(). */
	if (!ipv6 && !ctx->user_ip4)
		map_ipv4(key.peer, bpf_htonl(0x7f000001));
	if (ipv6 && is_none(key.peer))
		key.peer[15] = 1;
	key.peer_port = bpf_ntohs(ctx->user_port);
	flow_create(&key, sk, ctx->family, have_casts, tick, (struct flow_use){ .connects = true });
	return 1;
}

SEC("cgroup/connect4")
int connect4(struct bpf_sock_addr *ctx)
{
	return count_connect(ctx, false);
}

SEC("cgroup/connect6")
int connect6(struct bpf_sock_addr *ctx)
{
	return count_connect(ctx, true);
}

/* Without cgroup programs: the change to SYN_SENT happens inside connect(), in its caller. */
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(inet_sock_set_state, struct sock *sk, int from, int to)
{
	struct flow_key key = { .protocol = IPPROTO_TCP };
	__u16 family = sk->__sk_common.skc_family;

	if (to != TCP_SYN_SENT || sk->sk_protocol != IPPROTO_TCP)
		return 0;
	key.socket = socket_inode(sk, true);
	if (!key.socket)
		return 0;
	current_process(&key.process);
	peer_of_socket(&key, sk, family, true);
	flow_create(&key, sk, family, true, tick, (struct flow_use){ .connects = true });
	return 0;
}

/*
 * What user space has taken out of a TCP socket, by the socket's own counters. FIN counts as one byte in rcv_nxt,
 * bytes_received and, once it was read, copied_seq; tcp_fin() in net/ipv4/tcp_input.c sets SOCK_DONE.
 */
static __always_inline void tcp_consumed(struct sock *sk, struct release_event *event)
{
	struct tcp_sock *tcp = (struct tcp_sock *)sk;
	__u64 received = 0;
	__u32 unread = 0, next;

	if (have_casts)
		sk = bpf_rdonly_cast(sk, bpf_core_type_id_kernel(struct sock));
	if (LOAD(have_casts, sk, sk_protocol) != IPPROTO_TCP || LOAD(have_casts, sk, sk_type) != SOCK_STREAM)
		return;
	if (have_casts)
		tcp = bpf_rdonly_cast(sk, bpf_core_type_id_kernel(struct tcp_sock));
	/* A protocol on top (TLS) takes bytes that no program sees. */
	if (!LOAD(have_casts, tcp, bytes_received) || LOAD(have_casts, tcp, inet_conn.icsk_ulp_ops))
		return;
	/* The softirq that receives changes two of them, one after the other: they belong together if they stay. */
	for (int attempt = 0; attempt < 4; attempt++) {
		next = LOAD(have_casts, tcp, rcv_nxt);
		received = LOAD(have_casts, tcp, bytes_received);
		unread = next - LOAD(have_casts, tcp, copied_seq);
		barrier();
		if (next == LOAD(have_casts, tcp, rcv_nxt) && received == LOAD(have_casts, tcp, bytes_received))
			break;
		unread = 0;
		received = 0;
	}
	if (unread > received || !received)
		return;
	event->consumed = received - unread;
	if (unread == 0 && (LOAD(have_casts, sk, __sk_common.skc_flags) >> SOCK_DONE & 1))
		event->consumed -= 1;
	event->has_consumed = 1;
}

/* An accepted connection that moved no byte becomes known at its end: it needs no place in the table. */
static __always_inline bool report_silent_release(const struct release_event *release, const struct flow_key *key,
						  struct sock *sk, __u16 family, bool typed, __u64 waiting)
{
	struct silent_release_event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

	if (!event)
		return false;
	event->release = *release;
	event->release.kind = EVENT_SILENT_RELEASE;
	flow_init(&event->flow, key, sk, family, typed, tick);
	flow_read_local(&event->flow, sk, key->protocol, typed);
	event->flow.first = 0;
	event->flow.slot_epoch = 0;
	bpf_ringbuf_submit(event, wakeup_flags(waiting));
	report_first_flow(&key->process);
	return true;
}

/* The last user closes a socket. */
static __always_inline void report_release(struct sock *sk, __u16 family, struct process_id *process, bool typed)
{
	struct release_event event = {
		.kind = EVENT_RELEASE,
		.socket = socket_inode(sk, typed),
		.process = *process,
	};
	struct flow_key key = {
		.socket = event.socket,
		.process = *process,
		.protocol = LOAD(typed, sk, sk_protocol),
	};
	/* One half of the ring is for processes: a closed socket is found without its event, a name is not. */
	__u64 waiting = unread_event_bytes();
	bool room = waiting <= 2 * wake_threshold;
	struct flow *flow;

	/* A socket() that failed half-way has no file. */
	if (!event.socket)
		return;
	if (family == AF_INET || family == AF_INET6) {
		peer_of_socket(&key, sk, family, typed);
		if (compare_consumed)
			tcp_consumed(sk, &event);
		if (is_stream(LOAD(typed, sk, sk_type), key.protocol) && key.peer_port) {
			flow = flow_cached(&key);
			if (!flow)
				flow = flow_lookup(&key);
			if (!flow && room && report_silent_release(&event, &key, sk, family, typed, waiting))
				return;
			if (!flow)
				flow = flow_create(&key, sk, family, typed, tick,
						   (struct flow_use){ .direction = RECEIVED });
			if (flow && flow->slow_path & SLOW_PATH_LOCAL)
				flow_slow_path(flow, sk, 0, RECEIVED, typed);
		}
	}
	if (!room || send_event(&event, sizeof(event), waiting))
		COUNT(lost_release_events, 1);
}

SEC("cgroup/sock_release")
int sock_release(struct bpf_sock *ctx)
{
	struct sock *sk = (struct sock *)ctx;
	struct process_id process;

	if (have_casts)
		sk = bpf_cast_to_kern_ctx(ctx);
	current_process_of_cgroup(&process);
	report_release(sk, LOAD(have_casts, sk, __sk_common.skc_family), &process, have_casts);
	return 1;
}

/* Without a version 2 cgroup hierarchy. */
SEC("fentry/inet_release")
int BPF_PROG(inet_release, struct socket *socket)
{
	struct process_id process;

	if (!socket->sk)
		return 0;
	current_process(&process);
	report_release(socket->sk, socket->sk->__sk_common.skc_family, &process, true);
	return 0;
}

SEC("fentry/packet_release")
int BPF_PROG(packet_release, struct socket *socket)
{
	struct process_id process;

	if (!socket->sk)
		return 0;
	current_process(&process);
	report_release(socket->sk, AF_PACKET, &process, true);
	return 0;
}

/* setsockopt(PACKET_RX_RING): from here on frames arrive in memory that the program shares with the kernel. */
SEC("fentry/packet_set_ring")
int BPF_PROG(packet_set_ring, struct sock *sk, void *request, int closing, int transmit)
{
	struct process_id_event event = { .kind = EVENT_PACKET_RING };

	if (closing || transmit)
		return 0;
	current_process(&event.id);
	if (send_event(&event, sizeof(event), unread_event_bytes()))
		COUNT(lost_process_events, 1);
	return 0;
}

#endif
