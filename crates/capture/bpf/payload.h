/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Captured payload that may name a peer: messages of name services, and the handshakes of connections (TLS, QUIC, HTTP).
 *
 * The bytes are read from the memory that the program gave to its system call, and only for the few sends and receives that
 * can hold a name: so no hook has to look at packets. The program can change these bytes meanwhile; but it could just as
 * well use a name server of its own. All parsing is done in user space (crates/names).
 */
#ifndef PICOSNITCH_PAYLOAD_H
#define PICOSNITCH_PAYLOAD_H

#include "task.h"

/* RFC 1035, RFC 6762, RFC 4795. */
#define PORT_DNS 53
#define PORT_MDNS 5353
#define PORT_LLMNR 5355
#define PORT_HTTP 80

static __always_inline bool is_name_service(__u16 port)
{
	return port == PORT_DNS || port == PORT_MDNS || port == PORT_LLMNR;
}

/* Sends in which the handshake of one connection is expected: a large one comes in pieces. */
#define MAX_HANDSHAKE_SENDS 6
#define HANDSHAKE_UNSEEN 255 /* flow.handshake before the first send */

#ifdef __TARGET_ARCH_x86

/* arch/x86/entry/syscalls/syscall_64.tbl */
enum {
	SYS_READ = 0,
	SYS_WRITE = 1,
	SYS_READV = 19,
	SYS_WRITEV = 20,
	SYS_SENDTO = 44,
	SYS_RECVFROM = 45,
	SYS_SENDMSG = 46,
	SYS_RECVMSG = 47,
	SYS_RECVMMSG = 299,
	SYS_SENDMMSG = 307
};

#define TS_COMPAT 2	  /* a system call of a 32-bit program, arch/x86/include/asm/thread_info.h */
#define THREAD_SIZE 16384 /* arch/x86/include/asm/page_64_types.h */

/* The registers with which the current thread entered the kernel. */
static __always_inline struct pt_regs *user_registers(void)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();

	if (have_task_pt_regs)
		return (struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());
	/* task_pt_regs() of kernels with nothing above the registers, arch/x86/include/asm/processor.h. */
	return BPF_CORE_READ(task, stack) + THREAD_SIZE - bpf_core_type_size(struct pt_regs);
}

/* Submits an observation. User space reads at each drain, and is woken only when the ring fills up. */
static __always_inline void submit_observation(void *event)
{
	bool full = bpf_ringbuf_query(&observations, BPF_RB_AVAIL_DATA) > OBSERVATION_RING_BYTES / 4;

	bpf_ringbuf_submit(event, full ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP);
}

/*
 * Sends one buffer of payload. Not inlined, like the functions below: they would become a part of every program that
 * counts.
 */
static __noinline int send_payload(struct observation_event *head, __u64 base, __u64 length, __u64 omitted_bytes)
{
	__u32 bytes = length > MAX_PAYLOAD_BYTES ? MAX_PAYLOAD_BYTES : length;
	struct observation_event *event;

	/* The verifier wants constant sizes: three of them keep most events small. */
	if (bytes <= 192)
		event = bpf_ringbuf_reserve(&observations, sizeof(*event) + 192, 0);
	else if (bytes <= 960)
		event = bpf_ringbuf_reserve(&observations, sizeof(*event) + 960, 0);
	else
		event = bpf_ringbuf_reserve(&observations, sizeof(*event) + MAX_PAYLOAD_BYTES, 0);
	if (!event) {
		COUNT(lost_observations, 1);
		return 0;
	}
	*event = *head;
	event->bytes = bytes;
	event->omitted_bytes = length - bytes + omitted_bytes;
	if (!bytes || bpf_probe_read_user(event + 1, bytes, (void *)base) == 0)
		submit_observation(event);
	else
		bpf_ringbuf_discard(event, BPF_RB_NO_WAKEUP);
	return 0;
}

/*
 * Returns the number of sends in which the handshake may come, given the first bytes of the first send and its length: a
 * TLS handshake (RFC 8446, 5.1), a QUIC packet with a long header (RFC 8999, 5.1) of version 1 or 2 (RFC 9000, RFC 9369), or
 * HTTP on its usual port. 0 if it is none of them.
 */
static __always_inline __u32 handshake_sends(const struct observation_event *head, __u64 base, __u64 bytes)
{
	__u8 first[5] = {};
	__u32 version;

	if (bpf_probe_read_user(first, sizeof(first), (void *)base))
		return 0;
	if (head->protocol == IPPROTO_UDP) {
		version = (__u32)first[1] << 24 | (__u32)first[2] << 16 | (__u32)first[3] << 8 | first[4];
		return (first[0] & 0xc0) == 0xc0 && (version == 1 || version == 0x6b3343cf) ? MAX_HANDSHAKE_SENDS : 0;
	}
	if (first[0] == 22 && first[1] == 3)
		return bytes >= 5 + ((__u32)first[3] << 8 | first[4]) ? 1 : MAX_HANDSHAKE_SENDS;
	return head->peer_port == PORT_HTTP && first[0] >= 'A' && first[0] <= 'Z' ? 2 : 0;
}

/*
 * Whether a datagram looks like a DNS message (RFC 1035, 4.1.1): a standard query or its answer, with one question
 * (multicast answers have none). Other protocols use these ports, too.
 */
static __always_inline bool is_dns_message(const struct observation_event *head, __u64 base)
{
	__u8 first[6] = {};

	if (bpf_probe_read_user(first, sizeof(first), (void *)base))
		return false;
	return !(first[2] & 0x78) && !first[4] && (first[5] == 1 || head->peer_port == PORT_MDNS);
}

