"""The record that each machine fills in: where ptrace keeps registers, how calls and system calls
pass values.
"""

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from insn import Arch
from uprobes.guard.layout import GuardCode


@dataclass(frozen=True)
class Machine:
    """One architecture as the kernel shows it to a tracer.

    To add one: the order of its `user_regs_struct`, which word is what, how far the program counter
    stands behind a breakpoint when it is reported, how functions get arguments, and how a system
    call is made.
    """

    arch: Arch
    names: tuple[str, ...]
    """Register names (insn's) in the order of GETREGS, one word each; others as the kernel calls
    them.
    """
    ip: str
    sp: str
    flags: str
    result: str
    system_call: str
    """The register in which the kernel keeps the number of the system call being restarted, -1 for
    none.
    """
    trap_flag: int
    done_flag: int
    """A flag that the CPU clears and the program never sees: set where we have executed the
    instruction under a breakpoint, so that the guard does not execute it again if we die now.
    """
    breakpoint_skew: int
    """How far behind the breakpoint's address the program counter is reported."""
    arguments: tuple[str, ...]
    stack_arguments: int
    """Offset from the stack pointer, at a function's entry, of the first argument on the stack."""
    call_arguments: tuple[str, ...]
    call_number: str
    call_instruction: bytes
    call_changes: tuple[str, str]
    """The registers that a system call overwrites: with the address behind it, with the flags."""
    action_call: bytes
    """How C libraries make the call that sets a signal's handler."""
    returning_call: bytes
    """The same followed by a return."""
    restorers: tuple[bytes, ...]
    """Code to which signal handlers return."""
    signal_frame: Callable[[Mapping[str, int], int, bytes, int, int], tuple[int, bytes]]
    """Makes what that code takes from the stack, of registers, signal mask and vector state, below
    an address, with the code's own address: gives where it begins, and its bytes.
    """
    calls: Mapping[str, int]
    """System call numbers by name: of all that are made for us, and by the guard."""
    sample_clock: bytes
    """Code of a function that takes `clock_gettime`, a clock's number, and where four words go:
    the tick counter, the clock's seconds and nanoseconds in the third and fourth, and in the second
    the counter again.
    """
    assemble_guard: Callable[[int], GuardCode]
    """Makes the handler that stays in the process, for the address at which it will stand."""
    traps_made_by: Mapping[int, int]
    """The last byte of the one instruction that makes a trap of a code (`si_code`) by itself; where
    the trap flag is clear, any other such trap ends a step of a tracer.
    """
    blocked_unseen: tuple[int, int]
    """A mask, and what it shows of blocked signals when a breakpoint has unblocked SIGTRAP.

    The kernel does that, and forgets the handler, where a breakpoint is met with SIGTRAP blocked
    (force_sig_info in kernel/signal.c); who blocks it blocks the other faults' signals too.
    """
    far_jump: Callable[[int], bytes]
    """Gives code that jumps to any address from anywhere, and changes nothing else."""
    saved_ip: tuple[int, int, int]
    """How a program counter that a signal interrupted is known on a stack: so many words behind it,
    under a mask, stands this (the code segment).
    """
    thread_pointer: str
    tid_offsets: tuple[int, ...]
    """Where C libraries keep a thread's number, counted from the thread pointer: those known."""
    audit_architecture: int
    """How seccomp filters know the architecture (AUDIT_ARCH_…, include/uapi/linux/audit.h)."""
    goroutine: int
    """Where Go keeps the goroutine that a thread runs, counted from the thread pointer; the bounds
    of its stack come first in it (runtime/runtime2.go).
    """
    vforks: Mapping[int, str] = field(default_factory=dict)
    """System calls in which a thread may wait until its child has memory of its own."""
    interrupted: Mapping[int, str] = field(default_factory=dict)
    """System calls that return EINTR when a tracer stops them, although no signal came (signal(7)).
    """

    @cached_property
    def index(self) -> dict[str, int]:
        """The word of each register."""
        return {name: number for number, name in enumerate(self.names)}


def machine_of_host() -> Machine:
    """Return the record of the machine this runs on; UnsupportedTarget where there is none."""
    from uprobes.errors import UnsupportedTarget
    from uprobes.machine.x86_64 import X86_64

    name = platform.machine()
    machines = {"x86_64": X86_64}
    if name not in machines:
        raise UnsupportedTarget(
            f"this machine is a {name}, and live probing knows only {', '.join(machines)}",
            hint="insn, ssol and ubp work on any host",
        )
    return machines[name]
