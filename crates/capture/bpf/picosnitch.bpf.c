// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* The kernel half of picosnitch: one object for every kernel from 5.10 on. ARCHITECTURE.md says how it works. */
#include "kernel.h"
#include "abi.h"
#include "maps.h"
#include "executable.h"
#include "task.h"
#include "process.h"
#include "payload.h"
#include "flow.h"
#include "resolver.h"
#include "transfer.h"
#include "datagram.h"
#include "connection.h"
#include "iterators.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Keeps the BTF of structs that no map holds: user space is generated from it. */
struct process_id_event unused_process_id_event;
struct unwatched_event unused_unwatched_event;
struct release_event unused_release_event;
struct silent_release_event unused_silent_release_event;
struct socket_event unused_socket_event;
struct cgroup_event unused_cgroup_event;
struct observation_event unused_observation_event;
struct resolver_event unused_resolver_event;
enum observation_kind unused_observation_kind;
enum event_kind unused_event_kind;
