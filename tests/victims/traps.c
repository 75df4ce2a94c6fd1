/* Sends itself SIGTRAP in every way, with probed calls between: traps HANDLED. */
#include "victim.h"

static int seen;

NOINLINE long probed(long x)
{
    __asm__ volatile("" : "+r"(x));
    return x + 1;
}

static void handler(int number, siginfo_t *info, void *unused)
{
    (void)unused;
    seen++;
    printf("signal %d code %d value %d\n", number, info->si_code, info->si_code == SI_QUEUE ? info->si_value.sival_int : 0);
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
    union sigval value = {.sival_int = 42};
    long sum = 0;

    SHOW(probed);
    ready();
    if (argc > 1 && atoi(argv[1]))
        sigaction(SIGTRAP, &action, NULL);
    for (int i = 0; i < 5; i++) {
        sum = probed(sum);
        raise(SIGTRAP);
        sum = probed(sum);
        kill(getpid(), SIGTRAP);
        sum = probed(sum);
        __asm__ volatile("int3");
        sum = probed(sum);
        sigqueue(getpid(), SIGTRAP, value);
        sum = probed(sum);
        pthread_kill(pthread_self(), SIGTRAP);
    }
    printf("seen %d sum %ld\n", seen, sum);
    return 0;
}
