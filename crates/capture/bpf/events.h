/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Writing to the ring buffer of events. */
#ifndef PICOSNITCH_EVENTS_H
#define PICOSNITCH_EVENTS_H

#include "maps.h"

/* Bytes in the ring buffer that user space has not read yet. */
static __always_inline __u64 unread_event_bytes(void)
{
	return bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA);
}

/*
 * Returns the wakeup flags for an event while so many bytes are unread. Waking user space costs more than the event, and it
 * reads at each tick anyway: it is woken only when the ring fills up, and only once until it has read.
 */
static __always_inline __u64 wakeup_flags(__u64 unread)
{
	bool full = unread > wake_threshold;
	__u64 flags = full && !woken ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;

	if (full != woken)
		woken = full;
	return flags;
}

/* Sends an event; not 0 when the ring buffer is full. */
static __always_inline int send_event(void *event, __u64 bytes, __u64 unread)
{
	return bpf_ringbuf_output(&events, event, bytes, wakeup_flags(unread));
}

static __always_inline void send_process_event(void *event, __u64 bytes)
{
	if (send_event(event, bytes, unread_event_bytes()))
		COUNT(lost_process_events, 1);
}

#endif
