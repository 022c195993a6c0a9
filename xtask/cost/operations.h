/* What the load of `cargo xtask cost` performs. */
#pragma once

#include <stddef.h>

/* The length of a window in seconds: log.write_limit_seconds. */
#define WINDOW 10
/* Portions of a repetition: one a second for two windows. */
#define PORTIONS (2 * WINDOW)

struct operation {
	const char *name;
	/* How often it is performed in a portion, and how many portions a repetition has. */
	long count;
	long portions;
	/* How often it is measured while the daemon runs. */
	long repetitions;
	/* Opens the sockets that all operations of a repetition share; not part of the program's own time. */
	void (*begin)(void);
	void (*perform)(long number);
};

extern const struct operation operations[];
extern const size_t operation_count;

/* Closes the sockets that begin() has opened. */
void end_repetition(void);

/* Ends the program if a system call has failed; `what` names it. */
int must(int result, const char *what);
