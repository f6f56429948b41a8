// SPDX-License-Identifier: Apache-2.0
// A file's content, written to a descriptor.
#include <fcntl.h>
#include <unistd.h>

#include "check.h"

static inline void copy_to(const char *from, int out)
{
	char buffer[65536];
	int in = open(from, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	CHECK(in);
	while ((n = read(in, buffer, sizeof(buffer))) > 0)
		CHECK(write(out, buffer, n));
	close(in);
}
