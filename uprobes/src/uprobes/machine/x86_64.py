"""x86-64: user_regs_struct (arch/x86/include/asm/user_64.h), System V calls, system calls."""

import insn
from uprobes.guard import x86_64
from uprobes.machine import x86_64_frame
from uprobes.machine.record import Machine

# void sample(clock_gettime, CLOCK_MONOTONIC, out): out = ticks before, ticks after, seconds,
# nanoseconds. lfence keeps the CPU from reading the counter earlier or later than written (Intel
# SDM 2B, RDTSC).
SAMPLE_CLOCK = bytes.fromhex(
    "53"  # push rbx
    "4154"  # push r12
    "4155"  # push r13: the stack is aligned for the call
    "4889d3"  # mov rbx, rdx
    "4989fc"  # mov r12, rdi
    "0faee8 0f31 0faee8"  # lfence; rdtsc; lfence
    "48c1e220 4809d0 488903"  # [rbx] = rdx << 32 | rax
    "89f7"  # mov edi, esi
    "488d7310"  # lea rsi, [rbx+16]
    "41ffd4"  # call r12
    "0faee8 0f31 0faee8"  # lfence; rdtsc; lfence
    "48c1e220 4809d0 48894308"  # [rbx+8] = rdx << 32 | rax
    "415d 415c 5b c3"  # pop r13; pop r12; pop rbx; ret
)

X86_64 = Machine(
    arch=insn.X86_64,
    names=(
        "r15",
        "r14",
        "r13",
        "r12",
        "rbp",
        "rbx",
        "r11",
        "r10",
        "r9",
        "r8",
        "rax",
        "rcx",
        "rdx",
        "rsi",
        "rdi",
        "orig_rax",
        "rip",
        "cs",
        "rflags",
        "rsp",
        "ss",
        "fs_base",
        "gs_base",
        "ds",
        "es",
        "fs",
        "gs",
    ),
    ip="rip",
    sp="rsp",
    flags="rflags",
    result="rax",
    system_call="orig_rax",
    trap_flag=0x100,
    done_flag=0x10000,
    breakpoint_skew=1,
    arguments=("rdi", "rsi", "rdx", "rcx", "r8", "r9"),
    stack_arguments=8,
    call_arguments=("rdi", "rsi", "rdx", "r10", "r8", "r9"),
    call_number="rax",
    call_instruction=b"\x0f\x05",
    call_changes=("rcx", "r11"),
    action_call=bytes.fromhex("b80d0000000f05"),  # mov eax, 13; syscall
    returning_call=b"\x0f\x05\xc3",
    restorers=(
        bytes.fromhex("48c7c00f0000000f05"),  # mov rax, 15; syscall
        bytes.fromhex("b80f0000000f05"),  # mov eax, 15; syscall
    ),
    signal_frame=x86_64_frame.frame,
    calls={
        "open": 2,
        "close": 3,
        "mmap": 9,
        "mprotect": 10,
        "munmap": 11,
        "rt_sigaction": 13,
        "rt_sigprocmask": 14,
        "rt_sigreturn": 15,
        "pread64": 17,
        "pwrite64": 18,
        "mremap": 25,
        "getpid": 39,
        "gettid": 186,
        "tgkill": 234,
        "memfd_create": 319,
    },
    assemble_guard=x86_64.assemble,
    traps_made_by=dict(x86_64.TRAP_MADE_BY),
    sample_clock=SAMPLE_CLOCK,
    blocked_unseen=(0x4D8, 0x4C8),
    far_jump=lambda to: b"\xff\x25\0\0\0\0" + to.to_bytes(8, "little"),
    saved_ip=(2, 0xFFFF, 0x33),
    thread_pointer="fs_base",
    tid_offsets=(0x2D0, 0x38, 0x30),  # struct pthread of glibc; of musl, newer and older
    audit_architecture=0xC000003E,
    goroutine=-8,
    vforks={56: "clone", 58: "vfork", 435: "clone3"},
    interrupted={
        0: "read",
        1: "write",
        19: "readv",
        20: "writev",
        42: "connect",
        43: "accept",
        44: "sendto",
        45: "recvfrom",
        46: "sendmsg",
        47: "recvmsg",
        65: "semop",
        128: "rt_sigtimedwait",
        208: "io_getevents",
        220: "semtimedop",
        232: "epoll_wait",
        281: "epoll_pwait",
        288: "accept4",
        299: "recvmmsg",
        307: "sendmmsg",
        426: "io_uring_enter",
        441: "epoll_pwait2",
    },
)
