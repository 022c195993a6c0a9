/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Identifying files by their inodes. */
#ifndef PICOSNITCH_EXECUTABLE_H
#define PICOSNITCH_EXECUTABLE_H

#include "maps.h"

/* Since 6.13 the top bit of the nanoseconds is a flag of the kernel (I_CTIME_QUERIED, include/linux/fs.h). */
#define NANOSECONDS_MASK 0x3fffffff

static __always_inline void file_times(struct inode *inode, struct file_identity *file)
{
	struct inode___before_6_11 *older = (void *)inode;
	struct inode___before_6_6 *oldest = (void *)inode;

	if (bpf_core_field_exists(inode->i_mtime_sec)) {
		file->modified = BPF_CORE_READ(inode, i_mtime_sec);
		file->modified_ns = BPF_CORE_READ(inode, i_mtime_nsec);
		file->changed = BPF_CORE_READ(inode, i_ctime_sec);
		file->changed_ns = BPF_CORE_READ(inode, i_ctime_nsec) & NANOSECONDS_MASK;
		return;
	}
	if (bpf_core_field_exists(older->__i_mtime)) {
		file->modified = BPF_CORE_READ(older, __i_mtime.tv_sec);
		file->modified_ns = BPF_CORE_READ(older, __i_mtime.tv_nsec);
	} else {
		file->modified = BPF_CORE_READ(oldest, i_mtime.tv_sec);
		file->modified_ns = BPF_CORE_READ(oldest, i_mtime.tv_nsec);
	}
	/* The kernel renamed the ctime in 6.6, the mtime later. */
	if (bpf_core_field_exists(older->__i_ctime)) {
		file->changed = BPF_CORE_READ(older, __i_ctime.tv_sec);
		file->changed_ns = BPF_CORE_READ(older, __i_ctime.tv_nsec);
	} else {
		file->changed = BPF_CORE_READ(oldest, i_ctime.tv_sec);
		file->changed_ns = BPF_CORE_READ(oldest, i_ctime.tv_nsec);
	}
}

static __always_inline void identify_file(struct inode *inode, struct file_identity *file)
{
	file->inode = BPF_CORE_READ(inode, i_ino);
	file->size = BPF_CORE_READ(inode, i_size);
	file->generation = BPF_CORE_READ(inode, i_generation);
	file->device = BPF_CORE_READ(inode, i_sb, s_dev);
	file_times(inode, file);
}

/* The result of identify_fd(): for one caller at a time. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct fd_info);
} fd_info_result SEC(".maps");

/* Identifies a descriptor of the process that runs this program with BPF_PROG_TEST_RUN. It is never attached. */
SEC("raw_tp/identify_fd")
int identify_fd(unsigned long long *ctx)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct fd_info info = {};
	struct file **descriptors;
	struct file *file = NULL;
	__u64 number = ctx[0];
	struct inode *inode;
	__u32 zero = 0;

	if (number < BPF_CORE_READ(task, files, fdt, max_fds)) {
		descriptors = BPF_CORE_READ(task, files, fdt, fd);
		bpf_probe_read_kernel(&file, sizeof(file), descriptors + number);
	}
	if (file) {
		inode = BPF_CORE_READ(file, f_inode);
		identify_file(inode, &info.file);
		info.magic = BPF_CORE_READ(inode, i_sb, s_magic);
		info.links = BPF_CORE_READ(inode, i_nlink);
		info.found = 1;
	}
	bpf_map_update_elem(&fd_info_result, &zero, &info, BPF_ANY);
	return 0;
}

#endif
