/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Maps, switches that user space sets before loading, and counters that it reads. */
#ifndef PICOSNITCH_MAPS_H
#define PICOSNITCH_MAPS_H

#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_endian.h>
#include "abi.h"

/* What this kernel has, found in its BTF. The verifier drops the branches that are not taken. */
const volatile bool have_current_task_btf = false; /* helper bpf_get_current_task_btf, 5.11 */
const volatile bool have_skb_consume_udp = false;  /* the hook datagram_consumed is attached */

const volatile bool have_casts = false; /* kfuncs bpf_rdonly_cast, bpf_cast_to_kern_ctx, 6.2 */

/*
 * Clock of the drain: user space adds one at each drain. An entry with `expires` that was not used for more than
 * `expire_ticks` is dead: it is not added to any more, so user space may read it a few ticks later for the last
 * time and remove it.
 */
volatile __u32 tick = 0;
volatile __u32 expire_ticks = 120;

/* Not every way out of a TCP socket can be watched: its own counters are compared at its end. */
const volatile bool compare_consumed = true;

/* kfuncs bpf_preempt_disable and bpf_preempt_enable, 6.10: what is kept for each CPU needs them on such a kernel. */
const volatile bool have_preempt_disable = false;

/*
 * The kernel skips a tracing program that is running on this CPU already: harmless as long as nothing can come between.
 * Where tracepoints can be preempted, another task can, and what it does would be lost. There each program is attached
 * twice, and the second one does the work when the first one was skipped.
 */
const volatile bool have_backups = false;

/* Some connected datagram socket was given another address to send to: rare, so looked for only from then on. */
volatile bool connected_sends_elsewhere = false;

/* Helper bpf_task_pt_regs, 5.15. */
const volatile bool have_task_pt_regs = false;

/* The hooks on each packet are attached; they are only when somebody needs them, see datagram.h. */
volatile bool packet_hooks_attached = false;
volatile bool packet_hooks_requested = false;

/* Bytes in the ring buffer above which user space is woken, and whether it was and has not come yet. */
const volatile __u64 wake_threshold = 64 * 1024;
volatile bool woken = false;

/* Losses: all counted, read at each drain. */
volatile __u64 lost_process_events = 0;
volatile __u64 lost_release_events = 0;
volatile __u64 lost_flow_operations = 0;
volatile __u64 lost_flow_bytes = 0;
volatile __u64 lost_observations = 0;
volatile __u64 done_by_backup = 0; /* not lost, but would have been */

#define MAX_FLOWS 65536

/* The flows, which user space reads in place. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, MAX_FLOWS);
	__type(key, __u32);
	__type(value, struct flow);
} flows SEC(".maps");

/* Where the flow of a key is. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_FLOWS);
	__type(key, struct flow_key);
	__type(value, __u32);
} flow_index SEC(".maps");

/* Places without a flow: user space puts them here. */
struct {
	__uint(type, BPF_MAP_TYPE_STACK);
	__uint(max_entries, MAX_FLOWS);
	__type(value, __u32);
} free_slots SEC(".maps");

/*
 * Where the flow of a key was last time, for keys that fall on the same one of these: life << 32 | place + 1. Only a
 * hint: what lies there is compared with the key.
 */
#define FLOW_CACHE_BITS 14
__u64 flow_cache[1 << FLOW_CACHE_BITS] SEC(".bss.caches");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} events SEC(".maps");

/* Processes whose first flow was told at once; by their ids the one of them that was asked for last, which is quicker. */
#define PROCESS_CACHE_BITS 10
struct process_id known_process_cache[1 << PROCESS_CACHE_BITS] SEC(".bss.caches");
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct process_id);
	__type(value, __u8);
} known_processes SEC(".maps");

/*
 * Peer of the datagram that a thread is sending: the hook that counts the bytes comes right after, and frees the slot.
 * Threads fall on slots by their address. A slot belongs to the thread that is in it, until that takes itself out: who
 * finds another one there goes to `sending`.
 */
#define PENDING_SEND_BITS 12
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1 << PENDING_SEND_BITS);
	__type(key, __u32);
	__type(value, struct pending_peer);
} pending_send_peers SEC(".maps");

