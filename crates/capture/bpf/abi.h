/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The contract between the kernel half and user space: every struct that both sides read, in fixed widths.
 * User space gets Rust structs generated from the object's BTF (build.rs); src/capture/abi.rs asserts the
 * same sizes again.
 *
 * An address is 16 bytes: IPv6, or IPv4 mapped (RFC 4291, 2.5.5.2); all zero is "none".
 * Ports are in host byte order.
 */
#ifndef PICOSNITCH_ABI_H
#define PICOSNITCH_ABI_H

#define ASSERT_SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), #type " changed its size")

#define COMM_BYTES 16		 /* TASK_COMM_LEN, include/linux/sched.h */
#define PATH_BYTES 4096		 /* PATH_MAX, include/uapi/linux/limits.h */
#define NAME_BYTES 256		 /* NAME_MAX plus the final zero */
#define PATH_DEPTH 48		 /* components of a path that are followed */
#define MAX_ARGUMENTS_BYTES 4096 /* of the command line; the rest is cut */
#define CGROUP_BYTES 1024
#define MAX_PAYLOAD_BYTES 4096	  /* of one piece of what was said; the rest is cut */
#define DOMAIN_BYTES 256	  /* a domain name has 255 at most (RFC 1035, 2.3.4) */
#define MAX_RESOLVED_ADDRESSES 16 /* of one answer */

/*
 * One program run by one process: a process id is used again, and a process that calls execve becomes another
 * program. task_struct.self_exec_id counts the execve calls.
 */
struct process_id {
	__u64 start; /* start of the thread-group leader, boot-time ns */
	__u32 tgid;
	__u32 exec; /* low half of self_exec_id */
};
ASSERT_SIZE(struct process_id, 16);

/* One process's use of one socket with one peer. */
struct flow_key {
	__u64 socket; /* inode number of the socket; 0 for a kernel socket */
	struct process_id process;
	__u8 peer[16];
	__u16 peer_port;
	__u16 generation; /* 1 while generation 0 waits for its removal, see flow_find() */
	__u32 protocol;
};
ASSERT_SIZE(struct flow_key, 48);

/*
 * Counters only grow, and user space never writes to them: a drain cannot lose what is added meanwhile. The key and the
 * counters share a cache line.
 */
#define FLOW_EXPIRES 1
#define FLOW_INCOMING 2

/* flow.attend */
#define SLOW_PATH_LOCAL 1 /* `local` was not read yet when it was settled */
#define SLOW_PATH_NAMES 2 /* the peer is a name service: what is said is heard */

struct flow {
	struct flow_key key;
	__u64 sent;
	__u64 received;
	__u64 connects; /* connect() calls; 0 on an accepted socket */
	__u64 first;	/* boot-time ns */
	__u64 cgroup;	/* of the process, version 2 */
	__u8 local[16];
	__u32 last_tick; /* of the last use */
	__u32 uid;	 /* real user id */
	__u32 netns;	 /* ns_common.inum */
	__u16 local_port;
	__u16 family;	  /* of the socket */
	__u8 stream;	  /* has connections: TCP, MPTCP, SCTP */
	__u8 expires;	  /* EXPIRES: has no end of its own, removed when idle; ADDRESSED: the other end spoke first */
	__u8 slow_path;	  /* ATTEND_LOCAL, ATTEND_NAMES */
	__u8 handshake;	  /* not 0: what is sent next may name the peer; see opening_sent() */
	__u32 slot_epoch; /* one more each time user space gives this place to another flow */
};
ASSERT_SIZE(struct flow, 128);

enum event_kind {
	EVENT_EXEC = 1,		 /* struct process_event */
	EVENT_FORK,		 /* struct process_event without path and arguments */
	EVENT_EXIT,		 /* struct process_id_event */
	EVENT_RENAME,		 /* struct process_id_event */
	EVENT_RELEASE,		 /* struct release_event */
	EVENT_CGROUP,		 /* struct cgroup_event */
	EVENT_PACKET_RING,	 /* struct process_id_event: an AF_PACKET receive ring was set up */
	EVENT_EXISTING_PROCESS,	 /* struct process_event, from the task iterator */
	EVENT_NEED_PACKET_HOOKS, /* struct process_id_event: the hooks on each packet are needed */
	EVENT_OPEN_SOCKET,	 /* struct socket_event, from the file iterator */
	EVENT_FIRST_FLOW,	 /* struct process_id_event: its first flow */
	EVENT_SILENT_RELEASE,	 /* struct ended_event */
};

/* process_event.flags */
#define PROCESS_KERNEL_THREAD 1	 /* a kernel thread: no executable */
#define PROCESS_PATH_TRUNCATED 4 /* more components than were followed: the first ones are missing */
#define PROCESS_ARGUMENTS_TRUNCATED 8
#define PROCESS_MEMFD 16   /* executable on a kernel-internal mount: memfd */
#define PROCESS_WATCHED 32 /* fanotify hands over what is executed from that file system */

/*
 * Which file it is, and in which state: the fields of its struct inode, which is one and the same for an executable that
 * runs and a descriptor that is open. (stat(2) shows other device and inode numbers on btrfs and overlayfs.)
 */
