/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Backup programs. The kernel skips a tracing program that is already running on this CPU: harmless as long as nothing can
 * preempt it. Where tracepoints can be preempted, another task can run in between, and its event would be lost. There each
 * program is attached twice, and the backup does the work when the primary program was skipped.
 *
 * The classic backups are attached as perf events: for these the kernel disables preemption before it checks whether a
 * program is running on that CPU (perf_trace_##call(), include/trace/perf.h), so another task cannot cause a skip.
 */
#ifndef PICOSNITCH_BACKUP_H
#define PICOSNITCH_BACKUP_H

#include "maps.h"

/* Hooks with backup programs. */
enum backed_up_hook {
	BACKED_UP_SEND,
	BACKED_UP_RECEIVE,
	BACKED_UP_EXEC,
	BACKED_UP_FORK,
	BACKED_UP_EXIT,
	BACKED_UP_RENAME
};

/* The programs of one hook, in the order in which they run. */
enum attachment { PRIMARY, BACKUP, CLASSIC_BACKUP };

/* Per task: which programs of each hook have run for the current event. */
struct backup_marks {
	__u8 last_runner[8]; /* by hook: 0 none, 1 the primary, 2 the backup */
};
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct backup_marks);
} backup_marks SEC(".maps");

extern void bpf_preempt_disable(void) __ksym __weak;
extern void bpf_preempt_enable(void) __ksym __weak;

static __always_inline void disable_preemption(void)
{
	if (have_preempt_disable)
		bpf_preempt_disable();
}

static __always_inline void enable_preemption(void)
{
	if (have_preempt_disable)
		bpf_preempt_enable();
}

/*
 * Whether this program of the hook has to do the work. Each program leaves a mark for the next one. A classic backup,
 * which runs last, clears the mark, and does the work if both others were skipped. A program that cannot leave a mark
 * leaves the work to the next one; the last one needs no mark. A program calls this before any other check, also for events
 * that it ignores: the kernel counts every skip, and the work that a backup did is subtracted from that count.
 */
static __always_inline bool is_responsible(enum backed_up_hook hook, enum attachment attachment)
{
	enum attachment last = hook == BACKED_UP_SEND || hook == BACKED_UP_RECEIVE ? CLASSIC_BACKUP : BACKUP;
	struct backup_marks *marks;
	bool done = false;
	__u8 *mark;

	if (!have_backups)
		return attachment == PRIMARY;
	marks = bpf_task_storage_get(&backup_marks, bpf_get_current_task_btf(), 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (marks) {
		mark = &marks->last_runner[hook];
		done = attachment == BACKUP ? *mark == 1 : attachment == CLASSIC_BACKUP && *mark != 0;
		*mark = attachment == PRIMARY ? 1 : attachment == BACKUP ? 2 : 0;
	} else if (attachment != last) {
		return false;
	}
	if (done)
		return false;
	if (attachment != PRIMARY)
		COUNT(done_by_backup, 1);
	return true;
}

#endif
