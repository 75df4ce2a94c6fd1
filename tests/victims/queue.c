/* Queues numbered signals to a thread that runs probed code, and checks what arrives: queue COUNT [main].
 *
 * With `main` it is the main thread that runs and another one that sends.
 */
#include "victim.h"

extern char work_inside[];
static volatile int stopping;
static long received, disordered, code, count;
static pthread_t receiver;

/* Adds to a static variable, so that the probed instruction counts from the program counter. */
__asm__("        .data\n"
        "        .globl sum\n"
        "sum:    .quad 0\n"
        "        .text\n"
        "        .globl work, work_inside\n"
        "        .type work, @function\n"
        "work:   push %rbx\n"
        "work_inside:\n"
        "        addq $1, sum(%rip)\n"
        "        pop %rbx\n"
        "        ret\n");
void work(void);
extern volatile long sum;

static void handler(int number, siginfo_t *info, void *unused)
{
    (void)number, (void)unused;
    if (info->si_value.sival_int != received)
        disordered++;
    code = info->si_code;
    received++;
}

static void *run(void *unused)
{
    while (!stopping)
        work();
    return unused;
}

static void *send_all(void *unused)
{
    for (long i = 0; i < count; i++) {
        union sigval value = {.sival_int = (int)i};
        pthread_sigqueue(receiver, SIGRTMIN + 1, value);
        if (i % 3 == 0) { /* two or three are pending at once, and between them it works */
            long before = sum;
            for (int tries = 0; sum == before && tries < 10000; tries++)
                usleep(300);
        }
    }
    for (int i = 0; i < 10000 && received < count; i++)
        usleep(1000);
    stopping = 1;
    return unused;
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
    pthread_t thread;

    count = argc > 1 ? atol(argv[1]) : 1;
    sigaction(SIGRTMIN + 1, &action, NULL);
    SHOW(work);
    SHOW(work_inside);
    ready();
    if (argc > 2) {
        receiver = pthread_self();
        pthread_create(&thread, NULL, send_all, NULL);
        run(NULL);
    } else {
        pthread_create(&thread, NULL, run, NULL);
        receiver = thread;
        send_all(NULL);
    }
    pthread_join(thread, NULL);
    printf("received %ld\ndisordered %ld\ncode %ld\n", received, disordered, code);
    return disordered || received != count;
}
