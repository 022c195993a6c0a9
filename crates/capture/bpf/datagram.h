/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Hooks that store the peer of datagrams for the hooks that count them, which cannot see it.
 *
 * UDP: the address that the program gives to sendmsg(2) or gets from recvmsg(2), at each call; where functions can be
 * hooked, the source of the datagram that is consumed. Raw and ping sockets, and UDP sockets whose program does not ask for
 * the address: the packets. Hooks on each packet of the machine cost much, so they are attached only when such a socket is
 * created or found.
 */
#ifndef PICOSNITCH_DATAGRAM_H
#define PICOSNITCH_DATAGRAM_H

#include "transfer.h"

static __always_inline void store_peer(void *map, __u64 key, struct pending_peer *peer)
{
	struct pending_peer *stored = bpf_map_lookup_elem(map, &key);

	/* An existing entry is overwritten in place: a new one costs more than the rest of the hook. */
	if (stored)
		*stored = *peer;
	else
		bpf_map_update_elem(map, &key, peer, BPF_ANY);
}

/* The socket of a context as the kernel's pointer: the verifier allows no arithmetic with ctx->sk. */
static __always_inline struct sock *sock_of_address(struct bpf_sock_addr *ctx)
{
	if (have_casts)
		return ((struct bpf_sock_addr_kern *)bpf_cast_to_kern_ctx(ctx))->sk;
	return BPF_CORE_READ((struct bpf_sock_addr_kern *)ctx, sk);
}

static __always_inline void read_address(struct bpf_sock_addr *ctx, bool ipv6, __u8 *address)
{
	__u64 *word = (__u64 *)address;

	if (ipv6) {
		word[0] = join_words(ctx->user_ip6[0], ctx->user_ip6[1]);
		word[1] = join_words(ctx->user_ip6[2], ctx->user_ip6[3]);
	} else {
		map_ipv4(address, ctx->user_ip4);
	}
}

/* Stores the peer of a send for the hook that counts it. */
static __always_inline int save_send_peer(struct bpf_sock_addr *ctx, bool ipv6)
{
	__u64 thread = bpf_get_current_task();
	struct pending_peer *pending = pending_send_entry(thread), peer = { .thread = thread };
	struct sock *sk = sock_of_address(ctx);

	/* The entry is free, or holds an earlier send of this thread whose end no hook has seen. */
	if (pending && (pending->thread == thread || !__sync_val_compare_and_swap(&pending->thread, 0, thread))) {
		pending->socket = (__u64)sk;
		pending->port = bpf_ntohs(ctx->user_port);
		read_address(ctx, ipv6, pending->address);
	} else {
		peer.socket = (__u64)sk;
		peer.port = bpf_ntohs(ctx->user_port);
		read_address(ctx, ipv6, peer.address);
		store_peer(&pending_send_overflow, thread, &peer);
	}
	if (!connected_sends_elsewhere && LOAD(have_casts, sk, __sk_common.skc_state) == TCP_ESTABLISHED)
		connected_sends_elsewhere = true;
	return 1;
}

SEC("cgroup/sendmsg4")
int sendmsg4(struct bpf_sock_addr *ctx)
{
	return save_send_peer(ctx, false);
}

SEC("cgroup/sendmsg6")
int sendmsg6(struct bpf_sock_addr *ctx)
{
	return save_send_peer(ctx, true);
}

static __always_inline int save_receive_peer(struct bpf_sock_addr *ctx, bool ipv6)
{
	struct pending_peer peer = {
		.thread = bpf_get_current_task(),
		.socket = (__u64)sock_of_address(ctx),
		.port = bpf_ntohs(ctx->user_port),
	};

	read_address(ctx, ipv6, peer.address);
	store_peer(&pending_receive_peers, peer.thread, &peer);
	return 1;
}

SEC("cgroup/recvmsg4")
int recvmsg4(struct bpf_sock_addr *ctx)
{
	return save_receive_peer(ctx, false);
}

SEC("cgroup/recvmsg6")
int recvmsg6(struct bpf_sock_addr *ctx)
{
	return save_receive_peer(ctx, true);
}

/* udp_recvmsg() and udpv6_recvmsg() end with this call: it has the datagram, even if the caller does not ask for its address. */
SEC("fentry/skb_consume_udp")
int BPF_PROG(skb_consume_udp, struct sock *sk, struct sk_buff *skb, int length)
{
	struct pending_peer peer = { .thread = bpf_get_current_task(), .socket = (__u64)sk };
	unsigned char *head = skb->head;
	unsigned char *network = head + skb->network_header;
	__be16 port = 0;

	if (sk->__sk_common.skc_state == TCP_ESTABLISHED)
		return 0;
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		__be32 source = 0;

		bpf_probe_read_kernel(&source, sizeof(source), network + 12); /* RFC 791, 3.1 */
		map_ipv4(peer.address, source);
	} else {
		bpf_probe_read_kernel(peer.address, sizeof(peer.address), network + 8); /* RFC 8200, 3 */
	}
	bpf_probe_read_kernel(&port, sizeof(port), head + skb->transport_header); /* RFC 768 */
	peer.port = bpf_ntohs(port);
	store_peer(&pending_receive_peers, peer.thread, &peer);
	return 0;
}

