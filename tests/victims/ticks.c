/* Calls a probed function every millisecond from THREADS threads until a second line comes: ticks THREADS. */
#include "victim.h"

static volatile int stopping;
static long calls, conts;

NOINLINE long tick(long x)
{
    __asm__ volatile("" : "+r"(x));
    return x + 1;
}

static void handler(int number)
{
    (void)number;
    __atomic_add_fetch(&conts, 1, __ATOMIC_RELAXED);
}

static void *run(void *unused)
{
    long mine = 0;

    (void)unused;
    while (!stopping) {
        mine = tick(mine);
        usleep(1000);
    }
    __atomic_add_fetch(&calls, mine, __ATOMIC_RELAXED);
    return NULL;
}

int main(int argc, char **argv)
{
    long threads = argc > 1 ? atol(argv[1]) : 1;
    pthread_t thread[64];

    SHOW(tick);
    signal(SIGCONT, handler);
    ready();
    for (long i = 0; i < threads; i++)
        pthread_create(&thread[i], NULL, run, NULL);
    puts("running");
    fflush(stdout);
    wait_for_line();
    stopping = 1;
    for (long i = 0; i < threads; i++)
        pthread_join(thread[i], NULL);
    printf("calls %ld\nconts %ld\n", calls, conts);
    return 0;
}
