// The program under probes. Reads orders on stdin, answers each with one line of JSON:
//   call NAME COUNT THREADS            call a function COUNT times in each thread
//   pace NAME COUNT THREADS INTERVAL   the same, each thread every INTERVAL nanoseconds (by 64 calls at a time)
//   sweep TIMES                        call every function of the crowd (crowd.c) TIMES times
// Files linked with it may have further functions and orders.
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
// Three bytes in, the flags of `test` are still needed.
BEGINS_WITH(flags_live, "test %rdi, %rdi; lea 1(%rdi), %rax; cmovs %rax, %rax; ret");
// The same, never probed: what the calls cost by themselves.
BEGINS_WITH(unprobed, "lea 1(%rdi), %rax; ret");
BEGINS_WITH(unprobed_push, "push %rbp; mov %rsp, %rbp; lea 1(%rdi), %rax; pop %rbp; ret");
BEGINS_WITH(unprobed_nop5, ".byte 0x0f, 0x1f, 0x44, 0, 0; lea 1(%rdi), %rax; ret");
BEGINS_WITH(unprobed_flags, "test %rdi, %rdi; lea 1(%rdi), %rax; cmovs %rax, %rax; ret");

static const struct { const char *name; function *call; } functions[] = {
    {"begins_lea", begins_lea},   {"begins_push", begins_push}, {"begins_nop5", begins_nop5},
    {"begins_endbr", begins_endbr}, {"begins_rip", begins_rip}, {"begins_call", begins_call},
    {"begins_jcc", begins_jcc},   {"flags_live", flags_live},   {"unprobed", unprobed},
    {"unprobed_push", unprobed_push}, {"unprobed_nop5", unprobed_nop5}, {"unprobed_flags", unprobed_flags},
};

// What files linked with this one may have: a function by its name; an order, answered with 1 when it was understood.
extern function *further(const char *name) __attribute__((weak));
extern int obeyed(const char *line) __attribute__((weak));

// Only the program with the crowd has these.
extern function *const crowd[] __attribute__((weak));
extern const int crowd_size __attribute__((weak));

struct work { function *call; long count, interval, sum; pthread_barrier_t *start; };
struct times { long long wall, cpu; };

enum { AT_A_TIME = 64 };

static long long read_clock(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static struct times now(void)
{
    return (struct times){read_clock(CLOCK_MONOTONIC), read_clock(CLOCK_PROCESS_CPUTIME_ID)};
}

static void *calls(void *argument)
{
    struct work *work = argument;
    long sum = 0;
    if (work->start)
        pthread_barrier_wait(work->start);
    if (!work->interval)
        for (long i = 0; i < work->count; i++)
            sum += work->call(i);
    long long due = read_clock(CLOCK_MONOTONIC);
    for (long i = 0; work->interval && i < work->count; due += AT_A_TIME * work->interval) {
        while (read_clock(CLOCK_MONOTONIC) < due)
            ;
        for (long end = i + AT_A_TIME; i < end && i < work->count; i++)
            sum += work->call(i);
    }
    work->sum = sum;
    return NULL;
}

static void answer(struct times begun, double calls, int right)
{
    struct times ended = now();
    long long ns = ended.wall - begun.wall, cpu = ended.cpu - begun.cpu;
    printf("{\"ns\": %lld, \"ns_per_call\": %.3f, \"cpu_ns_per_call\": %.3f, \"right\": %s}\n", ns, ns / calls,
           cpu / calls, right ? "true" : "false");
}

static void call(function *function, long count, int threads, long interval)
{
    long expected = count * (count - 1) / 2 + count, long_sum = 0;
    struct times begun;
    if (threads == 1) {
        struct work work = {function, count, interval, 0, NULL};
        begun = now();
        calls(&work);
        long_sum = work.sum;
    } else {
        pthread_t ids[threads];
        struct work works[threads];
        pthread_barrier_t start;
        pthread_barrier_init(&start, NULL, threads + 1);
        for (int i = 0; i < threads; i++) {
            works[i] = (struct work){function, count, interval, 0, &start};
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
    answer(begun, (double)count * threads, long_sum == expected * threads);
}

static void sweep(long times)
{
    long sum = 0, expected = 0;
    for (long t = 0; t < times; t++)
        expected += (t + 1) * crowd_size;
    struct times begun = now();
    for (long t = 0; t < times; t++)
        for (int i = 0; i < crowd_size; i++)
            sum += crowd[i](t);
    answer(begun, (double)times * crowd_size, sum == expected);
}

static function *find(const char *name)
{
    for (unsigned i = 0; i < sizeof functions / sizeof *functions; i++)
        if (!strcmp(functions[i].name, name))
            return functions[i].call;
    return further ? further(name) : NULL;
}

int main(void)
{
    char line[200], name[64] = "";
    long count, interval;
    int threads;
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("{\"pid\": %d}\n", getpid());
    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "sweep %ld", &count) == 1 && crowd) {
            sweep(count);
            continue;
        }
        if (obeyed && obeyed(line)) {
            printf("{\"ns\": 0, \"ns_per_call\": 0, \"cpu_ns_per_call\": 0, \"right\": true}\n");
            continue;
        }
        interval = 0;
        if (sscanf(line, "call %63s %ld %d", name, &count, &threads) != 3 &&
            sscanf(line, "pace %63s %ld %d %ld", name, &count, &threads, &interval) != 4)
            threads = 0;
        function *named = find(name);
        if (named && threads > 0)
            call(named, count, threads, interval);
        else
            printf("{\"error\": \"not understood\"}\n");
    }
    return 0;
}
