/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The kernel's types, with only the fields that the programs read. preserve_access_index makes clang emit CO-RE
 * relocations, so the real offsets come from the running kernel's BTF: neither order nor size matters here.
 * A name with three underscores and a suffix is a flavour: the shape of the same type in other kernel versions.
 */
#ifndef PICOSNITCH_KERNEL_H
#define PICOSNITCH_KERNEL_H

/* One line per struct where it fits: this is a list, not code. */
/* clang-format off */
typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef signed char __s8;
typedef short __s16;
typedef int __s32;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef _Bool bool;
#define true 1
#define false 0
#define NULL ((void *)0)

/* Constants of include/uapi/linux/bpf.h and of the socket headers. */
enum { BPF_ANY = 0, BPF_NOEXIST = 1 };
enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_STACK = 23,
	BPF_MAP_TYPE_RINGBUF = 27,
	BPF_MAP_TYPE_TASK_STORAGE = 29,
};
#define BPF_F_NO_PREALLOC 1
#define BPF_F_MMAPABLE 1024
#define BPF_LOCAL_STORAGE_GET_F_CREATE 1
#define BPF_RB_NO_WAKEUP 1
#define BPF_RB_FORCE_WAKEUP 2
#define BPF_RB_AVAIL_DATA 0

#define AF_INET 2
#define AF_INET6 10
#define AF_PACKET 17
#define SOCK_STREAM 1
#define SOCK_DGRAM 2
#define SOCK_RAW 3
#define IPPROTO_ICMP 1
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_ICMPV6 58
#define IPPROTO_SCTP 132
#define IPPROTO_UDPLITE 136
#define IPPROTO_MPTCP 262
#define ETH_P_IP 0x0800
#define MSG_PEEK 2
#define MSG_ERRQUEUE 0x2000
/* States of sockets, also of datagram sockets, for user space. include/net/tcp_states.h */
enum tcp_state {
	TCP_ESTABLISHED = 1,
	TCP_SYN_SENT = 2,
	TCP_FIN_WAIT1 = 4,
	TCP_FIN_WAIT2 = 5,
	TCP_CLOSE = 7,
	TCP_LAST_ACK = 9,
	TCP_LISTEN = 10,
	TCP_CLOSING = 11,
};
#define SOCK_DONE 1
#define PF_KTHREAD 0x00200000
#define MNT_INTERNAL 0x4000
#define FS_OPEN_EXEC 0x1000 /* include/linux/fsnotify_backend.h */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct ns_common { unsigned int inum; };
struct net { struct ns_common ns; };
typedef struct { struct net *net; } possible_net_t;
struct in6_addr { union { __u8 u6_addr8[16]; __be32 u6_addr32[4]; } in6_u; };

struct qstr { const unsigned char *name; };
struct super_block { __u32 s_dev; unsigned long s_magic; __u32 s_fsnotify_mask; };
struct timespec64 { __s64 tv_sec; long tv_nsec; };
struct inode {
	unsigned long i_ino;
	struct super_block *i_sb;
	unsigned int i_nlink;
	__u16 i_mode;
	__u64 i_size;
	__u32 i_generation;
	/* since 6.11 */
	__s64 i_mtime_sec;
	__s64 i_ctime_sec;
	__u32 i_mtime_nsec;
	__u32 i_ctime_nsec;
};
struct inode___before_6_6 { struct timespec64 i_mtime; struct timespec64 i_ctime; };
struct inode___before_6_11 { struct timespec64 __i_mtime; struct timespec64 __i_ctime; };
struct dentry { struct dentry *d_parent; struct qstr d_name; };
struct vfsmount { struct dentry *mnt_root; int mnt_flags; };
struct mount { struct mount *mnt_parent; struct dentry *mnt_mountpoint; struct vfsmount mnt; };
struct path { struct vfsmount *mnt; struct dentry *dentry; };
struct file { struct path f_path; struct inode *f_inode; void *private_data; const struct file_operations *f_op; };
struct linux_binprm { struct file *file; };
struct fdtable { unsigned int max_fds; struct file **fd; };
struct files_struct { struct fdtable *fdt; };

struct kernfs_node { __u64 id; };
struct cgroup_root { int hierarchy_id; };
struct cgroup { struct kernfs_node *kn; struct cgroup_root *root; };
struct css_set { struct cgroup *dfl_cgrp; };

struct mnt_namespace { struct ns_common ns; };
struct nsproxy { struct mnt_namespace *mnt_ns; struct net *net_ns; };
typedef struct { unsigned int val; } kuid_t;
struct cred { kuid_t uid; };
typedef struct { int counter; } atomic_t;
struct signal_struct { atomic_t live; };
struct mm_struct {
	unsigned long arg_start;
	unsigned long arg_end;
	struct task_struct *owner;
	struct file *exe_file;
};
/* x86-64 */
struct thread_info { __u32 status; };
struct pt_regs {
	unsigned long ax, dx, si, di, cx, r8, r9;
	unsigned long orig_ax; /* number of the system call */
};
struct task_struct {
	struct thread_info thread_info;
	void *stack;
	unsigned int flags;
	int pid;
	int tgid;
	struct mm_struct *mm;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	struct signal_struct *signal;
	struct files_struct *files;
	struct nsproxy *nsproxy;
	struct css_set *cgroups;
	const struct cred *real_cred;
	__u64 start_boottime;
	__u64 self_exec_id;
	char comm[16];
};

