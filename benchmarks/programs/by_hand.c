// Probes written by hand for functions of victim.c: the least that each kind can cost. Orders:
//   patch WAY   count     begins_lea jumps to a `lock inc`
//               flags     the middle of flags_live jumps to a `lock inc` with the flags saved
//               record    begins_lea jumps to what writes time, thread and six arguments into a ring
//               trap      begins_lea is a breakpoint, whose signal handler counts
//   hits        fails unless the number that follows is how often the probe was hit
// The trampolines lie in the program itself, so that nothing needs to be mapped near.
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

enum { RECORDS = 1 << 16, RECORD_SIZE = 80, JUMP = 5, MIDDLE = 3 };

uint64_t hand_hits;
uint8_t hand_ring[RECORDS][RECORD_SIZE] __attribute__((aligned(64)));

void begins_lea(void), flags_live(void);
void hand_count(void), hand_flags(void), hand_record(void), hand_copy(void);

// What the jump displaces is `lea 1(%rdi), %rax; ret`, so that nothing has to jump back.
__asm__(".text\n.p2align 6\nhand_count: lock incq hand_hits(%rip)\nhand_copy: lea 1(%rdi), %rax; ret\n");
__asm__(".p2align 6\nhand_flags: lea -128(%rsp), %rsp; pushfq; lock incq hand_hits(%rip); popfq; lea 128(%rsp), %rsp\n"
        "lea 1(%rdi), %rax; cmovs %rax, %rax; jmp flags_live + 11\n");
// A record: its number + 1 (written last), probe, CPU, time, six arguments, thread. At this entry rax, r10 and r11 are
// free, and so are the flags.
__asm__(".p2align 6\nhand_record:\n"
        "mov $1, %r10d; lock xadd %r10, hand_hits(%rip); movzwl %r10w, %eax\n"
        "lea (%rax, %rax, 4), %rax; shl $4, %rax; lea hand_ring(%rip), %r11; add %rax, %r11\n"
        "mov %rdi, 24(%r11); mov %rsi, 32(%r11); mov %rdx, 40(%r11); mov %rcx, 48(%r11); mov %r8, 56(%r11)\n"
        "mov %r9, 64(%r11); rdtsc; shl $32, %rdx; or %rdx, %rax; mov %rax, 16(%r11); mov 40(%r11), %rdx\n"
        "mov %fs:0x2d0, %eax; mov %eax, 72(%r11); movq $7, 8(%r11); inc %r10; mov %r10, (%r11)\n"
        "lea 1(%rdi), %rax; ret\n");

static void handler(int number, siginfo_t *information, void *context)
{
    (void)number, (void)information;
    __atomic_fetch_add(&hand_hits, 1, __ATOMIC_RELAXED);
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] = (greg_t)(uintptr_t)hand_copy;
}

static int write_code(void *at, const void *code, size_t size)
{
    uintptr_t page = (uintptr_t)at & -4096;
    if (mprotect((void *)page, 8192, PROT_READ | PROT_WRITE | PROT_EXEC))
        return 0;
    memcpy(at, code, size);
    return !mprotect((void *)page, 8192, PROT_READ | PROT_EXEC);
}

static int jump(void *from, void *to)
{
    uint8_t code[JUMP] = {0xe9};
    int32_t distance = (uint8_t *)to - ((uint8_t *)from + JUMP);
    memcpy(code + 1, &distance, 4);
    return write_code(from, code, JUMP);
}

static int tid_is_where_glibc_has_it(void)
{
    uint32_t tid;
    __asm__("mov %%fs:0x2d0, %0" : "=r"(tid));
    return tid == (uint32_t)syscall(SYS_gettid);
}

int obeyed(const char *line)
{
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
    unsigned long hits;
    char way[16];
    if (sscanf(line, "hits %lu", &hits) == 1)
        return hits == hand_hits;
    if (sscanf(line, "patch %15s", way) != 1)
        return 0;
    if (!strcmp(way, "count"))
        return jump(begins_lea, hand_count);
    if (!strcmp(way, "flags"))
        return jump((uint8_t *)flags_live + MIDDLE, hand_flags);
    if (!strcmp(way, "record"))
        return tid_is_where_glibc_has_it() && jump(begins_lea, hand_record);
    return !strcmp(way, "trap") && !sigaction(SIGTRAP, &action, NULL) && write_code(begins_lea, "\xcc", 1);
}
