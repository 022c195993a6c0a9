/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Maps, switches that user space sets, and loss counters that it reads. */
#ifndef PICOSNITCH_MAPS_H
#define PICOSNITCH_MAPS_H

#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_endian.h>
#include "abi.h"

/*
 * Features of this kernel, found in its BTF and set before loading. The verifier drops the branches that are not taken.
 * have_current_task_btf: helper bpf_get_current_task_btf, 5.11.
 * have_skb_consume_udp: the hook skb_consume_udp is attached.
 * have_casts: kfuncs bpf_rdonly_cast and bpf_cast_to_kern_ctx, 6.2.
 * have_task_pt_regs: helper bpf_task_pt_regs, 5.15.
 * have_preempt_disable: kfuncs bpf_preempt_disable and bpf_preempt_enable, 6.10; per-CPU data needs them there.
 */
const volatile bool have_current_task_btf = false;
const volatile bool have_skb_consume_udp = false;
const volatile bool have_casts = false;
const volatile bool have_task_pt_regs = false;
const volatile bool have_preempt_disable = false;

/* Tracepoints can be preempted, so their programs have backups, see backup.h. */
const volatile bool have_backups = false;

/*
 * The clock of the drain: user space adds one at each drain. A flow with FLOW_EXPIRES that was idle for more than
 * `expire_ticks` has expired: no program adds to it any more, so user space may read it a few ticks later for the last time
 * and remove it.
 */
volatile __u32 tick = 0;
volatile __u32 expire_ticks = EXPIRE_TICKS;

/* Some receives from a TCP socket cannot be hooked: the socket's own counters are reported at its release. */
const volatile bool compare_consumed = true;

/* A connected datagram socket was given another address to send to. This is rare, so it is checked only from then on. */
volatile bool connected_sends_elsewhere = false;

/* The hooks on each packet are attached only when a socket needs them, see datagram.h. */
volatile bool packet_hooks_attached = false;
volatile bool packet_hooks_requested = false;

/* Bytes in the ring buffer above which user space is woken, and whether it was woken and has not read yet. */
const volatile __u64 wake_threshold = 64 * 1024;
volatile bool woken = false;

/* Loss counters, read at each drain. */
volatile __u64 lost_process_events = 0;
volatile __u64 lost_release_events = 0;
volatile __u64 lost_flow_operations = 0;
volatile __u64 lost_flow_bytes = 0;
volatile __u64 lost_observations = 0;
volatile __u64 done_by_backup = 0; /* no loss: skipped in the primary program, and done in its backup */

#define COUNT(counter, amount) __sync_fetch_and_add(&(counter), (amount))

/* The flows, which user space reads in place. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, MAX_FLOWS);
	__type(key, __u32);
	__type(value, struct flow);
} flows SEC(".maps");

/* Maps the key of a flow to its slot in `flows`. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_FLOWS);
	__type(key, struct flow_key);
	__type(value, __u32);
} flow_index SEC(".maps");

/* Slots without a flow: user space pushes them, programs pop them. */
struct {
	__uint(type, BPF_MAP_TYPE_STACK);
	__uint(max_entries, MAX_FLOWS);
	__type(value, __u32);
} free_slots SEC(".maps");

/*
 * Direct-mapped cache in front of `flow_index`, indexed by a hash of the key: slot_epoch << 32 | slot + 1. Several keys
 * share an entry, so the key of the flow in the slot has to be compared.
 */
#define FLOW_CACHE_BITS 14
__u64 flow_cache[1 << FLOW_CACHE_BITS] SEC(".bss.caches");

/* Events for the drain: enum event_kind. User space sets the size. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} events SEC(".maps");

/* Processes whose first flow was reported. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct process_id);
	__type(value, __u8);
} known_processes SEC(".maps");

/* Direct-mapped cache in front of `known_processes`, indexed by tgid. */
#define PROCESS_CACHE_BITS 10
struct process_id known_process_cache[1 << PROCESS_CACHE_BITS] SEC(".bss.caches");

/*
 * Peer of the datagram that a thread is sending: the hook that counts the bytes runs right after, and frees the entry.
 * The address of a thread's task_struct selects its entry. An entry belongs to the thread in it until that thread frees it;
 * another thread that selects the same entry uses `pending_send_overflow`.
 */
#define PENDING_SEND_BITS 12
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1 << PENDING_SEND_BITS);
	__type(key, __u32);
	__type(value, struct pending_peer);
} pending_send_peers SEC(".maps");

/* Peers of sends by task_struct address, for threads without an entry; and peers of datagrams being received. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct pending_peer);
} pending_send_overflow SEC(".maps"), pending_receive_peers SEC(".maps");

/* Peer of the last packet that a raw or unconnected datagram socket sent or received, by inode number. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct pending_peer);
} last_sent_peers SEC(".maps"), last_received_peers SEC(".maps");

/*
 * Executed programs whose files fanotify does not hand over: struct unwatched_event. User space has to open the file while
 * the process lives, which may be a millisecond, so these events have a ring of their own and do not wait behind others.
 */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 * 1024);
} unwatched_programs SEC(".maps");

/* Observations that may name addresses: struct observation_event. */
#define OBSERVATION_RING_BYTES (128 * 1024)
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, OBSERVATION_RING_BYTES);
} observations SEC(".maps");

/* Calls of getaddrinfo(3) and its kin that have not returned yet, by thread and function. */
struct resolver_call_key {
	__u64 thread;
	__u64 function; /* enum resolver_function */
};
struct resolver_call {
	__u64 result; /* user address at which the function stores its result */
	char name[DOMAIN_BYTES];
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct resolver_call_key);
	__type(value, struct resolver_call);
} resolver_calls SEC(".maps");

/* Room for a struct process_event, which does not fit into the 512 bytes of stack. */
enum scratch_user { SCRATCH_HOOKS, SCRATCH_ITERATOR /* hooks may interrupt it */, SCRATCH_USERS };
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SCRATCH_USERS);
	__type(key, __u32);
	__type(value, struct process_event);
} scratch SEC(".maps");

#endif
