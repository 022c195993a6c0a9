/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Hooks that count transferred bytes: tracepoints since 6.3, fexit programs before. */
#ifndef PICOSNITCH_TRANSFER_H
#define PICOSNITCH_TRANSFER_H

#include "flow.h"
#include "backup.h"
#include "pending_peer.h"

static __always_inline bool is_ip_or_packet(struct sock *sk)
{
	__u16 family = sk->__sk_common.skc_family;

	return family == AF_INET || family == AF_INET6 || family == AF_PACKET;
}

/* Counts a transfer of any kind of socket and peer. Returns its flow, NULL without one. */
static __noinline struct flow *count_transfer_uncached(struct sock *sk, struct msghdr *message, int result,
						       enum direction direction, bool traced)
{
	bool connected = sk->__sk_common.skc_state == TCP_ESTABLISHED;
	/* The hooks sendmsg4 and sendmsg6 have stored the peer of this send. */
	bool peer_pending = traced && direction == SENT && (!connected || connected_sends_elsewhere);
	__u16 family = sk->__sk_common.skc_family, type = sk->sk_type;
	struct flow_key key = { .protocol = sk->sk_protocol };
	struct flow *flow;

	if (result <= 0) {
		if (peer_pending)
			discard_send_peer();
		/* Nothing was moved, but the first receive shows which process has accepted the connection. */
		if (direction == SENT || !connected || family == AF_PACKET || !is_stream(type, key.protocol))
			return NULL;
		result = 0;
	}
	key.socket = socket_inode(sk, true);
	current_process(&key.process);
	if (family == AF_PACKET) {
		struct packet_sock *packet = (struct packet_sock *)sk;

		key.protocol = bpf_ntohs(BPF_CORE_READ(packet, num));
	} else {
		peer_of_socket(&key, sk, family, true);
		if (!is_stream(type, key.protocol))
			peer_of_datagram(&key, sk,
					 (struct datagram){ .message = message,
							    .direction = direction,
							    .connected = connected,
							    .peer_pending = peer_pending });
	}
	flow = flow_cached(&key);
	if (!flow)
		return flow_add_uncached(&key, sk, result, direction);
	flow_add(flow, (struct flow_use){ .bytes = result, .direction = direction });
	return flow;
}

/*
 * Counts one send or receive that has ended. The verifier knows the type of `sk`, so its fields are read with plain loads.
 * `traced`: the caller is a tracepoint. Else `message` is the argument of the function that ended, NULL if it has none.
 *
 * Nearly always the socket knows its peer, and the flow is in the cache. This case is handled here, with a key that never
 * leaves the registers. (A socket of the kernel's own finds no flow here: its key would have an inode of 0.)
 */
static __always_inline int count_transfer(struct sock *sk, struct msghdr *message, int result, enum direction direction,
					  bool traced)
{
	__u16 family = sk->__sk_common.skc_family, type = sk->sk_type;
	struct flow *flow = NULL;
	struct flow_key key = {};

	if (result > 0 && family != AF_PACKET &&
	    (type == SOCK_STREAM ||
	     (type == SOCK_DGRAM && sk->sk_protocol == IPPROTO_UDP && sk->__sk_common.skc_state == TCP_ESTABLISHED &&
	      traced && !(direction == SENT && connected_sends_elsewhere)))) {
		if (traced)
			process_id_typed(bpf_get_current_task_btf(), &key.process);
		else
			current_process(&key.process);
		key.socket = socket_inode_unchecked(sk, true);
		key.protocol = sk->sk_protocol;
		peer_of_socket(&key, sk, family, true);
		flow = flow_cached(&key);
	}
	if (flow)
		flow_add(flow, (struct flow_use){ .bytes = result, .direction = direction });
	else
		flow = count_transfer_uncached(sk, message, result, direction, traced);
	if (flow && needs_slow_path(flow))
		flow_slow_path(flow, sk, result > 0 ? result : 0, direction, true);
	return 0;
}

/* False if a receive leaves the bytes in the queue, or reads the error queue, which reports bytes sent earlier. */
static __always_inline bool is_traffic(int flags)
{
	return !(flags & (MSG_PEEK | MSG_ERRQUEUE));
}