/*
 * Stores the address given to a raw or ping socket, where their functions can be hooked. This works before the hooks on each
 * packet are attached, too.
 */
static __always_inline int save_raw_send_peer(struct sock *sk, struct msghdr *message)
{
	struct pending_peer peer = {};
	struct flow_key key = {};

	if (!peer_of_message(message, &key))
		return 0;
	peer.socket = socket_inode(sk, true);
	__builtin_memcpy(peer.address, key.peer, sizeof(peer.address));
	store_peer(&last_sent_peers, peer.socket, &peer);
	return 0;
}

#define RAW_SEND_HOOK(name, function)                                                     \
	SEC("fentry/" function)                                                           \
	int BPF_PROG(name, struct sock *sk, struct msghdr *message, unsigned long length) \
	{                                                                                 \
		return save_raw_send_peer(sk, message);                                   \
	}

RAW_SEND_HOOK(raw_sendmsg, "raw_sendmsg")
RAW_SEND_HOOK(rawv6_sendmsg, "rawv6_sendmsg")
RAW_SEND_HOOK(ping_v4_sendmsg, "ping_v4_sendmsg")
RAW_SEND_HOOK(ping_v6_sendmsg, "ping_v6_sendmsg")

/* Asks for the hooks on each packet when a raw or ping socket is created. */
SEC("cgroup/sock_create")
int sock_create(struct bpf_sock *ctx)
{
	if (!has_ports(ctx->type, ctx->protocol))
		request_packet_hooks();
	return 1;
}

/* Whether UDP follows right after the IPv6 header. */
static __always_inline bool has_udp_next(struct __sk_buff *skb)
{
	__u8 next = 0;

	bpf_skb_load_bytes(skb, 6, &next, sizeof(next)); /* RFC 8200, 3 */
	return next == IPPROTO_UDP || next == IPPROTO_UDPLITE;
}

static __always_inline __u64 inode_of_packet(struct __sk_buff *skb)
{
	if (have_casts) {
		struct sock *sk = ((struct sk_buff *)bpf_cast_to_kern_ctx(skb))->sk;

		return sk ? socket_inode(sk, true) : 0;
	}
	return socket_inode(BPF_CORE_READ((struct sk_buff *)skb, sk), false);
}

/* Stores the peer of a packet. Outgoing packets pass here in the context of their sender, incoming ones before they are queued. */
static __always_inline int save_packet_peer(struct __sk_buff *skb, bool egress)
{
	struct bpf_sock *sk = skb->sk;
	struct pending_peer peer = {};
	__be16 port = 0;
	bool ports;

	if (!sk)
		return 1;
	sk = bpf_sk_fullsock(sk);
	if (!sk || (sk->protocol == IPPROTO_TCP && sk->type != SOCK_RAW))
		return 1;
	ports = has_ports(sk->type, sk->protocol);
	if (ports && (egress || have_skb_consume_udp || sk->state == TCP_ESTABLISHED))
		return 1;
	peer.socket = inode_of_packet(skb);
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		__be32 address = 0;
		__u8 first = 0;

		bpf_skb_load_bytes(skb, egress ? 16 : 12, &address, sizeof(address));
		map_ipv4(peer.address, address);
		bpf_skb_load_bytes(skb, 0, &first, sizeof(first));
		if (ports)
			bpf_skb_load_bytes(skb, (first & 15) * 4, &port, sizeof(port));
	} else {
		bpf_skb_load_bytes(skb, egress ? 24 : 8, peer.address, sizeof(peer.address));
		/* Extension headers before UDP are not parsed: the port stays unknown. */
		if (ports && has_udp_next(skb))
			bpf_skb_load_bytes(skb, 40, &port, sizeof(port));
	}
	peer.port = bpf_ntohs(port);
	if (egress)
		store_peer(&last_sent_peers, peer.socket, &peer);
	else
		store_peer(&last_received_peers, peer.socket, &peer);
	return 1;
}

SEC("cgroup_skb/egress")
int cgroup_egress(struct __sk_buff *skb)
{
	return save_packet_peer(skb, true);
}

SEC("cgroup_skb/ingress")
int cgroup_ingress(struct __sk_buff *skb)
{
	return save_packet_peer(skb, false);
}

#endif
