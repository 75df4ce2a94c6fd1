/* Executes a breakpoint of its own and takes away its page at once: hostile_trap_gone.
 *
 * While `probed` is called somebody may be busy with that, and see neither before both have happened.
 */
#include "hostile.h"
#include <setjmp.h>

static char *page;
static volatile int calling, trapping;
static sigjmp_buf back;

static void on_trap(int number)
{
    siglongjmp(back, number);
}

static void *trap(void *unused)
{
    while (!calling)
        ;
    usleep(20000);
    if (!sigsetjmp(back, 1)) {
        trapping = 1;
        ((void (*)(void))page)();
    }
    return unused;
}

static void *take_away(void *unused)
{
    while (!trapping)
        ;
    usleep(50000);
    munmap(page, 4096);
    return unused;
}

int main(void)
{
    pthread_t trapper, taker;

    begin();
    page = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    page[0] = (char)0xcc;
    page[1] = (char)0xc3;
    signal(SIGTRAP, on_trap);
    if (pthread_create(&trapper, NULL, trap, NULL) || pthread_create(&taker, NULL, take_away, NULL))
        return 2;
    calling = 1;
    outer(1);
    pthread_join(trapper, NULL);
    pthread_join(taker, NULL);
    puts("both came back");
    return 0;
}
