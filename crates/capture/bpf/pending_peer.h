/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Finding the peer of a datagram: the address that another hook has stored, or the one in the message. */
#ifndef PICOSNITCH_PENDING_PEER_H
#define PICOSNITCH_PENDING_PEER_H

#include "flow.h"

/* Asks user space for the hooks on each packet. */
static __always_inline void request_packet_hooks(void)
{
	struct process_id_event event = { .kind = EVENT_NEED_PACKET_HOOKS };

	if (packet_hooks_attached || packet_hooks_requested)
		return;
	packet_hooks_requested = true;
	bpf_ringbuf_output(&events, &event, sizeof(event), BPF_RB_FORCE_WAKEUP);
}

static __always_inline bool copy_peer(struct pending_peer *pending, struct flow_key *key)
{
	__builtin_memcpy(key->peer, pending->address, sizeof(key->peer));
	key->peer_port = pending->port;
	return true;
}

/* The entry that a thread selects in `pending_send_peers`. */
static __always_inline struct pending_peer *pending_send_entry(__u64 thread)
{
	__u32 at = thread * GOLDEN_RATIO >> (64 - PENDING_SEND_BITS);

	return bpf_map_lookup_elem(&pending_send_peers, &at);
}

/* Takes the peer that another hook stored for the datagram that this thread moves through this socket. */
static __always_inline bool take_pending_peer(void *map, struct sock *sk, struct flow_key *key)
{
	__u64 thread = bpf_get_current_task();
	struct pending_peer *pending = bpf_map_lookup_elem(map, &thread);
	bool is_same_call = pending && pending->thread == thread && pending->socket == (__u64)sk;

	if (!is_same_call)
		return false;
	pending->thread = 0;
	return copy_peer(pending, key);
}

/* Takes the peer of the datagram that this thread sends. */
static __always_inline void take_send_peer(struct sock *sk, struct flow_key *key)
{
	__u64 thread = bpf_get_current_task();
	struct pending_peer *pending = pending_send_entry(thread);

	if (pending && pending->thread == thread) {
		if (pending->socket == (__u64)sk)
			copy_peer(pending, key);
		barrier();
		*(volatile __u64 *)&pending->thread = 0;
		return;
	}
	take_pending_peer(&pending_send_overflow, sk, key);
}

/* Discards the stored peer of a send that has failed, so that no later send takes it. */
static __always_inline void discard_send_peer(void)
{
	__u64 thread = bpf_get_current_task();
	struct pending_peer *pending = pending_send_entry(thread);

	if (!pending || pending->thread != thread)
		pending = bpf_map_lookup_elem(&pending_send_overflow, &thread);
	if (pending && pending->thread == thread)
		*(volatile __u64 *)&pending->thread = 0;
}

/* Copies the peer of the last packet of this socket, if a packet hook has stored one. */
static __always_inline bool copy_last_peer(void *map, struct flow_key *key)
{
	__u64 socket = key->socket;
	struct pending_peer *last = bpf_map_lookup_elem(map, &socket);

	return last && copy_peer(last, key);
}

/* Copies the address that the caller gave to sendmsg(2), or got from recvmsg(2). */
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

/* One datagram as the hook that counts it sees it. */
struct datagram {
	struct msghdr *message; /* NULL for the tracepoints */
	enum direction direction;
	bool connected;	   /* the socket is connected */
	bool peer_pending; /* another hook has stored the peer of this send */
};

/* Finds the peer of a datagram from the best source on this kernel. `key` holds the peer of a connected socket already. */
static __always_inline void peer_of_datagram(struct flow_key *key, struct sock *sk, struct datagram datagram)
{
	bool sent = datagram.direction == SENT;

	if (!has_ports(sk->sk_type, key->protocol)) {
		/* The peer of the last packet comes first, then the address in the message, then the connected one. */
		if (!copy_last_peer(sent ? (void *)&last_sent_peers : (void *)&last_received_peers, key))
			peer_of_message(datagram.message, key);
		key->peer_port = 0;
		return;
	}
	if (sent) {
		if (datagram.peer_pending)
			take_send_peer(sk, key);
		else
			peer_of_message(datagram.message, key);
		return;
	}
	if (datagram.connected || take_pending_peer(&pending_receive_peers, sk, key) || have_skb_consume_udp)
		return;
	if (!copy_last_peer(&last_received_peers, key))
		request_packet_hooks();
}

#endif
