/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The contract between the kernel half and user space: the structs that both read, in fixed widths, and the flags, bounds
 * and event kinds in them. User space gets Rust types generated from the object's BTF (build.rs). src/abi.rs asserts the
 * same sizes again.
 *
 * Flags and bounds are enums because BTF describes enums, but no macros.
 *
 * An address is 16 bytes: IPv6, or IPv4 mapped (RFC 4291, 2.5.5.2); all zero means "none".
 * Ports are in host byte order.
 */
#ifndef PICOSNITCH_ABI_H
#define PICOSNITCH_ABI_H

#define ASSERT_SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), #type " changed its size")

/* Sizes of fields, and bounds, in bytes unless the name says otherwise. */
enum abi_bound {
	COMM_BYTES = 16,	     /* TASK_COMM_LEN, include/linux/sched.h */
	PATH_BYTES = 4096,	     /* PATH_MAX, include/uapi/linux/limits.h */
	NAME_BYTES = 256,	     /* NAME_MAX plus the final zero */
	MAX_PATH_COMPONENTS = 48,    /* of a path; more are truncated */
	MAX_ARGUMENTS_BYTES = 4096,  /* of a command line; more are truncated */
	CGROUP_BYTES = 1024,	     /* of a cgroup path; more are truncated */
	MAX_PAYLOAD_BYTES = 4096,    /* of one captured buffer; more are truncated */
	DOMAIN_BYTES = 256,	     /* a domain name has at most 255 (RFC 1035, 2.3.4) */
	MAX_RESOLVED_ADDRESSES = 16, /* of one resolver result */
	MAX_FLOWS = 65536,	     /* slots of the flow array */
};

/* Ticks of the drain's clock, see `tick` in maps.h. */
enum flow_ticks {
	EXPIRE_TICKS = 120,	  /* a flow with FLOW_EXPIRES expires when it is idle for more ticks than this */
	EXPIRE_TICKS_PRESSED = 8, /* the same while more than half of the slots are in use */
	GRACE_TICKS = 4,	  /* between the expiry of a flow and its removal: longer than a program can use it */
};

/*
 * One program run by one process. The kernel reuses process ids, and execve puts another program into the same process:
 * task_struct.self_exec_id counts the execve calls.
 */
struct process_id {
	__u64 start; /* start of the thread-group leader, boot-time ns */
	__u32 tgid;
	__u32 exec; /* low half of self_exec_id */
};
ASSERT_SIZE(struct process_id, 16);

/* Identifies a flow: one process's use of one socket with one peer. */
struct flow_key {
	__u64 socket; /* inode number of the socket; 0 for a socket of the kernel's own */
	struct process_id process;
	__u8 peer[16];
	__u16 peer_port;
	__u16 generation; /* 1 while the flow of generation 0 waits for its removal, see flow_find() */
	__u32 protocol;
};
ASSERT_SIZE(struct flow_key, 48);

/* flow.expires */
enum expiry_flag {
	FLOW_EXPIRES = 1,  /* the flow has no end of its own and is removed when it is idle */
	FLOW_INCOMING = 2, /* the peer sent the first datagram */
};

/* flow.slow_path */
enum slow_path_flag {
	SLOW_PATH_LOCAL = 1, /* flow.local is to be read after the next transfer */
	SLOW_PATH_NAMES = 2, /* the peer is a name service: payload is captured */
};

/*
 * One slot of the flow array. The counters only grow, and user space never writes to them, so a drain cannot lose what is
 * added meanwhile. The key and the counters share a cache line.
 */
struct flow {
	struct flow_key key;
	__u64 sent;
	__u64 received;
	__u64 connects; /* connect() calls; 0 on an accepted socket */
	__u64 first;	/* time of the first use, boot-time ns */
	__u64 cgroup;	/* id of the process's version 2 cgroup */
	__u8 local[16];
	__u32 last_tick; /* tick of the last use */
	__u32 uid;	 /* real user id */
	__u32 netns;	 /* ns_common.inum */
	__u16 local_port;
	__u16 family;	  /* of the socket */
	__u8 stream;	  /* the socket has connections: TCP, MPTCP, SCTP */
	__u8 expires;	  /* enum expiry_flag; 0 for a flow that ends with its socket */
	__u8 slow_path;	  /* enum slow_path_flag */
	__u8 handshake;	  /* not 0: the next send may hold a part of the handshake, see capture_payload() */
	__u32 slot_epoch; /* user space adds one each time it frees this slot */
};
ASSERT_SIZE(struct flow, 128);

enum event_kind {
	EVENT_EXEC = 1,		 /* struct process_event */
	EVENT_FORK,		 /* struct process_event without path and arguments */
	EVENT_EXIT,		 /* struct process_id_event: the last thread of a process exits */
	EVENT_RENAME,		 /* struct process_id_event: the thread-group leader has a new comm */
	EVENT_RELEASE,		 /* struct release_event */
	EVENT_CGROUP,		 /* struct cgroup_event */
	EVENT_PACKET_RING,	 /* struct process_id_event: an AF_PACKET receive ring was set up */
	EVENT_EXISTING_PROCESS,	 /* struct process_event, from the task iterator */
	EVENT_NEED_PACKET_HOOKS, /* struct process_id_event: the hooks on each packet are needed */
	EVENT_OPEN_SOCKET,	 /* struct socket_event, from the file iterator */
	EVENT_FIRST_FLOW,	 /* struct process_id_event: the first flow of a process */
	EVENT_SILENT_RELEASE,	 /* struct silent_release_event */
};

