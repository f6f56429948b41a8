// SPDX-License-Identifier: Apache-2.0
// A library that leaves a mark when it is loaded, and when it is called.
#include <fcntl.h>

__attribute__((constructor)) static void loaded(void)
{
	open("/tmp/loaded", O_WRONLY | O_CREAT, 0644);
}

void hello(void)
{
	open("/tmp/called", O_WRONLY | O_CREAT, 0644);
}
