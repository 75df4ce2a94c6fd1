/* Sets handlers of SIGTRAP in every way, asks for them, and traps: handles [WAIT].
 *
 * With WAIT it says `set` once it has a handler, and goes on when another line comes.
 */
#include "victim.h"

static int seen;

NOINLINE long probed(long x)
{
    __asm__ volatile("" : "+r"(x));
    return x + 1;
}

static void first(int number)
{
    (void)number;
    seen++;
}

static void second(int number, siginfo_t *info, void *unused)
{
    sigset_t mask;

    (void)unused;
    seen += 100;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    printf("signal %d code %d, blocked:%s%s\n", number, info->si_code,
           sigismember(&mask, SIGTRAP) ? " trap" : "", sigismember(&mask, SIGUSR1) ? " usr1" : "");
}

static const char *name(void *handler)
{
    return handler == (void *)first ? "first" : handler == (void *)second ? "second" : handler == SIG_IGN ? "ignored" : handler == SIG_DFL ? "default" : "strange";
}

static void report(const char *when)
{
    struct sigaction action;

    probed(1);
    if (sigaction(SIGTRAP, NULL, &action))
        puts("no answer");
    printf("%s: %s, flags %x, masks %d %d\n", when, name((void *)action.sa_handler), action.sa_flags & ~0x4000000,
           sigismember(&action.sa_mask, SIGUSR1), sigismember(&action.sa_mask, SIGUSR2));
}

static void trap(void)
{
    probed(1);
    __asm__ volatile("int3");
    probed(1);
    raise(SIGTRAP);
}

static void in_child(int shared)
{
    pid_t child = shared ? vfork() : fork();

    if (child == 0) {
        probed(1);
        if (shared) /* its dispositions are its own, its memory is not */
            _exit(signal(SIGTRAP, SIG_DFL) == SIG_ERR ? 8 : 7);
        signal(SIGTRAP, SIG_IGN);
        _exit(signal(SIGTRAP, SIG_DFL) == SIG_IGN ? 7 : 8);
    }
    int status = 0;
    waitpid(child, &status, 0);
    printf("child %d\n", WEXITSTATUS(status));
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_sigaction = second, .sa_flags = SA_SIGINFO | SA_NODEFER | SA_RESTART}, before;

    (void)argv;
    SHOW(probed);
    ready();
    report("at first");
    printf("before: %s\n", name((void *)signal(SIGTRAP, first)));
    if (argc > 1) {
        puts("set");
        fflush(stdout);
        wait_for_line();
    }
    trap();
    report("one");
    sigemptyset(&action.sa_mask);
    sigaddset(&action.sa_mask, SIGUSR1);
    sigaction(SIGTRAP, &action, &before);
    printf("before: %s\n", name((void *)before.sa_handler));
    trap();
    report("two");
    in_child(0);
    report("after fork");
    in_child(1);
    report("after vfork");
    fflush(stdout);
    trap();
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGTRAP, &action, NULL);
    trap();
    printf("before: %s\n", name((void *)signal(SIGTRAP, SIG_IGN)));
    raise(SIGTRAP);
    report("ignoring");
    printf("before: %s\n", name((void *)signal(SIGTRAP, SIG_DFL)));
    report("at last");
    printf("seen %d\n", seen);
    return 0;
}
