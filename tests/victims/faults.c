/* Faults once at each place of faults.S and prints what its signal handler is told: faults [NAME [core]].
 *
 * With `core` there is no handler, and another thread: the process dies of its first fault.
 */
#include "victim.h"

struct fault {
    const char *name;
    void (*function)(void);
    char *at;
    long unused;
};

extern struct fault __start_faults[], __stop_faults[];
extern char recover[], guard[], saved_sp[];
extern void *behind_end;
static struct fault *now;
static int signals;

/* Addresses as offsets from what they belong to: the report is the same in every run. */
static const char *where(uint64_t address, char *text)
{
    if (address - (uint64_t)now->at + 64 < 128)
        sprintf(text, "at%+ld", (long)(address - (uint64_t)now->at));
    else if (address - (uint64_t)guard + 4096 < 12288)
        sprintf(text, "guard%+ld", (long)(address - (uint64_t)guard));
    else if (address - (uint64_t)behind_end < 4096)
        sprintf(text, "behind%+ld", (long)(address - (uint64_t)behind_end));
    else if (address - (uint64_t)recover < 16)
        sprintf(text, "recover%+ld", (long)(address - (uint64_t)recover));
    else if (address - *(uint64_t *)saved_sp + 256 < 512)
        sprintf(text, "sp%+ld", (long)(address - *(uint64_t *)saved_sp));
    else
        sprintf(text, "%#lx", (long)address);
    return text;
}

static void handler(int number, siginfo_t *info, void *opaque)
{
    greg_t *r = ((ucontext_t *)opaque)->uc_mcontext.gregs;
    char a[64], b[64], c[64], d[64];
    uint64_t top = 0;

    signals++;
    if ((uint64_t)r[REG_RSP] - *(uint64_t *)saved_sp + 256 < 512)
        top = *(uint64_t *)r[REG_RSP];
    printf("%s signal %d code %d addr %s rip %s rsp %s top %s flags %#lx\n", now->name, number, info->si_code,
           where((uint64_t)info->si_addr, a), where(r[REG_RIP], b), where(r[REG_RSP], c),
           where(top, d), (long)r[REG_EFL] & 0xdd5);
    printf(" rax %s", where(r[REG_RAX] == getpid() ? 0x111 : r[REG_RAX], a));
    printf(" rbx %s", where(r[REG_RBX], a));
    printf(" rcx %s", where(r[REG_RCX], a));
    printf(" rdx %s", where(r[REG_RDX], a));
    printf(" rsi %s", where(r[REG_RSI], a));
    printf(" rdi %s", where(r[REG_RDI], a));
    printf(" r11 %#lx\n", (long)r[REG_R11]);
    r[REG_EFL] &= ~0x100;
    r[REG_RIP] = (greg_t)recover;
}

static void map_beyond_a_file(void)
{
    int file = memfd_create("short", 0);
    char *where;

    if (file < 0 || ftruncate(file, 100))
        exit(3);
    where = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
    if (where == MAP_FAILED)
        exit(3);
    behind_end = where + 4096;
    close(file);
}

/* Goes on for ever in code that is probed: another thread is in the core as well. */
static void *other(void *unused)
{
    for (volatile long i = 0;; i++)
        __asm__ volatile("" : : : "memory");
    return unused;
}

int main(int argc, char **argv)
{
    static char stack[65536];
    stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    static const int numbers[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};

    int core = argc > 2 && !strcmp(argv[2], "core");
    pthread_t thread;

    map_beyond_a_file();
    sigaltstack(&alternate, NULL);
    for (unsigned i = 0; !core && i < sizeof numbers / sizeof *numbers; i++)
        sigaction(numbers[i], &action, NULL);
    mprotect(guard, 4096, PROT_NONE);
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (struct fault *f = __start_faults; f < __stop_faults; f++)
        printf("%s %p\n", f->name, (void *)f->at);
    if (core && pthread_create(&thread, NULL, other, NULL))
        return 3;
    ready();
    for (now = __start_faults; now < __stop_faults; now++)
        if (argc < 2 || !strcmp(argv[1], now->name))
            now->function();
    printf("signals %d\n", signals);
    return 0;
}
