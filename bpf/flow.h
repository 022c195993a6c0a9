/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The flow table: shared bodies of all hooks that count. */
#ifndef PICOSNITCH_FLOW_H
#define PICOSNITCH_FLOW_H

#include "task.h"

enum direction { SENT, RECEIVED };

static __always_inline void map_ipv4(__u8 *to, __be32 address)
{
	__u64 *word = (__u64 *)to;

	word[0] = 0;
	word[1] = address ? (__u64)address << 32 | 0xffff0000ULL : 0;
}

static __always_inline void key_copy_ipv6(__u8 *to, struct sock *sk)
{
	__u32 *word = (__u32 *)to;

	/* A v4-mapped address needs no translation: it is what map_ipv4() makes. */
	word[0] = sk->__sk_common.skc_v6_daddr.in6_u.u6_addr32[0];
	word[1] = sk->__sk_common.skc_v6_daddr.in6_u.u6_addr32[1];
	word[2] = sk->__sk_common.skc_v6_daddr.in6_u.u6_addr32[2];
	word[3] = sk->__sk_common.skc_v6_daddr.in6_u.u6_addr32[3];
}

static __always_inline bool is_stream(__u16 type, __u32 protocol)
{
	return type != SOCK_RAW && (protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP || protocol == IPPROTO_SCTP);
}

/* Raw and ping sockets keep other numbers where the rest has ports. */
static __always_inline bool has_ports(__u16 type, __u32 protocol)
{
	return type != SOCK_RAW && protocol != IPPROTO_ICMP && protocol != IPPROTO_ICMPV6;
}

static __always_inline bool is_none(const __u8 *address)
{
	const __u64 *word = (const __u64 *)address;

	return !word[0] && !word[1];
}

/* Asks user space for the hooks on each packet. */
static __always_inline void want_packets(void)
{
	struct process_id_event event = { .kind = EVENT_PACKETS };

	if (packets_watched || packets_wanted)
		return;
	packets_wanted = true;
	bpf_ringbuf_output(&events, &event, sizeof(event), BPF_RB_FORCE_WAKEUP);
}

/* Identifies a socket from its creation to its end, also for /proc/PID/fd; 0 for the kernel's own ones. */
static __always_inline __u64 socket_inode(struct sock *sk, bool typed)
{
	return typed ? sk->sk_socket->file->f_inode->i_ino : BPF_CORE_READ(sk, sk_socket, file, f_inode, i_ino);
}

/* Address and port that a socket is connected to. */
static __always_inline void peer_of_socket(struct flow_key *key, struct sock *sk, __u16 family, bool typed)
{
	if (family == AF_INET) {
		map_ipv4(key->peer, LOAD(typed, sk, __sk_common.skc_daddr));
	} else if (typed) {
		key_copy_ipv6(key->peer, sk);
	} else {
		BPF_CORE_READ_INTO(&key->peer, sk, __sk_common.skc_v6_daddr);
	}
	key->peer_port = bpf_ntohs(LOAD(typed, sk, __sk_common.skc_dport));
}

/* Fills a new entry with all that does not change. */
static __always_inline void flow_describe(struct flow *flow, struct flow_key *key, struct sock *sk, __u16 family,
					  bool typed)
{
	flow->first = bpf_ktime_get_boot_ns();
	flow->cgroup = bpf_get_current_cgroup_id();
	flow->uid = bpf_get_current_uid_gid();
	flow->netns =
		typed ? sk->__sk_common.skc_net.net->ns.inum : BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	flow->family = family;
	flow->stream = family != AF_PACKET && is_stream(LOAD(typed, sk, sk_type), key->protocol);
	flow->last_tick = tick;
	/* Streams end with their socket; so do others, but they may meet any number of peers until then. */
	flow->expires = !flow->stream || !key->socket;
}

static __always_inline __u16 local_port_of(struct sock *sk)
{
	/* Not skc_num: a connection that is closed has given that back. */
	return bpf_ntohs(BPF_CORE_READ((struct inet_sock *)sk, inet_sport));
}

static __always_inline void flow_local(struct flow *flow, struct sock *sk, __u32 protocol, bool typed)
{
	if (flow->family == AF_INET)
		map_ipv4(flow->local, LOAD(typed, sk, __sk_common.skc_rcv_saddr));
	else if (flow->family == AF_INET6)
		BPF_CORE_READ_INTO(&flow->local, sk, __sk_common.skc_v6_rcv_saddr);
	if (flow->family != AF_PACKET && has_ports(LOAD(typed, sk, sk_type), protocol))
		flow->local_port = local_port_of(sk);
}

/* The entry of a key that may be added to; NULL if there is none. */
static __always_inline struct flow *flow_find(struct flow_key *key)
{
	struct flow *flow = bpf_map_lookup_elem(&flows, key);

	if (flow && flow->expires && tick - flow->last_tick > expire_ticks) {
		/* Dead and waiting for its removal: go on in another entry. */
		key->generation = 1;
		flow = bpf_map_lookup_elem(&flows, key);
	}
	return flow;
}

/*
 * Makes an entry that is complete from the beginning, so that it need not be looked up again. NULL when that was
 * done; the entry of another CPU that was quicker; NULL and counted as lost when the table is full.
 */
static __always_inline struct flow *flow_make(struct flow_key *key, struct flow *fresh, __u64 bytes)
{
	struct flow *flow;

	if (bpf_map_update_elem(&flows, key, fresh, BPF_NOEXIST) == 0)
		return NULL;
	flow = bpf_map_lookup_elem(&flows, key);
	if (!flow) {
		COUNT(lost_flow_operations, 1);
		/* Not for 0, which clang would turn into an atomic load, unknown before 5.12. */
		if (bytes)
			COUNT(lost_flow_bytes, bytes);
	}
	return flow;
}

static __always_inline void flow_add(struct flow_key *key, struct sock *sk, __u16 family, bool typed, __u64 bytes,
				     enum direction direction)
{
	struct flow *flow = flow_find(key);

	if (!flow) {
		struct flow fresh = {};

		flow_describe(&fresh, key, sk, family, typed);
		flow_local(&fresh, sk, key->protocol, typed);
		fresh.local_known = 1;
		if (direction == SENT)
			fresh.sent = bytes;
		else
			fresh.received = bytes;
		flow = flow_make(key, &fresh, bytes);
		if (!flow)
			return;
	}
	if (bytes)
		__sync_fetch_and_add(direction == SENT ? &flow->sent : &flow->received, bytes);
	flow->last_tick = tick;
	/* connect() makes the entry before the socket has its local end; data comes after. */
	if (!flow->local_known) {
		flow_local(flow, sk, key->protocol, typed);
		flow->local_known = 1;
	}
}

#endif
