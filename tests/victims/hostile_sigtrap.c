/* Blocks, ignores, handles and sends itself SIGTRAP between probed calls: hostile_sigtrap. */
#include "hostile.h"

static volatile int handled;

static void handler(int number)
{
    handled += number == SIGTRAP;
}

static void *blocked(void *unused)
{
    sigset_t set;

    sigfillset(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    for (int i = 0; i < 100; i++)
        outer(i);
    return unused;
}

int main(void)
{
    struct sigaction action = {.sa_handler = handler}, old;
    pthread_t thread[3];

    begin();
    for (int i = 0; i < 3; i++)
        pthread_create(&thread[i], NULL, blocked, NULL);
    for (int i = 0; i < 50; i++) {
        sigaction(SIGTRAP, &action, &old);
        outer(i);
        raise(SIGTRAP);
        if (i % 10 == 0)
            __asm__ volatile("int3");
        signal(SIGTRAP, SIG_IGN);
        outer(i);
        raise(SIGTRAP);
    }
    for (int i = 0; i < 3; i++)
        pthread_join(thread[i], NULL);
    printf("handled %d\n", handled);
    return finish(0);
}
