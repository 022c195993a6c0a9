/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Hooks that see bytes move: tracepoints from 6.3 on, fexit programs before that. */
#ifndef PICOSNITCH_SOCKET_H
#define PICOSNITCH_SOCKET_H

#include "flow.h"

static __always_inline bool use(struct pending_peer *pending, struct flow_key *key)
{
	__builtin_memcpy(key->peer, pending->address, sizeof(key->peer));
	key->peer_port = pending->port;
	return true;
}

/* The slot that a thread falls on. */
static __always_inline struct pending_peer *slot_of(__u64 thread)
{
	__u32 at = thread * GOLDEN_RATIO >> (64 - SLOT_BITS);

	return bpf_map_lookup_elem(&slots, &at);
}

/* What another hook told about the datagram that this thread moves through this socket. */
static __always_inline bool use_pending(void *map, struct sock *sk, struct flow_key *key)
{
	__u64 thread = bpf_get_current_task();
	struct pending_peer *pending = bpf_map_lookup_elem(map, &thread);
	bool mine = pending && pending->thread == thread && pending->socket == (__u64)sk;

	if (!mine)
		return false;
	pending->thread = 0;
	return use(pending, key);
}

/* What was told about the datagram that this thread sends. */
static __always_inline void use_sending(struct sock *sk, struct flow_key *key)
{
	__u64 thread = bpf_get_current_task();
	struct pending_peer *slot = slot_of(thread);

	if (slot && slot->thread == thread) {
		if (slot->socket == (__u64)sk)
			use(slot, key);
		barrier();
		*(volatile __u64 *)&slot->thread = 0;
		return;
	}
	use_pending(&sending, sk, key);
}

/* The send has failed: nothing may be left that a later one could mistake for its own. */
static __always_inline void forget_sending(void)
{
	__u64 thread = bpf_get_current_task();
	struct pending_peer *pending = slot_of(thread);

	if (!pending || pending->thread != thread)
		pending = bpf_map_lookup_elem(&sending, &thread);
	if (pending && pending->thread == thread)
		*(volatile __u64 *)&pending->thread = 0;
}

/* The peer that the packets of this socket told last. */
static __always_inline bool use_last(void *map, struct flow_key *key)
{
	__u64 socket = key->socket;
	struct pending_peer *last = bpf_map_lookup_elem(map, &socket);

	return last && use(last, key);
}

/* The address that the caller gave to sendmsg(2), or got from recvmsg(2). */
static __always_inline bool peer_of_message(struct msghdr *message, struct flow_key *key)
{
	struct sockaddr_in6 address = {};
	void *name;

	if (!message)
		return false;
	name = message->msg_name;
	if (!name || bpf_probe_read_kernel(&address, sizeof(address), name))
		return false;
	if (address.sin6_family == AF_INET) {
		map_ipv4(key->peer, ((struct sockaddr_in *)&address)->sin_addr);
	} else if (address.sin6_family == AF_INET6) {
		__builtin_memcpy(key->peer, address.sin6_addr, sizeof(key->peer));
	} else {
		return false;
	}
	key->peer_port = bpf_ntohs(address.sin6_port);
	return true;
}

/* The peer of a datagram, from the best source this kernel has. The socket's own peer is in `key` already. */
static __always_inline void peer_of_datagram(struct flow_key *key, struct sock *sk, bool connected,
					     struct msghdr *message, enum direction direction, bool told)
{
	if (!has_ports(sk->sk_type, key->protocol)) {
		/* The packet told it, or the address given, or the one connected to. */
		if (!use_last(direction == SENT ? (void *)&talked_to : (void *)&heard_from, key))
			peer_of_message(message, key);
		key->peer_port = 0;
		return;
	}
	if (direction == SENT) {
		if (told)
			use_sending(sk, key);
		else
			peer_of_message(message, key);
		return;
	}
	if (connected || use_pending(&receiving, sk, key) || have_skb_consume_udp)
		return;
	if (!use_last(&heard_from, key))
		want_packets();
}

static __always_inline bool is_counted(struct sock *sk)
{
	__u16 family = sk->__sk_common.skc_family;

	return family == AF_INET || family == AF_INET6 || family == AF_PACKET;
}

