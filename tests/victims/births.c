/* Makes processes in every way, with probed calls in parents and children: births WHAT COUNT. */
#include "victim.h"
#include <spawn.h>

extern char **environ;

NOINLINE long probed(long x)
{
    __asm__ volatile("" : "+r"(x));
    return x + 1;
}

static int ended(pid_t pid)
{
    int status = -1;

    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static void *forks(void *unused)
{
    long sum = 0;

    for (int i = 0; i < 10; i++) {
        pid_t pid = fork();
        if (pid == 0)
            _exit((int)probed(probed(4)));
        sum += ended(pid);
        sum += probed(0);
    }
    return unused ? NULL : (void *)sum;
}

static void *calls(void *stop)
{
    long n = 0;

    while (!*(volatile int *)stop)
        n = probed(n);
    return (void *)n;
}

static void *once(void *unused)
{
    probed(1);
    return unused;
}

static void *becomes(void *argv)
{
    usleep(10000);
    execv("/proc/self/exe", argv);
    return NULL;
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    volatile long sum = 0;
    long count = argc > 2 ? atol(argv[2]) : 1;
    char *child[] = {argv[0], "child", "5", NULL};
    static int stop;
    pthread_t thread[4];
    void *result;

    if (!strcmp(what, "child")) {
        for (long i = 0; i < count; i++)
            sum = probed(sum);
        return (int)sum + 20;
    }
    SHOW(probed);
    ready();
    if (!strcmp(what, "fork")) {
        for (int i = 0; i < 4; i++)
            pthread_create(&thread[i], NULL, forks, NULL);
        for (int i = 0; i < 4; i++) {
            pthread_join(thread[i], &result);
            sum += (long)result;
        }
        printf("sum %ld\n", sum);
    } else if (!strcmp(what, "vfork")) {        /* the child calls probed code in our memory, then execs */
        pthread_create(&thread[0], NULL, calls, &stop);
        for (volatile long i = 0; i < count; i++) {
            pid_t pid = vfork();
            if (pid == 0) {
                probed(1);
                execv("/proc/self/exe", child);
                _exit(99);
            }
            sum += ended(pid);
        }
        stop = 1;
        pthread_join(thread[0], &result);
        printf("sum %ld %s\n", sum, result ? "called" : "never called");
    } else if (!strcmp(what, "vfork_exit")) {
        for (volatile long i = 0; i < count; i++) {
            pid_t pid = vfork();
            if (pid == 0)
                _exit((int)probed(30));
            sum += ended(pid);
        }
        printf("sum %ld\n", sum);
    } else if (!strcmp(what, "spawn")) {
        for (long i = 0; i < count; i++) {
            pid_t pid;
            if (posix_spawn(&pid, "/proc/self/exe", NULL, NULL, child, environ))
                return 9;
            sum += ended(pid) + probed(0);
        }
        printf("sum %ld\n", sum);
    } else if (!strcmp(what, "system")) {
        for (long i = 0; i < count; i++)
            sum += WEXITSTATUS(system("exit 3")) + probed(0);
        printf("sum %ld\n", sum);
    } else if (!strcmp(what, "forks")) {
        for (long i = 0; i < count; i++) {
            pid_t pid = fork();
            if (pid == 0)
                _exit((int)probed(30));
            sum += ended(pid) + probed(0);
        }
        printf("sum %ld\n", sum);
    } else if (!strcmp(what, "threads")) {
        for (long i = 0; i < count; i++) {
            pthread_create(&thread[0], NULL, once, NULL);
            pthread_join(thread[0], NULL);
        }
    } else if (!strcmp(what, "exec")) {
        for (long i = 0; i < count; i++)
            sum = probed(sum);
        execv("/proc/self/exe", child);
    } else if (!strcmp(what, "exec_of_thread")) { /* another thread becomes a new program; the main one ends */
        pthread_create(&thread[0], NULL, calls, &stop);
        pthread_create(&thread[1], NULL, becomes, child);
        pthread_join(thread[0], NULL);
    } else
        return 8;
    return 0;
}
