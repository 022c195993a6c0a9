/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Describing a task: its process, executable, path, and arguments. */
#ifndef PICOSNITCH_TASK_H
#define PICOSNITCH_TASK_H

#include "executable.h"

enum direction { SENT, RECEIVED };

extern void *bpf_rdonly_cast(const void *object, __u32 type) __ksym __weak;
extern void *bpf_cast_to_kern_ctx(void *context) __ksym __weak;

/*
 * Reads a field through a pointer: with a plain load where the verifier knows the pointer's type, else with a helper call,
 * which takes ten times as long. `typed` is a constant in each program, so the compiler keeps only one of the two.
 */
#define LOAD(typed, pointer, field) ((typed) ? (pointer)->field : BPF_CORE_READ(pointer, field))

/* Identifies the process of a task. All of its threads have the same self_exec_id: execve ends all others. */
static __always_inline void process_id_of(struct task_struct *task, struct process_id *id)
{
	id->start = BPF_CORE_READ(task, group_leader, start_boottime);
	id->tgid = BPF_CORE_READ(task, tgid);
	id->exec = BPF_CORE_READ(task, self_exec_id);
}

/*
 * Identifies the current process with helper calls. Before 5.12, io_uring's workers were kernel threads that borrow the
 * memory of the process they work for: the owner of that memory is that process (mm_struct.owner, with CONFIG_MEMCG).
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

/* Identifies the process on whose behalf the current task works, for tracing programs. */
static __always_inline void current_process(struct process_id *id)
{
	if (have_current_task_btf)
		process_id_typed(bpf_get_current_task_btf(), id);
	else
		current_process_old(id);
}

/* Like current_process(), for cgroup programs: on some kernels they lack the helper bpf_get_current_task_btf. */
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
 * Writes a number to a map and reads it back, so that the verifier forgets what it knows about it. Else it would check
 * each iteration of a loop that adds to the number, and all code behind the loop, once for every value, which makes its
 * work the square of the number of iterations.
 */
static __always_inline __u32 hide_from_verifier(volatile __u16 *field, __u32 number)
{
	*field = number;
	return *field & (PATH_BYTES - 1);
}

/*
 * Writes the components of a path, last one first, each with its final zero, and returns the bytes written. Crosses mount
 * points up to the root of the mount namespace, as d_path() in fs/d_path.c does. It may write up to NAME_BYTES beyond
 * PATH_BYTES, where the arguments go later.
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
		/* The file is in no tree: memfd_create(2) puts its name into the root of an internal file system. */
		event->flags |= PROCESS_MEMFD;
		bytes = bpf_probe_read_kernel_str(event->data, NAME_BYTES, BPF_CORE_READ(dentry, d_name.name));
		return bytes > 0 ? bytes & (2 * NAME_BYTES - 1) : 0;
	}
	for (int i = 0; i < MAX_PATH_COMPONENTS; i++) {
		used = hide_from_verifier(&event->path_bytes, used);

		struct dentry *parent = BPF_CORE_READ(dentry, d_parent);
		struct mount *above = BPF_CORE_READ(mount, mnt_parent);

		/* The root of the mount namespace, or of a tree that is mounted nowhere. */
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

/* Fills an event with everything but the arguments. With `file` NULL the executable stays unknown. */
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

/* Appends the arguments from the memory of the current process, where execve has just put them. */
static __always_inline void add_arguments(struct process_event *event, struct task_struct *task)
{
	unsigned long start = BPF_CORE_READ(task, mm, arg_start);
	unsigned long end = BPF_CORE_READ(task, mm, arg_end);
	__u64 bytes = end - start;
	__u32 at = event->path_bytes;

	if (end <= start)
		return;
	if (bytes > MAX_ARGUMENTS_BYTES - 1)
		bytes = MAX_ARGUMENTS_BYTES - 1;
	if (at > PATH_BYTES)
		return;
	/* The read must end with the arguments: the page behind them may be missing. */
	if (bpf_probe_read_user(event->data + at, bytes & (MAX_ARGUMENTS_BYTES - 1), (void *)start) == 0)
		event->arguments_bytes = bytes;
}

/* Bytes of an event with its path and arguments. */
static __always_inline __u32 event_bytes(struct process_event *event)
{
	__u32 bytes = event->path_bytes + event->arguments_bytes;

	if (bytes > PATH_BYTES + MAX_ARGUMENTS_BYTES)
		bytes = PATH_BYTES + MAX_ARGUMENTS_BYTES;
	return sizeof(*event) - (PATH_BYTES + MAX_ARGUMENTS_BYTES) + bytes;
}

#endif
