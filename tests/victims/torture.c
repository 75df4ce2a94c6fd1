/* Calls one probed function from everywhere at once, and counts for itself: torture THREADS CALLS.
 *
 * THREADS threads call it CALLS times each, and on until a second line comes. Meanwhile others are born, call it and
 * die; a timer and directed signals interrupt them all, and the signal handler calls it too.
 */
#include "victim.h"

extern long probed(long), coming(long);

/* Can be executed in every way. */
__asm__(".globl probed\n.type probed, @function\n.balign 16\n"
        "probed: push %rbp\n mov %rsp, %rbp\n lea 1(%rdi,%rdi,2), %rax\n pop %rbp\n ret\n"
        ".globl coming\n.type coming, @function\n.balign 16\n"
        "coming: push %rbp\n mov %rsp, %rbp\n lea 1(%rdi,%rdi,2), %rax\n pop %rbp\n ret\n");

enum { MOST = 64, SHORT_LIVED = 5 };

static long threads, count;
static volatile int stopping;
static long calls, others, wrong, born, signals, finished;
static pthread_t thread[MOST];

static void call(long x)
{
    if (probed(x) != 3 * x + 1)
        __atomic_add_fetch(&wrong, 1, __ATOMIC_RELAXED);
    __atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED);
}

/* The timer is set anew when its signal was dealt with: on a busy machine nothing else would ever be done. */
static void set_timer(void)
{
    struct itimerval once = {{0, 0}, {0, 1700}};

    setitimer(ITIMER_REAL, &once, NULL);
}

static void handler(int number)
{
    call(signals);
    __atomic_add_fetch(&signals, 1, __ATOMIC_RELAXED);
    if (number == SIGALRM && !stopping)
        set_timer();
}

static void *work(void *unused)
{
    (void)unused;
    for (long i = 0; i < count || !stopping; i++) {
        call(i);
        if (i % 64 == 0) {
            if (coming(i) != 3 * i + 1)
                __atomic_add_fetch(&wrong, 1, __ATOMIC_RELAXED);
            __atomic_add_fetch(&others, 1, __ATOMIC_RELAXED);
        }
    }
    __atomic_add_fetch(&finished, 1, __ATOMIC_RELEASE);
    return NULL;
}

static void *short_life(void *unused)
{
    (void)unused;
    for (long i = 0; i < SHORT_LIVED; i++)
        call(i);
    return NULL;
}

static void *give_birth(void *unused)
{
    pthread_t pair[2];

    (void)unused;
    while (__atomic_load_n(&finished, __ATOMIC_ACQUIRE) < threads) {
        for (int i = 0; i < 2; i++)
            if (pthread_create(&pair[i], NULL, short_life, NULL))
                exit(3);
        for (int i = 0; i < 2; i++)
            pthread_join(pair[i], NULL);
        born += 2;
        usleep(500);
    }
    return NULL;
}

/* The threads stay until they are joined, so that signals can be sent to them to the end. */
static void *send_signals(void *unused)
{
    unsigned seed = 1;

    (void)unused;
    while (__atomic_load_n(&finished, __ATOMIC_ACQUIRE) < threads) {
        long before = __atomic_load_n(&signals, __ATOMIC_RELAXED);
        pthread_kill(thread[rand_r(&seed) % threads], rand_r(&seed) % 2 ? SIGUSR1 : SIGUSR2);
        do
            usleep(rand_r(&seed) % 1500);
        while (!stopping && __atomic_load_n(&signals, __ATOMIC_RELAXED) == before);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    struct itimerval never = {{0, 0}, {0, 0}};
    pthread_t mother, sender;

    threads = argc > 1 ? atol(argv[1]) : 1;
    count = argc > 2 ? atol(argv[2]) : 1;
    if (threads < 1 || threads > MOST)
        return 2;
    SHOW(probed);
    SHOW(coming);
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGUSR2, &action, NULL);
    sigaction(SIGALRM, &action, NULL);
    ready();
    for (long i = 0; i < threads; i++)
        if (pthread_create(&thread[i], NULL, work, NULL))
            return 3;
    if (pthread_create(&mother, NULL, give_birth, NULL) || pthread_create(&sender, NULL, send_signals, NULL))
        return 3;
    set_timer();
    wait_for_line();
    stopping = 1;
    pthread_join(mother, NULL);
    pthread_join(sender, NULL);
    for (long i = 0; i < threads; i++)
        pthread_join(thread[i], NULL);
    setitimer(ITIMER_REAL, &never, NULL);
    signal(SIGALRM, SIG_IGN);
    printf("calls %ld\nothers %ld\nwrong %ld\nborn %ld\nsignals %ld\n", calls, others, wrong, born, signals);
    return wrong != 0;
}
