// SPDX-License-Identifier: Apache-2.0
// An interpreter whose script goes on in a child, and in that child's child: each of them lives
// for one fork. It ends by itself after a million.
#include <unistd.h>

int main(void)
{
	for (int fork_number = 0; fork_number < 1000000; fork_number++)
		if (fork() != 0)
			_exit(0);
	return 0;
}
