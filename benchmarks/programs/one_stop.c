// The least that any ptrace tool must do at a hit, in C: what the others are measured against.
//   one_stop PID ADDRESS LENGTH WAY
// puts a breakpoint at ADDRESS, under which stands an instruction of LENGTH bytes that may run anywhere, and reads the
// first argument (rdi) at every hit. The copy is put 16 bytes behind ADDRESS, where the victim has padding. WAY:
//   getregs   one stop: GETREGS, SETREGS with the copy's address, CONT; the copy jumps back
//   pokeuser  one stop: PEEKUSER of the argument, POKEUSER of the program counter, CONT
//   step      two stops: the copy is single-stepped, then the program counter is put right
//   push      one stop: GETREGS, POKEDATA and SETREGS do the work of `push %rbp`, CONT
//   inline    two stops: the original byte is put back, stepped over, and the breakpoint written again
// Prints "ready", then on SIGTERM takes the breakpoint out and prints how many hits there were.
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>

enum { COPY = 16, AREA = 16 };

static volatile sig_atomic_t over;
static int pid;
static uint64_t address;

static void finish(int number)
{
    (void)number;
    over = 1;
}

static void must(long result, const char *what)
{
    if (result == -1) {
        perror(what);
        exit(1);
    }
}

static void put(uint64_t at, const uint8_t *code, int size)
{
    for (int i = 0; i < size; i += 8) {
        long word;
        memcpy(&word, code + i, 8);
        must(ptrace(PTRACE_POKETEXT, pid, at + i, word), "poketext");
    }
}

static void get(uint64_t at, uint8_t *code, int size)
{
    for (int i = 0; i < size; i += 8) {
        errno = 0;
        long word = ptrace(PTRACE_PEEKTEXT, pid, at + i, 0);
        if (errno)
            must(-1, "peektext");
        memcpy(code + i, &word, 8);
    }
}

static void stepped(int thread)
{
    int status;
    must(ptrace(PTRACE_SINGLESTEP, thread, 0, 0), "singlestep");
    while (waitpid(thread, &status, __WALL) < 0 && errno == EINTR)
        ;
}

int main(int count, char **arguments)
{
    if (count != 5) {
        fprintf(stderr, "usage: one_stop PID ADDRESS LENGTH getregs|pokeuser|push|step|inline\n");
        return 2;
    }
    pid = atoi(arguments[1]);
    address = strtoull(arguments[2], NULL, 0);
    int length = atoi(arguments[3]), status;
    const char *names[] = {"getregs", "pokeuser", "push", "step", "inline"};
    enum { GETREGS_WAY, POKEUSER_WAY, PUSH_WAY, STEP_WAY, INLINE_WAY, WAYS } way = 0;
    while (way < WAYS && strcmp(names[way], arguments[4]))
        way++;
    struct sigaction action = {.sa_handler = finish};
    sigaction(SIGTERM, &action, NULL);

    must(ptrace(PTRACE_SEIZE, pid, 0, PTRACE_O_TRACECLONE), "seize");
    must(ptrace(PTRACE_INTERRUPT, pid, 0, 0), "interrupt");
    must(waitpid(pid, &status, __WALL), "waitpid");
    uint8_t before[COPY + AREA], after[COPY + AREA];
    get(address, before, sizeof before);
    memcpy(after, before, sizeof before);
    memcpy(after + COPY, before, length);
    int32_t back = -(COPY + 5);
    after[COPY + length] = 0xe9;
    memcpy(after + COPY + length + 1, &back, 4);
    after[0] = 0xcc;
    put(address, after, sizeof after);
    must(ptrace(PTRACE_CONT, pid, 0, 0), "cont");
    printf("ready\n");
    fflush(stdout);

    const long ip = offsetof(struct user_regs_struct, rip);
    struct user_regs_struct registers;
    unsigned long hits = 0, sum = 0;
    while (!over) {
        int thread = waitpid(-1, &status, __WALL);
        if (thread < 0) {
            if (errno == EINTR)
                continue;
            break;
        }
        if (!WIFSTOPPED(status))
            continue;
        if (status >> 8 != SIGTRAP) {
            ptrace(PTRACE_CONT, thread, 0, status >> 16 ? 0 : WSTOPSIG(status));
            continue;
        }
        hits++;
        if (way == POKEUSER_WAY) {
            sum += ptrace(PTRACE_PEEKUSER, thread, offsetof(struct user_regs_struct, rdi), 0);
            ptrace(PTRACE_POKEUSER, thread, ip, address + COPY);
        } else {
            ptrace(PTRACE_GETREGS, thread, 0, &registers);
            sum += registers.rdi;
            registers.rip = way == INLINE_WAY ? address : address + COPY;
            if (way == PUSH_WAY) {
                registers.rip = address + length;
                registers.rsp -= 8;
                ptrace(PTRACE_POKEDATA, thread, registers.rsp, registers.rbp);
            }
            if (way == INLINE_WAY)
                put(address, before, 8);
            ptrace(PTRACE_SETREGS, thread, 0, &registers);
        }
        if (way == STEP_WAY) {
            stepped(thread);
            ptrace(PTRACE_GETREGS, thread, 0, &registers);
            registers.rip -= COPY;
            ptrace(PTRACE_SETREGS, thread, 0, &registers);
        } else if (way == INLINE_WAY) {
            stepped(thread);
            put(address, after, 8);
        }
        ptrace(PTRACE_CONT, thread, 0, 0);
    }
    if (ptrace(PTRACE_INTERRUPT, pid, 0, 0) == 0) {
        waitpid(pid, &status, __WALL);
        put(address, before, sizeof before);
        ptrace(PTRACE_DETACH, pid, 0, 0);
    }
    printf("hits %lu %lu\n", hits, sum);
    return 0;
}
