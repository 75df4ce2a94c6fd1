/* Takes away the stack under a thread that calls and pushes without pause: hostile_stack_gone. */
#include "hostile.h"

extern long calling(long), here_call(void), here_push(void);

__asm__(".globl calling\n.type calling, @function\n.balign 16\n"
        "calling: sub $8, %rsp\n"
        ".globl here_push\nhere_push: pushf\n add $8, %rsp\n"
        ".globl here_call\nhere_call: call called\n add $8, %rsp\n ret\n"
        "called: ret\n.size calling, . - calling\n");

enum { SIZE = 1 << 16 };

static char *stack;

static void *call_all_the_time(void *unused)
{
    for (;;)
        calling(1);
    return unused;
}

int main(void)
{
    pthread_attr_t attributes;
    pthread_t thread;

    SHOW(here_call);
    SHOW(here_push);
    begin();
    stack = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pthread_attr_init(&attributes);
    pthread_attr_setstack(&attributes, stack, SIZE);
    if (pthread_create(&thread, &attributes, call_all_the_time, NULL))
        return 2;
    usleep(20000);
    munmap(stack, SIZE);
    pthread_join(thread, NULL);
    return 0;
}
