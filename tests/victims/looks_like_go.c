/* Looks like a program that the Go linker made: it has Go's table of functions. Calls a function when told to. */
#include "victim.h"

__attribute__((used, section(".gopclntab"))) static const char table[] = "\361\377\377\377";

NOINLINE long probed(long x)
{
    __asm__ volatile("" : "+r"(x));
    return x + 1;
}

int main(void)
{
    long sum = 0;

    SHOW(probed);
    ready();
    for (int i = 0; i < 100; i++)
        sum = probed(sum);
    printf("sum %ld\n", sum);
    return 0;
}
