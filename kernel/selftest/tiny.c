// SPDX-License-Identifier: GPL-2.0-only
/* The smallest program there is: what the tests measure are copies of it. */
void _start(void)
{
	__asm__ volatile("mov $60, %eax; xor %edi, %edi; syscall");
	__builtin_unreachable();
}
