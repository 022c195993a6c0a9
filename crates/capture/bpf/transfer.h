/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Hooks that see bytes move: tracepoints from 6.3 on, fexit programs before that. */
#ifndef PICOSNITCH_TRANSFER_H
#define PICOSNITCH_TRANSFER_H

#include "flow.h"

static __always_inline bool copy_peer(struct pending_peer *pending, struct flow_key *key)
{
	__builtin_memcpy(key->peer, pending->address, sizeof(key->peer));
	key->peer_port = pending->port;
	return true;
}

/* The slot that a thread falls on. */
static __always_inline struct pending_peer *pending_send_entry(__u64 thread)
{
	__u32 at = thread * GOLDEN_RATIO >> (64 - PENDING_SEND_BITS);

	return bpf_map_lookup_elem(&pending_send_peers, &at);
}

/* What another hook told about the datagram that this thread moves through this socket. */
static __always_inline bool take_pending_peer(void *map, struct sock *sk, struct flow_key *key)
{
	__u64 thread = bpf_get_current_task();
	struct pending_peer *pending = bpf_map_lookup_elem(map, &thread);
	bool mine = pending && pending->thread == thread && pending->socket == (__u64)sk;

	if (!mine)
		return false;
	pending->thread = 0;
	return copy_peer(pending, key);
}

/* What was told about the datagram that this thread sends. */
static __always_inline void take_send_peer(struct sock *sk, struct flow_key *key)
{
	__u64 thread = bpf_get_current_task();
	struct pending_peer *slot = pending_send_entry(thread);

	if (slot && slot->thread == thread) {
		if (slot->socket == (__u64)sk)
			copy_peer(slot, key);
		barrier();
		*(volatile __u64 *)&slot->thread = 0;
		return;
	}
	take_pending_peer(&pending_send_overflow, sk, key);
}

/* The send has failed: nothing may be left that a later one could mistake for its own. */
static __always_inline void discard_send_peer(void)
{
	__u64 thread = bpf_get_current_task();
	struct pending_peer *pending = pending_send_entry(thread);

	if (!pending || pending->thread != thread)
		pending = bpf_map_lookup_elem(&pending_send_overflow, &thread);
	if (pending && pending->thread == thread)
		*(volatile __u64 *)&pending->thread = 0;
}

/* The peer that the packets of this socket told last. */
static __always_inline bool copy_last_peer(void *map, struct flow_key *key)
{
	__u64 socket = key->socket;
	struct pending_peer *last = bpf_map_lookup_elem(map, &socket);

	return last && copy_peer(last, key);
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
					     struct msghdr *message, enum direction direction, bool peer_pending)
{
	if (!has_ports(sk->sk_type, key->protocol)) {
		/* The packet told it, or the address given, or the one connected to. */
		if (!copy_last_peer(direction == SENT ? (void *)&last_sent_peers : (void *)&last_received_peers, key))
			peer_of_message(message, key);
		key->peer_port = 0;
		return;
	}
	if (direction == SENT) {
		if (peer_pending)
			take_send_peer(sk, key);
		else
			peer_of_message(message, key);
		return;
	}
	if (connected || take_pending_peer(&pending_receive_peers, sk, key) || have_skb_consume_udp)
		return;
	if (!copy_last_peer(&last_received_peers, key))
		request_packet_hooks();
}

static __always_inline bool is_ip_or_packet(struct sock *sk)
{
	__u16 family = sk->__sk_common.skc_family;

	return family == AF_INET || family == AF_INET6 || family == AF_PACKET;
}

/* Counts what was moved, for all kinds of sockets and peers. Returns the flow that it belongs to, NULL without one. */
static __noinline struct flow *count_transfer_uncached(struct sock *sk, struct msghdr *message, int result,
						       enum direction direction, bool traced)
{
	bool connected = sk->__sk_common.skc_state == TCP_ESTABLISHED;
	/* Another hook tells the peers of what is sent. */
	bool peer_pending = traced && direction == SENT && (!connected || connected_sends_elsewhere);
	__u16 family = sk->__sk_common.skc_family, type = sk->sk_type;
	struct flow_key key = { .protocol = sk->sk_protocol };
	struct flow *flow;

	if (result <= 0) {
		if (peer_pending)
			discard_send_peer();
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
			peer_of_datagram(&key, sk, connected, message, direction, peer_pending);
	}
	flow = flow_cached(&key);
	if (!flow)
		return flow_add_uncached(&key, sk, result, direction);
	flow_add(flow, (struct flow_use){ .bytes = result, .direction = direction });
	return flow;
}

/*
 * One send or receive came to its end. `sk` is a pointer that the verifier knows, so these are plain loads.
 * `traced`: a tracepoint says so. Else `message` is the one that was moved, if the function that ended has one.
 *
 * Nearly always the socket itself knows its peer, and a hint leads to the flow. That is done here, with a key that never
 * leaves the registers; a socket of the kernel's own has no flow with such a key.
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

static __always_inline bool is_traffic(int flags)
{
	/* Bytes that stay in the queue, and notes about bytes sent earlier. */
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

/*
 * The third programs are of the classic kind: for these the kernel holds preemption off before it looks whether one is running
 * on that CPU (perf_trace_##call(), include/trace/perf.h), so no other task can stand in their way.
 */
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

/* Before 6.3: the functions in struct proto_ops, which every path of a send or receive passes once. */
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

/* sendfile and splice before 6.5. Protocols without an own sendpage go through sendmsg from here. */
SEC("fexit/inet_sendpage")
int BPF_PROG(inet_sendpage, struct socket *socket, struct page *page, int offset, unsigned long size, int flags,
	     long result)
{
	__u16 protocol = socket->sk->sk_protocol;

	if (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP && protocol != IPPROTO_UDPLITE)
		return 0;
	return count_function(socket->sk, NULL, result, SENT);
}

/* Ways out of a TCP socket that pass no recvmsg. */
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
	return bytes ? count_function((struct sock *)ctx[0], NULL, bytes, RECEIVED) : 0;
}

SEC("fexit/mptcp_splice_read")
int BPF_PROG(mptcp_splice_read, struct socket *socket, void *position, void *pipe, unsigned long size,
	     unsigned int flags, long result)
{
	return count_function(socket->sk, NULL, result, RECEIVED);
}

#endif
