/* Does system calls through a `syscall` instruction of its own that the test probes: calls WHAT. */
#include "victim.h"
#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <time.h>

extern char raw_call_at[], raw_thread_at[], raw_thread_exit_at[];
long raw_call(long number, ...);
long raw_thread(void *stack, void (*function)(void *), void *argument);

static int alarms;
static volatile int ran;

NOINLINE long probed(long x)
{
    __asm__ volatile("" : "+r"(x));
    return x + 1;
}

static void handler(int number)
{
    (void)number;
    alarms++;
}

static void in_thread(void *argument)
{
    __atomic_add_fetch((int *)argument, (int)probed(0), __ATOMIC_RELAXED);
}

static void *give(void *pipe)
{
    usleep(20000);
    return write(*(int *)pipe, "y", 1) == 1 ? pipe : NULL;
}

static void set_handler(int flags)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    struct itimerval soon = {{0, 0}, {0, 30000}};

    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &soon, NULL);
}

static void child_says(long pid)
{
    int status = -1;

    if (pid == 0) {
        long sum = 0;
        for (int i = 0; i < 10; i++)
            sum = probed(sum);
        raw_call(SYS_exit_group, sum + 10);
        _exit(99);
    }
    waitpid(pid, &status, 0);
    printf("child %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    char letter = 0;
    int pipes[2];

    SHOW(raw_call_at);
    SHOW(raw_thread_at);
    SHOW(raw_thread_exit_at);
    SHOW(probed);
    ready();
    if (pipe(pipes))
        return 9;
    if (!strcmp(what, "getpid")) {
        for (int i = 0; i < 1000; i++)
            if (raw_call(SYS_getpid) != getpid())
                return 5;
    } else if (!strcmp(what, "fork")) {
        for (int i = 0; i < 5; i++)
            child_says(raw_call(SYS_fork));
    } else if (!strcmp(what, "clone")) {
        for (int i = 0; i < 5; i++)
            child_says(raw_call(SYS_clone, SIGCHLD, 0, 0, 0));
    } else if (!strcmp(what, "threads")) {
        for (int i = 0; i < 20; i++) {
            char *stack = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (raw_thread(stack + 65536, in_thread, (void *)&ran) <= 0)
                return 6;
        }
        for (int i = 0; i < 5000 && ran < 20; i++)
            usleep(1000);
        usleep(50000);                              /* the last ones are on their way out */
        printf("threads ran %d\n", ran);
    } else if (!strcmp(what, "read")) {             /* blocks until the test writes another line */
        puts("blocking");
        fflush(stdout);
        long got = raw_call(SYS_read, 0, &letter, 1);
        printf("read %ld %c\n", got, letter);
    } else if (!strcmp(what, "read_of_thread")) {   /* blocks until another thread of ours writes */
        pthread_t thread;
        pthread_create(&thread, NULL, give, &pipes[1]);
        long got = raw_call(SYS_read, pipes[0], &letter, 1);
        pthread_join(thread, NULL);
        printf("read %ld %c\n", got, letter);
    } else if (!strcmp(what, "read_restarted")) {   /* a signal comes; the call goes on by itself */
        set_handler(SA_RESTART);
        if (fork() == 0) {
            usleep(100000);
            _exit(write(pipes[1], "z", 1) != 1);
        }
        long got = raw_call(SYS_read, pipes[0], &letter, 1);
        wait(NULL);
        printf("read %ld %c alarms %d\n", got, letter, alarms);
    } else if (!strcmp(what, "read_interrupted")) { /* a signal comes; the call fails with EINTR */
        set_handler(0);
        long got = raw_call(SYS_read, pipes[0], &letter, 1);
        printf("read %ld alarms %d\n", got, alarms);
    } else if (!strcmp(what, "nanosleep")) {        /* restarts by restart_syscall, or fails with EINTR */
        struct timespec time = {0, 60000000};
        set_handler(SA_RESTART);
        long got = raw_call(SYS_nanosleep, &time, NULL);
        printf("nanosleep %ld alarms %d\n", got, alarms);
    } else if (!strcmp(what, "epoll")) {            /* EINTR in any case when a signal comes */
        struct epoll_event event;
        int epoll = epoll_create1(0);
        set_handler(SA_RESTART);
        long got = raw_call(SYS_epoll_wait, epoll, &event, 1, 1000);
        printf("epoll %ld alarms %d\n", got, alarms);
    } else if (!strcmp(what, "exec")) {
        char *arguments[] = {argv[0], "getpid", NULL}, *nothing[] = {NULL};
        fflush(stdout);
        raw_call(SYS_execve, "/proc/self/exe", arguments, nothing);
        return 7;
    } else if (!strcmp(what, "exit")) {
        fflush(stdout);
        raw_call(SYS_exit, 33);
    } else if (!strcmp(what, "exit_group")) {
        fflush(stdout);
        raw_call(SYS_exit_group, 34);
    } else if (!strcmp(what, "kill")) {
        fflush(stdout);
        raw_call(SYS_kill, getpid(), SIGKILL);
    } else if (!strcmp(what, "sigreturn")) {        /* the handler's frame is left by our own instruction */
        signal(SIGUSR1, handler);
        for (int i = 0; i < 10; i++)
            raw_call(SYS_tgkill, getpid(), gettid(), SIGUSR1);
        printf("signals %d\n", alarms);
    } else if (!strcmp(what, "munmap")) {
        void *place = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        printf("munmap %ld\n", raw_call(SYS_munmap, place, 4096));
    } else if (!strcmp(what, "unknown")) {
        printf("unknown %ld\n", raw_call(9999));
    } else
        return 8;
    printf("done %s\n", what);
    return 0;
}
