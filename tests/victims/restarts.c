/* Waits in system calls that a stop interrupts, one thread for each; none may notice: restarts.
 *
 * A first line starts the threads, a second gives each what it waits for, or it waits for its time to pass. A call that
 * fails, gives something else or is over too soon is told by name.
 */
#include "victim.h"
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

static long patience = 900;     /* milliseconds, of the calls that end by themselves */
static volatile int word, timed_word, begun, over;
static int data[2], polled[2], selected[2], watched[2], answered[2], filled[2], timed_socket[2];
static int listener, semaphores, messages, notified, locked, waited_for[2];
static char directory[] = "/tmp/restartsXXXXXX", file[64];

NOINLINE long probed(long x)
{
    __asm__ volatile("" : "+r"(x));
    return x + 1;
}

static long futex(volatile int *address, int operation, int value, struct timespec *time)
{
    long result = syscall(SYS_futex, address, operation, value, time, NULL, FUTEX_BITSET_MATCH_ANY);
    return result;
}

static struct timespec in(long milliseconds, int absolute)
{
    struct timespec time = {0, 0};

    if (absolute)
        clock_gettime(CLOCK_MONOTONIC, &time);
    time.tv_nsec += milliseconds * 1000000;
    time.tv_sec += time.tv_nsec / 1000000000;
    time.tv_nsec %= 1000000000;
    return time;
}

/* Those that wait for something: 1 when it came. */
static long reads(void) { char c; return read(data[0], &c, 1); }
static long polls(void) { struct pollfd fd = {polled[0], POLLIN, 0}; return poll(&fd, 1, -1); }
static long selects(void)
{
    fd_set set;
    FD_ZERO(&set);
    FD_SET(selected[0], &set);
    return select(selected[0] + 1, &set, NULL, NULL, NULL);
}
static long waits_for_events(void)
{
    struct epoll_event event = {.events = EPOLLIN};
    int epoll = epoll_create1(0);
    epoll_ctl(epoll, EPOLL_CTL_ADD, watched[0], &event);
    return epoll_wait(epoll, &event, 1, -1);
}
static long accepts(void) { return accept(listener, NULL, NULL) >= 0 ? 1 : -1; }
static long receives(void) { char c; return recv(answered[0], &c, 1, 0); }
static long receives_in_time(void) { char c; return recv(timed_socket[0], &c, 1, 0); }
static long writes(void) { return write(filled[1], "x", 1); }
static long waits_for_a_futex(void) { return futex(&word, FUTEX_WAIT, 0, NULL) == 0 ? 1 : -1; }
static long waits_for_a_semaphore(void)
{
    struct sembuf down = {0, -1, 0};
    return semop(semaphores, &down, 1) == 0 ? 1 : -1;
}
static long waits_for_a_message(void)
{
    struct { long type; char text[1]; } message;
    return msgrcv(messages, &message, 1, 0, 0);
}
static long waits_for_a_signal(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    return sigwaitinfo(&set, NULL) == SIGUSR1 ? 1 : -1;
}
static long waits_for_a_change(void)
{
    char event[512];
    return read(notified, event, sizeof event) > 0 ? 1 : -1;
}
static long waits_for_a_lock(void)
{
    int again = open(file, O_RDWR);
    return flock(again, LOCK_EX) == 0 ? 1 : -1;
}
static long waits_for_a_child(void)
{
    char c;
    int status;
    pid_t pid = fork();
    if (pid == 0)
        _exit(read(waited_for[0], &c, 1) == 1 ? 17 : 1);
    return waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 17 ? 1 : -1;
}

/* Those that wait for time to pass: 1 when all of it did. */
static long sleeps(void) { struct timespec time = in(patience, 0); return nanosleep(&time, NULL) == 0 ? 1 : -1; }
static long sleeps_until(void)
{
    struct timespec time = in(patience, 1);
    return clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL) == 0 ? 1 : -1;
}
static long polls_in_time(void) { struct pollfd fd = {polled[1], 0, 0}; return poll(&fd, 1, patience) == 0 ? 1 : -1; }
static long selects_in_time(void)
{
    struct timeval time = {0, patience * 1000};
    return select(0, NULL, NULL, NULL, &time) == 0 ? 1 : -1;
}
static long waits_for_events_in_time(void)
{
    struct epoll_event event;
    return epoll_wait(epoll_create1(0), &event, 1, patience) == 0 ? 1 : -1;
}
static long waits_for_a_futex_in_time(void)
{
    struct timespec time = in(patience, 0);
    return futex(&timed_word, FUTEX_WAIT, 0, &time) == -1 && errno == ETIMEDOUT ? 1 : -1;
}
static long waits_for_a_futex_until(void)
{
    struct timespec time = in(patience, 1);
    return futex(&timed_word, FUTEX_WAIT_BITSET, 0, &time) == -1 && errno == ETIMEDOUT ? 1 : -1;
}
static long waits_for_a_signal_in_time(void)
{
    struct timespec time = in(patience, 0);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    return sigtimedwait(&set, NULL, &time) == -1 && errno == EAGAIN ? 1 : -1;
}
static long waits_for_a_semaphore_in_time(void)
{
    struct timespec time = in(patience, 0);
    struct sembuf down = {1, -1, 0};
    return semtimedop(semaphores, &down, 1, &time) == -1 && errno == EAGAIN ? 1 : -1;
}

