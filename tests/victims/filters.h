/* Seccomp filters by name, put on one thread or on all of the process: put_filter("docker", 1). */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define IF_EQUAL(value, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, yes, no)
#define IF_BITS(value, yes, no) BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, value, yes, no)
#define RETURN(answer) BPF_STMT(BPF_RET | BPF_K, answer)
#define REFUSED (SECCOMP_RET_ERRNO | EPERM)
#define ON(number, answer) LOAD(nr), IF_EQUAL(number, 0, 1), RETURN(answer), RETURN(SECCOMP_RET_ALLOW)

struct named_filter {
    const char *name;
    struct sock_filter code[24];
};

static struct named_filter filters[] = {
    {"allow", {RETURN(SECCOMP_RET_ALLOW)}},
    {"kill-mmap", {ON(SYS_mmap, SECCOMP_RET_KILL_PROCESS)}},
    {"trap-munmap", {ON(SYS_munmap, SECCOMP_RET_TRAP)}},
    {"kill-sigaction", {ON(SYS_rt_sigaction, SECCOMP_RET_KILL_THREAD)}},
    {"kill-sigreturn", {ON(SYS_rt_sigreturn, SECCOMP_RET_KILL_PROCESS)}},
    {"kill-memfd", {ON(SYS_memfd_create, SECCOMP_RET_KILL_PROCESS)}},
    /* Anonymous memory that can be executed. */
    {"kill-exec",
     {
         LOAD(nr), IF_EQUAL(SYS_mmap, 0, 5), LOAD(args[3]), IF_BITS(0x20, 0, 3), LOAD(args[2]),
         IF_BITS(4, 0, 1), RETURN(SECCOMP_RET_KILL_PROCESS), RETURN(SECCOMP_RET_ALLOW),
     }},
    {"no-exec",
     {
         LOAD(nr), IF_EQUAL(SYS_mmap, 0, 5), LOAD(args[3]), IF_BITS(0x20, 0, 3), LOAD(args[2]),
         IF_BITS(4, 0, 1), RETURN(REFUSED), RETURN(SECCOMP_RET_ALLOW),
     }},
    /* What a service manager sets for "no memory that can be written and executed". */
    {"write-or-exec",
     {
         LOAD(arch), IF_EQUAL(AUDIT_ARCH_X86_64, 0, 10), LOAD(nr), IF_EQUAL(SYS_mmap, 0, 4),
         LOAD(args[2]), BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 6), IF_EQUAL(6, 4, 0),
         RETURN(SECCOMP_RET_ALLOW), IF_EQUAL(SYS_mprotect, 0, 3), LOAD(args[2]), IF_BITS(4, 0, 1),
         RETURN(REFUSED), RETURN(SECCOMP_RET_ALLOW),
     }},
    /* As containers have it: what is not listed is refused, and other architectures are. */
    {"container",
     {
         LOAD(arch), IF_EQUAL(AUDIT_ARCH_X86_64, 1, 0), RETURN(SECCOMP_RET_KILL_PROCESS), LOAD(nr),
         BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 0, 1), RETURN(REFUSED),
         IF_EQUAL(SYS_ptrace, 8, 0), IF_EQUAL(SYS_mount, 7, 0), IF_EQUAL(SYS_reboot, 6, 0),
         IF_EQUAL(SYS_bpf, 5, 0), IF_EQUAL(SYS_kexec_load, 4, 0),
         BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, 450, 3, 0), IF_EQUAL(SYS_personality, 0, 1),
         RETURN(SECCOMP_RET_LOG), RETURN(SECCOMP_RET_ALLOW), RETURN(REFUSED),
     }},
};

static int put_filter(const char *name, int on_all_threads)
{
    for (size_t i = 0; i < sizeof filters / sizeof *filters; i++) {
        struct sock_fprog program = {0, filters[i].code};

        if (strcmp(filters[i].name, name))
            continue;
        while (program.len < 24 && (filters[i].code[program.len].code || program.len == 0))
            program.len++;
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                       on_all_threads ? SECCOMP_FILTER_FLAG_TSYNC : 0, &program);
    }
    return -1;
}
