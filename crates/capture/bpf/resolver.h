/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Probes of the resolver functions of C libraries: the names given to getaddrinfo(3), gethostbyname_r(3) and
 * gethostbyname2_r(3), and the addresses that they return. User space attaches these programs to each C library in use
 * (src/resolver_probes.rs). gethostbyname(3) and gethostbyname2(3) of glibc and musl call the others.
 */
#ifndef PICOSNITCH_RESOLVER_H
#define PICOSNITCH_RESOLVER_H

#include "flow.h"

#ifdef __TARGET_ARCH_x86

enum resolver_function { GETADDRINFO, GETHOSTBYNAME };

/* Stores the name of a call until it returns. `result` is the user address at which the function stores its result. */
static __always_inline int resolver_entry(__u64 name, __u64 result, enum resolver_function function)
{
	struct resolver_call_key key = { .thread = bpf_get_current_pid_tgid(), .function = function };
	struct resolver_call call = { .result = result };

	/* A call without a name asks for addresses of the machine itself. */
	if (name && bpf_probe_read_user_str(call.name, sizeof(call.name), (void *)name) > 1)
		bpf_map_update_elem(&resolver_calls, &key, &call, BPF_ANY);
	return 0;
}

/* getaddrinfo() stores its result through the fourth argument. */
SEC("uprobe")
int getaddrinfo_entry(struct pt_regs *ctx)
{
	return resolver_entry(ctx->di, ctx->cx, GETADDRINFO);
}

/* gethostbyname_r() stores its result through the fifth argument. */
SEC("uprobe")
int gethostbyname_r_entry(struct pt_regs *ctx)
{
	return resolver_entry(ctx->di, ctx->r8, GETHOSTBYNAME);
}

/* gethostbyname2_r() stores its result through the sixth argument. */
SEC("uprobe")
int gethostbyname2_r_entry(struct pt_regs *ctx)
{
	return resolver_entry(ctx->di, ctx->r9, GETHOSTBYNAME);
}

/* Adds the address at `at`, unless it is the previous one: getaddrinfo(3) returns one for each type of socket. */
static __always_inline void add_address(struct resolver_event *event, int family, __u64 at, __u64 *last)
{
	__u32 count = event->count;
	__be32 ipv4 = 0;
	__u64 address[2];

	if (family == AF_INET && !bpf_probe_read_user(&ipv4, sizeof(ipv4), (void *)at))
		map_ipv4((__u8 *)address, ipv4);
	else if (family != AF_INET6 || bpf_probe_read_user(address, sizeof(address), (void *)at))
		return;
	if (count >= MAX_RESOLVED_ADDRESSES || (address[0] == last[0] && address[1] == last[1]))
		return;
	last[0] = address[0];
	last[1] = address[1];
	__builtin_memcpy(event->addresses[count], address, sizeof(address));
	event->count = count + 1;
}

/* Entries of a result that are read: an address may have one for each type of socket. */
#define MAX_RESULT_ENTRIES 24

static __always_inline void add_addrinfo(struct resolver_event *event, __u64 at)
{
	__u64 last[2] = {};
	struct addrinfo info;

	for (int i = 0; i < MAX_RESULT_ENTRIES; i++) {
		if (!at || bpf_probe_read_user(&info, sizeof(info), (void *)at))
			return;
		/* sin_addr, sin6_addr: ip(7), ipv6(7) */
		add_address(event, info.family, info.address + (info.family == AF_INET ? 4 : 8), last);
		at = info.next;
	}
}

static __always_inline void add_hostent(struct resolver_event *event, __u64 at)
{
	__u64 address, last[2] = {};
	struct hostent host;

	if (bpf_probe_read_user(&host, sizeof(host), (void *)at))
		return;
	for (int i = 0; i < MAX_RESOLVED_ADDRESSES; i++) {
		if (bpf_probe_read_user(&address, sizeof(address), (void *)(host.addresses + 8 * i)) || !address)
			return;
		add_address(event, host.type, address, last);
	}
}

/* Sends the name and the addresses of a call that has returned. */
static __always_inline int resolver_return(struct pt_regs *ctx, enum resolver_function function)
{
	struct resolver_call_key key = { .thread = bpf_get_current_pid_tgid(), .function = function };
	struct resolver_call *call = bpf_map_lookup_elem(&resolver_calls, &key);
	struct resolver_event *event;
	__u64 result = 0;

	if (!call)
		return 0;
	if ((int)ctx->ax != 0 || bpf_probe_read_user(&result, sizeof(result), (void *)call->result) || !result)
		goto out;
	event = bpf_ringbuf_reserve(&observations, sizeof(*event), 0);
	if (!event) {
		COUNT(lost_observations, 1);
		goto out;
	}
	__builtin_memset(&event->head, 0, sizeof(event->head));
	event->head.time = bpf_ktime_get_boot_ns();
	event->head.kind = OBSERVATION_RESOLVED;
	event->head.uid = bpf_get_current_uid_gid();
	process_id_of((struct task_struct *)bpf_get_current_task(), &event->head.process);
	event->head.netns = BPF_CORE_READ((struct task_struct *)bpf_get_current_task(), nsproxy, net_ns, ns.inum);
	event->count = 0;
	event->unused = 0;
	__builtin_memcpy(event->name, call->name, sizeof(event->name));
	__builtin_memset(event->addresses, 0, sizeof(event->addresses));
	if (function == GETADDRINFO)
		add_addrinfo(event, result);
	else
		add_hostent(event, result);
	submit_observation(event);
out:
	bpf_map_delete_elem(&resolver_calls, &key);
	return 0;
}

SEC("uretprobe")
int getaddrinfo_return(struct pt_regs *ctx)
{
	return resolver_return(ctx, GETADDRINFO);
}

SEC("uretprobe")
int gethostbyname_return(struct pt_regs *ctx)
{
	return resolver_return(ctx, GETHOSTBYNAME);
}

#endif
#endif
