/*
 * The load of `cargo xtask cost`: performs each operation a fixed number of times and prints what that took.
 *
 *     load [CPU_STAT]
 *
 * A repetition takes four windows by the clock. The operations are performed in portions of equal size, one a second
 * for two windows; in the other two the program sleeps, so that all the work that the daemon deferred falls into the
 * same repetition. The first repetition of an operation is not printed: the first flow of a program causes work that
 * later ones do not.
 *
 * CPU_STAT is the file `cpu.stat` of the control group that the daemon runs in; it covers all processes and threads of
 * the daemon, including those that have ended.
 *
 * A line of output is: name, number of operations, then in nanoseconds the CPU time of this program and of its
 * children, the CPU time of the daemon, and the length of the repetition.
 */
#define _GNU_SOURCE
#include <err.h>
#include <stdio.h>
#include <sys/resource.h>
#include <time.h>

#include "operations.h"

#define SECOND 1000000000LL
/* Repetitions without the daemon, of which only the least own time counts. */
#define REPETITIONS_WITHOUT 3

static long long nanoseconds(clockid_t clock)
{
	struct timespec time;

	must(clock_gettime(clock, &time), "clock_gettime");
	return time.tv_sec * SECOND + time.tv_nsec;
}

/* The CPU time of this program and of its children that have ended. */
static long long own_time(void)
{
	struct rusage children;

	must(getrusage(RUSAGE_CHILDREN, &children), "getrusage");
	return nanoseconds(CLOCK_PROCESS_CPUTIME_ID) + (children.ru_utime.tv_sec + children.ru_stime.tv_sec) * SECOND +
	       (children.ru_utime.tv_usec + children.ru_stime.tv_usec) * 1000LL;
}

static long long daemon_time(const char *cpu_stat)
{
	long long microseconds;
	FILE *file;

	if (!cpu_stat)
		return 0;
	file = fopen(cpu_stat, "r");
	if (!file)
		err(1, "%s", cpu_stat);
	if (fscanf(file, "usage_usec %lld", &microseconds) != 1)
		errx(1, "%s does not begin with usage_usec", cpu_stat);
	fclose(file);
	return microseconds * 1000;
}

static void sleep_until(long long when)
{
	struct timespec time = { .tv_sec = when / SECOND, .tv_nsec = when % SECOND };

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL))
		;
}

/* Performs the operations of one repetition and returns the program's own time. */
static long long perform(const struct operation *operation, long long start)
{
	long long own = 0;

	operation->begin();
	for (long portion = 0; portion < operation->portions; portion++) {
		sleep_until(start + portion * SECOND);
		own -= own_time();
		for (long number = 0; number < operation->count; number++)
			operation->perform(portion * operation->count + number);
		own += own_time();
	}
	end_repetition();
	return own;
}

int main(int count, char **arguments)
{
	const long long length = 4 * WINDOW * SECOND;
	const char *cpu_stat = count > 1 ? arguments[1] : NULL;
	long long start = nanoseconds(CLOCK_MONOTONIC), daemon, own;

	for (size_t at = 0; at < operation_count; at++) {
		const struct operation *operation = &operations[at];
		long repetitions = cpu_stat ? operation->repetitions : REPETITIONS_WITHOUT;

		for (long repetition = 0; repetition <= repetitions; repetition++) {
			daemon = daemon_time(cpu_stat);
			own = perform(operation, start);
			start += length;
			if (nanoseconds(CLOCK_MONOTONIC) > start - length / 2)
				errx(1, "%s takes longer than two windows", operation->name);
			sleep_until(start);
			if (repetition)
				printf("%s %ld %lld %lld %lld\n", operation->name,
				       operation->count * operation->portions, own, daemon_time(cpu_stat) - daemon,
				       length);
		}
	}
	return 0;
}
