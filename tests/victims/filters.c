/* Puts seccomp filters on its threads, before or after it is attached to, then calls a function in each of
   them: filters before | after | halfway FILTER… */
#include "victim.h"
#include "filters.h"
#include <pthread.h>

#define THREADS 3
#define CALLS 100

static pthread_barrier_t begin, middle;

NOINLINE long probed(long x)
{
    __asm__ volatile("" : "+r"(x));
    return x + 1;
}

/* Begins with an instruction that can only be executed elsewhere by a copy. */
NOINLINE long counted(long *x)
{
    __asm__ volatile("lock incq (%0)" ::"r"(x) : "memory");
    return *x;
}

static void *work(void *sum)
{
    long own = 0;

    pthread_barrier_wait(&begin);
    for (int i = 0; i < CALLS / 2; i++)
        counted(&own), *(long *)sum = probed(*(long *)sum);
    pthread_barrier_wait(&middle);
    pthread_barrier_wait(&middle);
    for (int i = 0; i < CALLS / 2; i++)
        counted(&own), *(long *)sum = probed(*(long *)sum);
    if (own != CALLS)
        abort();
    return NULL;
}

static int put_all(int argc, char **argv)
{
    for (int i = 2; i < argc; i++)
        if (put_filter(argv[i], 1))
            return 9;
    return 0;
}

int main(int argc, char **argv)
{
    pthread_t threads[THREADS];
    long sums[THREADS] = {0}, sum = 0;

    if (argc < 3)
        return 8;
    SHOW(probed);
    SHOW(counted);
    pthread_barrier_init(&begin, NULL, THREADS + 1);
    pthread_barrier_init(&middle, NULL, THREADS + 1);
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, work, &sums[i]);
    if (!strcmp(argv[1], "before") && put_all(argc, argv))
        return 9;
    ready();
    if (!strcmp(argv[1], "after") && put_all(argc, argv))
        return 9;
    pthread_barrier_wait(&begin);
    pthread_barrier_wait(&middle);
    if (!strcmp(argv[1], "halfway") && put_all(argc, argv))
        return 9;
    pthread_barrier_wait(&middle);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        sum += sums[i];
    }
    printf("sum %ld\n", sum);
    fflush(stdout);
    wait_for_line();
    return 0;
}
