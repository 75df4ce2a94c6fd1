/* Takes away the code under a thread that executes it without pause: hostile_code_gone. */
#include "hostile.h"

static char *page;

static void *call_all_the_time(void *unused)
{
    for (;;)
        ((void (*)(void))page)();
    return unused;
}

int main(void)
{
    pthread_t thread;

    page = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memcpy(page, "\x48\x8d\x40\x01\xc3", 5);    /* lea 1(%rax), %rax; ret */
    mprotect(page, 4096, PROT_READ | PROT_EXEC);
    SHOW(page);
    begin();
    if (pthread_create(&thread, NULL, call_all_the_time, NULL))
        return 2;
    usleep(20000);
    munmap(page, 4096);
    pthread_join(thread, NULL);
    return 0;
}