/* process_event.flags */
enum process_flag {
	PROCESS_KERNEL_THREAD = 1,  /* no executable */
	PROCESS_PATH_TRUNCATED = 4, /* the first components are missing, see MAX_PATH_COMPONENTS */
	PROCESS_MEMFD = 16,	    /* the executable is on a kernel-internal mount: memfd */
	PROCESS_WATCHED = 32,	    /* fanotify hands over the executables of this file system */
};

/*
 * Identifies a file and its state by the fields of its struct inode, which is the same for a running executable and for
 * an open descriptor. (stat(2) shows other device and inode numbers on btrfs and overlayfs.)
 */
struct file_identity {
	__u64 inode; /* 0: unknown */
	__u64 size;
	__s64 modified; /* mtime, s */
	__s64 changed;	/* ctime, s */
	__u32 modified_ns;
	__u32 changed_ns;
	__u32 generation; /* differs when an inode number is reused; 0 where the file system has none */
	__u32 device;	  /* kernel encoding: major << 20 | minor */
};
ASSERT_SIZE(struct file_identity, 48);

/* The file behind a descriptor, see identify_fd(). */
struct fd_info {
	struct file_identity file;
	__u64 magic; /* of its file system, include/uapi/linux/magic.h */
	__u32 links; /* number of names of the file; 0: deleted */
	__u32 found; /* 0: the descriptor is not open */
};
ASSERT_SIZE(struct fd_info, 64);

struct process_event {
	__u32 kind;
	__u32 flags; /* enum process_flag */
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
	/* The path's components, last one first, each with its final zero; then the arguments. */
	char data[PATH_BYTES + MAX_ARGUMENTS_BYTES];
};
ASSERT_SIZE(struct process_event, 144 + PATH_BYTES + MAX_ARGUMENTS_BYTES);

/* A program was executed on a file system that fanotify does not watch (yet). */
struct unwatched_event {
	struct file_identity executable;
	__u32 tgid;
	__u32 mntns;
	__u32 flags; /* enum process_flag */
	__u32 unused;
};
ASSERT_SIZE(struct unwatched_event, 64);

struct process_id_event {
	__u32 kind;
	__u32 unused;
	struct process_id id;
	char comm[COMM_BYTES]; /* of EVENT_RENAME only */
};
ASSERT_SIZE(struct process_id_event, 40);

/* A socket was closed by its last user. */
struct release_event {
	__u32 kind;
	__u32 has_consumed; /* `consumed` is known */
	__u64 socket;
	__u64 consumed; /* TCP: bytes that left the receive queue towards user space, since the start of the connection */
	struct process_id process; /* the process that closed it (or holds it) */
	__u32 receive_ring;	   /* AF_PACKET: bytes arrive in a shared ring, uncounted */
	__u16 needs_packets;	   /* a raw or ping socket: only its packets name its peers */
	__u16 local_port;	   /* from the iterator; 0: none */
	__u8 local[16];
};
ASSERT_SIZE(struct release_event, 64);

/*
 * An accepted connection that moved no byte was closed. The event carries its whole flow, which is in no table; only the
 * time of its beginning is missing.
 */
struct silent_release_event {
	struct release_event release;
	struct flow flow;
};
ASSERT_SIZE(struct silent_release_event, 192);

/* A socket that a process has open, from the file iterator. */
struct socket_event {
	struct release_event socket;
	__u64 cgroup; /* id of the process's version 2 cgroup */
	__u8 peer[16];
	__u32 uid; /* real, of the process */
	__u32 netns;
	__u16 peer_port;
	__u16 protocol;
	__u16 family;
	__u8 state; /* enum tcp_state, which the kernel also sets for datagram sockets */
	__u8 bound; /* to a port that the program chose */
	__u64 sent; /* TCP: bytes that programs gave to it, and 1 if it was connected by connect(2); all ones: unknown */
};
ASSERT_SIZE(struct socket_event, 112);

struct cgroup_event {
	__u32 kind;
	__u32 path_bytes;
	__u64 id;
	char path[CGROUP_BYTES]; /* as the kernel prints it, with a final zero */
};
ASSERT_SIZE(struct cgroup_event, 16 + CGROUP_BYTES);

enum observation_kind {
	OBSERVATION_SENT = 1, /* struct observation_event, then the bytes sent */
	OBSERVATION_RECEIVED, /* struct observation_event, then the bytes received */
	OBSERVATION_RESOLVED, /* struct resolver_event */
};

/* The head of an observation that may name an address. */
struct observation_event {
	__u64 time; /* boot-time ns */
	__u64 socket;
	struct process_id process;
	__u8 peer[16];
	__u16 peer_port;
	__u16 protocol;
	__u16 kind;
	__u16 bytes; /* number of captured bytes that follow */
	__u32 netns;
	__u32 omitted_bytes; /* bytes that were moved between the captured ones and those of the next event */
	__u32 uid;	     /* real user id */
	__u32 unused;
};
ASSERT_SIZE(struct observation_event, 72);

/* A process resolved a name to addresses through its C library. */
struct resolver_event {
	struct observation_event head;
	__u32 count;
	__u32 unused;
	char name[DOMAIN_BYTES];
	__u8 addresses[MAX_RESOLVED_ADDRESSES][16];
};
ASSERT_SIZE(struct resolver_event, 80 + DOMAIN_BYTES + MAX_RESOLVED_ADDRESSES * 16);

/* The peer of a datagram, stored by one hook for the next hook of the same thread or socket. */
struct pending_peer {
	__u64 thread; /* address of its task_struct; 0 once the peer was taken */
	__u64 socket; /* address of its struct sock, to recognise the same call */
	__u8 address[16];
	__u16 port;
	__u8 unused[30]; /* one cache line each: threads on several CPUs use neighbours */
};
ASSERT_SIZE(struct pending_peer, 64);

#endif
