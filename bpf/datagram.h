/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Hooks that tell the peer of datagrams, where the hook that counts them cannot see it. */
#ifndef PICOSNITCH_DATAGRAM_H
#define PICOSNITCH_DATAGRAM_H

#include "flow.h"

static __always_inline void remember(void *map, __u64 by, struct pending_peer *peer)
{
	struct pending_peer *known = bpf_map_lookup_elem(map, &by);

	/* In place: making an entry costs more than the rest together. */
	if (known)
		*known = *peer;
	else
		bpf_map_update_elem(map, &by, peer, BPF_ANY);
}

static __always_inline struct sock *sock_of_address(struct bpf_sock_addr *ctx)
{
	/* The context as the kernel has it: the verifier lets nobody calculate with ctx->sk. */
	return BPF_CORE_READ((struct bpf_sock_addr_kern *)ctx, sk);
}

static __always_inline void read_address(struct bpf_sock_addr *ctx, bool ipv6, __u8 *address)
{
	__u32 *word = (__u32 *)address;

	if (ipv6) {
		word[0] = ctx->user_ip6[0];
		word[1] = ctx->user_ip6[1];
		word[2] = ctx->user_ip6[2];
		word[3] = ctx->user_ip6[3];
	} else {
		map_ipv4(address, ctx->user_ip4);
	}
}

static __always_inline int remember_address(void *map, struct bpf_sock_addr *ctx, bool ipv6)
{
	struct sock *sk = sock_of_address(ctx);
	struct pending_peer peer = { .socket = socket_inode(sk) };

	read_address(ctx, ipv6, peer.address);
	peer.port = bpf_ntohs(ctx->user_port);
	if (map == &sending && !sends_elsewhere && BPF_CORE_READ(sk, __sk_common.skc_state) == TCP_ESTABLISHED)
		sends_elsewhere = true;
	remember(map, bpf_get_current_pid_tgid(), &peer);
	return 1;
}

SEC("cgroup/sendmsg4")
int sending_to4(struct bpf_sock_addr *ctx)
{
	return remember_address(&sending, ctx, false);
}

SEC("cgroup/sendmsg6")
int sending_to6(struct bpf_sock_addr *ctx)
{
	return remember_address(&sending, ctx, true);
}

SEC("cgroup/recvmsg4")
int received_from4(struct bpf_sock_addr *ctx)
{
	return remember_address(&receiving, ctx, false);
}

SEC("cgroup/recvmsg6")
int received_from6(struct bpf_sock_addr *ctx)
{
	return remember_address(&receiving, ctx, true);
}

/* udp_recvmsg() and udpv6_recvmsg() end with this: the datagram itself, whether or not the caller wants its address. */
SEC("fentry/skb_consume_udp")
int BPF_PROG(datagram_consumed, struct sock *sk, struct sk_buff *skb, int length)
{
	struct pending_peer peer = {};
	unsigned char *head = skb->head;
	unsigned char *network = head + skb->network_header;
	__be16 port = 0;

	if (sk->__sk_common.skc_state == TCP_ESTABLISHED)
		return 0;
	peer.socket = sk->sk_socket->file->f_inode->i_ino;
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		__be32 source = 0;

		bpf_probe_read_kernel(&source, sizeof(source), network + 12); /* RFC 791, 3.1 */
		map_ipv4(peer.address, source);
	} else {
		bpf_probe_read_kernel(peer.address, sizeof(peer.address), network + 8); /* RFC 8200, 3 */
	}
	bpf_probe_read_kernel(&port, sizeof(port), head + skb->transport_header); /* RFC 768 */
	peer.port = bpf_ntohs(port);
	remember(&receiving, bpf_get_current_pid_tgid(), &peer);
	return 0;
}

static __always_inline bool has_udp_next(struct __sk_buff *skb)
{
	__u8 next = 0;

	bpf_skb_load_bytes(skb, 6, &next, sizeof(next)); /* RFC 8200, 3 */
	return next == IPPROTO_UDP || next == IPPROTO_UDPLITE;
}

/* Raw and ping sockets: no hook of theirs tells the address, but each packet passes here in the caller's context. */
static __always_inline int packet_seen(struct __sk_buff *skb, bool egress)
{
	struct bpf_sock *sk = skb->sk;
	struct pending_peer peer = {};
	bool ports;

	if (!sk)
		return 1;
	sk = bpf_sk_fullsock(sk);
	if (!sk || sk->protocol == IPPROTO_TCP)
		return 1;
	ports = has_ports(sk->type, sk->protocol);
	if (ports && (egress || have_skb_consume_udp || sk->state == TCP_ESTABLISHED))
		return 1;
	peer.socket = socket_inode(BPF_CORE_READ((struct sk_buff *)skb, sk));
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		__be32 address = 0;

		bpf_skb_load_bytes(skb, egress ? 16 : 12, &address, sizeof(address));
		map_ipv4(peer.address, address);
		if (ports) {
			__u8 first = 0;
			__be16 port = 0;

			bpf_skb_load_bytes(skb, 0, &first, sizeof(first));
			bpf_skb_load_bytes(skb, (first & 15) * 4, &port, sizeof(port));
			peer.port = bpf_ntohs(port);
		}
	} else {
		bpf_skb_load_bytes(skb, egress ? 24 : 8, peer.address, sizeof(peer.address));
		if (ports) {
			__be16 port = 0;

			/* Extension headers before UDP are not followed: there the port stays unknown. */
			if (has_udp_next(skb))
				bpf_skb_load_bytes(skb, 40, &port, sizeof(port));
			peer.port = bpf_ntohs(port);
		}
	}
	if (egress)
		remember(&talked_to, peer.socket, &peer);
	else
		remember(&heard_from, peer.socket, &peer);
	return 1;
}

SEC("cgroup_skb/egress")
int packet_leaves(struct __sk_buff *skb)
{
	return packet_seen(skb, true);
}

SEC("cgroup_skb/ingress")
int packet_comes(struct __sk_buff *skb)
{
	return packet_seen(skb, false);
}

#endif
