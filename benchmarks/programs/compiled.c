// Functions for tools that need the compiler's help: this file is compiled with -pg or -fpatchable-function-entry,
// and without either; only `compiled` is ever changed by that.
#include <string.h>

typedef long function(long);

__attribute__((noinline, noclone)) long compiled(long x)
{
    __asm__ volatile("" : "+r"(x));
    return x + 1;
}

__attribute__((noinline, noclone, no_instrument_function, patchable_function_entry(0))) long unprobed_compiled(long x)
{
    __asm__ volatile("" : "+r"(x));
    return x + 1;
}

__attribute__((no_instrument_function, patchable_function_entry(0))) function *further(const char *name)
{
    return !strcmp(name, "compiled") ? compiled : !strcmp(name, "unprobed_compiled") ? unprobed_compiled : NULL;
}