/* The same by thread, for the rare cases; and of the datagram that a thread is receiving. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct pending_peer);
} pending_send_overflow SEC(".maps"), pending_receive_peers SEC(".maps");

/* Peer that a raw or unconnected datagram socket talked to, or heard from, last: by inode number. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct pending_peer);
} last_sent_peers SEC(".maps"), last_received_peers SEC(".maps");

/*
 * Programs whose files nobody hands over: they have to be opened while their processes live, which may be a millisecond.
 * Apart from the other events, so that they are not kept waiting.
 */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 * 1024);
} unwatched_programs SEC(".maps");

/* What may tell the names of addresses: user space reads it for itself. */
#define OBSERVATION_RING_BYTES (128 * 1024)
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, OBSERVATION_RING_BYTES);
} observations SEC(".maps");

/* Calls of getaddrinfo(3) and its kin that have not returned yet, by thread and function. */
struct resolver_call_key {
	__u64 thread;
	__u64 function;
};
struct resolver_call {
	__u64 result; /* where the function puts its answer */
	char name[DOMAIN_BYTES];
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct resolver_call_key);
	__type(value, struct resolver_call);
} resolver_calls SEC(".maps");

/* Too big for the 512 bytes of stack. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2); /* of the hooks, and of the iterator, which they may interrupt */
	__type(key, __u32);
	__type(value, struct process_event);
} scratch SEC(".maps");

/* Which hooks the first program has done for a task, and the second one need not. */
struct backup_marks {
	__u8 last_runner[8];
};
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct backup_marks);
} backup_marks SEC(".maps");

enum backed_up_hook {
	BACKED_UP_SEND,
	BACKED_UP_RECEIVE,
	BACKED_UP_EXEC,
	BACKED_UP_FORK,
	BACKED_UP_EXIT,
	BACKED_UP_RENAME
};

extern void bpf_preempt_disable(void) __ksym __weak;
extern void bpf_preempt_enable(void) __ksym __weak;

static __always_inline void disable_preemption(void)
{
	if (have_preempt_disable)
		bpf_preempt_disable();
}

static __always_inline void enable_preemption(void)
{
	if (have_preempt_disable)
		bpf_preempt_enable();
}

#define COUNT(counter, amount) __sync_fetch_and_add(&(counter), (amount))

/* Bytes in the ring buffer that user space has not read yet. */
static __always_inline __u64 unread_event_bytes(void)
{
	return bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA);
}

/*
 * Waking user space costs more than the event, and it comes by itself at each tick: it is woken only when the
 * ring fills up, and once, until it has come.
 */
static __always_inline __u64 wakeup_flags(__u64 waiting)
{
	bool full = waiting > wake_threshold;
	__u64 flags = full && !woken ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;

	if (full != woken)
		woken = full;
	return flags;
}

static __always_inline int send_event(void *event, __u64 bytes, __u64 waiting)
{
	return bpf_ringbuf_output(&events, event, bytes, wakeup_flags(waiting));
}

enum attachment { PRIMARY, BACKUP, CLASSIC_BACKUP };

/*
 * Whether this program is the one to do the work. Each leaves a note for the next: 1, the first one did it; 2, the second
 * one was there. The third one, where there is one, clears the note, or does what both were skipped for. Who cannot
 * leave a note leaves the work to the next; the last one needs none. To be asked before anything else, also for what is of
 * no interest: the kernel counts all that it skips, and what was made up for is to be told from what was lost.
 */
static __always_inline bool is_responsible(enum backed_up_hook hook, enum attachment attachment)
{
	enum attachment last = hook == BACKED_UP_SEND || hook == BACKED_UP_RECEIVE ? CLASSIC_BACKUP : BACKUP;
	struct backup_marks *note;
	bool did = false;
	__u8 *mark;

	if (!have_backups)
		return attachment == PRIMARY;
	note = bpf_task_storage_get(&backup_marks, bpf_get_current_task_btf(), 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (note) {
		mark = &note->last_runner[hook];
		did = attachment == BACKUP ? *mark == 1 : attachment == CLASSIC_BACKUP && *mark != 0;
		*mark = attachment == PRIMARY ? 1 : attachment == BACKUP ? 2 : 0;
	} else if (attachment != last) {
		return false;
	}
	if (did)
		return false;
	if (attachment != PRIMARY)
		COUNT(done_by_backup, 1);
	return true;
}

#endif
