/* Switches stacks by hand, within a thread and from one thread to another: coroutines WHAT COUNT. */
#include "victim.h"

void switch_stacks(void **from, void **to);
void *where_am_i(void);
long self_call(long);

static void *outside, *inside;
static char stack[1 << 16] __attribute__((aligned(16)));
static long count;

NOINLINE long yields(long x)
{
    switch_stacks(&inside, &outside);   /* comes back later, maybe on another thread */
    __asm__ volatile("" : "+r"(x));
    return 3 * x;
}

NOINLINE long outer(long x)
{
    long y = yields(x);
    __asm__ volatile("" : "+r"(y));
    return y + 1;
}

static void coroutine(void)
{
    long sum = 0;

    for (long i = 0; i < count; i++)
        sum += outer(i);
    printf("sum %ld\n", sum);
    for (;;)
        switch_stacks(&inside, &outside);
}

NOINLINE long resume(long x)
{
    switch_stacks(&outside, &inside);
    __asm__ volatile("" : "+r"(x));
    return x;
}

static void *one_step(void *x)
{
    resume((long)x);
    return NULL;
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    void **top = (void **)(stack + sizeof stack) - 2;

    count = argc > 2 ? atol(argv[2]) : 1;
    *top = (void *)coroutine;
    inside = top - 6;
    SHOW(yields);
    SHOW(outer);
    SHOW(resume);
    SHOW(where_am_i);
    SHOW(self_call);
    ready();
    if (!strcmp(what, "same")) {
        for (long i = 0; i <= count; i++)
            resume(i);
    } else if (!strcmp(what, "threads")) {      /* every step on a thread of its own */
        for (long i = 0; i <= count; i++) {
            pthread_t thread;
            pthread_create(&thread, NULL, one_step, (void *)i);
            pthread_join(thread, NULL);
        }
    } else if (!strcmp(what, "self")) {
        long sum = 0;
        for (long i = 0; i < count; i++)
            sum += self_call(i) + (where_am_i() > (void *)main);
        printf("sum %ld\n", sum);
    } else
        return 8;
    return 0;
}
