/* Runs probed code with SIGTRAP blocked or ignored, and looks at what became of its disposition.
 *
 * `blocked workers`: three threads block every signal and call it until a second line comes.
 */
#include "victim.h"

static int seen;
static volatile int stopping;

NOINLINE long probed(long x)
{
    __asm__ volatile("" : "+r"(x));
    return x + 1;
}

static void handler(int number)
{
    (void)number;
    seen++;
}

static void report(const char *when)
{
    struct sigaction action;
    sigset_t mask;

    sigaction(SIGTRAP, NULL, &action);
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    printf("%s %s %s\n", when, sigismember(&mask, SIGTRAP) ? "blocked" : "open",
           action.sa_handler == handler ? "handled" : action.sa_handler == SIG_IGN ? "ignored" : action.sa_handler == SIG_DFL ? "default" : "strange");
}

static void *work(void *unused)
{
    sigset_t all;
    long sum = 0;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    while (!stopping)
        sum = probed(sum);
    return unused;
}

static int workers(void)
{
    pthread_t thread[3];

    for (int i = 0; i < 3; i++)
        if (pthread_create(&thread[i], NULL, work, NULL))
            return 3;
    puts("running");
    fflush(stdout);
    wait_for_line();
    stopping = 1;
    for (int i = 0; i < 3; i++)
        pthread_join(thread[i], NULL);
    report("at the end");
    return 0;
}

int main(int argc, char **argv)
{
    sigset_t all, none;
    long sum = 0;

    SHOW(probed);
    if (argc > 1)
        signal(SIGTRAP, handler);
    ready();
    if (argc > 1)
        return argv[1][0] == 'w' ? workers() : 2;
    sigfillset(&all);
    sigemptyset(&none);
    signal(SIGTRAP, handler);
    report("handler set");
    raise(SIGTRAP);
    sum = probed(sum);
    report("after a hit");
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    for (int i = 0; i < 20; i++)
        sum = probed(sum);
    report("after hits with all blocked");
    raise(SIGTRAP);                     /* pending until it is let in */
    sum = probed(sum);
    report("after a hit with one pending");
    pthread_sigmask(SIG_SETMASK, &none, NULL);
    raise(SIGTRAP);
    printf("seen %d\n", seen);
    signal(SIGTRAP, SIG_IGN);
    sum = probed(sum);
    report("after a hit while ignored");
    raise(SIGTRAP);
    printf("sum %ld\n", sum);
    return 0;
}
