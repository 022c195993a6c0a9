/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The flow table: shared bodies of all hooks that count. */
#ifndef PICOSNITCH_FLOW_H
#define PICOSNITCH_FLOW_H

#include "payload.h"

/* Two 32-bit words as they follow each other in memory. */
static __always_inline __u64 join_words(__u32 first, __u32 second)
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

static __always_inline void copy_ipv6_peer(__u8 *to, struct sock *sk)
{
	__u64 *word = (__u64 *)to;

	/*
	 * A v4-mapped address needs no translation: it is what map_ipv4() makes. By words of the size in which it is
	 * compared: a CPU reads back slowly what was written in pieces.
	 */
	word[0] = join_words(sk->__sk_common.skc_v6_daddr.in6_u.u6_addr32[0],
			     sk->__sk_common.skc_v6_daddr.in6_u.u6_addr32[1]);
	word[1] = join_words(sk->__sk_common.skc_v6_daddr.in6_u.u6_addr32[2],
			     sk->__sk_common.skc_v6_daddr.in6_u.u6_addr32[3]);
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
static __always_inline void request_packet_hooks(void)
{
	struct process_id_event event = { .kind = EVENT_NEED_PACKET_HOOKS };

	if (packet_hooks_attached || packet_hooks_requested)
		return;
	packet_hooks_requested = true;
	bpf_ringbuf_output(&events, &event, sizeof(event), BPF_RB_FORCE_WAKEUP);
}

/* The inode number of a socket, which identifies it from its creation to its end, also for /proc/PID/fd. */
static __always_inline __u64 socket_inode_unchecked(struct sock *sk, bool typed)
{
	if (!typed)
		return BPF_CORE_READ(sk, sk_socket, file, f_inode, i_ino);
	if (!have_casts)
		return sk->sk_socket->file->f_inode->i_ino;
	/* The shorter way to the same inode, see SOCK_INODE() in include/net/sock.h. */
	return ((struct socket_alloc *)bpf_rdonly_cast(sk->sk_socket, bpf_core_type_id_kernel(struct socket_alloc)))
		->vfs_inode.i_ino;
}

/* Whether it is one of the kernel's own: no process has it open. */
static __always_inline bool is_kernel_socket(struct sock *sk, bool typed)
{
	return !(typed ? sk->sk_socket->file : BPF_CORE_READ(sk, sk_socket, file));
}

/* The inode number of a socket that a process has open; 0 for the kernel's own ones. */
static __always_inline __u64 socket_inode(struct sock *sk, bool typed)
{
	return is_kernel_socket(sk, typed) ? 0 : socket_inode_unchecked(sk, typed);
}

/* Address and port that a socket is connected to. */
static __always_inline void peer_of_socket(struct flow_key *key, struct sock *sk, __u16 family, bool typed)
{
	struct in6_addr address;

	if (family == AF_INET) {
		map_ipv4(key->peer, LOAD(typed, sk, __sk_common.skc_daddr));
	} else if (typed) {
		copy_ipv6_peer(key->peer, sk);
	} else {
		BPF_CORE_READ_INTO(&address, sk, __sk_common.skc_v6_daddr);
		__builtin_memcpy(key->peer, &address, sizeof(key->peer));
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

static __always_inline void flow_read_local(struct flow *flow, struct sock *sk, __u32 protocol, bool typed)
{
	if (flow->family == AF_INET)
		map_ipv4(flow->local, LOAD(typed, sk, __sk_common.skc_rcv_saddr));
	else if (flow->family == AF_INET6)
		BPF_CORE_READ_INTO(&flow->local, sk, __sk_common.skc_v6_rcv_saddr);
	if (flow->family != AF_PACKET && has_ports(LOAD(typed, sk, sk_type), protocol))
		flow->local_port = local_port_of(sk);
}

#define GOLDEN_RATIO 0x9e3779b97f4a7c15ULL

/* A key in pieces of the size that a CPU handles at once: socket, start, process and its program, peer twice, the rest. */
typedef __u64 __attribute__((may_alias)) word;

/* The hint that a key falls on. Inode numbers and addresses differ in few bits: the multiplication spreads them. */
static __always_inline __u64 *flow_cache_entry(const struct flow_key *key)
{
	const word *words = (const word *)key;
	__u64 mixed = words[0] + words[2] + words[3] + words[4] + (words[5] << 32);

	return &flow_cache[mixed * GOLDEN_RATIO >> (64 - FLOW_CACHE_BITS)];
}

static __always_inline bool is_same(const struct flow_key *key, const struct flow_key *other)
{
	const word *a = (const word *)key, *b = (const word *)other;

	return !((a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3]) | (a[4] ^ b[4]) | (a[5] ^ b[5]));
}

/* Whether a flow was idle for so long that it waits for its removal and must not be used any more. */
static __always_inline bool is_expired(const struct flow *flow, __u32 now)
{
	return flow->expires && now - flow->last_tick > expire_ticks;
}

/*
 * The flow that the hint leads to, if it is the one of this key (of generation 0) and was used in this tick already: so it
 * is not dead, and nothing but its counters is to be written.
 */
static __always_inline struct flow *flow_cached(const struct flow_key *key)
{
	__u64 lead = *flow_cache_entry(key);
	__u32 slot = lead - 1;
	struct flow *flow = bpf_map_lookup_elem(&flows, &slot);

	if (!flow || !is_same(key, &flow->key) || flow->last_tick != tick)
		return NULL;
	/* Last: if it has the same life now, then all that was read before belongs to that life. */
	barrier();
	return flow->slot_epoch == lead >> 32 ? flow : NULL;
}

static __always_inline struct flow *flow_lookup(const struct flow_key *key)
{
	__u32 *slot = bpf_map_lookup_elem(&flow_index, key), at;

	if (!slot)
		return NULL;
	at = *slot;
	return bpf_map_lookup_elem(&flows, &at);
}

static __always_inline void flow_cache_store(const struct flow_key *key, const struct flow *flow, __u32 slot)
{
	*flow_cache_entry(key) = (__u64)flow->slot_epoch << 32 | (slot + 1);
}

/* The flow of a key that may be added to; NULL if there is none. */
static __always_inline struct flow *flow_find(struct flow_key *key, __u32 now)
{
	__u32 *slot = bpf_map_lookup_elem(&flow_index, key), at;
	struct flow *flow;

	if (!slot)
		return NULL;
	at = *slot;
	flow = bpf_map_lookup_elem(&flows, &at);
	if (!flow)
		return NULL;
	if (is_expired(flow, now)) {
		/* Waits for its removal: go on in another one. */
		key->generation = 1;
		return flow_lookup(key);
	}
	flow_cache_store(key, flow, at);
	return flow;
}

/* Fills a new flow, but for the time of its beginning. */
static __always_inline void flow_init(struct flow *flow, const struct flow_key *key, struct sock *sk, __u16 family,
				      bool typed, __u32 now)
{
	flow->key = *key;
	flow->sent = 0;
	flow->received = 0;
	flow->connects = 0;
	flow->cgroup = bpf_get_current_cgroup_id();
	flow->uid = bpf_get_current_uid_gid();
	flow->netns =
		typed ? sk->__sk_common.skc_net.net->ns.inum : BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	flow->family = family;
	flow->stream = family != AF_PACKET && is_stream(LOAD(typed, sk, sk_type), key->protocol);
	flow->last_tick = now;
	/* Streams end with their socket; so do others, but they may meet any number of peers until then. */
	flow->expires = !flow->stream || !key->socket ? FLOW_EXPIRES : 0;
	__builtin_memset(flow->local, 0, sizeof(flow->local));
	flow->local_port = 0;
	flow->slow_path = is_name_service(key->peer_port) ? SLOW_PATH_LOCAL | SLOW_PATH_NAMES : SLOW_PATH_LOCAL;
	flow->handshake = 0;
}

/* What is only rarely to do when something was moved. */
static __noinline int flow_slow_path(struct flow *flow, struct sock *sk, __u64 bytes, enum direction direction,
				     bool typed)
{
	if (flow->slow_path & SLOW_PATH_LOCAL) {
		flow_read_local(flow, sk, flow->key.protocol, typed);
		flow->slow_path &= ~SLOW_PATH_LOCAL;
	}
	if (bytes && direction == SENT && flow->handshake)
		capture_handshake(flow, bytes);
	if (bytes && flow->slow_path & SLOW_PATH_NAMES)
		capture_name_service(&flow->key, flow->netns, bytes, direction);
	return 0;
}

static __always_inline bool needs_slow_path(const struct flow *flow)
{
	typedef __u16 __attribute__((may_alias)) both;

	/* `attend` and `opening`. */
	return *(const both *)&flow->slow_path;
}

/* User space comes at once for the first flow of a process, and for no other one. */
static __always_inline void report_first_flow(const struct process_id *process)
{
	struct process_id_event event = { .kind = EVENT_FIRST_FLOW, .id = *process };
	struct process_id *last = &known_process_cache[process->tgid & ((1 << PROCESS_CACHE_BITS) - 1)];
	__u8 yes = 1;

	if (last->start == process->start && last->tgid == process->tgid && last->exec == process->exec)
		return;
	if (!bpf_map_lookup_elem(&known_processes, process)) {
		if (bpf_map_update_elem(&known_processes, process, &yes, BPF_NOEXIST) != 0)
			return;
		/* No loss if the ring is full: then it was woken already. */
		bpf_ringbuf_output(&events, &event, sizeof(event), BPF_RB_FORCE_WAKEUP);
	}
	*last = *process;
}

struct flow_use {
	__u64 bytes;
	enum direction direction;
	bool connects;
};

static __always_inline void flow_add(struct flow *flow, struct flow_use add)
{
	if (add.bytes)
		__sync_fetch_and_add(add.direction == SENT ? &flow->sent : &flow->received, add.bytes);
	if (add.connects)
		__sync_fetch_and_add(&flow->connects, 1);
}

/*
 * Makes a flow that has from the beginning what is to be added; if another CPU was quicker, adds it to the one that is
 * there. NULL, and counted as lost, when the table is full.
 */
static __always_inline struct flow *flow_create(struct flow_key *key, struct sock *sk, __u16 family, bool typed,
						__u32 now, struct flow_use add)
{
	struct flow *flow = NULL;
	__u32 slot = 0;

	if (bpf_map_pop_elem(&free_slots, &slot) == 0) {
		flow = bpf_map_lookup_elem(&flows, &slot);
		if (!flow)
			return NULL; /* cannot be */
		flow_init(flow, key, sk, family, typed, now);
		flow->first = bpf_ktime_get_boot_ns();
		if (add.connects) {
			/* The socket has no local end yet. */
			flow->connects = 1;
		} else {
			/* Before it can be found: a drain that reads it without would record it so. */
			flow_read_local(flow, sk, key->protocol, typed);
			flow->slow_path &= ~SLOW_PATH_LOCAL;
		}
		/* Who calls connect() opens a stream; who speaks first opens a conversation of datagrams. */
		if (add.direction == RECEIVED && flow->expires)
			flow->expires |= FLOW_INCOMING;
		else if (add.connects || (!flow->stream && key->protocol == IPPROTO_UDP))
			flow->handshake = HANDSHAKE_UNSEEN;
		if (add.direction == SENT)
			flow->sent = add.bytes;
		else
			flow->received = add.bytes;
		if (bpf_map_update_elem(&flow_index, key, &slot, BPF_NOEXIST) == 0) {
			if (!key->generation)
				flow_cache_store(key, flow, slot);
			report_first_flow(&key->process);
			return flow;
		}
		bpf_map_push_elem(&free_slots, &slot, BPF_ANY);
	}
	flow = flow_lookup(key);
	if (flow) {
		flow_add(flow, add);
		return flow;
	}
	COUNT(lost_flow_operations, 1);
	/* Not for 0, which clang would turn into an atomic load, unknown before 5.12. */
	if (add.bytes)
		COUNT(lost_flow_bytes, add.bytes);
	return NULL;
}

/* Adds to the flow that no hint leads to, or makes it; NULL when the table is full. */
static __noinline struct flow *flow_add_uncached(struct flow_key *key, struct sock *sk, __u64 bytes,
						 enum direction direction)
{
	struct flow_use add = { .bytes = bytes, .direction = direction };
	__u32 now = tick;
	struct flow *flow = flow_find(key, now);

	if (!flow)
		return flow_create(key, sk, sk->__sk_common.skc_family, true, now, add);
	if (flow->last_tick != now)
		flow->last_tick = now;
	flow_add(flow, add);
	return flow;
}

#endif