/* Counts what was moved, for all kinds of sockets and peers. Returns the flow that it belongs to, NULL without one. */
static __noinline struct flow *flow_of_transfer(struct sock *sk, struct msghdr *message, int result,
						enum direction direction, bool traced)
{
	bool connected = sk->__sk_common.skc_state == TCP_ESTABLISHED;
	/* Another hook tells the peers of what is sent. */
	bool told = traced && direction == SENT && (!connected || sends_elsewhere);
	__u16 family = sk->__sk_common.skc_family, type = sk->sk_type;
	struct flow_key key = { .protocol = sk->sk_protocol };
	struct flow *flow;

	if (result <= 0) {
		if (told)
			forget_sending();
		/* Nothing moved; but the first touch of an accepted connection is its sign of life. */
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
			peer_of_datagram(&key, sk, connected, message, direction, told);
	}
	flow = flow_hinted(&key);
	if (!flow)
		return flow_add_slowly(&key, sk, result, direction);
	flow_count(flow, (struct addition){ .bytes = result, .direction = direction });
	return flow;
}

/*
 * One send or receive came to its end. `sk` is a pointer that the verifier knows, so these are plain loads.
 * `traced`: a tracepoint says so. Else `message` is the one that was moved, if the function that ended has one.
 *
 * Nearly always the socket itself knows its peer, and a hint leads to the flow. That is done here, with a key that never
 * leaves the registers; a socket of the kernel's own has no flow with such a key.
 */
static __always_inline int transferred(struct sock *sk, struct msghdr *message, int result, enum direction direction,
				       bool traced)
{
	__u16 family = sk->__sk_common.skc_family, type = sk->sk_type;
	struct flow *flow = NULL;
	struct flow_key key = {};

	if (result > 0 && family != AF_PACKET &&
	    (type == SOCK_STREAM ||
	     (type == SOCK_DGRAM && sk->sk_protocol == IPPROTO_UDP && sk->__sk_common.skc_state == TCP_ESTABLISHED &&
	      traced && !(direction == SENT && sends_elsewhere)))) {
		if (traced)
			process_id_typed(bpf_get_current_task_btf(), &key.process);
		else
			current_process(&key.process);
		key.socket = inode_of_any(sk, true);
		key.protocol = sk->sk_protocol;
		peer_of_socket(&key, sk, family, true);
		flow = flow_hinted(&key);
	}
	if (flow)
		flow_count(flow, (struct addition){ .bytes = result, .direction = direction });
	else
		flow = flow_of_transfer(sk, message, result, direction, traced);
	if (flow && wants_attention(flow))
		flow_attend(flow, sk, result > 0 ? result : 0, direction, true);
	return 0;
}

static __always_inline bool is_traffic(int flags)
{
	/* Bytes that stay in the queue, and notes about bytes sent earlier. */
	return !(flags & (MSG_PEEK | MSG_ERRQUEUE));
}

