/* Leaves functions in every way: returns WHAT. */
#include "victim.h"
#include <setjmp.h>
#include <ucontext.h>

long pops(long), call_pops(long), first(long), second(long), third(long);

static jmp_buf back;
static volatile int depth_reached;

NOINLINE long factorial_sum(long n)
{
    if (n == 0)
        return 0;
    long rest = factorial_sum(n - 1);
    __asm__ volatile("" : "+r"(rest));
    return rest + n;
}

NOINLINE long leaf(long x)
{
    __asm__ volatile("" : "+r"(x));
    return x * 2;
}

NOINLINE long jumps_out(long x)
{
    __asm__ volatile("" : "+r"(x));
    if (x >= 0)
        longjmp(back, 1);
    return x;
}

NOINLINE long calls_jumper(long x)
{
    long y = jumps_out(x);
    __asm__ volatile("" : "+r"(y));
    return y + 1;
}

NOINLINE long leaves_thread(long x)
{
    __asm__ volatile("" : "+r"(x));
    if (x)
        pthread_exit((void *)x);
    return x;
}

NOINLINE long forks(long x)
{
    pid_t child = fork();
    int status = 0;
    if (child == 0)
        return 100 + x;
    waitpid(child, &status, 0);
    return WEXITSTATUS(status);
}

NOINLINE long blocks(long x)
{
    char c = 0;
    ssize_t got = read(0, &c, 1);
    __asm__ volatile("" : "+r"(x));
    return got == 1 ? x + 1 : -1;
}

NOINLINE void *returns_own_address(void)
{
    return __builtin_return_address(0);
}

static void handler(int number)
{
    depth_reached += (int)leaf(number) == 2 * number;
}

static ucontext_t main_context, other_context;

NOINLINE long switches(long x)
{
    swapcontext(&main_context, &other_context);
    __asm__ volatile("" : "+r"(x));
    return x + 5;
}

static void other_side(void)
{
    long sum = leaf(1);
    swapcontext(&other_context, &main_context);
    sum += leaf(2);
    printf("other side %ld\n", sum);
}

static void *thread_main(void *count)
{
    long sum = 0;
    for (long i = 0; i < (long)count; i++)
        sum += leaf(i);
    return (void *)sum;
}

static void *thread_leaves(void *x)
{
    leaves_thread((long)x);
    return NULL;
}

static void *thread_blocks(void *x)
{
    return (void *)(blocks((long)x) + factorial_sum(3));
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    long n = argc > 2 ? atol(argv[2]) : 1;

    SHOW(pops);
    SHOW(first);
    SHOW(second);
    SHOW(third);
    SHOW(factorial_sum);
    SHOW(leaf);
    SHOW(jumps_out);
    SHOW(calls_jumper);
    SHOW(leaves_thread);
    SHOW(forks);
    SHOW(blocks);
    SHOW(switches);
    ready();
    if (!strcmp(what, "recursion")) {
        printf("sum %ld\n", factorial_sum(n));
    } else if (!strcmp(what, "tail")) {
        for (long i = 0; i < n; i++)
            if (first(i) != 3 * i)
                return 5;
    } else if (!strcmp(what, "pops")) {
        for (long i = 0; i < n; i++)
            if (call_pops(i) != 3000 + i)
                return 5;
    } else if (!strcmp(what, "longjmp")) {
        volatile long out = 0;
        for (volatile long i = 0; i < n; i++)
            if (setjmp(back) == 0)
                calls_jumper(i);
            else
                out++;
        printf("jumped %ld then %ld\n", out, calls_jumper(-5));
    } else if (!strcmp(what, "threads")) {
        pthread_t thread[8];
        long sum = 0;
        void *result;
        for (int i = 0; i < 8; i++)
            pthread_create(&thread[i], NULL, thread_main, (void *)n);
        for (int i = 0; i < 8; i++) {
            pthread_join(thread[i], &result);
            sum += (long)result;
        }
        printf("sum %ld\n", sum);
    } else if (!strcmp(what, "thread_exit")) {
        for (long i = 1; i <= n; i++) {
            pthread_t thread;
            void *result;
            pthread_create(&thread, NULL, thread_leaves, (void *)i);
            pthread_join(thread, &result);
            if ((long)result != i)
                return 6;
        }
    } else if (!strcmp(what, "fork")) {
        long x = forks(n);
        if (x == 100 + n && getppid() != 1 && n >= 0 && argc > 3)
            return 9;
        if (x == 100 + n) {
            static int reported;
            if (!reported++)
                printf("value %ld\n", x);
            fflush(stdout);
            _exit((int)x);
        }
        return 7;
    } else if (!strcmp(what, "sigaltstack")) {
        static char stack[65536];
        stack_t other = {.ss_sp = stack, .ss_size = sizeof stack};
        struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK};
        sigaltstack(&other, NULL);
        sigaction(SIGUSR1, &action, NULL);
        for (long i = 0; i < n; i++)
            raise(SIGUSR1);
        printf("handled %d sum %ld\n", depth_reached, factorial_sum(10));
    } else if (!strcmp(what, "swapcontext")) {
        static char stack[65536];
        getcontext(&other_context);
        other_context.uc_stack.ss_sp = stack;
        other_context.uc_stack.ss_size = sizeof stack;
        other_context.uc_link = &main_context;
        makecontext(&other_context, other_side, 0);
        long a = switches(1), b = switches(2);
        printf("switched %ld %ld\n", a, b);
    } else if (!strcmp(what, "blocks")) {
        pthread_t thread[4];
        long sum = 0;
        void *result;
        for (long i = 0; i < 4; i++)
            pthread_create(&thread[i], NULL, thread_blocks, (void *)i);
        puts("blocking");
        fflush(stdout);
        for (int i = 0; i < 4; i++) {
            pthread_join(thread[i], &result);
            sum += (long)result;
        }
        printf("sum %ld\n", sum);
    } else
        return 8;
    printf("done %s\n", what);
    return 0;
}
