/* Asks for the time again and again, and says when it goes backwards: clocks THREADS COUNT, or clocks THREADS 0
 * until a second line comes. Calls are counted by what is asked. */
#include "victim.h"
#include <sched.h>
#include <time.h>

static volatile int stopping;
static long count, backwards, asked_time, asked_cpu;

static long now(clockid_t which)
{
    struct timespec t;

    if (clock_gettime(which, &t))
        return -1;
    return t.tv_sec * 1000000000L + t.tv_nsec;
}

static void *run(void *unused)
{
    long last = 0, wrong = 0, i = 0;
    unsigned cpu;

    (void)unused;
    for (; count ? i < count : !stopping; i++) {
        long next = now(i % 2 ? CLOCK_MONOTONIC : CLOCK_MONOTONIC_COARSE);
        if (i % 2) {
            wrong += next < last;
            last = next;
        } else {
            wrong += next < 0;
        }
        if (i % 8 == 0 && getcpu(&cpu, NULL))
            wrong++;
    }
    __atomic_add_fetch(&backwards, wrong, __ATOMIC_RELAXED);
    __atomic_add_fetch(&asked_time, i, __ATOMIC_RELAXED);
    __atomic_add_fetch(&asked_cpu, (i + 7) / 8, __ATOMIC_RELAXED);
    return NULL;
}

int main(int argc, char **argv)
{
    long threads = argc > 1 ? atol(argv[1]) : 1;
    pthread_t thread[64];

    count = argc > 2 ? atol(argv[2]) : 1;
    ready();
    for (long i = 0; i < threads; i++)
        pthread_create(&thread[i], NULL, run, NULL);
    if (!count) {
        puts("running");
        fflush(stdout);
        wait_for_line();
        stopping = 1;
    }
    for (long i = 0; i < threads; i++)
        pthread_join(thread[i], NULL);
    printf("backwards %ld time %ld cpu %ld\n", backwards, asked_time, asked_cpu);
    return 0;
}
