"""x86-64: user_regs_struct (arch/x86/include/asm/user_64.h), the System V convention, system calls."""

import insn
from uprobes.machine.record import Machine

X86_64 = Machine(
    arch=insn.X86_64,
    names=(
        "r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx",
        "rsi", "rdi", "orig_rax", "rip", "cs", "rflags", "rsp", "ss", "fs_base", "gs_base", "ds",
        "es", "fs", "gs",
    ),
    ip="rip",
    sp="rsp",
    flags="rflags",
    result="rax",
    system_call="orig_rax",
    trap_flag=0x100,
    breakpoint_skew=1,
    arguments=("rdi", "rsi", "rdx", "rcx", "r8", "r9"),
    stack_arguments=8,
    call_arguments=("rdi", "rsi", "rdx", "r10", "r8", "r9"),
    call_number="rax",
    call_instruction=b"\x0f\x05",
    calls={"mmap": 9, "munmap": 11, "getpid": 39},
    interrupted={
        65: "semop", 128: "rt_sigtimedwait", 208: "io_getevents", 220: "semtimedop",
        232: "epoll_wait", 281: "epoll_pwait", 441: "epoll_pwait2",
    },
)
