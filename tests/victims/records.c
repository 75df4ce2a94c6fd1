/* Calls probed functions from THREADS new threads, CALLS times each, for every line: records THREADS CALLS. */
#include "victim.h"

static long threads, calls, total;

NOINLINE long work(long number, long twin, long c, long d, long e, long f)
{
    __asm__ volatile("" : "+r"(number));
    return number + twin + c + d + e + f;
}

NOINLINE long named(const char *name, const int *word)
{
    __asm__ volatile("" : "+r"(name), "+r"(word));
    return name != NULL;
}

static void *run(void *unused)
{
    long sum = 0;

    (void)unused;
    for (long i = 0; i < calls; i++)
        sum += work(i, i, 3, 4, 5, 6);
    __atomic_add_fetch(&total, sum, __ATOMIC_RELAXED);
    return NULL;
}

int main(int argc, char **argv)
{
    static const int words[2] = {-5, 70000};
    pthread_t thread[64];
    char c;

    threads = argc > 1 ? atol(argv[1]) : 1;
    calls = argc > 2 ? atol(argv[2]) : 1000;
    SHOW(work);
    SHOW(named);
    puts("ready");
    fflush(stdout);
    while (read(0, &c, 1) == 1) {
        if (c == 'q')
            break;
        named("a name", &words[1]);
        named((const char *)8, (const int *)8);
        for (long i = 0; i < threads; i++)
            pthread_create(&thread[i], NULL, run, NULL);
        for (long i = 0; i < threads; i++)
            pthread_join(thread[i], NULL);
        printf("total %ld\n", total);
        fflush(stdout);
    }
    return 7;
}
