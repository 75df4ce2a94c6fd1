/* Lets the CPU execute x86 instructions in place and as copies, from the same random states, and compares.
 *
 * Usage: x86_cpu < cases > results. The first thing read is the content of memory (DATA then STACK); then cases
 * follow, each with its copies (test_x86_cpu.py writes them). For each case one line says what happened; with
 * `states` asked for, the states before and after the run in place follow, so that emulation can be compared.
 *
 * Build (the handler is no function that the optimiser knows to be called; position-independent, so that no random 32-bit
 * address is one of the harness itself): gcc -O0 -static-pie -mfsgsbase -mno-red-zone -fno-stack-protector x86_cpu.c
 *
 * A run begins and ends with a signal: the handler of the first puts the whole state into its frame, the handler of
 * the second (int3 behind the code, a fault, or the trap flag) takes the whole state out. Nothing else touches it.
 */
#define _GNU_SOURCE
#include <asm/ldt.h>
#include <cpuid.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

enum { CODE = 0x10000000, NEAR = 0x20000000, DATA = 0x30000000, STACK = 0x31000000, AREA = 0x2000 };
static const uint64_t FAR = 0x700000000000;
enum { COPIES = 12, BOUNDARIES = 48, ITERATIONS = 4000 };
enum { IP = 1, RETURN_ADDRESS = 2, PUSHED_TRAP_FLAG = 4, LOADED_FLAGS = 8, SCRATCH = 16 };
enum { FREE = 0, STEP = 1, WALK = 2 };
enum { TF = 0x100, RF = 0x10000 };
/* Selectors: 64- and 32-bit code and flat data of Linux, and the three 16-bit segments of the LDT. */
enum { CODE_64 = 0x33, CODE_32 = 0x23, FLAT = 0x2b, CODE_16 = 0x07, DATA_16 = 0x0f, STACK_16 = 0x17 };

