/* Jumps to addresses in its slots, trampolines and the guard, and lives through what comes of it. */
#include "hostile.h"
#include <setjmp.h>

static sigjmp_buf back;

static void handler(int number)
{
    siglongjmp(back, number);
}

int main(void)
{
    static char stack[1 << 16];
    stack_t other = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK | SA_NODEFER};

    begin();
    sigaltstack(&other, NULL);
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
    sigaction(SIGILL, &action, NULL);
    sigaction(SIGFPE, &action, NULL);
    sigaction(SIGTRAP, &action, NULL);
    sigaction(SIGALRM, &action, NULL);
    int count = find_areas();
    volatile long jumped = 0;
    for (volatile int i = 0; i < count; i++) {
        volatile long size = areas[i].end - areas[i].start;
        for (volatile long at = 0; at < size && at < 640; at += 1 + (at > 96) * 6) {
            struct itimerval soon = {.it_value.tv_usec = 20000};
            if (sigsetjmp(back, 1) == 0) {
                setitimer(ITIMER_REAL, &soon, NULL);
                jumped++;
                ((void (*)(void))(areas[i].start + at))();
            }
        }
    }
    setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL);
    printf("jumped %s\n", jumped ? "yes" : "no");
    fflush(stdout);
    return finish(0);
}