static const struct wait {
    const char *name;
    long (*wait)(void);
    int timed;
} waits[] = {
    {"read", reads, 0}, {"poll", polls, 0}, {"select", selects, 0}, {"epoll_wait", waits_for_events, 0},
    {"accept", accepts, 0}, {"recv", receives, 0}, {"recv with a timeout", receives_in_time, 0}, {"write", writes, 0},
    {"futex", waits_for_a_futex, 0}, {"semop", waits_for_a_semaphore, 0}, {"msgrcv", waits_for_a_message, 0},
    {"sigwaitinfo", waits_for_a_signal, 0}, {"inotify", waits_for_a_change, 0}, {"flock", waits_for_a_lock, 0},
    {"wait4", waits_for_a_child, 0}, {"nanosleep", sleeps, 1}, {"clock_nanosleep", sleeps_until, 1},
    {"poll in time", polls_in_time, 1}, {"select in time", selects_in_time, 1},
    {"epoll_wait in time", waits_for_events_in_time, 1}, {"futex in time", waits_for_a_futex_in_time, 1},
    {"futex until", waits_for_a_futex_until, 1}, {"sigtimedwait", waits_for_a_signal_in_time, 1},
    {"semtimedop", waits_for_a_semaphore_in_time, 1},
};
enum { WAITS = sizeof waits / sizeof waits[0] };

static void *run(void *number)
{
    const struct wait *it = &waits[(long)number];
    struct timespec before, after;

    clock_gettime(CLOCK_MONOTONIC, &before);
    __atomic_add_fetch(&begun, 1, __ATOMIC_RELAXED);
    long result = it->wait();
    int error = errno;
    clock_gettime(CLOCK_MONOTONIC, &after);
    long passed = (after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000;
    if (result != 1)
        printf("%s: result %ld, %s\n", it->name, result, strerror(error));
    else if (it->timed && passed < patience - 1)
        printf("%s: over too soon\n", it->name);
    else if (!it->timed && !over)
        printf("%s: over before it could be\n", it->name);
    return NULL;
}

static void *calls(void *unused)
{
    while (!over)
        probed(1);
    return unused;
}

static void give(int fd)
{
    if (write(fd, "x", 1) != 1)
        puts("nothing could be given");
}

int main(int argc, char **argv)
{
    static pthread_t thread[WAITS], caller;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval long_time = {60, 0};
    struct { long type; char text[1]; } message = {1, "x"};
    struct sembuf up = {0, 1, 0};
    static char much[1 << 16];
    sigset_t set;

    if (argc > 1)
        patience = atol(argv[1]);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    if (pipe(data) || pipe(polled) || pipe(selected) || pipe(watched) || pipe(filled) || pipe(waited_for) ||
        socketpair(AF_UNIX, SOCK_STREAM, 0, answered) || socketpair(AF_UNIX, SOCK_STREAM, 0, timed_socket) ||
        !mkdtemp(directory))
        return 3;
    setsockopt(timed_socket[0], SOL_SOCKET, SO_RCVTIMEO, &long_time, sizeof long_time);
    snprintf(file, sizeof file, "%s/f", directory);
    listener = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s/s", directory);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 1))
        return 4;
    fcntl(filled[1], F_SETFL, O_NONBLOCK);
    while (write(filled[1], much, sizeof much) > 0)
        ;
    fcntl(filled[1], F_SETFL, 0);
    semaphores = semget(IPC_PRIVATE, 2, 0600);
    messages = msgget(IPC_PRIVATE, 0600);
    locked = open(file, O_RDWR | O_CREAT, 0600);
    notified = inotify_init1(0);
    if (semaphores < 0 || messages < 0 || flock(locked, LOCK_EX) || inotify_add_watch(notified, directory, IN_CREATE) < 0)
        return 5;
    SHOW(probed);
    ready();
    for (long i = 0; i < WAITS; i++)
        if (pthread_create(&thread[i], NULL, run, (void *)i))
            return 6;
    if (pthread_create(&caller, NULL, calls, NULL))
        return 6;
    while (begun < WAITS)
        usleep(1000);
    usleep(20000);
    puts("waiting");
    fflush(stdout);
    wait_for_line();
    over = 1;
    pthread_join(caller, NULL);
    give(data[1]);
    give(polled[1]);
    give(selected[1]);
    give(watched[1]);
    give(answered[1]);
    give(timed_socket[1]);
    give(waited_for[1]);
    if (read(filled[0], much, sizeof much) <= 0)
        return 7;
    word = 1;
    futex(&word, FUTEX_WAKE, 1, NULL);
    semop(semaphores, &up, 1);
    msgsnd(messages, &message, 1, 0);
    kill(getpid(), SIGUSR1);
    flock(locked, LOCK_UN);
    snprintf(much, sizeof much, "%s/new", directory);
    close(open(much, O_WRONLY | O_CREAT, 0600));
    unlink(much);
    int other = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(other, (struct sockaddr *)&address, sizeof address))
        return 8;
    for (long i = 0; i < WAITS; i++)
        pthread_join(thread[i], NULL);
    semctl(semaphores, 0, IPC_RMID);
    msgctl(messages, IPC_RMID, NULL);
    unlink(file);
    unlink(address.sun_path);
    rmdir(directory);
    puts("done");
    return 0;
}
