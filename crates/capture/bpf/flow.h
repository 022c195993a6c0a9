/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The flow table: shared bodies of all hooks that count. */
#ifndef PICOSNITCH_FLOW_H
#define PICOSNITCH_FLOW_H

#include "sock.h"
#include "events.h"
#include "payload.h"

/* Reads the local end of a flow from its socket. */
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

/* A piece of a key, of the size that a CPU handles at once: socket, start, tgid and exec, peer (two), the rest. */
typedef __u64 __attribute__((may_alias)) word;

/* The entry of a key in the flow cache. Inode numbers and addresses differ in few bits: the multiplication spreads them. */
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
 * Finds a flow of generation 0 through the flow cache. Returns it only if it was used in this tick already: then it has not
 * expired, and only its counters have to be written.
 */
static __always_inline struct flow *flow_cached(const struct flow_key *key)
{
	__u64 entry = *flow_cache_entry(key);
	__u32 slot = entry - 1;
	struct flow *flow = bpf_map_lookup_elem(&flows, &slot);

	if (!flow || !is_same(key, &flow->key) || flow->last_tick != tick)
		return NULL;
	/* The epoch is read last: if it is still the same, all fields read above belong to the same flow. */
	barrier();
	return flow->slot_epoch == entry >> 32 ? flow : NULL;
}

/* Finds a flow through the index. */
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

/* Finds a flow that may be added to, and caches it; NULL if there is none. */
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
		/* The flow waits for its removal: a second one, of generation 1, continues it. */
		key->generation = 1;
		return flow_lookup(key);
	}
	flow_cache_store(key, flow, at);
	return flow;
}

/* Fills a new flow, except for the time of its first use. */
static __always_inline void flow_init(struct flow *flow, const struct flow_key *key, struct hooked_socket socket,
				      __u32 now)
{
	struct sock *sk = socket.sk;

	flow->key = *key;
	flow->sent = 0;
	flow->received = 0;
	flow->connects = 0;
	flow->cgroup = bpf_get_current_cgroup_id();
	flow->uid = bpf_get_current_uid_gid();
	flow->netns = socket.typed ? sk->__sk_common.skc_net.net->ns.inum
				   : BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	flow->family = socket.family;
	flow->stream = socket.family != AF_PACKET && is_stream(LOAD(socket.typed, sk, sk_type), key->protocol);
	flow->last_tick = now;
	/* Streams end with their socket. Datagram sockets do, too, but they may meet any number of peers until then. */
	flow->expires = !flow->stream || !key->socket ? FLOW_EXPIRES : 0;
	__builtin_memset(flow->local, 0, sizeof(flow->local));
	flow->local_port = 0;
	flow->slow_path = is_name_service(key->peer_port) ? SLOW_PATH_LOCAL | SLOW_PATH_NAMES : SLOW_PATH_LOCAL;
	flow->handshake = 0;
}

/* The slow path after a transfer: reads the local end, captures a handshake or the payload of a name service. */
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

	/* `slow_path` and `handshake` in one read. */
	return *(const both *)&flow->slow_path;
}

/* Reports the first flow of a process, for which user space drains at once. */
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
		/* If the ring is full, the event is not needed: user space was woken already. */
		bpf_ringbuf_output(&events, &event, sizeof(event), BPF_RB_FORCE_WAKEUP);
	}
	*last = *process;
}

/* The amount that one operation adds to a flow. */
struct flow_use {
	__u64 bytes;
	enum direction direction;
	bool connects;
};

static __always_inline void flow_add(struct flow *flow, struct flow_use use)
{
	if (use.bytes)
		__sync_fetch_and_add(use.direction == SENT ? &flow->sent : &flow->received, use.bytes);
	if (use.connects)
		__sync_fetch_and_add(&flow->connects, 1);
}

/*
 * Creates a flow that has the use in it from the beginning. If another CPU has created it meanwhile, adds the use to that
 * one. Returns NULL, and counts a loss, when the table is full.
 */
static __always_inline struct flow *flow_create(struct flow_key *key, struct hooked_socket socket, __u32 now,
						struct flow_use use)
{
	struct flow *flow = NULL;
	__u32 slot = 0;

	if (bpf_map_pop_elem(&free_slots, &slot) == 0) {
		flow = bpf_map_lookup_elem(&flows, &slot);
		if (!flow)
			return NULL; /* never happens, but the verifier demands the check */
		flow_init(flow, key, socket, now);
		flow->first = bpf_ktime_get_boot_ns();
		if (use.connects) {
			/* The socket has no local end yet. */
			flow->connects = 1;
		} else {
			/* The local end is read before the flow can be found: a drain would record it without. */
			flow_read_local(flow, socket.sk, key->protocol, socket.typed);
			flow->slow_path &= ~SLOW_PATH_LOCAL;
		}
		/* The caller of connect() begins a stream with a handshake; the first sender of datagrams does, too. */
		if (use.direction == RECEIVED && flow->expires)
			flow->expires |= FLOW_INCOMING;
		else if (use.connects || (!flow->stream && key->protocol == IPPROTO_UDP))
			flow->handshake = HANDSHAKE_UNSEEN;
		if (use.direction == SENT)
			flow->sent = use.bytes;
		else
			flow->received = use.bytes;
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
		flow_add(flow, use);
		return flow;
	}
	COUNT(lost_flow_operations, 1);
	/* clang would turn an addition of 0 into an atomic load, which kernels before 5.12 do not know. */
	if (use.bytes)
		COUNT(lost_flow_bytes, use.bytes);
	return NULL;
}

/* Adds to the flow that is not in the cache, or creates it; NULL when the table is full. */
static __noinline struct flow *flow_add_uncached(struct flow_key *key, struct sock *sk, __u64 bytes,
						 enum direction direction)
{
	struct flow_use use = { .bytes = bytes, .direction = direction };
	__u32 now = tick;
	struct flow *flow = flow_find(key, now);
	struct hooked_socket socket;

	if (!flow) {
		socket = (struct hooked_socket){ .sk = sk, .family = sk->__sk_common.skc_family, .typed = true };
		return flow_create(key, socket, now, use);
	}
	if (flow->last_tick != now)
		flow->last_tick = now;
	flow_add(flow, use);
	return flow;
}

#endif
