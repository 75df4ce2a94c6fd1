/* Forbids itself all system calls but read, write and exit, before or after it is attached to: sealed before | after. */
#include "victim.h"
#include <linux/seccomp.h>
#include <sys/prctl.h>

NOINLINE long probed(long x)
{
    __asm__ volatile("" : "+r"(x));
    return x + 1;
}

static void seal(void)
{
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT))
        syscall(SYS_exit, 9);
}

int main(int argc, char **argv)
{
    static char text[32];
    int before = argc > 1 && !strcmp(argv[1], "before");
    long sum = 0;

    SHOW(probed);
    puts("ready");
    fflush(stdout);
    if (before)
        seal();
    wait_for_line();
    if (!before)
        seal();
    for (int i = 0; i < 100; i++)
        sum = probed(sum);
    int size = snprintf(text, sizeof text, "sum %ld\n", sum);
    syscall(SYS_write, 1, text, size);
    syscall(SYS_exit, 7);
}
