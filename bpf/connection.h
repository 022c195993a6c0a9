/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Hooks at the two ends of a socket's life: connect, and the release by its last user. */
#ifndef PICOSNITCH_CONNECTION_H
#define PICOSNITCH_CONNECTION_H

#include "datagram.h"

static __always_inline int connect_called(struct flow_key *key, struct sock *sk, __u16 family)
{
	struct flow *flow;

	key->socket = socket_inode(sk);
	current_process_slow(&key->process);
	flow = flow_find(key, sk, family);
	if (flow)
		__sync_fetch_and_add(&flow->connects, 1);
	else
		COUNT(lost_flow_operations, 1);
	return 1;
}

/* TCP: before anything can fail. Other protocols with connections have no such hook. */
static __always_inline int connecting(struct bpf_sock_addr *ctx, bool ipv6)
{
	struct sock *sk = sock_of_address(ctx);
	struct flow_key key = { .protocol = IPPROTO_TCP };

	/* A subflow of MPTCP is the kernel's own socket: its connection is counted in state_changed(). */
	if (ctx->protocol != IPPROTO_TCP || !BPF_CORE_READ(sk, sk_socket, file))
		return 1;
	read_address(ctx, ipv6, key.peer);
	key.peer_port = bpf_ntohs(ctx->user_port);
	return connect_called(&key, sk, ctx->family);
}

SEC("cgroup/connect4")
int connecting4(struct bpf_sock_addr *ctx)
{
	return connecting(ctx, false);
}

SEC("cgroup/connect6")
int connecting6(struct bpf_sock_addr *ctx)
{
	return connecting(ctx, true);
}

/* The change to SYN_SENT happens inside connect(), in its caller. */
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(state_changed, struct sock *sk, int from, int to)
{
	struct flow_key key = {};
	__u16 family;

	if (to != TCP_SYN_SENT)
		return 0;
	key.protocol = sk->sk_protocol;
	if (key.protocol == IPPROTO_TCP ? have_connect_hooks : !is_stream(key.protocol))
		return 0;
	if (!BPF_CORE_READ(sk, sk_socket, file))
		return 0;
	family = sk->__sk_common.skc_family;
	if (family == AF_INET)
		map_ipv4(key.peer, sk->__sk_common.skc_daddr);
	else
		key_copy_ipv6(key.peer, sk);
	key.peer_port = bpf_ntohs(sk->__sk_common.skc_dport);
	connect_called(&key, sk, family);
	return 0;
}

/*
 * What user space has taken out of a TCP socket, by the socket's own counters. FIN counts as one byte in rcv_nxt,
 * bytes_received and, once it was read, copied_seq; tcp_fin() in net/ipv4/tcp_input.c sets SOCK_DONE.
 */
static __always_inline void tcp_consumed(struct sock *sk, struct release_event *event)
{
	struct tcp_sock *tcp = (struct tcp_sock *)sk;
	__u32 unread;

	if (BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP)
		return;
	/* A protocol on top (TLS) takes bytes that no program sees. */
	if (BPF_CORE_READ(tcp, inet_conn.icsk_ulp_ops))
		return;
	unread = BPF_CORE_READ(tcp, rcv_nxt) - BPF_CORE_READ(tcp, copied_seq);
	event->consumed = BPF_CORE_READ(tcp, bytes_received) - unread;
	if (unread == 0 && (BPF_CORE_READ(sk, __sk_common.skc_flags) >> SOCK_DONE & 1))
		event->consumed -= 1;
	event->has_consumed = 1;
}

static __always_inline int released(struct sock *sk)
{
	struct release_event event = { .kind = EVENT_RELEASE };
	__u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);
	struct flow_key key = {};

	event.socket = socket_inode(sk);
	event.family = family;
	current_process_slow(&event.process);
	tcp_consumed(sk, &event);
	key.protocol = BPF_CORE_READ(sk, sk_protocol);
	key.peer_port = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	if (is_stream(key.protocol) && key.peer_port) {
		/* An accepted connection that moved no byte becomes known at its end. */
		key.socket = event.socket;
		key.process = event.process;
		if (family == AF_INET)
			map_ipv4(key.peer, BPF_CORE_READ(sk, __sk_common.skc_daddr));
		else
			BPF_CORE_READ_INTO(&key.peer, sk, __sk_common.skc_v6_daddr);
		flow_add(&key, sk, family, 0, RECEIVED);
	}
	if (send_event(&event, sizeof(event)))
		COUNT(lost_release_events, 1);
	return 1;
}

SEC("cgroup/sock_release")
int socket_released(struct bpf_sock *ctx)
{
	return released((struct sock *)ctx);
}

/* Without a version 2 cgroup hierarchy. */
SEC("fentry/inet_release")
int BPF_PROG(inet_released, struct socket *socket)
{
	if (socket->sk)
		released(socket->sk);
	return 0;
}

SEC("fentry/packet_release")
int BPF_PROG(packet_released, struct socket *socket)
{
	if (socket->sk)
		released(socket->sk);
	return 0;
}

/* setsockopt(PACKET_RX_RING): from here on frames arrive in memory that the program shares with the kernel. */
SEC("fentry/packet_set_ring")
int BPF_PROG(ring_set, struct sock *sk, void *request, int closing, int transmit)
{
	struct process_id_event event = { .kind = EVENT_RING };

	if (closing || transmit)
		return 0;
	current_process_slow(&event.id);
	if (send_event(&event, sizeof(event)))
		COUNT(lost_process_events, 1);
	return 0;
}

#endif
