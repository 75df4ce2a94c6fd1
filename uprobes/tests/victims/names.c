/* Functions of every kind that a name can mean; waits for a line on stdin, then calls them. */
#include <stdio.h>
#include <stdlib.h>

#define KEPT __attribute__((noinline, noclone, used))

int some_data[4] = {1, 2, 3, 4};
extern int other_twin(int);

static KEPT int twin(int x) { return x + some_data[0]; }
KEPT int alone(int x) { __asm__ volatile(""); return twin(x) * 3; }
extern int alone_too(int) __attribute__((alias("alone")));

static KEPT int first_way(int x) { return x + 1; }
static KEPT int second_way(int x) { return x + 2; }
static void *choose(void) { return (void *)second_way; }
int chosen(int) __attribute__((ifunc("choose")));
KEPT void *unused_way(void) { return (void *)first_way; }

int main(int argc, char **argv)
{
    char line[16];
    (void)argv;
    printf("alone %p\ntwin %p\nother_twin %p\nsecond_way %p\nsome_data %p\nready\n", (void *)alone,
           (void *)twin, (void *)other_twin, (void *)second_way, (void *)some_data);
    fflush(stdout);
    while (fgets(line, sizeof line, stdin))
        for (int i = 0; i < 100; i++)
            argc = alone(argc) + other_twin(argc) + chosen(argc);
    return 7;
}
