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
const volatile bool have_current_task_btf = false;   /* helper bpf_get_current_task_btf, 5.11 */
const volatile bool have_length_tracepoints = false; /* sock_send_length, sock_recv_length, 6.3 */
const volatile bool have_skb_consume_udp = false;    /* the hook datagram_consumed is attached */

const volatile bool have_connect_hooks = false; /* cgroup programs at connect() */

/*
 * Clock of the drain: user space adds one at each drain. An entry with `expires` that was not used for more than
 * `expire_ticks` is dead: it is not added to any more, so user space may read it a few ticks later for the last
 * time and remove it.
 */
volatile __u32 tick = 0;
volatile __u32 expire_ticks = 120;

/* Some connected datagram socket was given another address to send to: rare, so looked for only from then on. */
volatile bool sends_elsewhere = false;

/* Losses: all counted, read at each drain. */
volatile __u64 lost_process_events = 0;
volatile __u64 lost_release_events = 0;
volatile __u64 lost_flow_operations = 0;
volatile __u64 lost_flow_bytes = 0;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 131072);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct flow_key);
	__type(value, struct flow);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} events SEC(".maps");

/* Peer of the datagram that a thread is sending or receiving, by thread id (pid_tgid). */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct pending_peer);
} sending SEC(".maps"), receiving SEC(".maps");

/* Peer that a raw or unconnected datagram socket talked to, or heard from, last: by inode number. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct pending_peer);
} talked_to SEC(".maps"), heard_from SEC(".maps");

/* Too big for the 512 bytes of stack. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct process_event);
} scratch SEC(".maps");

#define COUNT(counter, amount) __sync_fetch_and_add(&(counter), (amount))

/*
 * Waking user space costs more than the event, and it comes by itself at each tick: it is woken only when the
 * ring fills up.
 */
static __always_inline int send_event(void *event, __u64 bytes)
{
	__u64 flags =
		bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) > 64 * 1024 ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;

	return bpf_ringbuf_output(&events, event, bytes, flags);
}

#endif