static __always_inline int counted(struct sock *sk, int result, int flags, enum direction direction, enum turn turn)
{
	if (is_mine(direction == SENT ? TWICE_SENT : TWICE_RECEIVED, turn) && is_counted(sk) &&
	    (direction == SENT || is_traffic(flags)))
		transferred(sk, NULL, result, direction, true);
	return 0;
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(sent_length, struct sock *sk, int result, int flags)
{
	return counted(sk, result, flags, SENT, FIRST);
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(sent_length_2, struct sock *sk, int result, int flags)
{
	return counted(sk, result, flags, SENT, SECOND);
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(received_length, struct sock *sk, int result, int flags)
{
	return counted(sk, result, flags, RECEIVED, FIRST);
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(received_length_2, struct sock *sk, int result, int flags)
{
	return counted(sk, result, flags, RECEIVED, SECOND);
}

/*
 * The third programs are of the classic kind: for these the kernel holds preemption off before it looks whether one is running
 * on that CPU (perf_trace_##call(), include/trace/perf.h), so no other task can stand in their way.
 */
static __always_inline int counted_at_last(struct trace_event_raw_sock_msg_length *event, enum direction direction)
{
	if (!have_casts)
		return 0;
	return counted(bpf_rdonly_cast(event->sk, bpf_core_type_id_kernel(struct sock)), event->ret, event->flags,
		       direction, THIRD);
}

SEC("tp/sock/sock_send_length")
int sent_length_3(struct trace_event_raw_sock_msg_length *event)
{
	return counted_at_last(event, SENT);
}

SEC("tp/sock/sock_recv_length")
int received_length_3(struct trace_event_raw_sock_msg_length *event)
{
	return counted_at_last(event, RECEIVED);
}

static __always_inline int function_ended(struct sock *sk, struct msghdr *message, long result,
					  enum direction direction)
{
	return is_counted(sk) ? transferred(sk, message, result, direction, false) : 0;
}

/* Before 6.3: the functions in struct proto_ops, which every path of a send or receive passes once. */
#define SEND_HOOK(name, function)                                                                         \
	SEC("fexit/" function)                                                                            \
	int BPF_PROG(name, struct socket *socket, struct msghdr *message, unsigned long size, int result) \
	{                                                                                                 \
		return function_ended(socket->sk, message, result, SENT);                                 \
	}
#define RECEIVE_HOOK(name, function)                                                                                 \
	SEC("fexit/" function)                                                                                       \
	int BPF_PROG(name, struct socket *socket, struct msghdr *message, unsigned long size, int flags, int result) \
	{                                                                                                            \
		return is_traffic(flags) ? function_ended(socket->sk, message, result, RECEIVED) : 0;                \
	}

SEND_HOOK(sent_inet, "inet_sendmsg")
SEND_HOOK(sent_inet6, "inet6_sendmsg")
SEND_HOOK(sent_packet, "packet_sendmsg")
SEND_HOOK(sent_packet_spkt, "packet_sendmsg_spkt")
RECEIVE_HOOK(received_inet, "inet_recvmsg")
RECEIVE_HOOK(received_inet6, "inet6_recvmsg")
RECEIVE_HOOK(received_common, "sock_common_recvmsg")
RECEIVE_HOOK(received_packet, "packet_recvmsg")

/* sendfile and splice before 6.5. Protocols without an own sendpage go through sendmsg from here. */
SEC("fexit/inet_sendpage")
int BPF_PROG(sent_page, struct socket *socket, struct page *page, int offset, unsigned long size, int flags,
	     long result)
{
	__u16 protocol = socket->sk->sk_protocol;

	if (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP && protocol != IPPROTO_UDPLITE)
		return 0;
	return function_ended(socket->sk, NULL, result, SENT);
}

/* Ways out of a TCP socket that pass no recvmsg. */
SEC("fexit/tcp_splice_read")
int BPF_PROG(received_splice, struct socket *socket, void *position, void *pipe, unsigned long size, unsigned int flags,
	     long result)
{
	return function_ended(socket->sk, NULL, result, RECEIVED);
}

SEC("fexit/tcp_zerocopy_receive")
int received_zero_copy(unsigned long long *ctx)
{
	struct tcp_zerocopy_receive *request = (void *)ctx[1];
	long long result;
	long bytes;

	/*
	 * The result comes after the arguments: two before 5.12, which brought a third one and this field. In assembly,
	 * since clang would choose between the addresses, and the verifier wants to know them.
	 */
	if (bpf_core_field_exists(request->msg_control))
		asm volatile("%0 = *(u64 *)(%1 + 24)" : "=r"(result) : "r"(ctx));
	else
		asm volatile("%0 = *(u64 *)(%1 + 16)" : "=r"(result) : "r"(ctx));
	if ((int)result < 0)
		return 0; /* the fields still hold what the caller asked for */
	bytes = request->length;
	if (bpf_core_field_exists(request->copybuf_len) && request->copybuf_len > 0)
		bytes += request->copybuf_len;
	return bytes ? function_ended((struct sock *)ctx[0], NULL, bytes, RECEIVED) : 0;
}

SEC("fexit/mptcp_splice_read")
int BPF_PROG(received_splice_mptcp, struct socket *socket, void *position, void *pipe, unsigned long size,
	     unsigned int flags, long result)
{
	return function_ended(socket->sk, NULL, result, RECEIVED);
}

#endif