struct sock_common {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	volatile unsigned char skc_state;
	unsigned long skc_flags;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
};
struct proto { char name[32]; };
struct sock {
	struct sock_common __sk_common;
	__u16 sk_type;
	__u16 sk_protocol;
	struct socket *sk_socket;
};
struct socket { struct sock *sk; struct file *file; };
struct socket_alloc { struct socket socket; struct inode vfs_inode; };
struct inet_sock { __be16 inet_sport; };
struct inet_connection_sock { const void *icsk_ulp_ops; };
struct tcp_sock {
	struct inet_connection_sock inet_conn;
	__u64 bytes_received;
	__u32 rcv_nxt;
	__u32 copied_seq;
	__u64 bytes_acked;
	__u32 snd_una;
	__u32 write_seq;
};
struct pgv;
struct packet_ring_buffer { struct pgv *pg_vec; };
struct packet_sock { struct packet_ring_buffer rx_ring; __be16 num; };

struct msghdr { void *msg_name; int msg_namelen; };
struct sk_buff {
	struct sock *sk;
	__be16 protocol;
	unsigned char *head;
	__u16 transport_header;
	__u16 network_header;
};
struct tcp_zerocopy_receive { __u32 length; __s32 copybuf_len; __u64 msg_control; };

struct seq_file;
struct page;
struct bpf_iter_meta { struct seq_file *seq; };
struct bpf_iter__task { struct bpf_iter_meta *meta; struct task_struct *task; };
struct bpf_sock_addr_kern { struct sock *sk; };
struct trace_event_raw_sock_msg_length { void *sk; int ret; int flags; };
struct bpf_iter__task_file { struct bpf_iter_meta *meta; struct task_struct *task; __u32 fd; struct file *file; };

#pragma clang attribute pop

/* Contexts of cgroup programs, include/uapi/linux/bpf.h: a stable interface whose offsets the verifier rewrites. */
struct bpf_sock {
	__u32 bound_dev_if;
	__u32 family;
	__u32 type;
	__u32 protocol;
	__u32 mark;
	__u32 priority;
	__u32 src_ip4;
	__u32 src_ip6[4];
	__u32 src_port;
	__be16 dst_port;
	__u16 : 16;
	__u32 dst_ip4;
	__u32 dst_ip6[4];
	__u32 state;
	__s32 rx_queue_mapping;
};
struct bpf_sock_addr {
	__u32 user_family;
	__u32 user_ip4;
	__u32 user_ip6[4];
	__u32 user_port;
	__u32 family;
	__u32 type;
	__u32 protocol;
	__u32 msg_src_ip4;
	__u32 msg_src_ip6[4];
	union { struct bpf_sock *sk; __u64 : 64; } __attribute__((aligned(8)));
};
struct __sk_buff {
	__u32 len;
	__u32 pkt_type;
	__u32 mark;
	__u32 queue_mapping;
	__u32 protocol;
	__u32 vlan_present;
	__u32 vlan_tci;
	__u32 vlan_proto;
	__u32 priority;
	__u32 ingress_ifindex;
	__u32 ifindex;
	__u32 tc_index;
	__u32 cb[5];
	__u32 hash;
	__u32 tc_classid;
	__u32 data;
	__u32 data_end;
	__u32 napi_id;
	__u32 family;
	__u32 remote_ip4;
	__u32 local_ip4;
	__u32 remote_ip6[4];
	__u32 local_ip6[4];
	__u32 remote_port;
	__u32 local_port;
	__u32 data_meta;
	union { void *flow_keys; __u64 : 64; } __attribute__((aligned(8)));
	__u64 tstamp;
	__u32 wire_len;
	__u32 gso_segs;
	union { struct bpf_sock *sk; __u64 : 64; } __attribute__((aligned(8)));
	__u32 gso_size;
};

/* Arguments of system calls, 64 bits: include/uapi/linux/uio.h, recvmsg(2), sendmmsg(2). */
struct user_iovec { __u64 base, length; };
struct user_msghdr { __u64 name, name_length, vector, count, control, control_length, flags; };
struct user_mmsghdr { struct user_msghdr header; __u64 length; };
/* Results of getaddrinfo(3) and gethostbyname(3), which are the same in glibc and musl. */
struct addrinfo { int flags, family, type, protocol; __u64 length, address, canonical_name, next; };
struct hostent { __u64 name, aliases; int type, length; __u64 addresses; };

/* Socket addresses as in msghdr.msg_name, include/uapi/linux/in.h and in6.h. */
struct sockaddr_in { __u16 sin_family; __be16 sin_port; __be32 sin_addr; };
struct sockaddr_in6 { __u16 sin6_family; __be16 sin6_port; __be32 sin6_flowinfo; __u8 sin6_addr[16]; };

#endif
