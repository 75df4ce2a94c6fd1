// A function with a static tracepoint of LTTng-UST, and the same without.
#define LTTNG_UST_TRACEPOINT_CREATE_PROBES
#define LTTNG_UST_TRACEPOINT_DEFINE
#include "static_point.h"
#include <string.h>

typedef long function(long);

// Called with one argument; the others are what happens to be in their registers, as for every other tool.
__attribute__((noinline, noclone)) long static_point(long a, long b, long c, long d, long e, long f)
{
    lttng_ust_tracepoint(benchmarks, point, a, b, c, d, e, f);
    return a + 1;
}

__attribute__((noinline, noclone)) long unprobed_static(long x)
{
    __asm__ volatile("" : "+r"(x));
    return x + 1;
}

function *further(const char *name)
{
    return !strcmp(name, "static_point") ? (function *)(void *)static_point
         : !strcmp(name, "unprobed_static") ? unprobed_static : NULL;
}
