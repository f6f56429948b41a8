// SPDX-License-Identifier: Apache-2.0
// A program and a library in one source, whose deed depends on one byte of the file.
#include <fcntl.h>

static const volatile char what[1 << 20] __attribute__((used)) = "GOOD-or-evil-0123456789";

__attribute__((constructor)) static void begin(void)
{
	if (what[0] == 'E')
		open("/tmp/pwned", O_WRONLY | O_CREAT, 0644);
}

#ifdef PROGRAM
int main(void)
{
	return 0;
}
#endif
