/* The same mark, by a loader (PT_INTERP): no libc, since none is set up yet. */
#define SYS_open 2
#define SYS_exit 60

static long call(long number, long a, long b, long c)
{
	long result;

	__asm__ volatile("syscall" : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
	return result;
}

/* The stack at the start of a process: argc, argv..., NULL, envp..., NULL (x86-64 psABI). */
__attribute__((used)) void begin(long *stack)
{
	char **env = (char **)stack + *stack + 2;

	for (; *env; env++)
		if ((*env)[0] == 'M' && (*env)[1] == 'A' && (*env)[2] == 'R' &&
		    (*env)[3] == 'K' && (*env)[4] == '=')
			call(SYS_open, (long)(*env + 5), 0101, 0644);
	call(SYS_exit, 0, 0, 0);
}

__asm__(".globl _start\n_start: mov %rsp, %rdi\n and $-16, %rsp\n call begin\n");
