/* Handles the faults of its functions and comes back to them: retries COUNT [THREADS].
 *
 * COUNT 0 goes on until a second line comes. An odd round mends the memory and tries again, an even one goes on behind
 * the instruction that its place says. Wrong is every call with another result, and every fault told of another place.
 */
#include "victim.h"

#define PAGE 4096

struct place {
    const char *name;
    long (*function)(long *);
    int fault; /* how far its faulting instruction is from its beginning: no symbol may say that, or no jump goes over it */
};
#define LENGTH 3

/* Each loads a word of the page, and adds one. */
#define FUNCTION(name, before, after)                                                      \
    long name(long *);                                                                     \
    __asm__(".globl " #name "\n.type " #name ", @function\n" #name ":\n.cfi_startproc\n" \
            before "    mov (%rdi), %rax\n    lea 1(%rax), %rax\n    nop\n    nop\n" after \
            "    ret\n.cfi_endproc\n.size " #name ", . - " #name "\n");
#define PUSH "    push %rbp\n.cfi_adjust_cfa_offset 8\n"
#define POP "    pop %rbp\n.cfi_adjust_cfa_offset -8\n"

FUNCTION(first, "", "")
FUNCTION(second, "    nop\n", "")
FUNCTION(pushed, PUSH, POP)
FUNCTION(framed, PUSH "    mov %rsp, %rbp\n", POP)
FUNCTION(loaded, "    mov $7, %ecx\n", "")

static const struct place places[] = {
    {"first", first, 0}, {"second", second, 1}, {"pushed", pushed, 1}, {"framed", framed, 4}, {"loaded", loaded, 5},
};
#define PLACES (sizeof places / sizeof *places)

static __thread long *page;
static __thread const struct place *now;
static __thread int mend;
static long count, calls, faults, elsewhere, wrong;
static volatile int stopping;

#define ADD(to, number) __atomic_add_fetch(&(to), number, __ATOMIC_RELAXED)

static void handler(int number, siginfo_t *info, void *context)
{
    ucontext_t *user = context;
    greg_t *registers = user->uc_mcontext.gregs;

    (void)number;
    ADD(faults, 1);
    if (info->si_addr != page)
        ADD(wrong, 1);
    if (registers[REG_RIP] != (long)now->function + now->fault)
        ADD(elsewhere, 1);
    if (mend)
        mprotect(page, PAGE, PROT_READ | PROT_WRITE);
    else {
        registers[REG_RIP] += LENGTH;
        registers[REG_RAX] = 41;
    }
}

static void *run(void *unused)
{
    page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    *page = 41;
    for (long i = 0; count ? i < count : !stopping; i++)
        for (now = places; now < places + PLACES; now++) {
            mend = i & 1;
            mprotect(page, PAGE, PROT_NONE);
            if (now->function(page) != 42)
                ADD(wrong, 1);
            ADD(calls, 1);
        }
    return unused;
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_NODEFER};
    int threads = argc > 2 ? atoi(argv[2]) : 1;
    pthread_t thread[64];

    count = argc > 1 ? atol(argv[1]) : 1;
    for (unsigned i = 0; i < PLACES; i++)
        printf("%s %p\n", places[i].name, (void *)places[i].function);
    sigaction(SIGSEGV, &action, NULL);
    ready();
    for (int i = 0; i < threads; i++)
        if (pthread_create(&thread[i], NULL, run, NULL))
            return 3;
    puts("running");
    fflush(stdout);
    if (!count) {
        wait_for_line();
        stopping = 1;
    }
    for (int i = 0; i < threads; i++)
        pthread_join(thread[i], NULL);
    if (count)
        printf("calls %ld\n", calls);
    printf("elsewhere %ld\nwrong %ld\n", elsewhere, wrong + faults - calls);
    return wrong || faults != calls;
}
