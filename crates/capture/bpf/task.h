/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Who a task is: shared bodies of the process hooks and iterators. */
#ifndef PICOSNITCH_TASK_H
#define PICOSNITCH_TASK_H

#include "executable.h"

enum direction { SENT, RECEIVED };

extern void *bpf_rdonly_cast(const void *object, __u32 type) __ksym __weak;
extern void *bpf_cast_to_kern_ctx(void *context) __ksym __weak;

/*
 * Reads through a pointer: with a plain load where the verifier knows its type, else with a helper call, which takes
 * ten times as long. `typed` is a constant in each program, so that only one of the two is left.
 */
#define LOAD(typed, pointer, field) ((typed) ? (pointer)->field : BPF_CORE_READ(pointer, field))

/* Any thread of the process has the same self_exec_id: execve ends all others. */
static __always_inline void process_id_of(struct task_struct *task, struct process_id *id)
{
	id->start = BPF_CORE_READ(task, group_leader, start_boottime);
	id->tgid = BPF_CORE_READ(task, tgid);
	id->exec = BPF_CORE_READ(task, self_exec_id);
}

/*
 * Before 5.12, io_uring's helpers were kernel threads that borrow the memory of their process: its owner is the one
 * that they work for (mm_struct.owner, with CONFIG_MEMCG).
 */
static __always_inline void current_process_old(struct process_id *id)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();

	if ((BPF_CORE_READ(task, flags) & PF_KTHREAD) && bpf_core_field_exists(task->mm->owner)) {
		struct task_struct *owner = BPF_CORE_READ(task, mm, owner);

		if (owner)
			task = owner;
	}
	process_id_of(task, id);
}

static __always_inline void process_id_typed(struct task_struct *task, struct process_id *id)
{
	id->start = task->group_leader->start_boottime;
	id->tgid = task->tgid;
	id->exec = task->self_exec_id;
}

/* The process on whose behalf the current task works; for tracing programs. */
static __always_inline void current_process(struct process_id *id)
{
	if (have_current_task_btf)
		process_id_typed(bpf_get_current_task_btf(), id);
	else
		current_process_old(id);
}

/* The same for cgroup programs, which do not have that helper on all kernels. */
static __always_inline void current_process_of_cgroup(struct process_id *id)
{
	if (have_casts)
		process_id_typed(
			bpf_rdonly_cast((void *)bpf_get_current_task(), bpf_core_type_id_kernel(struct task_struct)),
			id);
	else
		current_process_old(id);
}

/*
 * A number that went through a map is unknown to the verifier. That is good: a sum that grows in a loop makes each turn,
 * and all that follows the loop, a case of its own, and the square of the number of turns is checked.
 */
static __always_inline __u32 hide_from_verifier(volatile __u16 *slot, __u32 number)
{
	*slot = number;
	return *slot & (PATH_BYTES - 1);
}

/*
 * Writes the components of a path, last one first, each with its final zero, and returns the bytes written.
 * Crosses mount points up to the root of the mount namespace, as d_path() in fs/d_path.c does. Up to NAME_BYTES
 * behind PATH_BYTES may be written.
 */
