/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Reading a struct sock: its inode, addresses and ports. */
#ifndef PICOSNITCH_SOCK_H
#define PICOSNITCH_SOCK_H

#include "task.h"

/* A socket as a hook sees it. `typed`: the verifier knows the type of `sk`, see LOAD(). */
struct hooked_socket {
	struct sock *sk;
	__u16 family;
	bool typed;
};

/* Joins two 32-bit words as they follow each other in memory. */
static __always_inline __u64 join_words(__u32 first, __u32 second)
{
	const __u16 one = 1;

	return *(const __u8 *)&one ? (__u64)second << 32 | first : (__u64)first << 32 | second;
}

/* Writes an IPv4 address as a v4-mapped one; 0.0.0.0 becomes "none". */
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
	 * A v4-mapped address is what map_ipv4() makes and needs no translation. The words are written in the size in which
	 * they are compared later: a CPU is slow to read a word that was written in pieces.
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

/* False for raw and ping sockets, which keep other numbers in the fields for ports. */
static __always_inline bool has_ports(__u16 type, __u32 protocol)
{
	return type != SOCK_RAW && protocol != IPPROTO_ICMP && protocol != IPPROTO_ICMPV6;
}

static __always_inline bool is_none(const __u8 *address)
{
	const __u64 *word = (const __u64 *)address;

	return !word[0] && !word[1];
}

/* The inode number, which identifies a socket from its creation to its end, also in /proc/PID/fd. */
static __always_inline __u64 socket_inode_unchecked(struct sock *sk, bool typed)
{
	if (!typed)
		return BPF_CORE_READ(sk, sk_socket, file, f_inode, i_ino);
	if (!have_casts)
		return sk->sk_socket->file->f_inode->i_ino;
	/* A shorter way to the same inode, see SOCK_INODE() in include/net/sock.h. */
	return ((struct socket_alloc *)bpf_rdonly_cast(sk->sk_socket, bpf_core_type_id_kernel(struct socket_alloc)))
		->vfs_inode.i_ino;
}

/* Whether it is a socket of the kernel's own, which no process has open. */
static __always_inline bool is_kernel_socket(struct sock *sk, bool typed)
{
	return !(typed ? sk->sk_socket->file : BPF_CORE_READ(sk, sk_socket, file));
}

/* The inode number of a socket that a process has open; 0 for a socket of the kernel's own. */
static __always_inline __u64 socket_inode(struct sock *sk, bool typed)
{
	return is_kernel_socket(sk, typed) ? 0 : socket_inode_unchecked(sk, typed);
}

/* Writes the address and port that a socket is connected to into a key. */
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
	/* inet_sport keeps the port after the connection is closed; skc_num does not. */
	return bpf_ntohs(LOAD(have_casts, inet, inet_sport));
}

#endif
