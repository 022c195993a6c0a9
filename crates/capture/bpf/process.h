/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Hooks on processes and cgroups: exec, fork, exit, rename; mkdir and rename of cgroups. */
#ifndef PICOSNITCH_PROCESS_H
#define PICOSNITCH_PROCESS_H

#include "task.h"
#include "events.h"
#include "backup.h"

static __always_inline int report_exec(struct task_struct *task, struct linux_binprm *program)
{
	__u32 user = SCRATCH_HOOKS;
	struct process_event *event = bpf_map_lookup_elem(&scratch, &user);

	if (!event)
		return 0;
	disable_preemption();
	event->kind = EVENT_EXEC;
	describe_process(event, task, BPF_CORE_READ(program, file));
	add_arguments(event, task);
	send_process_event(event, event_bytes(event));
	if (!(event->flags & PROCESS_WATCHED)) {
		struct unwatched_event unwatched_event = {
			.executable = event->executable,
			.tgid = event->id.tgid,
			.mntns = event->mntns,
			.flags = event->flags,
		};

		/* If the ring is full, the event is not needed: the drain handles the exec event, too. */
		bpf_ringbuf_output(&unwatched_programs, &unwatched_event, sizeof(unwatched_event), 0);
	}
	enable_preemption();
	return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(sched_process_exec, struct task_struct *task, int old_pid, struct linux_binprm *program)
{
	return is_responsible(BACKED_UP_EXEC, PRIMARY) ? report_exec(task, program) : 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(sched_process_exec_backup, struct task_struct *task, int old_pid, struct linux_binprm *program)
{
	return is_responsible(BACKED_UP_EXEC, BACKUP) ? report_exec(task, program) : 0;
}

/* With CLONE_PARENT the new process is not a child of the one that forked, which goes into `grandparent`. */
static __always_inline int report_fork(struct task_struct *parent, struct task_struct *child)
{
	__u32 user = SCRATCH_HOOKS;
	struct process_event *event = bpf_map_lookup_elem(&scratch, &user);

	if (!event)
		return 0;
	disable_preemption();
	event->kind = EVENT_FORK;
	describe_process(event, child, NULL);
	process_id_of(parent, &event->grandparent);
	send_process_event(event, event_bytes(event));
	enable_preemption();
	return 0;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(sched_process_fork, struct task_struct *parent, struct task_struct *child)
{
	return is_responsible(BACKED_UP_FORK, PRIMARY) && child->pid == child->tgid ? report_fork(parent, child) : 0;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(sched_process_fork_backup, struct task_struct *parent, struct task_struct *child)
{
	return is_responsible(BACKED_UP_FORK, BACKUP) && child->pid == child->tgid ? report_fork(parent, child) : 0;
}

static __always_inline int send_process_id(__u32 kind, struct task_struct *task, const char *comm)
{
	struct process_id_event event = { .kind = kind };

	process_id_of(task, &event.id);
	if (comm)
		bpf_probe_read_kernel_str(event.comm, sizeof(event.comm), comm);
	send_process_event(&event, sizeof(event));
	return 0;
}

static __always_inline bool is_last_thread(struct task_struct *task)
{
	return task->signal->live.counter == 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(sched_process_exit, struct task_struct *task)
{
	return is_responsible(BACKED_UP_EXIT, PRIMARY) && is_last_thread(task) ? send_process_id(EVENT_EXIT, task, NULL)
									       : 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(sched_process_exit_backup, struct task_struct *task)
{
	return is_responsible(BACKED_UP_EXIT, BACKUP) && is_last_thread(task) ? send_process_id(EVENT_EXIT, task, NULL)
									      : 0;
}

/* Only the comm of the thread-group leader is reported: that of another thread would hide the program's name. */
SEC("tp_btf/task_rename")
int BPF_PROG(task_rename, struct task_struct *task, const char *comm)
{
	return is_responsible(BACKED_UP_RENAME, PRIMARY) && task->pid == task->tgid
		       ? send_process_id(EVENT_RENAME, task, comm)
		       : 0;
}

SEC("tp_btf/task_rename")
int BPF_PROG(task_rename_backup, struct task_struct *task, const char *comm)
{
	return is_responsible(BACKED_UP_RENAME, BACKUP) && task->pid == task->tgid
		       ? send_process_id(EVENT_RENAME, task, comm)
		       : 0;
}

static __always_inline int send_cgroup(struct cgroup *cgroup, const char *path)
{
	struct cgroup_event *event;
	__u32 user = SCRATCH_HOOKS;
	long bytes;

	if (BPF_CORE_READ(cgroup, root, hierarchy_id) != 0)
		return 0; /* a version 1 hierarchy */
	event = bpf_map_lookup_elem(&scratch, &user);
	if (!event)
		return 0;
	disable_preemption();
	event->kind = EVENT_CGROUP;
	event->id = BPF_CORE_READ(cgroup, kn, id);
	bytes = bpf_probe_read_kernel_str(event->path, sizeof(event->path), path);
	if (bytes < 0)
		bytes = 0;
	event->path_bytes = bytes;
	send_process_event(event, sizeof(*event) - CGROUP_BYTES + (bytes & (2 * CGROUP_BYTES - 1)));
	enable_preemption();
	return 0;
}

SEC("tp_btf/cgroup_mkdir")
int BPF_PROG(cgroup_mkdir, struct cgroup *cgroup, const char *path)
{
	return send_cgroup(cgroup, path);
}

SEC("tp_btf/cgroup_rename")
int BPF_PROG(cgroup_rename, struct cgroup *cgroup, const char *path)
{
	return send_cgroup(cgroup, path);
}

#endif
