/* Calls every kind of instruction (kinds.S) from many threads: kinds THREADS COUNT [KIND [handles]].
 *
 * COUNT 0 goes on until a second line comes. The report says how often each was called and how often it was wrong;
 * where SIGTRAP is handled, so is each one that comes.
 */
#include "victim.h"

struct kind {
    const char *name;
    long (*function)(long, void *, char *, long);
    void *point;
    long hits;
};

extern struct kind __start_kinds[], __stop_kinds[];
extern char plain[];
extern long locked_count;

static long threads, count;
static const char *only;
static volatile int stopping;
static long rounds, wrong;

static int wanted(const struct kind *kind)
{
    if (kind->hits == 0 || (only && strcmp(only, kind->name)))
        return 0;
    if (!__builtin_cpu_supports("avx") && !strcmp(kind->name, "vex_load_rip"))
        return 0;
    return __builtin_cpu_supports("bmi") || strcmp(kind->name, "andn_rip");
}

static void trapped(int number)
{
    (void)number;
    __atomic_add_fetch(&wrong, 1, __ATOMIC_RELAXED);
}

static void *run(void *unused)
{
    char buffer[128];
    long done = 0, errors = 0;

    (void)unused;
    for (long i = 0; count ? i < count : !stopping; i++, done++)
        for (struct kind *k = __start_kinds; k < __stop_kinds; k++)
            if (wanted(k) && k->function(i, plain, buffer, 3) != 3 * i + 1)
                errors++;
    __atomic_add_fetch(&rounds, done, __ATOMIC_RELAXED);
    __atomic_add_fetch(&wrong, errors, __ATOMIC_RELAXED);
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t thread[64];

    threads = argc > 1 ? atol(argv[1]) : 1;
    count = argc > 2 ? atol(argv[2]) : 1;
    only = argc > 3 ? argv[3] : NULL;
    if (argc > 4 && !strcmp(argv[4], "handles"))
        signal(SIGTRAP, trapped);
    for (struct kind *k = __start_kinds; k < __stop_kinds; k++)
        if (k->hits == 0 || wanted(k))
            printf("%s %p %ld\n", k->name, k->point, k->hits);
    ready();
    for (long i = 0; i < threads; i++)
        if (pthread_create(&thread[i], NULL, run, NULL))
            return 3;
    if (!count) {
        puts("running");
        fflush(stdout);
        wait_for_line();
        stopping = 1;
    }
    for (long i = 0; i < threads; i++)
        pthread_join(thread[i], NULL);
    printf("rounds %ld\nwrong %ld\n", rounds, wrong);
    if (count)
        printf("locked %ld\n", locked_count);
    return wrong ? 4 : 0;
}
