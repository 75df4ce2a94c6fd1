// Throws exceptions through functions: throws COUNT.
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <unistd.h>

extern "C" __attribute__((noinline, noclone)) long thrower(long x)
{
    if (x % 2 == 0)
        throw std::runtime_error("even");
    return x;
}

extern "C" __attribute__((noinline, noclone)) long middle(long x)
{
    long y = thrower(x);
    __asm__ volatile("" : "+r"(y));
    return y + 1;
}

int main(int argc, char **argv)
{
    long count = argc > 1 ? atol(argv[1]) : 1, caught = 0, sum = 0;
    char c;

    printf("thrower %p\nmiddle %p\nready\n", (void *)thrower, (void *)middle);
    fflush(stdout);
    while (read(0, &c, 1) == 1 && c != '\n')
        ;
    for (long i = 0; i < count; i++)
        try {
            sum += middle(i);
        } catch (const std::exception &) {
            caught++;
        }
    printf("caught %ld sum %ld\n", caught, sum);
    return 0;
}
