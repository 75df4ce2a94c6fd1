/* A library with one function to probe; built with -DADDS=N as another one of the same size. */
#ifndef ADDS
#define ADDS 1
#endif

long lib_probed(long x)
{
    __asm__ volatile("" : "+r"(x));
    return x + ADDS;
}
