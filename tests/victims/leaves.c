/* Leaves functions by what is no return: leaves WHAT N. */
#include "victim.h"
#include <setjmp.h>
#include <spawn.h>

extern char **environ;

static sigjmp_buf back;
static volatile long cleaned, handled;
static int never[2], started;

NOINLINE long leaf(long x)
{
    __asm__ volatile("" : "+r"(x));
    return x * 2;
}

static void clean(void *unused)
{
    (void)unused;
    __atomic_add_fetch(&cleaned, leaf(1) - 1, __ATOMIC_RELAXED);
}

/* Waits for ever in a call that is a cancellation point. */
NOINLINE long waits(long x)
{
    char c;

    __atomic_add_fetch(&started, 1, __ATOMIC_RELAXED);
    x += read(never[0], &c, 1);
    __asm__ volatile("" : "+r"(x));
    return x;
}

NOINLINE long runs(long x)
{
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
    __atomic_add_fetch(&started, 1, __ATOMIC_RELAXED);
    for (;;)
        __asm__ volatile("" : "+r"(x));
    return x;
}

NOINLINE long outer(long x)
{
    long y;

    pthread_cleanup_push(clean, NULL);
    y = x & 1 ? runs(x) : waits(x);
    pthread_cleanup_pop(1);
    __asm__ volatile("" : "+r"(y));
    return y;
}

static void *cancelled(void *x)
{
    return (void *)outer((long)x);
}

static int ended(pid_t pid)
{
    int status = -1;

    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

NOINLINE long vforks(long x)
{
    pid_t pid = vfork();

    if (pid == 0)
        _exit((int)leaf(x));
    x += ended(pid);
    __asm__ volatile("" : "+r"(x));
    return x;
}

NOINLINE long spawns(long x)
{
    char *argv[] = {"leaves", "nothing", NULL};
    pid_t pid;

    if (posix_spawn(&pid, "/proc/self/exe", NULL, NULL, argv, environ))
        return -1;
    x += ended(pid);
    __asm__ volatile("" : "+r"(x));
    return x;
}

NOINLINE long becomes(long x)
{
    char *argv[] = {"leaves", "nothing", NULL};

    execv("/proc/self/exe", argv);
    return x;
}

/* Leaves the frames of the handler, and those that it interrupted. */
NOINLINE long leaves_handler(long x)
{
    __asm__ volatile("" : "+r"(x));
    handled++;
    siglongjmp(back, 1);
    return x;
}

static void handler(int number)
{
    leaves_handler(number);
}

NOINLINE long raises(long x)
{
    raise(SIGUSR1);
    __asm__ volatile("" : "+r"(x));
    return x;
}

static void at_the_end(void)
{
    printf("at the end %ld\n", leaf(4));
}

NOINLINE long ends(long x)
{
    exit((int)leaf(x));
    return x;
}

int main(int argc, char **argv)
{
    static char stack[65536];
    const char *what = argc > 1 ? argv[1] : "";
    volatile long n = argc > 2 ? atol(argv[2]) : 1, sum = 0;
    stack_t other = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction action = {.sa_handler = handler};

    if (!strcmp(what, "nothing"))
        return 20 + (int)leaf(1);
    if (pipe(never))
        return 3;
    SHOW(leaf);
    SHOW(waits);
    SHOW(runs);
    SHOW(outer);
    SHOW(vforks);
    SHOW(spawns);
    SHOW(becomes);
    SHOW(leaves_handler);
    SHOW(raises);
    SHOW(ends);
    ready();
    if (!strcmp(what, "cancel")) {
        for (volatile long i = 0; i < n; i++) {
            pthread_t thread;
            void *result;
            pthread_create(&thread, NULL, cancelled, (void *)i);
            while (__atomic_load_n(&started, __ATOMIC_RELAXED) <= i)
                usleep(100);
            pthread_cancel(thread);
            pthread_join(thread, &result);
            sum += result == PTHREAD_CANCELED;
        }
        printf("cancelled %ld cleaned %ld\n", sum, cleaned);
    } else if (!strcmp(what, "vfork")) {
        for (volatile long i = 0; i < n; i++)
            sum += vforks(i);
        printf("sum %ld\n", sum);
    } else if (!strcmp(what, "spawn")) {
        for (volatile long i = 0; i < n; i++)
            sum += spawns(i);
        printf("sum %ld\n", sum);
    } else if (!strcmp(what, "exec")) {
        becomes(n);
        return 4;
    } else if (!strcmp(what, "handler") || !strcmp(what, "other stack")) {
        sigaltstack(&other, NULL);
        action.sa_flags = *what == 'o' ? SA_ONSTACK : 0;
        sigaction(SIGUSR1, &action, NULL);
        for (volatile long i = 0; i < n; i++) {
            if (!sigsetjmp(back, 1))
                raises(i);
            sum += leaf(i);
        }
        printf("handled %ld sum %ld\n", handled, sum);
    } else if (!strcmp(what, "exit")) {
        atexit(at_the_end);
        ends(n);
    } else
        return 8;
    return 0;
}
