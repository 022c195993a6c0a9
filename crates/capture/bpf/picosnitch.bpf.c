// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* The kernel half of picosnitch: one object for every kernel from 5.10 on. ARCHITECTURE.md says how it works. */
#include "kernel.h"
#include "abi.h"
#include "maps.h"
#include "executable.h"
#include "task.h"
#include "process.h"
#include "heard.h"
#include "flow.h"
#include "asked.h"
#include "socket.h"
#include "datagram.h"
#include "connection.h"
#include "iterate.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Keeps the BTF of structs that no map holds: user space is generated from it. */
struct process_id_event unused_process_id_event;
struct unwatched_event unused_unwatched_event;
struct release_event unused_release_event;
struct ended_event unused_ended_event;
struct socket_event unused_socket_event;
struct cgroup_event unused_cgroup_event;
struct heard_event unused_heard_event;
struct asked_event unused_asked_event;
enum heard_kind unused_heard_kind;
enum event_kind unused_event_kind;
