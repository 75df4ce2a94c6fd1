// The program under probes. Reads orders on stdin, answers each with one line of JSON:
//   call NAME COUNT THREADS   call a function COUNT times in each thread
//   sweep TIMES               call every function of the crowd (crowd.c) TIMES times
// Every function returns its argument plus one and changes no other register that a caller would miss.
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef long function(long);

// A function of its own cache line that begins with exactly the instruction that its name says.
#define BEGINS_WITH(name, body)                                                                    \
    __asm__(".text\n.p2align 6\n.globl " #name "\n.type " #name ", @function\n" #name ":\n" body  \
            "\n.size " #name ", . - " #name "\n.p2align 6\n");                                     \
    function name

long one __attribute__((visibility("default"))) = 1;

BEGINS_WITH(begins_lea, "lea 1(%rdi), %rax; ret");
BEGINS_WITH(begins_push, "push %rbp; mov %rsp, %rbp; lea 1(%rdi), %rax; pop %rbp; ret");
BEGINS_WITH(begins_nop5, ".byte 0x0f, 0x1f, 0x44, 0, 0; lea 1(%rdi), %rax; ret");
BEGINS_WITH(begins_endbr, "endbr64; lea 1(%rdi), %rax; ret");
BEGINS_WITH(begins_rip, "mov one(%rip), %rax; add %rdi, %rax; ret");
BEGINS_WITH(begins_call, "call 1f; inc %rax; ret; 1: mov %rdi, %rax; ret");
BEGINS_WITH(begins_jcc, "jz 1f; lea 1(%rdi), %rax; ret; 1: lea 1(%rdi), %rax; ret");
// The same as begins_lea, never probed: what the calls cost by themselves.
BEGINS_WITH(unprobed, "lea 1(%rdi), %rax; ret");

static const struct { const char *name; function *call; } functions[] = {
    {"begins_lea", begins_lea},   {"begins_push", begins_push}, {"begins_nop5", begins_nop5},
    {"begins_endbr", begins_endbr}, {"begins_rip", begins_rip}, {"begins_call", begins_call},
    {"begins_jcc", begins_jcc},   {"unprobed", unprobed},
};

// Only the program with the crowd has these.
extern function *const crowd[] __attribute__((weak));
extern const int crowd_size __attribute__((weak));

struct work { function *call; long count, sum; pthread_barrier_t *start; };

static long long now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void *calls(void *argument)
{
    struct work *work = argument;
    long sum = 0;
    if (work->start)
        pthread_barrier_wait(work->start);
    for (long i = 0; i < work->count; i++)
        sum += work->call(i);
    work->sum = sum;
    return NULL;
}

static void answer(long long ns, double calls, int right)
{
    printf("{\"ns\": %lld, \"ns_per_call\": %.3f, \"right\": %s}\n", ns, ns / calls, right ? "true" : "false");
}

static void call(function *function, long count, int threads)
{
    long expected = count * (count - 1) / 2 + count, long_sum = 0;
    long long begun;
    if (threads == 1) {
        struct work work = {function, count, 0, NULL};
        begun = now();
        calls(&work);
        long_sum = work.sum;
    } else {
        pthread_t ids[threads];
        struct work works[threads];
        pthread_barrier_t start;
        pthread_barrier_init(&start, NULL, threads + 1);
        for (int i = 0; i < threads; i++) {
            works[i] = (struct work){function, count, 0, &start};
            if (pthread_create(&ids[i], NULL, calls, &works[i]))
                exit(3);
        }
        pthread_barrier_wait(&start);
        begun = now();
        for (int i = 0; i < threads; i++) {
            pthread_join(ids[i], NULL);
            long_sum += works[i].sum;
        }
        pthread_barrier_destroy(&start);
    }
    answer(now() - begun, (double)count * threads, long_sum == expected * threads);
}

static void sweep(long times)
{
    long sum = 0, expected = 0;
    long long begun = now();
    for (long t = 0; t < times; t++)
        for (int i = 0; i < crowd_size; i++)
            sum += crowd[i](t);
    begun = now() - begun;
    for (long t = 0; t < times; t++)
        expected += (t + 1) * crowd_size;
    answer(begun, (double)times * crowd_size, sum == expected);
}

int main(void)
{
    char line[200], name[64];
    long count;
    int threads;
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("{\"pid\": %d}\n", getpid());
    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "sweep %ld", &count) == 1 && crowd) {
            sweep(count);
            continue;
        }
        unsigned i = 0, known = sizeof functions / sizeof *functions;
        if (sscanf(line, "call %63s %ld %d", name, &count, &threads) == 3)
            while (i < known && strcmp(functions[i].name, name))
                i++;
        else
            i = known;
        if (i < known && threads > 0)
            call(functions[i].call, count, threads);
        else
            printf("{\"error\": \"not understood\"}\n");
    }
    return 0;
}
