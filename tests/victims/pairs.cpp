// Calls functions from many threads for as long as it is told to, and counts for itself: pairs THREADS.
//
// Threads call plain functions, one that calls itself, one that throws, one through a pointer from the C library, and
// the C library; others are born, call the same once, and die. Until a second line comes.
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <thread>
#include <unistd.h>
#include <vector>

#define PROBED extern "C" __attribute__((noinline, noclone, noipa))

enum { STEADY, PLAIN, RECURSES, THROWS, KINDS };

static std::atomic<long> calls[KINDS], wrong, born;
static std::atomic<bool> stopping;

PROBED long steady(long x)
{
    __asm__ volatile("" : "+r"(x));
    return 3 * x + 1;
}

PROBED long plain(long x)
{
    __asm__ volatile("" : "+r"(x));
    return 2 * x + 1;
}

PROBED long recurses(long depth)
{
    long below = depth ? recurses(depth - 1) : 0;

    __asm__ volatile("" : "+r"(below));
    return below + depth;
}

PROBED long throws(long x)
{
    if (x % 2 == 0)
        throw std::runtime_error("even");
    __asm__ volatile("" : "+r"(x));
    return x;
}

PROBED int compares(const void *a, const void *b)
{
    int x = *(const int *)a, y = *(const int *)b;

    return (x > y) - (x < y);
}

static void expect(bool right)
{
    if (!right)
        wrong++;
}

static void round(long i, long *done)
{
    int numbers[4] = {3, 1, (int)(i & 1), 2};

    expect(steady(i) == 3 * i + 1);
    expect(plain(i) == 2 * i + 1);
    expect(recurses(6) == 21);
    done[STEADY]++, done[PLAIN]++, done[RECURSES] += 7;
    if (i % 16 == 0) {
        long caught = 0;
        for (long k = 0; k < 2; k++)
            try {
                expect(throws(k) == k);
            } catch (const std::runtime_error &) {
                caught++;
            }
        expect(caught == 1);
        done[THROWS] += 2;
    }
    qsort(numbers, 4, sizeof *numbers, compares);
    expect(numbers[0] == (int)(i & 1) && numbers[3] == 3);
    free(malloc(64 + (i & 63)));
    expect(getppid() > 0);
}

static void work(bool once)
{
    long done[KINDS] = {};

    for (long i = 0; once ? i < 20 : !stopping; i++)
        round(i, done);
    for (int k = 0; k < KINDS; k++)
        calls[k] += done[k];
}

static void give_birth()
{
    while (!stopping) {
        std::thread one(work, true), two(work, true);
        one.join();
        two.join();
        born += 2;
        usleep(2000);
    }
}

static void wait_for_line()
{
    char c;

    while (read(0, &c, 1) == 1 && c != '\n')
        ;
}

int main(int argc, char **argv)
{
    long count = argc > 1 ? atol(argv[1]) : 1;
    std::vector<std::thread> threads;

    printf("steady %p\nplain %p\nrecurses %p\nthrows %p\ncompares %p\nready\n", (void *)steady, (void *)plain,
           (void *)recurses, (void *)throws, (void *)compares);
    fflush(stdout);
    wait_for_line();
    for (long i = 0; i < count; i++)
        threads.emplace_back(work, false);
    threads.emplace_back(give_birth);
    wait_for_line();
    stopping = true;
    for (std::thread &thread : threads)
        thread.join();
    printf("steady %ld\nplain %ld\nrecurses %ld\nthrows %ld\nwrong %ld\nborn %ld\n", calls[STEADY].load(),
           calls[PLAIN].load(), calls[RECURSES].load(), calls[THROWS].load(), wrong.load(), born.load());
    return wrong != 0;
}
