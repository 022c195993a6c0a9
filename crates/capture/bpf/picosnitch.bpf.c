// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* The kernel half of picosnitch: one object for every kernel since 5.10. See ARCHITECTURE.md. */
#include "kernel.h"
#include "abi.h"
#include "maps.h"
#include "events.h"
#include "backup.h"
#include "executable.h"
#include "task.h"
#include "process.h"
#include "payload.h"
#include "sock.h"
#include "flow.h"
#include "resolver.h"
#include "pending_peer.h"
#include "transfer.h"
#include "datagram.h"
#include "connection.h"
#include "iterators.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Unused variables of the types that no map holds: without them, the object's BTF would lack these types. */
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
enum abi_bound unused_abi_bound;
enum flow_ticks unused_flow_ticks;
enum expiry_flag unused_expiry_flag;
enum slow_path_flag unused_slow_path_flag;
enum process_flag unused_process_flag;
enum tcp_state unused_tcp_state;