#define MAX_BUFFERS 3  /* captured of one message with an array of buffers: readv(2) and its kin */
#define MAX_MESSAGES 2 /* captured of one sendmmsg(2): the C library asks for both kinds of address at once */

/* Sends the buffers of a message of which `left` bytes were moved. */
static __noinline int send_message(struct observation_event *head, __u64 vector, __u64 count, __u64 left)
{
	struct user_iovec buffer;

	for (int i = 0; i < MAX_BUFFERS; i++) {
		if (i >= count || !left ||
		    bpf_probe_read_user(&buffer, sizeof(buffer), (void *)(vector + i * sizeof(buffer))))
			return 0;
		if (buffer.length > left)
			buffer.length = left;
		if (buffer.length)
			send_payload(head, buffer.base, buffer.length, 0);
		left -= buffer.length;
	}
	/* For further buffers, only the number of bytes is sent. */
	return left ? send_payload(head, vector, 0, left) : 0;
}

/*
 * Captures the `result` bytes that the current system call has moved. `flow` is the flow whose handshake it may be, or NULL.
 * A call with several messages runs the hook once for each, without saying for which: it captures the first ones each time.
 */
static __noinline int capture_payload(struct observation_event *head, struct flow *flow, __u64 result)
{
	struct pt_regs *registers = user_registers();
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	__u64 call = BPF_CORE_READ(registers, orig_ax), buffer = BPF_CORE_READ(registers, si);
	__u64 count = BPF_CORE_READ(registers, dx), first = buffer, messages = 0;
	struct user_mmsghdr message = {};
	struct user_iovec first_buffer = {};
	__u32 handshake = 0;

	if (flow) {
		handshake = flow->handshake;
		/* No further send is captured unless this one is a part of the handshake and another part follows. */
		flow->handshake = 0;
	}
	if (BPF_CORE_READ(task, thread_info.status) & TS_COMPAT)
		return 0;
	/* Of the messages of recvmmsg(2), only the first one is certain to be filled. */
	if (call == SYS_SENDMSG || call == SYS_RECVMSG || call == SYS_RECVMMSG)
		messages = 1;
	else if (call == SYS_SENDMMSG)
		messages = count < MAX_MESSAGES ? count : MAX_MESSAGES;
	else if (call != SYS_READ && call != SYS_WRITE && call != SYS_SENDTO && call != SYS_RECVFROM &&
		 call != SYS_READV && call != SYS_WRITEV)
		return 0; /* io_uring, sendfile and the like */
	if (messages && bpf_probe_read_user(&message.header, sizeof(message.header), (void *)buffer))
		return 0;
	if (messages || call == SYS_READV || call == SYS_WRITEV) {
		if (bpf_probe_read_user(&first_buffer, sizeof(first_buffer),
					(void *)(messages ? message.header.vector : buffer)))
			return 0;
		first = first_buffer.base;
	}
	if (flow) {
		/* From the second send on, flow.handshake counts down to 1, the last one. */
		__u32 sends = handshake == HANDSHAKE_UNSEEN ? handshake_sends(head, first, result) : handshake;

		if (!sends)
			return 0;
		flow->handshake = sends - 1;
	} else if (head->protocol == IPPROTO_UDP && !is_dns_message(head, first)) {
		return 0;
	}
	if (!messages)
		return first == buffer ? send_payload(head, buffer, result, 0)
				       : send_message(head, buffer, count, result);
	send_message(head, message.header.vector, message.header.count, result);
	if (messages > 1 && !bpf_probe_read_user(&message, sizeof(message), (void *)(buffer + sizeof(message))))
		send_message(head, message.header.vector, message.header.count, result);
	return 0;
}

/* Captures the first bytes that a process sends through a connection that it has opened. */
static __noinline int capture_handshake(struct flow *flow, __u64 bytes)
{
	struct observation_event head = {
		.time = bpf_ktime_get_boot_ns(),
		.kind = OBSERVATION_SENT,
		.socket = flow->key.socket,
		.process = flow->key.process,
		.peer_port = flow->key.peer_port,
		.protocol = flow->key.protocol,
		.netns = flow->netns,
		.uid = flow->uid,
	};

	__builtin_memcpy(head.peer, flow->key.peer, sizeof(head.peer));
	return capture_payload(&head, flow, bytes);
}

/* Captures the bytes of a transfer to or from a name service. */
static __noinline int capture_name_service(struct flow_key *key, __u32 netns, __u64 bytes, enum direction direction)
{
	struct observation_event head = {
		.time = bpf_ktime_get_boot_ns(),
		.kind = direction == SENT ? OBSERVATION_SENT : OBSERVATION_RECEIVED,
		.socket = key->socket,
		.process = key->process,
		.peer_port = key->peer_port,
		.protocol = key->protocol,
		.netns = netns,
		.uid = bpf_get_current_uid_gid(),
	};

	__builtin_memcpy(head.peer, key->peer, sizeof(head.peer));
	return capture_payload(&head, NULL, bytes);
}

#else /* The arguments of system calls are decoded on x86-64 only. */

static __always_inline int capture_handshake(struct flow *flow, __u64 bytes)
{
	return 0;
}

static __always_inline int capture_name_service(struct flow_key *key, __u32 netns, __u64 bytes,
						enum direction direction)
{
	return 0;
}

#endif

#endif