/* Numbers of the registers as the decoder counts them, in the order of the signal frame. */
static const int ORDER[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                              REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

struct boundary { uint32_t offset, pushed; uint64_t original; };
struct copy {
    uint64_t address, scratch_value;
    uint32_t length, step, fixups, scratch, boundaries, overwrites;
    uint8_t code[128];
    struct boundary boundary[BOUNDARIES];
};
struct input {
    uint64_t seed, address, flags_mask;
    uint64_t fixed_mask, fixed[16];
    uint32_t states, length, copies, wants_states, bits, keep_x87;
    uint8_t code[64];
};
struct state {
    uint64_t registers[16], ip, flags, fs_base;
    int32_t signal, pad;
    uint64_t fault;
};
enum { VECTORS = 32 * 64 + 8 * 8 + 16 + 80 };
struct outcome { struct state state; uint8_t vectors[VECTORS]; };

static uint8_t initial[2 * AREA], *code_alias, *near_alias, *far_alias;
static uint8_t *const data = (uint8_t *)DATA, *const stack = (uint8_t *)STACK;
static struct state begin_state;
static struct outcome *volatile end_outcome;
static uint64_t harness_fs, resume_ip, resume_sp, resume_bp, resume_bx, resume_r12, resume_r13, resume_r14, resume_r15;
static uint8_t random_vectors[32 * 64 + 64];
static volatile int phase;
static volatile int begin_step, bits, iterations;
static volatile uint64_t begin_ip, step_from;
static const struct copy *volatile walked; /* the copy whose every stop must be at a boundary */
static volatile long lost_at;
static unsigned ymm_at, mask_at, zmm_low_at, zmm_high_at;

static uint64_t rng;
static uint64_t next(void) {
    rng ^= rng << 13; rng ^= rng >> 7; rng ^= rng << 17;
    return rng;
}

static void put_vectors(uint8_t *frame) {
    uint64_t *present = (uint64_t *)(frame + 512);
    *present |= 2;
    memcpy(frame + 160, random_vectors, 256);
    if (ymm_at) { *present |= 4; memcpy(frame + ymm_at, random_vectors + 256, 256); }
    if (zmm_low_at) {
        *present |= 0xe0;
        memcpy(frame + mask_at, random_vectors + 2048, 64);
        memcpy(frame + zmm_low_at, random_vectors + 512, 512);
        memcpy(frame + zmm_high_at, random_vectors + 1024, 1024);
    }
}

static void take_vectors(const uint8_t *frame, uint8_t *to) {
    uint64_t present = *(const uint64_t *)(frame + 512);
    memset(to, 0, VECTORS);
    if (present & 2) memcpy(to, frame + 160, 256);
    if (ymm_at && present & 4) memcpy(to + 256, frame + ymm_at, 256);
    if (zmm_low_at && present & 0x20) memcpy(to + 2048, frame + mask_at, 64);
    if (zmm_low_at && present & 0x40) memcpy(to + 512, frame + zmm_low_at, 512);
    if (zmm_low_at && present & 0x80) memcpy(to + 1024, frame + zmm_high_at, 1024);
    if (present & 1) { /* control, status, tag and the registers; never where the last instruction stood */
        memcpy(to + 2112, frame, 5);
        for (int n = 0; n < 8; n++) memcpy(to + 2128 + 10 * n, frame + 32 + 16 * n, 10);
    }
    memcpy(to + 2120, frame + 24, 4); /* MXCSR */
}

/* Make the frame return to these segments. */
static void use_segments(ucontext_t *frame, uint64_t code_selector, uint64_t stack_selector) {
    enum { SIGCONTEXT_SS = 2, STRICT_RESTORE_SS = 4 };
    frame->uc_flags |= SIGCONTEXT_SS | STRICT_RESTORE_SS;
    greg_t *selectors = &frame->uc_mcontext.gregs[REG_CSGSFS];
    *selectors = (*selectors & 0xffffffff0000L) | code_selector | stack_selector << 48;
}

/* The kernel restores only what the frame holds: fs of the harness must be right before any library function. */
static void handler(int number, siginfo_t *information, void *context) {
    ucontext_t *frame = context;
    greg_t *registers = frame->uc_mcontext.gregs;
    uint64_t fs;
    /* A loaded AC would make misaligned accesses of this handler fault; NT and ID would stay for later runs. */
    __asm__ volatile("pushfq; andl $~0x244000, (%%rsp); popfq; rdfsbase %0" : "=r"(fs) : : "memory", "cc");
    if (phase == 0) {
        phase = 1;
        resume_ip = registers[REG_RIP]; resume_sp = registers[REG_RSP]; resume_bp = registers[REG_RBP];
        resume_bx = registers[REG_RBX]; resume_r12 = registers[REG_R12]; resume_r13 = registers[REG_R13];
        resume_r14 = registers[REG_R14]; resume_r15 = registers[REG_R15];
        harness_fs = fs;
        for (int n = 0; n < 16; n++) registers[ORDER[n]] = begin_state.registers[n];
        registers[REG_RIP] = begin_ip;
        registers[REG_EFL] = begin_state.flags | (begin_step ? TF : 0);
        if (bits == 32) use_segments(frame, CODE_32, FLAT);
        if (bits == 16) use_segments(frame, CODE_16, STACK_16);
        put_vectors((uint8_t *)frame->uc_mcontext.fpregs);
        uint64_t new_fs = begin_state.fs_base;
        __asm__ volatile("wrfsbase %0" : : "r"(new_fs));
        if (bits != 64) {
            uint16_t all = bits == 32 ? FLAT : DATA_16;
            __asm__ volatile("mov %0, %%ds; mov %0, %%es; mov %0, %%fs; mov %0, %%gs" : : "r"(all));
        }
        return;
    }
    if (begin_step && number == SIGTRAP && information->si_code == TRAP_TRACE
        && (uint64_t)registers[REG_RIP] == step_from && --iterations > 0)
        return; /* one iteration of a string instruction */
    if (walked && number == SIGTRAP && information->si_code == TRAP_TRACE) {
        uint64_t offset = (uint64_t)registers[REG_RIP] - walked->address;
        if (offset < walked->length) {
            int known = 0;
            for (unsigned n = 0; n < walked->boundaries; n++) known |= walked->boundary[n].offset == offset;
            if (!known) lost_at = (long)offset;
            if (--iterations > 0) return;
        }
    }
    struct state *end = &end_outcome->state;
    for (int n = 0; n < 16; n++)
        end->registers[n] = bits == 64 ? (uint64_t)registers[ORDER[n]] : (uint32_t)registers[ORDER[n]];
    end->ip = registers[REG_RIP];
    end->flags = registers[REG_EFL];
    end->fs_base = fs;
    end->signal = number;
    end->fault = (uint64_t)information->si_addr;
    if (number == SIGTRAP && information->si_code != TRAP_TRACE) end->ip -= 1; /* int3 */
    if (number == SIGTRAP) end->signal = 0;
    take_vectors((uint8_t *)frame->uc_mcontext.fpregs, end_outcome->vectors);
    phase = 2;
    registers[REG_RIP] = resume_ip; registers[REG_RSP] = resume_sp; registers[REG_RBP] = resume_bp;
    registers[REG_RBX] = resume_bx; registers[REG_R12] = resume_r12; registers[REG_R13] = resume_r13;
    registers[REG_R14] = resume_r14; registers[REG_R15] = resume_r15;
    registers[REG_EFL] = 0x202;
    use_segments(frame, CODE_64, FLAT);
    *(uint32_t *)((uint8_t *)frame->uc_mcontext.fpregs + 24) = 0x1f80;
    *(uint64_t *)((uint8_t *)frame->uc_mcontext.fpregs + 512) &= ~1ull; /* x87 as at the start */
    fs = harness_fs;
    uint16_t zero = 0;
    __asm__ volatile("mov %0, %%ds; mov %0, %%es; mov %0, %%fs; mov %0, %%gs; wrfsbase %1" : : "r"(zero), "r"(fs));
}

/* int3 hands over to the handler; the second signal comes back here. */
__attribute__((noinline)) static void kick(void) {
    phase = 0;
    __asm__ volatile("int3" ::: "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "memory", "cc");
    if (phase != 2) abort();
}

static void run(uint64_t ip, int step, const struct state *state, struct outcome *outcome) {
    begin_state = *state;
    begin_ip = step_from = ip;
    begin_step = step;
    iterations = ITERATIONS;
    end_outcome = outcome;
    kick();
}

static uint8_t *alias_of(uint64_t address) {
    if (bits == 16) address += CODE;
    uint64_t page = address & ~(uint64_t)(AREA - 1);
    uint8_t *alias = page == CODE ? code_alias : page == NEAR ? near_alias : page == FAR ? far_alias : NULL;
    if (!alias) { fprintf(stderr, "no such place %#lx\n", (unsigned long)address); exit(2); }
    return alias + (address - page);
}

static void place(uint64_t address, const uint8_t *code, unsigned length) {
    uint8_t *to = alias_of(address);
    if (bits == 16) memset(to, 0xcc, 256); /* original and copy share a segment */
    else memset(to - (address & (AREA - 1)), 0xcc, AREA);
    memcpy(to, code, length);
}

static void map_code(uint64_t address, uint8_t **alias) {
    int fd = memfd_create("code", 0);
    if (ftruncate(fd, AREA)) exit(2);
    *alias = mmap(NULL, AREA, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    void *at = mmap((void *)address, AREA, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0);
    if (*alias == MAP_FAILED || at != (void *)address) { perror("mmap"); exit(2); }
    memset(*alias, 0xcc, AREA);
    close(fd);
}

static void map_data(uint64_t address) {
    if (mmap((void *)address, AREA, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != (void *)address) { perror("mmap"); exit(2); }
}

static void reset_memory(void) {
    if (memcmp(data, initial, AREA)) memcpy(data, initial, AREA);
    if (memcmp(stack, initial + AREA, AREA)) memcpy(stack, initial + AREA, AREA);
}

static void random_state(struct state *state, const struct input *input) {
    static const uint32_t flag_bits = 0x8d5 | 0x400;
    memset(state, 0, sizeof *state);
    for (int n = 0; n < 16; n++) {
        uint64_t r = next(), value;
        switch (r >> 60) {
        case 0: case 1: case 2: case 3: case 4: value = DATA + (r & 0xff0) + 0x800; break;
        case 5: case 6: value = STACK + (r & 0xff0) + 0x800; break;
        case 7: case 8: value = r & 0x3f; break;
        case 9: value = -(r & 0x3f); break;
        case 10: value = next() & 0xffffffff; break;
        case 11: value = DATA + (r & 0xfff) + 0x800; break;
        case 12: value = 0; break;
        default: value = next();
        }
        state->registers[n] = input->fixed_mask >> n & 1 ? input->fixed[n] : value;
        if (bits != 64) state->registers[n] = n < 8 ? (uint32_t)state->registers[n] : 0;
        if (bits == 16 && state->registers[n] >> 28 == 3) state->registers[n] &= 0x1fff;
    }
    state->registers[4] = (bits == 16 ? 0 : STACK) + 0x1000 + (next() & 0x1f8);
    state->ip = input->address;
    state->flags = 0x202 | (next() & flag_bits & input->flags_mask);
    state->fs_base = DATA + 0x10;
    for (unsigned n = 0; n < sizeof random_vectors; n += 8) {
        uint64_t r = next();
        uint64_t value = r >> 62 ? next() : (r & 1 ? 0x3ff0000000000000 : 0x4000000040000000);
        memcpy(random_vectors + n, &value, 8);
    }
}

/* What the stepper would repair after a copy was stepped. */
static void repair(const struct copy *copy, const struct input *input, struct state *end, const struct state *begin) {
    uint64_t delta = input->address - copy->address;
    int done = end->signal == 0 && end->ip != copy->address;
    if (end->signal == 0 && end->ip == copy->address && !(copy->fixups & IP)) done = 1;
    if (copy->scratch != ~0u) end->registers[copy->scratch] = begin->registers[copy->scratch];
    if (!done) {
        if (end->ip == copy->address) end->ip = input->address;
        if (end->fault == copy->address) end->fault = input->address;
        return;
    }
    uint64_t mask = bits == 64 ? ~0ull : (1ull << bits) - 1;
    uint64_t top = bits == 16 ? STACK + (end->registers[4] & 0xffff) : end->registers[4];
    if (copy->fixups & IP) end->ip = (end->ip + delta) & mask;
    if (copy->fixups & RETURN_ADDRESS) {
        if (bits == 16) *(uint16_t *)top += (uint16_t)delta;
        else if (bits == 32) *(uint32_t *)top += (uint32_t)delta;
        else *(uint64_t *)top += delta;
    }
    if (copy->fixups & PUSHED_TRAP_FLAG) *(uint16_t *)top &= ~TF;
    if (!(copy->fixups & LOADED_FLAGS)) end->flags &= ~TF;
}

static void map_back(const struct copy *copy, struct state *end) {
    for (unsigned n = 0; n < copy->boundaries; n++) {
        if (end->ip == copy->address + copy->boundary[n].offset) {
            if (end->fault == end->ip) end->fault = copy->boundary[n].original;
            end->ip = copy->boundary[n].original;
            end->registers[4] += copy->boundary[n].pushed;
            return;
        }
    }
}

/* Make what the copy may have overwritten below the stack pointer the same. */
static void forget_below(const struct copy *copy, const struct state *end, const uint8_t *expected) {
    uint64_t top = (end->registers[4] & (bits == 16 ? 0xffff : ~0ull)) - (bits == 16 ? 0 : STACK);
    if (copy->overwrites <= top && top <= AREA)
        memcpy(stack + top - copy->overwrites, expected + top - copy->overwrites, copy->overwrites);
}

/* Name the first thing that differs, NULL when nothing does. */
static const char *difference(const struct outcome *a, const struct outcome *b, const struct input *input,
                              char *text, size_t size) {
    const struct state *x = &a->state, *y = &b->state;
    for (int n = 0; n < 16; n++)
        if (x->registers[n] != y->registers[n]) {
            snprintf(text, size, "register %d: %#lx, copy %#lx", n, x->registers[n], y->registers[n]);
            return text;
        }
    if (x->ip != y->ip) { snprintf(text, size, "ip: %#lx, copy %#lx", x->ip, y->ip); return text; }
    if ((x->flags ^ y->flags) & ~(uint64_t)(TF | RF)) {
        snprintf(text, size, "flags: %#lx, copy %#lx", x->flags, y->flags);
        return text;
    }
    if (x->fs_base != y->fs_base) return "fs_base";
    /* Whoever branches away sees a fault at the target; one who is stepped stops before it. */
    int gone = x->ip != input->address && (x->signal == 0 || y->signal == 0);
    if (x->signal != y->signal && !gone) {
        snprintf(text, size, "signal: %d, copy %d", x->signal, y->signal);
        return text;
    }
    if (x->signal == y->signal && x->signal && x->fault != y->fault) {
        snprintf(text, size, "fault address: %#lx, copy %#lx", x->fault, y->fault);
        return text;
    }
    for (unsigned n = 0; n < VECTORS; n++)
        if (a->vectors[n] != b->vectors[n] && !(input->keep_x87 && n >= 2112)) {
            snprintf(text, size, "vector byte %u: %#x, copy %#x", n, a->vectors[n], b->vectors[n]);
            return text;
        }
    return NULL;
}

static int read_all(void *to, size_t size) { return fread(to, 1, size, stdin) == size; }

static void make_segment(unsigned number, uint32_t base, int is_code) {
    struct user_desc segment = {.entry_number = number, .base_addr = base, .limit = 0xffff, .useable = 1,
                                .contents = is_code ? MODIFY_LDT_CONTENTS_CODE : MODIFY_LDT_CONTENTS_DATA};
    if (syscall(SYS_modify_ldt, 1, &segment, sizeof segment)) { perror("modify_ldt"); exit(3); }
}

static void find_components(void) {
    unsigned a, b, c, d;
    __cpuid_count(0xd, 0, a, b, c, d);
    unsigned enabled = a;
    if (enabled & 4) { __cpuid_count(0xd, 2, a, b, c, d); ymm_at = b; }
    if ((enabled & 0xe0) == 0xe0) {
        __cpuid_count(0xd, 5, a, b, c, d); mask_at = b;
        __cpuid_count(0xd, 6, a, b, c, d); zmm_low_at = b;
        __cpuid_count(0xd, 7, a, b, c, d); zmm_high_at = b;
    }
}

int main(void) {
    static uint8_t alternate[1 << 16];
    static struct copy copies[COPIES];
    static struct outcome in_place, copied;
    static uint8_t after[2 * AREA];
    struct input input;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    sched_setaffinity(0, sizeof one, &one);
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    setrlimit(RLIMIT_CPU, &(struct rlimit){100, 100}); /* code that runs in circles */
    find_components();
    map_code(CODE, &code_alias);
    map_code(NEAR, &near_alias);
    map_code(FAR, &far_alias);
    map_data(DATA);
    map_data(STACK);
    stack_t alternate_stack = {.ss_sp = alternate, .ss_size = sizeof alternate};
    sigaltstack(&alternate_stack, NULL);
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    int signals[] = {SIGTRAP, SIGSEGV, SIGBUS, SIGILL, SIGFPE};
    for (unsigned n = 0; n < sizeof signals / sizeof *signals; n++) sigaction(signals[n], &action, NULL);
    if (!read_all(initial, sizeof initial)) return 2;

    int segments_made = 0;
    while (read_all(&input, sizeof input)) {
        if (input.bits == 16 && !segments_made++) {
            make_segment(0, CODE, 1);
            make_segment(1, DATA, 0);
            make_segment(2, STACK, 0);
        }
        if (input.copies > COPIES || !read_all(copies, input.copies * sizeof *copies)) return 2;
        bits = input.bits;
        unsigned long ran = 0, unimplemented = 0, faults = 0, mismatches = 0;
        char first[256] = "", text[200];
        rng = input.seed | 1;
        place(input.address, input.code, input.length);
        for (unsigned s = 0; s < input.states; s++) {
            struct state state;
            random_state(&state, &input);
            reset_memory();
            run(input.address, 0, &state, &in_place);
            memcpy(after, data, AREA);
            memcpy(after + AREA, stack, AREA);
            unimplemented += in_place.state.signal == SIGILL;
            faults += in_place.state.signal != 0 && in_place.state.ip == input.address;
            if (input.wants_states) {
                fwrite(&state, sizeof state, 1, stdout);
                fwrite(&in_place.state, sizeof state, 1, stdout);
                fwrite(after, sizeof after, 1, stdout);
            }
            for (unsigned c = 0; c < input.copies; c++) {
                struct copy *copy = copies + c;
                struct state start = state;
                if (copy->address != input.address) place(copy->address, copy->code, copy->length);
                if (copy->scratch != ~0u) start.registers[copy->scratch] = copy->scratch_value;
                reset_memory();
                walked = copy->step == WALK ? copy : NULL;
                lost_at = -1;
                run(copy->address, copy->step, &start, &copied);
                walked = NULL;
                if (copy->step && iterations <= 0) continue;
                if (copy->step == WALK) {
                    if (lost_at >= 0 && !mismatches++)
                        snprintf(first, sizeof first, "state %u copy %u: stopped at %ld, no boundary", s, c, lost_at);
                    ran++;
                    continue;
                }
                if (copy->step) repair(copy, &input, &copied.state, &state);
                else map_back(copy, &copied.state);
                forget_below(copy, &copied.state, after + AREA);
                const char *what = difference(&in_place, &copied, &input, text, sizeof text);
                if (!what && memcmp(after, data, AREA)) what = "data";
                if (!what && memcmp(after + AREA, stack, AREA)) what = "stack";
                if (what && !mismatches++) snprintf(first, sizeof first, "state %u copy %u: %s", s, c, what);
                ran++;
            }
        }
        printf("%lu %lu %lu %lu %s\n", ran, unimplemented, faults, mismatches, first);
    }
    return 0;
}
