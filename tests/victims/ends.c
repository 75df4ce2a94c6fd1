/* Ends in unusual ways: ends leader | gone | threads. */
#include "victim.h"

static long calls;

NOINLINE long probed(long x)
{
    __asm__ volatile("" : "+r"(x));
    return x + 1;
}

static void *some_calls(void *count)
{
    long mine = 0;

    for (long i = 0; i < (long)count; i++)
        mine = probed(mine);
    __atomic_add_fetch(&calls, mine, __ATOMIC_RELAXED);
    return NULL;
}

static void *then_exit(void *wait)
{
    pthread_t thread[4];

    if (wait)
        wait_for_line();
    else
        usleep(20000);          /* the main thread is gone by now */
    for (int i = 0; i < 4; i++)
        pthread_create(&thread[i], NULL, some_calls, (void *)100);
    for (int i = 0; i < 4; i++)
        pthread_join(thread[i], NULL);
    printf("threads 4\ncalls %ld\n", calls);
    exit(21);
}

int main(int argc, char **argv)
{
    SHOW(probed);
    if (argc > 1 && !strcmp(argv[1], "gone")) { /* before anybody can attach */
        pthread_t thread;
        pthread_create(&thread, NULL, then_exit, "wait");
        puts("ready");
        fflush(stdout);
        pthread_exit(NULL);
    }
    ready();
    if (argc > 1 && !strcmp(argv[1], "leader")) {
        pthread_t thread;
        pthread_create(&thread, NULL, then_exit, NULL);
        pthread_exit(NULL);
    }
    for (int round = 0; round < 75; round++) {
        pthread_t thread[4];
        for (int i = 0; i < 4; i++)
            pthread_create(&thread[i], NULL, some_calls, (void *)10);
        for (int i = 0; i < 4; i++)
            pthread_join(thread[i], NULL);
    }
    printf("calls %ld\n", calls);
    return 0;
}
