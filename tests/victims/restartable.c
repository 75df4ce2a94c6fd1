/* Increments a counter per CPU in a restartable sequence, as librseq does, until it has done so COUNT times. */
#include "victim.h"
#include <stddef.h>
#include <sys/rseq.h>

NOINLINE static int add_one(struct rseq *area, long *counter)
{
    /* The record of the sequence, and where the kernel goes instead, behind glibc's signature. */
    __asm__ goto(
        ".pushsection __rseq_cs, \"aw\"\n"
        ".balign 32\n"
        "3: .long 0, 0\n"
        ".quad 1f, 2f - 1f, 4f\n"
        ".popsection\n"
        "lea 3b(%%rip), %%rax\n"
        "mov %%rax, %c[cs](%[area])\n"
        ".globl sequence_begin, sequence_middle, sequence_end\n"
        "sequence_begin:\n"
        "1: mov (%[counter]), %%rcx\n"
        "sequence_middle:\n"
        "inc %%rcx\n"
        "mov %%rcx, (%[counter])\n"
        "sequence_end:\n"
        "2:\n"
        ".pushsection .text.unlikely, \"ax\"\n"
        ".byte 0x0f, 0xb9, 0x3d\n"
        ".long 0x53053053\n"
        "4: jmp %l[again]\n"
        ".popsection\n"
        ::[area] "r"(area), [counter] "r"(counter), [cs] "i"(offsetof(struct rseq, rseq_cs))
        : "rax", "rcx", "memory" : again);
    return 1;
again:
    return 0;
}

extern char sequence_begin[], sequence_middle[], sequence_end[];

int main(int argc, char **argv)
{
    struct rseq *area = (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);
    long wanted = argc > 1 ? atol(argv[1]) : 1, restarts = 0, counter = 0;

    SHOW(add_one);
    SHOW(sequence_begin);
    SHOW(sequence_middle);
    SHOW(sequence_end);
    ready();
    while (counter < wanted)
        restarts += !add_one(area, &counter);
    printf("counter %ld\n", counter);
    return restarts > 1000000;
}
