// SPDX-License-Identifier: Apache-2.0
// What must work for a test to say anything.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(expression)                                                        \
	do {                                                                     \
		if ((long)(expression) == -1) {                                  \
			fprintf(stderr, "%s: %s\n", #expression, strerror(errno)); \
			exit(99);                                                \
		}                                                                \
	} while (0)
