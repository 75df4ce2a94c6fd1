/* Processes and threads with odd flags and ends, probed functions called in all of them: lifetimes WHAT. */
#include "victim.h"
#include <sched.h>

static volatile int stop;
static int counted;

NOINLINE long probed(long x)
{
    __asm__ volatile("" : "+r"(x));
    return x + 1;
}

static void *calls(void *unused)
{
    long n = 0;

    while (!stop)
        n = probed(n);
    return unused ? NULL : (void *)n;
}

static int child(void *count)
{
    long n = 0;

    for (long i = 0; i < (long)count; i++)
        n = probed(n);
    __atomic_add_fetch(&counted, (int)n, __ATOMIC_RELAXED);
    return (int)n;
}

static int cloned(int flags, long count)
{
    static char stack[16][1 << 16] __attribute__((aligned(16)));
    static int used;
    int status = -1;
    char *top = stack[used++ % 16] + sizeof stack[0];
    pid_t pid = clone(child, top, flags, (void *)count);

    if (pid < 0)
        return -1;
    while (waitpid(pid, &status, __WALL) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static void *group_exit(void *unused)
{
    (void)unused;
    usleep(100000);
    syscall(SYS_exit_group, 33);
    return NULL;
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    pthread_t thread[8];
    long sum = 0;

    SHOW(probed);
    ready();
    if (!strcmp(what, "exit_group")) {
        for (int i = 0; i < 4; i++)
            pthread_create(&thread[i], NULL, calls, NULL);
        pthread_create(&thread[4], NULL, group_exit, NULL);
        pthread_join(thread[0], NULL);
    } else if (!strcmp(what, "vm")) {           /* another process in our memory, no thread */
        for (int i = 0; i < 20; i++)
            sum += cloned(CLONE_VM | SIGCHLD, 10);
    } else if (!strcmp(what, "vm_silent")) {    /* the same, but no signal tells of its end */
        for (int i = 0; i < 20; i++)
            sum += cloned(CLONE_VM | CLONE_FILES | CLONE_FS, 10);
    } else if (!strcmp(what, "sighand")) {
        for (int i = 0; i < 20; i++)
            sum += cloned(CLONE_VM | CLONE_SIGHAND | SIGCHLD, 10);
    } else if (!strcmp(what, "parent")) {       /* a brother instead of a child */
        static char stack[1 << 16] __attribute__((aligned(16)));
        pid_t pid = clone(child, stack + sizeof stack, CLONE_VM | CLONE_PARENT | SIGCHLD, (void *)10L);
        while (pid > 0 && !kill(pid, 0) && __atomic_load_n(&counted, __ATOMIC_RELAXED) < 10)
            usleep(100);
        sum = counted;
    } else if (!strcmp(what, "copy")) {         /* fork by another name */
        for (int i = 0; i < 20; i++)
            sum += cloned(SIGCHLD, 10);
    } else if (!strcmp(what, "vfork")) {
        for (int i = 0; i < 20; i++)
            sum += cloned(CLONE_VM | CLONE_VFORK | SIGCHLD, 10);
    } else if (!strcmp(what, "vfork_waits")) {  /* for its child, which waits for us */
        pid_t pid = vfork();
        int status;
        if (pid == 0) {
            char c;
            probed(1);
            signal(SIGTRAP, SIG_DFL);           /* as posix_spawn does with every signal that is handled */
            if (write(1, "waiting\n", 8) != 8)
                _exit(9);
            while (read(0, &c, 1) == 1 && c != '\n')
                ;
            _exit((int)probed(2));
        }
        waitpid(pid, &status, 0);
        sum = WEXITSTATUS(status) + probed(4);
    } else if (!strcmp(what, "untraced")) {
        for (int i = 0; i < 5; i++)
            sum += cloned(CLONE_UNTRACED | SIGCHLD, 10);
    } else if (!strcmp(what, "untraced_vm")) {
        for (int i = 0; i < 5; i++)
            sum += cloned(CLONE_UNTRACED | CLONE_VM | SIGCHLD, 10);
    } else
        return 8;
    printf("sum %ld\n", sum);
    fflush(stdout);
    if (!strncmp(what, "untraced", 8))
        wait_for_line();
    return 0;
}
