/* Takes backtraces deep inside probed functions and compares them with the first one: backtraces COUNT. */
#include "victim.h"
#include <execinfo.h>

static void *first[32];
static int first_depth;
static long same, different;

NOINLINE long inner(long x)
{
    void *now[32];
    int depth = backtrace(now, 32);

    if (!first_depth) {
        memcpy(first, now, sizeof now);
        first_depth = depth;
    } else if (depth == first_depth && !memcmp(now, first, depth * sizeof *now))
        same++;
    else
        different++;
    return x * 2;
}

NOINLINE long outer(long x)
{
    long y = inner(x);
    __asm__ volatile("" : "+r"(y));
    return y + 1;
}

int main(int argc, char **argv)
{
    long count = argc > 1 ? atol(argv[1]) : 1;

    SHOW(inner);
    SHOW(outer);
    for (long i = 0; i <= count; i++) {
        if (i == 1)
            ready();
        if (outer(i - 1) != 2 * i - 1)
            return 5;
    }
    printf("same %ld different %ld\n", same, different);
    return 0;
}
