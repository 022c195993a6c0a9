/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What processes ask their C library: the names given to getaddrinfo(3), gethostbyname_r(3) and gethostbyname2_r(3), and the
 * addresses that came back. User space attaches these programs to each C library that is in use (src/capture/libraries.rs).
 * gethostbyname(3) and gethostbyname2(3) of glibc and musl call the others.
 */
#ifndef PICOSNITCH_ASKED_H
#define PICOSNITCH_ASKED_H

#include "flow.h"

#ifdef __TARGET_ARCH_x86

enum asked_function { GETADDRINFO, GETHOSTBYNAME };

static __always_inline int begins_to_ask(__u64 name, __u64 result, enum asked_function function)
{
	struct asking_key key = { .thread = bpf_get_current_pid_tgid(), .function = function };
	struct asking asking = { .result = result };

	/* Without a name it is about the machine itself. */
	if (name && bpf_probe_read_user_str(asking.name, sizeof(asking.name), (void *)name) > 1)
		bpf_map_update_elem(&asking_map, &key, &asking, BPF_ANY);
	return 0;
}

/* The fourth argument is where the answer is put. */
SEC("uprobe")
int asks_getaddrinfo(struct pt_regs *ctx)
{
	return begins_to_ask(ctx->di, ctx->cx, GETADDRINFO);
}

/* gethostbyname_r(): the fifth. */
SEC("uprobe")
int asks_gethostbyname(struct pt_regs *ctx)
{
	return begins_to_ask(ctx->di, ctx->r8, GETHOSTBYNAME);
}

/* gethostbyname2_r(): the sixth. */
SEC("uprobe")
int asks_gethostbyname2(struct pt_regs *ctx)
{
	return begins_to_ask(ctx->di, ctx->r9, GETHOSTBYNAME);
}

/* Adds the address at `at`, unless it is the one that came last: getaddrinfo(3) has one for each kind of socket. */
static __always_inline void add_address(struct asked_event *event, int family, __u64 at, __u64 *last)
{
	__u32 count = event->count;
	__be32 ipv4 = 0;
	__u64 address[2];

	if (family == AF_INET && !bpf_probe_read_user(&ipv4, sizeof(ipv4), (void *)at))
		map_ipv4((__u8 *)address, ipv4);
	else if (family != AF_INET6 || bpf_probe_read_user(address, sizeof(address), (void *)at))
		return;
	if (count >= ASKED_ADDRESSES || (address[0] == last[0] && address[1] == last[1]))
		return;
	last[0] = address[0];
	last[1] = address[1];
	__builtin_memcpy(event->addresses[count], address, sizeof(address));
	event->count = count + 1;
}

/* Entries of an answer that are followed: an address may have one for each kind of socket. */
#define ENTRIES 24

static __always_inline void add_addrinfo(struct asked_event *event, __u64 at)
{
	__u64 last[2] = {};
	struct addrinfo info;

	for (int i = 0; i < ENTRIES; i++) {
		if (!at || bpf_probe_read_user(&info, sizeof(info), (void *)at))
			return;
		/* sin_addr, sin6_addr: ip(7), ipv6(7) */
		add_address(event, info.family, info.address + (info.family == AF_INET ? 4 : 8), last);
		at = info.next;
	}
}

static __always_inline void add_hostent(struct asked_event *event, __u64 at)
{
	__u64 address, last[2] = {};
	struct hostent host;

	if (bpf_probe_read_user(&host, sizeof(host), (void *)at))
		return;
	for (int i = 0; i < ASKED_ADDRESSES; i++) {
		if (bpf_probe_read_user(&address, sizeof(address), (void *)(host.addresses + 8 * i)) || !address)
			return;
		add_address(event, host.type, address, last);
	}
}

static __always_inline int has_asked(struct pt_regs *ctx, enum asked_function function)
{
	struct asking_key key = { .thread = bpf_get_current_pid_tgid(), .function = function };
	struct asking *asking = bpf_map_lookup_elem(&asking_map, &key);
	struct asked_event *event;
	__u64 answer = 0;

	if (!asking)
		return 0;
	if ((int)ctx->ax != 0 || bpf_probe_read_user(&answer, sizeof(answer), (void *)asking->result) || !answer)
		goto out;
	event = bpf_ringbuf_reserve(&heard, sizeof(*event), 0);
	if (!event) {
		COUNT(lost_heard_events, 1);
		goto out;
	}
	__builtin_memset(&event->heard, 0, sizeof(event->heard));
	event->heard.time = bpf_ktime_get_boot_ns();
	event->heard.kind = HEARD_ASKED;
	event->heard.uid = bpf_get_current_uid_gid();
	process_id_of((struct task_struct *)bpf_get_current_task(), &event->heard.process);
	event->heard.netns = BPF_CORE_READ((struct task_struct *)bpf_get_current_task(), nsproxy, net_ns, ns.inum);
	event->count = 0;
	event->unused = 0;
	__builtin_memcpy(event->name, asking->name, sizeof(event->name));
	__builtin_memset(event->addresses, 0, sizeof(event->addresses));
	if (function == GETADDRINFO)
		add_addrinfo(event, answer);
	else
		add_hostent(event, answer);
	submit_heard(event);
out:
	bpf_map_delete_elem(&asking_map, &key);
	return 0;
}

SEC("uretprobe")
int asked_getaddrinfo(struct pt_regs *ctx)
{
	return has_asked(ctx, GETADDRINFO);
}

SEC("uretprobe")
int asked_gethostbyname(struct pt_regs *ctx)
{
	return has_asked(ctx, GETHOSTBYNAME);
}

#endif
#endif
