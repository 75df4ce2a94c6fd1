/* Calls probed code on stacks that are none: hostile_stack null | code | odd | kernel | guard. */
#include "hostile.h"
#include <setjmp.h>

static sigjmp_buf back;

static void handler(int number)
{
    siglongjmp(back, number);
}

NOINLINE static void with_stack(void *stack)
{
    __asm__ volatile("mov %0, %%rsp\n\tmov $7, %%edi\n\tjmp *%1" ::"r"(stack), "r"(&outer) : "memory");
    __builtin_unreachable();
}

int main(int argc, char **argv)
{
    static char stack[1 << 16];
    stack_t other = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK | SA_NODEFER};
    const char *what = argc > 1 ? argv[1] : "";
    char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    begin();
    mprotect(page, 4096, PROT_NONE);
    sigaltstack(&other, NULL);
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
    sigaction(SIGILL, &action, NULL);
    sigaction(SIGTRAP, &action, NULL);
    void *to = !strcmp(what, "null") ? NULL
        : !strcmp(what, "code") ? (void *)&with_stack
        : !strcmp(what, "odd") ? (void *)(page + 8001)
        : !strcmp(what, "kernel") ? (void *)-4096L
        : !strcmp(what, "ours") ? areas[find_areas() ? 0 : 1].start
        : (void *)(page + 4096);
    volatile int caught = 0;
    for (volatile int i = 0; i < 50; i++)
        if (sigsetjmp(back, 1) == 0)
            with_stack(to);
        else
            caught++;
    printf("caught %d\n", caught);
    return finish(0);
}
