/* Runs every kind of instruction under a storm of signals: storm THREADS COUNT SIGNALS.
 *
 * The handler fails where it interrupted code that was not there at the start (a slot), or saw a trap flag.
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

static long count, outside, flagged, caught, wrong, finished;
static uint64_t first_outside;
static uint64_t text[32][2];            /* what can be executed before any probe is there */
static int texts;
static pthread_t thread[64];

static void handler(int number, siginfo_t *info, void *opaque)
{
    greg_t *r = ((ucontext_t *)opaque)->uc_mcontext.gregs;
    uint64_t ip = r[REG_RIP];

    (void)number, (void)info;
    __atomic_add_fetch(&caught, 1, __ATOMIC_RELAXED);
    int i = 0;
    while (i < texts && (ip < text[i][0] || ip >= text[i][1]))
        i++;
    if (i == texts) {
        __atomic_add_fetch(&outside, 1, __ATOMIC_RELAXED);
        first_outside = ip;
    }
    if (r[REG_EFL] & 0x100)
        __atomic_add_fetch(&flagged, 1, __ATOMIC_RELAXED);
}

static void read_texts(void)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[4096], permissions[8];

    while (maps && texts < 32 && fgets(line, sizeof line, maps))
        if (sscanf(line, "%lx-%lx %7s", &text[texts][0], &text[texts][1], permissions) == 3 && permissions[2] == 'x')
            texts++;
    fclose(maps);
}

static int wanted(const struct kind *kind)
{
    return kind->hits && (__builtin_cpu_supports("avx") || strcmp(kind->name, "vex_load_rip"))
        && (__builtin_cpu_supports("bmi") || strcmp(kind->name, "andn_rip"))
        /* It keeps its target below the red zone, where a signal's frame may come at any moment. */
        && strcmp(kind->name, "call_below_stack");
}

static void *run(void *unused)
{
    char buffer[128];
    long errors = 0;
    sigset_t storm;

    (void)unused;
    sigemptyset(&storm);
    sigaddset(&storm, SIGUSR1);
    sigaddset(&storm, SIGALRM);
    pthread_sigmask(SIG_UNBLOCK, &storm, NULL);
    for (long i = 0; i < count; i++)
        for (struct kind *k = __start_kinds; k < __stop_kinds; k++)
            if (wanted(k) && k->function(i, plain, buffer, 3) != 3 * i + 1)
                errors++;
    pthread_sigmask(SIG_BLOCK, &storm, NULL);
    __atomic_add_fetch(&wrong, errors, __ATOMIC_RELAXED);
    __atomic_add_fetch(&finished, 1, __ATOMIC_RELEASE);
    return NULL;
}

int main(int argc, char **argv)
{
    long threads = argc > 1 ? atol(argv[1]) : 1, signals = argc > 3 ? atol(argv[3]) : 1;
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_RESTART};
    struct itimerval often = {{0, 300}, {0, 300}}, never = {{0, 0}, {0, 0}};
    sigset_t storm;

    read_texts();
    count = argc > 2 ? atol(argv[2]) : 1;
    for (struct kind *k = __start_kinds; k < __stop_kinds; k++)
        if (wanted(k))
            printf("%s %p %ld\n", k->name, k->point, k->hits);
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGALRM, &action, NULL);
    sigemptyset(&storm);
    sigaddset(&storm, SIGUSR1);
    sigaddset(&storm, SIGALRM);
    pthread_sigmask(SIG_BLOCK, &storm, NULL);
    ready();
    for (long i = 0; i < threads; i++)
        pthread_create(&thread[i], NULL, run, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
    for (long i = 0; __atomic_load_n(&finished, __ATOMIC_ACQUIRE) < threads; i++) {
        if (i < signals * threads)
            pthread_kill(thread[i % threads], SIGUSR1);
        usleep(100);
    }
    setitimer(ITIMER_REAL, &never, NULL);
    for (long i = 0; i < threads; i++)
        pthread_join(thread[i], NULL);
    printf("caught %ld\noutside %ld\nflagged %ld\nwrong %ld\n", caught, outside, flagged, wrong);
    if (outside)
        printf("first %#lx\n", (long)first_outside);
    return outside || flagged || wrong;
}
