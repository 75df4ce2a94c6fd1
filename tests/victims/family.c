/* Processes that call a probed function in rounds: family CHILDREN COUNT WHAT, WHAT one of fork, exec.
 *
 * After each line the parent and its children (for exec: new programs) call `tick` COUNT times from each of two
 * threads; an empty line ends them. What each called in all is printed at the end.
 */
#include "victim.h"

enum { THREADS = 2 };

static long count, calls;

NOINLINE long tick(long x)
{
    __asm__ volatile("" : "+r"(x));
    return x + 1;
}

static void *run(void *unused)
{
    long mine = 0;

    while (mine < count)
        mine = tick(mine);
    __atomic_add_fetch(&calls, mine, __ATOMIC_RELAXED);
    return unused;
}

static void round_of_calls(void)
{
    pthread_t thread[THREADS];

    for (int i = 0; i < THREADS; i++)
        pthread_create(&thread[i], NULL, run, NULL);
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
}

static int child(int orders, int reports)
{
    char c;

    while (read(orders, &c, 1) == 1 && c == 'r') {
        round_of_calls();
        if (write(reports, "d", 1) != 1)
            return 4;
    }
    printf("calls %d %ld\n", getpid(), calls);
    fflush(stdout);
    return 0;
}

static int hear(void)
{
    char c;

    return read(0, &c, 1) == 1 && c == 'r' && read(0, &c, 1) == 1;
}

int main(int argc, char **argv)
{
    int children = argc > 1 ? atoi(argv[1]) : 1, status, result = 0;
    int orders[64][2], reports[2]; /* each child has orders of its own: nobody takes another's */
    char c, names[2][16];

    count = argc > 2 ? atol(argv[2]) : 1;
    if (argc > 5)
        return child(atoi(argv[4]), atoi(argv[5]));
    SHOW(tick);
    ready();
    if (pipe(reports))
        return 3;
    snprintf(names[1], sizeof names[1], "%d", reports[1]);
    for (int i = 0; i < children; i++) {
        if (pipe(orders[i]))
            return 3;
        snprintf(names[0], sizeof names[0], "%d", orders[i][0]);
        pid_t pid = fork();
        if (pid == 0 && !strcmp(argv[3], "exec"))
            execl(argv[0], argv[0], argv[1], argv[2], "child", names[0], names[1], (char *)NULL);
        if (pid == 0)
            return child(orders[i][0], reports[1]);
        printf("child %d\n", pid);
    }
    puts("forked");
    fflush(stdout);
    while (hear()) {
        for (int i = 0; i < children; i++)
            result |= write(orders[i][1], "r", 1) != 1;
        round_of_calls();
        for (int i = 0; i < children; i++)
            result |= read(reports[0], &c, 1) != 1;
        puts("round");
        fflush(stdout);
    }
    for (int i = 0; i < children; i++)
        result |= write(orders[i][1], "e", 1) != 1;
    while (wait(&status) > 0)
        result |= status;
    printf("calls %d %ld\n", getpid(), calls);
    return result;
}