struct file_identity {
	__u64 inode; /* 0: unknown */
	__u64 size;
	__s64 modified; /* mtime, s */
	__s64 changed;	/* ctime, s */
	__u32 modified_ns;
	__u32 changed_ns;
	__u32 generation; /* differs when an inode number is used again; 0 where the file system has none */
	__u32 device;	  /* kernel encoding: major << 20 | minor */
};
ASSERT_SIZE(struct file_identity, 48);

/* Of an open descriptor, see describe_descriptor(). */
struct fd_info {
	struct file_identity file;
	__u64 magic; /* of its file system, include/uapi/linux/magic.h */
	__u32 links; /* names that the file has; 0: deleted */
	__u32 found;
};
ASSERT_SIZE(struct fd_info, 64);

struct process_event {
	__u32 kind;
	__u32 flags;
	struct process_id id;
	struct process_id parent;      /* through real_parent; tgid 0: none */
	struct process_id grandparent; /* of a fork: the process that forked */
	__u64 cgroup;
	struct file_identity executable;
	__u32 uid; /* real */
	__u32 mntns;
	__u16 path_bytes;
	__u16 arguments_bytes;
	__u32 unused;
	char comm[COMM_BYTES]; /* of the thread-group leader */
	char data[PATH_BYTES +
		  MAX_ARGUMENTS_BYTES]; /* path: components, last one first, each ends in zero; arguments */
};
ASSERT_SIZE(struct process_event, 144 + PATH_BYTES + MAX_ARGUMENTS_BYTES);

/* A program on a file system that fanotify does not watch (yet). */
struct unwatched_event {
	struct file_identity executable;
	__u32 tgid;
	__u32 mntns;
	__u32 flags; /* of process_event */
	__u32 unused;
};
ASSERT_SIZE(struct unwatched_event, 64);

struct process_id_event {
	__u32 kind;
	__u32 unused;
	struct process_id id;
	char comm[COMM_BYTES];
};
ASSERT_SIZE(struct process_id_event, 40);

/* A socket that was closed by its last user. */
struct release_event {
	__u32 kind;
	__u32 has_consumed; /* `consumed` is known */
	__u64 socket;
	__u64 consumed; /* TCP: bytes that left the receive queue towards user space, since the start of the connection */
	struct process_id process; /* who closed it (or holds it) */
	__u32 receive_ring;	   /* AF_PACKET: bytes arrive in a shared ring, uncounted */
	__u16 needs_packets;	   /* raw or ping: only packets tell its peers */
	__u16 local_port;	   /* from the iterator; 0: none */
	__u8 local[16];
};
ASSERT_SIZE(struct release_event, 64);

/* The same of an accepted connection that moved no byte: all of its flow, which is in no table, but when it began. */
struct silent_release_event {
	struct release_event release;
	struct flow flow;
};
ASSERT_SIZE(struct silent_release_event, 192);

/* A socket that a process has open, from the file iterator. */
struct socket_event {
	struct release_event socket;
	__u64 cgroup; /* of the process, version 2 */
	__u8 peer[16];
	__u32 uid; /* real, of the process */
	__u32 netns;
	__u16 peer_port;
	__u16 protocol;
	__u16 family;
	__u8 state; /* include/net/tcp_states.h; of datagram sockets too */
	__u8 bound; /* to a port that the program chose */
};
ASSERT_SIZE(struct socket_event, 104);

struct cgroup_event {
	__u32 kind;
	__u32 path_bytes;
	__u64 id;
	char path[CGROUP_BYTES]; /* as the kernel prints it, ends in zero */
};
ASSERT_SIZE(struct cgroup_event, 16 + CGROUP_BYTES);

enum observation_kind {
	OBSERVATION_SENT = 1, /* bytes follow */
	OBSERVATION_RECEIVED, /* bytes follow */
	OBSERVATION_RESOLVED, /* struct asked_event */
};

/* Something that may tell the name of an address. */
struct observation_event {
	__u64 time; /* boot-time ns */
	__u64 socket;
	struct process_id process;
	__u8 peer[16];
	__u16 peer_port;
	__u16 protocol;
	__u16 kind;
	__u16 bytes; /* that follow */
	__u32 netns;
	__u32 omitted_bytes; /* bytes between these and those of the next event */
	__u32 uid;	     /* real user id */
	__u32 unused;
};
ASSERT_SIZE(struct observation_event, 72);

/* A process asked its C library for the addresses of a name, and got them. */
struct resolver_event {
	struct observation_event head;
	__u32 count;
	__u32 unused;
	char name[DOMAIN_BYTES];
	__u8 addresses[MAX_RESOLVED_ADDRESSES][16];
};
ASSERT_SIZE(struct resolver_event, 80 + DOMAIN_BYTES + MAX_RESOLVED_ADDRESSES * 16);

/* The peer of a datagram, told by one hook and used by the next one of the same thread or socket. */
struct pending_peer {
	__u64 thread; /* address of its task_struct; 0 when it was used */
	__u64 socket; /* address of its struct sock: the same one, still in the same call */
	__u8 address[16];
	__u16 port;
	__u8 unused[30]; /* one cache line each: threads on several CPUs use neighbours */
};
ASSERT_SIZE(struct pending_peer, 64);

#endif
