/* Threads that wait at the bottom of a recursion, and then return: deep THREADS DEPTH. */
#include "victim.h"

static int inside;
static long depth;

NOINLINE long bottom(long x)
{
    char c;

    __atomic_add_fetch(&inside, 1, __ATOMIC_SEQ_CST);
    while (read(0, &c, 1) == 1 && c != '.')
        ;
    return x;
}

NOINLINE long dive(long n)
{
    long rest = n ? dive(n - 1) : bottom(0);
    __asm__ volatile("" : "+r"(rest));
    return rest + n;
}

static void *run(void *unused)
{
    (void)unused;
    return (void *)dive(depth);
}

int main(int argc, char **argv)
{
    long threads = argc > 1 ? atol(argv[1]) : 1, sum = 0;
    pthread_t thread[16];
    void *result;

    depth = argc > 2 ? atol(argv[2]) : 1;
    SHOW(dive);
    SHOW(bottom);
    ready();
    for (long i = 0; i < threads; i++)
        pthread_create(&thread[i], NULL, run, NULL);
    while (__atomic_load_n(&inside, __ATOMIC_SEQ_CST) < threads)
        usleep(1000);
    puts("deep");
    fflush(stdout);
    for (long i = 0; i < threads; i++) {
        pthread_join(thread[i], &result);
        sum += (long)result;
    }
    printf("sum %ld\n", sum);
    return 0;
}
