/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The flow table: shared bodies of all hooks that count. */
#ifndef PICOSNITCH_FLOW_H
#define PICOSNITCH_FLOW_H

#include "heard.h"

/* Two 32-bit words as they follow each other in memory. */
static __always_inline __u64 pair(__u32 first, __u32 second)
{
	const __u16 one = 1;

	return *(const __u8 *)&one ? (__u64)second << 32 | first : (__u64)first << 32 | second;
}

static __always_inline void map_ipv4(__u8 *to, __be32 address)
{
	__u64 *word = (__u64 *)to;

	word[0] = 0;
	word[1] = address ? (__u64)address << 32 | 0xffff0000ULL : 0;
}

static __always_inline void key_copy_ipv6(__u8 *to, struct sock *sk)
{
	__u64 *word = (__u64 *)to;

	/*
	 * A v4-mapped address needs no translation: it is what map_ipv4() makes. By words of the size in which it is
	 * compared: a CPU reads back slowly what was written in pieces.
	 */
	word[0] =
		pair(sk->__sk_common.skc_v6_daddr.in6_u.u6_addr32[0], sk->__sk_common.skc_v6_daddr.in6_u.u6_addr32[1]);
	word[1] =
		pair(sk->__sk_common.skc_v6_daddr.in6_u.u6_addr32[2], sk->__sk_common.skc_v6_daddr.in6_u.u6_addr32[3]);
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

static __always_inline __u16 local_port_of(struct sock *sk)
{
	struct inet_sock *inet = (struct inet_sock *)sk;

	if (have_casts)
		inet = bpf_rdonly_cast(sk, bpf_core_type_id_kernel(struct inet_sock));
	/* Not skc_num: a connection that is closed has given that back. */
	return bpf_ntohs(LOAD(have_casts, inet, inet_sport));
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

#define GOLDEN_RATIO 0x9e3779b97f4a7c15ULL

/* The hint that a key falls on. Inode numbers and addresses differ in few bits: the multiplication spreads them. */
static __always_inline __u64 *hint_of(const struct flow_key *key)
{
	const __u64 *peer = (const __u64 *)key->peer;
	__u64 mixed = key->socket + key->process.tgid + peer[0] + peer[1] + ((__u64)key->peer_port << 32);
	__u32 at = mixed * GOLDEN_RATIO >> (64 - HINT_BITS);

	return bpf_map_lookup_elem(&hints, &at);
}

static __always_inline bool is_same(const struct flow_key *key, const struct flow_key *other)
{
	const __u64 *peer = (const __u64 *)key->peer, *other_peer = (const __u64 *)other->peer;

	return key->socket == other->socket && key->process.start == other->process.start &&
	       key->process.tgid == other->process.tgid && key->process.exec == other->process.exec &&
	       peer[0] == other_peer[0] && peer[1] == other_peer[1] && key->peer_port == other->peer_port &&
	       key->protocol == other->protocol && !other->generation;
}

/* Whether a flow was idle for so long that it waits for its removal and must not be used any more. */
static __always_inline bool is_dead(const struct flow *flow, __u32 now)
{
	return flow->expires && now - flow->last_tick > expire_ticks;
}

/* The flow that the hint leads to, if it is the one of this key and may be added to. */
static __always_inline struct flow *flow_hinted(const struct flow_key *key, const __u64 *hint, __u32 now)
{
	__u64 lead = *hint;
	__u32 place = lead - 1;
	struct flow *flow = bpf_map_lookup_elem(&flows, &place);

	if (!flow || !is_same(key, &flow->key) || is_dead(flow, now))
		return NULL;
	/* Last: if it has the same life now, then all that was read before belongs to that life. */
	barrier();
	return flow->life == lead >> 32 ? flow : NULL;
}

static __always_inline struct flow *flow_at(const struct flow_key *key)
{
	__u32 *place = bpf_map_lookup_elem(&places, key), at;

	if (!place)
		return NULL;
	at = *place;
	return bpf_map_lookup_elem(&flows, &at);
}

/* The flow of a key that may be added to; NULL if there is none. */
static __always_inline struct flow *flow_find(struct flow_key *key, __u64 *hint, __u32 now, bool moves)
{
	__u32 *place = bpf_map_lookup_elem(&places, key), at;
	struct flow *flow;

	if (!place)
		return NULL;
	at = *place;
	flow = bpf_map_lookup_elem(&flows, &at);
	if (!flow)
		return NULL;
	if (is_dead(flow, now)) {
		/* Waits for its removal: go on in another one. */
		key->generation = 1;
		return flow_at(key);
	}
	/* A flow that only begins or ends needs no hint. */
	if (moves)
		*hint = (__u64)flow->life << 32 | (at + 1);
	return flow;
}

/* Fills a new flow. */
static __always_inline void flow_describe(struct flow *flow, struct flow_key *key, struct sock *sk, __u16 family,
					  bool typed, __u32 now)
{
	flow->key = *key;
	flow->sent = 0;
	flow->received = 0;
	flow->connects = 0;
	flow->first = bpf_ktime_get_boot_ns();
	flow->cgroup = bpf_get_current_cgroup_id();
	flow->uid = bpf_get_current_uid_gid();
	flow->netns =
		typed ? sk->__sk_common.skc_net.net->ns.inum : BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	flow->family = family;
	flow->stream = family != AF_PACKET && is_stream(LOAD(typed, sk, sk_type), key->protocol);
	flow->last_tick = now;
	/* Streams end with their socket; so do others, but they may meet any number of peers until then. */
	flow->expires = !flow->stream || !key->socket ? EXPIRES : 0;
	__builtin_memset(flow->local, 0, sizeof(flow->local));
	flow->local_port = 0;
	flow->local_known = 0;
	flow->opening = 0;
}

/* User space comes at once for the first flow of a process, and for no other one. */
static __always_inline void announce(const struct process_id *process)
{
	struct process_id_event event = { .kind = EVENT_TALKS, .id = *process };
	__u8 yes = 1;

	if (bpf_map_lookup_elem(&announced, process) ||
	    bpf_map_update_elem(&announced, process, &yes, BPF_NOEXIST) != 0)
		return;
	/* No loss if the ring is full: then it was woken already. */
	bpf_ringbuf_output(&events, &event, sizeof(event), BPF_RB_FORCE_WAKEUP);
}

struct addition {
	__u64 bytes;
	enum direction direction;
	bool connects;
};

/*
 * Makes a flow that is complete from the beginning, with what is to be added to it. NULL when that was done; the flow of
 * another CPU that was quicker; NULL and counted as lost when the table is full.
 */
static __always_inline struct flow *flow_make(struct flow_key *key, struct sock *sk, __u16 family, bool typed,
					      __u32 now, struct addition add)
{
	struct flow *flow = NULL;
	__u32 place = 0;

	if (bpf_map_pop_elem(&free_places, &place) == 0) {
		flow = bpf_map_lookup_elem(&flows, &place);
		if (!flow)
			return NULL; /* cannot be */
		flow_describe(flow, key, sk, family, typed, now);
		if (add.connects) {
			/* The socket has no local end yet. */
			flow->connects = 1;
			flow->opening = OPENING_FIRST;
		} else {
			flow_local(flow, sk, key->protocol, typed);
			flow->local_known = 1;
		}
		/* Who calls connect() opens a stream; who speaks first opens a conversation of datagrams. */
		if (add.direction == RECEIVED && flow->expires)
			flow->expires |= ADDRESSED;
		else if (!flow->stream && key->protocol == IPPROTO_UDP)
			flow->opening = OPENING_FIRST;
		if (add.direction == SENT)
			flow->sent = add.bytes;
		else
			flow->received = add.bytes;
		if (bpf_map_update_elem(&places, key, &place, BPF_NOEXIST) == 0) {
			announce(&key->process);
			if (add.bytes && add.direction == SENT && flow->opening)
				opening_sent(flow, add.bytes);
			return NULL;
		}
		bpf_map_push_elem(&free_places, &place, BPF_ANY);
	}
	flow = flow_at(key);
	if (!flow) {
		COUNT(lost_flow_operations, 1);
		/* Not for 0, which clang would turn into an atomic load, unknown before 5.12. */
		if (add.bytes)
			COUNT(lost_flow_bytes, add.bytes);
	}
	return flow;
}

static __always_inline void flow_add(struct flow_key *key, struct sock *sk, __u16 family, bool typed, __u64 bytes,
				     enum direction direction)
{
	__u64 *hint = hint_of(key);
	__u32 now = tick;
	struct flow *flow;

	if (!hint)
		return; /* cannot be */
	flow = flow_hinted(key, hint, now);
	if (!flow)
		flow = flow_find(key, hint, now, bytes > 0);
	if (!flow)
		flow = flow_make(key, sk, family, typed, now,
				 (struct addition){ .bytes = bytes, .direction = direction });
	if (!flow)
		return;
	if (bytes)
		__sync_fetch_and_add(direction == SENT ? &flow->sent : &flow->received, bytes);
	if (bytes && direction == SENT && flow->opening)
		opening_sent(flow, bytes);
	if (flow->last_tick != now)
		flow->last_tick = now;
	/* connect() makes the flow before the socket has its local end; data comes after. */
	if (!flow->local_known) {
		flow_local(flow, sk, key->protocol, typed);
		flow->local_known = 1;
	}
}

#endif
