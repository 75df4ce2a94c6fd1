/* Steps through a call with the trap flag and handles the traps: steps_itself TIMES.
 *
 * Wrong is every round whose traps were others than in the first.
 */
#include "victim.h"

#define MOST 64

struct trap {
    int code;
    long place;
};

static struct trap seen[MOST], first[MOST];
static int traps, expected;
static long rounds, wrong;

NOINLINE long probed(long x)
{
    __asm__ volatile("" : "+r"(x));
    return x + 1;
}

__asm__(".globl stepped\n"
        "stepped:\n"
        "    pushfq\n"
        "    orl $0x100, (%rsp)\n"
        "    popfq\n"
        "    nop\n"
        "    call probed\n"
        ".globl probed_inside\n"
        "probed_inside:\n"
        "    push %rbp\n"
        "    lea 5(%rip), %rdx\n"
        "    pop %rbp\n"
        "    pushfq\n"
        "    andl $~0x100, (%rsp)\n"
        "    popfq\n"
        "    nop\n"
        "    ret\n");
long stepped(long x);
extern char probed_inside[];

static void handler(int number, siginfo_t *info, void *context)
{
    ucontext_t *user = context;

    (void)number;
    if (traps < MOST)
        seen[traps] = (struct trap){info->si_code, (long)user->uc_mcontext.gregs[REG_RIP] - (long)stepped};
    traps++;
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
    long times = argc > 1 ? atol(argv[1]) : 1, x;

    SHOW(probed);
    SHOW(probed_inside);
    sigaction(SIGTRAP, &action, NULL);
    stepped(0);
    expected = traps;
    memcpy(first, seen, sizeof first);
    ready();
    for (int i = 0; i < traps && i < MOST; i++)
        printf("trap %d at %ld\n", first[i].code, first[i].place);
    for (long i = 0; i < times; i++) {
        traps = 0;
        x = stepped(i);
        rounds++;
        if (x != i + 1 || traps != expected || memcmp(first, seen, sizeof first)) {
            if (!wrong)
                for (int j = 0; j < traps && j < MOST; j++)
                    printf("round %ld: trap %d at %ld\n", i, seen[j].code, seen[j].place);
            wrong++;
        }
    }
    printf("rounds %ld\n", rounds);
    printf("wrong %ld\n", wrong);
    return wrong != 0;
}
