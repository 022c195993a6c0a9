/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Hooks at both ends of a connection: connect, and the release of the socket by its last user. */
#ifndef PICOSNITCH_CONNECTION_H
#define PICOSNITCH_CONNECTION_H

#include "datagram.h"

/* Counts a TCP connect before anything can fail. Only a socket that connects again has a flow already. */
static __always_inline int count_connect(struct bpf_sock_addr *ctx, bool ipv6)
{
	struct flow_key key = { .protocol = IPPROTO_TCP };
	struct hooked_socket socket;
	struct sock *sk, *owner;

	if (ctx->protocol != IPPROTO_TCP)
		return 1;
	sk = sock_of_address(ctx);
	key.socket = socket_inode(sk, have_casts);
	if (!key.socket)
		return 1; /* a socket of the kernel's own */
	owner = have_casts ? sk->sk_socket->sk : BPF_CORE_READ(sk, sk_socket, sk);
	if (owner != sk) {
		/* A subflow of MPTCP: the first one connects the program's socket, others join it later. */
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
	socket = (struct hooked_socket){ .sk = sk, .family = ctx->family, .typed = have_casts };
	flow_create(&key, socket, tick, (struct flow_use){ .connects = true });
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

/* Counts TCP connects without cgroup programs: the state becomes SYN_SENT within connect(), in the context of its caller. */
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(inet_sock_set_state, struct sock *sk, int from, int to)
{
	struct hooked_socket socket = { .sk = sk, .family = sk->__sk_common.skc_family, .typed = true };
	struct flow_key key = { .protocol = IPPROTO_TCP };

	if (to != TCP_SYN_SENT || sk->sk_protocol != IPPROTO_TCP)
		return 0;
	key.socket = socket_inode(sk, true);
	if (!key.socket)
		return 0;
	current_process(&key.process);
	peer_of_socket(&key, sk, socket.family, true);
	flow_create(&key, socket, tick, (struct flow_use){ .connects = true });
	return 0;
}

/*
 * Computes how many bytes user space has received from a TCP socket, from the socket's own counters. A FIN counts as one byte
 * in rcv_nxt, bytes_received and, once it was read, copied_seq; tcp_fin() in net/ipv4/tcp_input.c sets SOCK_DONE.
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
	/* An upper-layer protocol (kernel TLS) receives bytes that no program sees. */
	if (!LOAD(have_casts, tcp, bytes_received) || LOAD(have_casts, tcp, inet_conn.icsk_ulp_ops))
		return;
	/* The receiving softirq changes two of the counters one after the other: they are consistent if neither has changed. */
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

/* Reports an accepted connection that has moved no byte at its end: it needs no slot in the flow table. */
static __always_inline bool report_silent_release(const struct release_event *release, const struct flow_key *key,
						  struct hooked_socket socket, __u64 unread)
{
	struct silent_release_event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

	if (!event)
		return false;
	event->release = *release;
	event->release.kind = EVENT_SILENT_RELEASE;
	flow_init(&event->flow, key, socket, tick);
	flow_read_local(&event->flow, socket.sk, key->protocol, socket.typed);
	event->flow.first = 0;
	event->flow.slot_epoch = 0;
	bpf_ringbuf_submit(event, wakeup_flags(unread));
	report_first_flow(&key->process);
	return true;
}

/* Reports the release of a socket by its last user. */
static __always_inline void report_release(struct hooked_socket socket, struct process_id *process)
{
	struct sock *sk = socket.sk;
	__u16 family = socket.family;
	bool typed = socket.typed;
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
	/* Half of the ring is reserved for process events: user space finds a closed socket without its event, too. */
	__u64 unread = unread_event_bytes();
	bool has_room = unread <= 2 * wake_threshold;
	struct flow *flow;

	/* The socket of a failed socket() has no file. */
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
			if (!flow && has_room && report_silent_release(&event, &key, socket, unread))
				return;
			if (!flow)
				flow = flow_create(&key, socket, tick, (struct flow_use){ .direction = RECEIVED });
			if (flow && flow->slow_path & SLOW_PATH_LOCAL)
				flow_slow_path(flow, sk, 0, RECEIVED, typed);
		}
	}
	if (!has_room || send_event(&event, sizeof(event), unread))
		COUNT(lost_release_events, 1);
}

SEC("cgroup/sock_release")
int sock_release(struct bpf_sock *ctx)
{
	struct sock *sk = (struct sock *)ctx;
	struct hooked_socket socket;
	struct process_id process;

	if (have_casts)
		sk = bpf_cast_to_kern_ctx(ctx);
	current_process_of_cgroup(&process);
	socket.sk = sk;
	socket.family = LOAD(have_casts, sk, __sk_common.skc_family);
	socket.typed = have_casts;
	report_release(socket, &process);
	return 1;
}

/* Reports the release of a socket where there is no version 2 cgroup hierarchy. */
SEC("fentry/inet_release")
int BPF_PROG(inet_release, struct socket *socket)
{
	struct process_id process;

	if (!socket->sk)
		return 0;
	current_process(&process);
	report_release(
		(struct hooked_socket){ .sk = socket->sk, .family = socket->sk->__sk_common.skc_family, .typed = true },
		&process);
	return 0;
}

SEC("fentry/packet_release")
int BPF_PROG(packet_release, struct socket *socket)
{
	struct process_id process;

	if (!socket->sk)
		return 0;
	current_process(&process);
	report_release((struct hooked_socket){ .sk = socket->sk, .family = AF_PACKET, .typed = true }, &process);
	return 0;
}

/* setsockopt(PACKET_RX_RING): from now on frames arrive in memory that the program shares with the kernel. */
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