static __always_inline int count_traced(struct sock *sk, int result, int flags, enum direction direction,
					enum attachment attachment)
{
	if (is_responsible(direction == SENT ? BACKED_UP_SEND : BACKED_UP_RECEIVE, attachment) && is_ip_or_packet(sk) &&
	    (direction == SENT || is_traffic(flags)))
		count_transfer(sk, NULL, result, direction, true);
	return 0;
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(sock_send_length, struct sock *sk, int result, int flags)
{
	return count_traced(sk, result, flags, SENT, PRIMARY);
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(sock_send_length_backup, struct sock *sk, int result, int flags)
{
	return count_traced(sk, result, flags, SENT, BACKUP);
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(sock_recv_length, struct sock *sk, int result, int flags)
{
	return count_traced(sk, result, flags, RECEIVED, PRIMARY);
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(sock_recv_length_backup, struct sock *sk, int result, int flags)
{
	return count_traced(sk, result, flags, RECEIVED, BACKUP);
}

/* Counts in a classic tracepoint program, whose socket has no type for the verifier. */
static __always_inline int count_classic(struct trace_event_raw_sock_msg_length *event, enum direction direction)
{
	if (!have_casts)
		return 0;
	return count_traced(bpf_rdonly_cast(event->sk, bpf_core_type_id_kernel(struct sock)), event->ret, event->flags,
			    direction, CLASSIC_BACKUP);
}

SEC("tp/sock/sock_send_length")
int sock_send_length_classic_backup(struct trace_event_raw_sock_msg_length *event)
{
	return count_classic(event, SENT);
}

SEC("tp/sock/sock_recv_length")
int sock_recv_length_classic_backup(struct trace_event_raw_sock_msg_length *event)
{
	return count_classic(event, RECEIVED);
}

static __always_inline int count_function(struct sock *sk, struct msghdr *message, long result,
					  enum direction direction)
{
	return is_ip_or_packet(sk) ? count_transfer(sk, message, result, direction, false) : 0;
}

/* Hooks before 6.3: functions in struct proto_ops. Every send or receive passes exactly one of them. */
#define SEND_HOOK(name, function)                                                                         \
	SEC("fexit/" function)                                                                            \
	int BPF_PROG(name, struct socket *socket, struct msghdr *message, unsigned long size, int result) \
	{                                                                                                 \
		return count_function(socket->sk, message, result, SENT);                                 \
	}
#define RECEIVE_HOOK(name, function)                                                                                 \
	SEC("fexit/" function)                                                                                       \
	int BPF_PROG(name, struct socket *socket, struct msghdr *message, unsigned long size, int flags, int result) \
	{                                                                                                            \
		return is_traffic(flags) ? count_function(socket->sk, message, result, RECEIVED) : 0;                \
	}

SEND_HOOK(inet_sendmsg, "inet_sendmsg")
SEND_HOOK(inet6_sendmsg, "inet6_sendmsg")
SEND_HOOK(packet_sendmsg, "packet_sendmsg")
SEND_HOOK(packet_sendmsg_spkt, "packet_sendmsg_spkt")
RECEIVE_HOOK(inet_recvmsg, "inet_recvmsg")
RECEIVE_HOOK(inet6_recvmsg, "inet6_recvmsg")
RECEIVE_HOOK(sock_common_recvmsg, "sock_common_recvmsg")
RECEIVE_HOOK(packet_recvmsg, "packet_recvmsg")

/* sendfile and splice before 6.5. Protocols without a sendpage of their own call sendmsg from here, and count there. */
SEC("fexit/inet_sendpage")
int BPF_PROG(inet_sendpage, struct socket *socket, struct page *page, int offset, unsigned long size, int flags,
	     long result)
{
	__u16 protocol = socket->sk->sk_protocol;

	if (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP && protocol != IPPROTO_UDPLITE)
		return 0;
	return count_function(socket->sk, NULL, result, SENT);
}

/* Hooks for receives that do not pass recvmsg. */
SEC("fexit/tcp_splice_read")
int BPF_PROG(tcp_splice_read, struct socket *socket, void *position, void *pipe, unsigned long size, unsigned int flags,
	     long result)
{
	return count_function(socket->sk, NULL, result, RECEIVED);
}

SEC("fexit/tcp_zerocopy_receive")
int tcp_zerocopy_receive(unsigned long long *ctx)
{
	struct tcp_zerocopy_receive *request = (void *)ctx[1];
	long long result;
	long bytes;

	/*
	 * The result follows the arguments: two before 5.12, three since, when msg_control was added, too. Assembly code
	 * reads it: clang would compute the address to load from, and the verifier accepts only constant offsets.
	 */
	if (bpf_core_field_exists(request->msg_control))
		asm volatile("%0 = *(u64 *)(%1 + 24)" : "=r"(result) : "r"(ctx));
	else
		asm volatile("%0 = *(u64 *)(%1 + 16)" : "=r"(result) : "r"(ctx));
	if ((int)result < 0)
		return 0; /* the fields still hold the request of the caller */
	bytes = request->length;
	if (bpf_core_field_exists(request->copybuf_len) && request->copybuf_len > 0)
		bytes += request->copybuf_len;
	return bytes ? count_function((struct sock *)ctx[0], NULL, bytes, RECEIVED) : 0;
}

SEC("fexit/mptcp_splice_read")
int BPF_PROG(mptcp_splice_read, struct socket *socket, void *position, void *pipe, unsigned long size,
	     unsigned int flags, long result)
{
	return count_function(socket->sk, NULL, result, RECEIVED);
}

#endif
