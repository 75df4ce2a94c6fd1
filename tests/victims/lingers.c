/* Threads that call two functions without pause: lingers. Its signal handler lasts as long as it is held.
 *
 * `hold` and `let` say so, `inside` tells how many threads are in it, `end` ends all and tells how many calls gave
 * something wrong.
 */
#include "victim.h"

enum { WORKERS = 4 };

extern long lingering(long), calling(long), called_there(long);

__asm__(".globl lingering\n.type lingering, @function\n.balign 16\n"
        "lingering: mov %rdi, %rax\n lea 7(%rax,%rax,2), %rax\n ret\n.size lingering, . - lingering\n"
        ".globl calling\n.type calling, @function\n.balign 16\n"
        "calling: sub $8, %rsp\n"
        ".globl called_there\ncalled_there: call lingering\n add $8, %rsp\n ret\n.size calling, . - calling\n");

static volatile int stopping, held;
static long wrong, inside;

static void stay(int number)
{
    struct timespec moment = {0, 100000};
    int kept = errno;

    (void)number;
    __atomic_add_fetch(&inside, 1, __ATOMIC_SEQ_CST);
    while (held)
        nanosleep(&moment, NULL);
    __atomic_sub_fetch(&inside, 1, __ATOMIC_SEQ_CST);
    errno = kept;
}

static void *work(void *unused)
{
    for (long i = 0; !stopping; i++)
        if (lingering(i) != 3 * i + 7 || calling(i) != 3 * i + 7)
            __atomic_add_fetch(&wrong, 1, __ATOMIC_RELAXED);
    return unused;
}

int main(void)
{
    struct sigaction action = {.sa_handler = stay, .sa_flags = SA_RESTART};
    pthread_t thread[WORKERS];
    char line[16];

    sigaction(SIGUSR1, &action, NULL);
    for (int i = 0; i < WORKERS; i++)
        if (pthread_create(&thread[i], NULL, work, NULL))
            return 2;
    SHOW(lingering);
    SHOW(calling);
    SHOW(called_there);
    puts("ready");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        if (!strcmp(line, "hold\n") || !strcmp(line, "let\n"))
            held = line[0] == 'h';
        else if (!strcmp(line, "inside\n"))
            printf("inside %ld\n", __atomic_load_n(&inside, __ATOMIC_SEQ_CST));
        else if (!strcmp(line, "end\n"))
            break;
        puts("done");
        fflush(stdout);
    }
    stopping = 1;
    for (int i = 0; i < WORKERS; i++)
        pthread_join(thread[i], NULL);
    printf("wrong %ld\n", wrong);
    return 0;
}