static __always_inline __u32 path_components(struct file *file, struct process_event *event)
{
	struct dentry *dentry = BPF_CORE_READ(file, f_path.dentry);
	struct vfsmount *vfsmount = BPF_CORE_READ(file, f_path.mnt);
	struct mount *mount = (void *)vfsmount - bpf_core_field_offset(struct mount, mnt);
	struct dentry *root = BPF_CORE_READ(vfsmount, mnt_root);
	__u32 used = 0;
	long bytes;

	if (BPF_CORE_READ(vfsmount, mnt_flags) & MNT_INTERNAL) {
		/* On no tree at all: memfd_create(2) names the root of its own little file system. */
		event->flags |= PROCESS_MEMFD;
		bytes = bpf_probe_read_kernel_str(event->data, NAME_BYTES, BPF_CORE_READ(dentry, d_name.name));
		return bytes > 0 ? bytes & (2 * NAME_BYTES - 1) : 0;
	}
	for (int i = 0; i < PATH_DEPTH; i++) {
		used = hide_from_verifier(&event->path_bytes, used);

		struct dentry *parent = BPF_CORE_READ(dentry, d_parent);
		struct mount *above = BPF_CORE_READ(mount, mnt_parent);

		/* The root of the namespace, or of a tree that is mounted nowhere. */
		if (dentry == root ? above == mount : dentry == parent)
			goto out;
		if (dentry == root) {
			dentry = BPF_CORE_READ(mount, mnt_mountpoint);
			mount = above;
			root = BPF_CORE_READ(mount, mnt.mnt_root);
			continue;
		}
		bytes = bpf_probe_read_kernel_str(event->data + used, NAME_BYTES, BPF_CORE_READ(dentry, d_name.name));
		if (bytes <= 0 || used + bytes >= PATH_BYTES)
			break;
		used += bytes;
		dentry = parent;
	}
	event->flags |= PROCESS_PATH_TRUNCATED;
out:
	return hide_from_verifier(&event->path_bytes, used);
}

/* Everything about a process but its arguments. `file` may be NULL: then the executable stays unknown. */
static __always_inline void describe_process(struct process_event *event, struct task_struct *task, struct file *file)
{
	struct task_struct *parent, *grandparent;

	event->flags = 0;
	event->path_bytes = 0;
	event->arguments_bytes = 0;
	__builtin_memset(&event->executable, 0, sizeof(event->executable));
	process_id_of(task, &event->id);
	parent = BPF_CORE_READ(task, real_parent, group_leader);
	process_id_of(parent, &event->parent);
	grandparent = BPF_CORE_READ(parent, real_parent, group_leader);
	process_id_of(grandparent, &event->grandparent);
	event->uid = BPF_CORE_READ(task, real_cred, uid.val);
	event->mntns = BPF_CORE_READ(task, nsproxy, mnt_ns, ns.inum);
	event->cgroup = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
	BPF_CORE_READ_STR_INTO(&event->comm, task, group_leader, comm);
	if (BPF_CORE_READ(task, flags) & PF_KTHREAD)
		event->flags |= PROCESS_KERNEL_THREAD;
	if (!file)
		return;
	identify_file(BPF_CORE_READ(file, f_inode), &event->executable);
	if (BPF_CORE_READ(file, f_inode, i_sb, s_fsnotify_mask) & FS_OPEN_EXEC)
		event->flags |= PROCESS_WATCHED;
	event->path_bytes = path_components(file, event);
}

/* Appends the arguments, which lie in the memory of the current process; execve has just put them there. */
static __always_inline void add_arguments(struct process_event *event, struct task_struct *task)
{
	unsigned long start = BPF_CORE_READ(task, mm, arg_start);
	unsigned long end = BPF_CORE_READ(task, mm, arg_end);
	__u64 bytes = end - start;
	__u32 at = event->path_bytes;

	if (end <= start)
		return;
	if (bytes > MAX_ARGUMENTS_BYTES - 1) {
		bytes = MAX_ARGUMENTS_BYTES - 1;
		event->flags |= PROCESS_ARGUMENTS_TRUNCATED;
	}
	if (at > PATH_BYTES)
		return;
	/* Exactly as long as the arguments are: the page behind them may be missing. */
	if (bpf_probe_read_user(event->data + at, bytes & (MAX_ARGUMENTS_BYTES - 1), (void *)start) == 0)
		event->arguments_bytes = bytes;
	else
		event->flags |= PROCESS_ARGUMENTS_TRUNCATED;
}

static __always_inline __u32 event_bytes(struct process_event *event)
{
	__u32 bytes = event->path_bytes + event->arguments_bytes;

	if (bytes > PATH_BYTES + MAX_ARGUMENTS_BYTES)
		bytes = PATH_BYTES + MAX_ARGUMENTS_BYTES;
	return sizeof(*event) - (PATH_BYTES + MAX_ARGUMENTS_BYTES) + bytes;
}

#endif
