"""The guard's SIGTRAP handler for x86-64, assembled for the address at which it will stand.

It is entered only when nobody traces the process any more (a tracer swallows the signal). Rules, in
order:
1. a thread inside an SSOL area goes on there: it was sent to a copy, which jumps back by itself;
   and so does one that is about to make a system call for us, in this very area;
2. at the return trampoline, the frame table says where the call really returns to;
3. at the breakpoint of a trap probe it goes on in that probe's trampoline; at any other breakpoint
   of ours (at one that is both: first), every original byte is put back through /proc/self/mem:
   later ones may be met with SIGTRAP blocked, which kills; without /proc the thread goes on in the
   copy if there is one, or its page is unlocked for a moment. Before that, the real return
   addresses are put back on all stacks: this may be the entry of an unwinder, which would not know
   the trampoline;
4. a trap that the program did not make is forgotten: the end of a step that we died over. It comes
   with the trap flag clear (the kernel hides the one of a step), behind no instruction that would
   make such a trap by itself;
5. everything else is the program's own: its handler, or its death.

ucontext offsets: arch/x86/include/uapi/asm/sigcontext.h, asm/ucontext.h. si_code of a debug trap:
get_si_code in arch/x86/include/asm/traps.h, a stepped system call: user_single_step_report in
arch/x86/kernel/ptrace.c. The kernel restores every register on return, so none needs saving here.
"""

from ubp.x86_assembler import Assembler, Mem
from uprobes.guard import layout
from uprobes.guard.layout import GuardCode

UC_SP, UC_IP, UC_FLAGS = 160, 168, 176
SI_CODE = 8
SI_KERNEL = 0x80
TRAP_MADE_BY = ((1, 0xF1), (2, 0x9D))
"""si_code of a step over a system call and of any other step, and the only instruction before a
trap of that code with the trap flag clear that is the program's own: int1; popf that cleared it.
"""
SYS_OPEN, SYS_CLOSE, SYS_PREAD, SYS_PWRITE, O_RDWR = 2, 3, 17, 18, 2
SYS_MPROTECT, SYS_SIGACTION, SYS_SIGPROCMASK, SYS_SIGRETURN = 10, 13, 14, 15
SIG_SETMASK, SIGSET_SIZE = 2, 8
RESTORED = ("rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "rip")
"""What a system call and its arguments change."""
SYS_GETPID, SYS_GETTID, SYS_TGKILL = 39, 186, 234
SIGTRAP = 5
SA_SIGINFO, SA_RESTORER, SA_ONSTACK = 0x4, 0x0400_0000, 0x0800_0000
FLAGS = SA_SIGINFO | SA_RESTORER | SA_ONSTACK
PAGE_MASK = -0x1000
PROT_ALL, PROT_TEXT = 7, 5
TRAP_FLAG = 0x100
RESUME_FLAG = 0x10000
"""Set by the tracer where it has done the instruction's work already: the trap is over."""
TRAP = 0xCC


def assemble(origin: int) -> GuardCode:
    """Return the handler for an area at `origin`."""
    a = Assembler(origin)
    a.raw(layout.MAGIC)
    a.label("handler")
    a.mov("rbx", "rdx")  # the ucontext
    a.mov("rbp", "rsi")  # the siginfo
    a.mov("r8", Mem("rbx", UC_IP))
    a.mov("r9", origin)
    a.arithmetic("cmp", Mem("rbp", SI_CODE), 0, size=4)
    a.jump_if("le", "unknown")
    a.mov("rcx", "r8")
    a.arithmetic("sub", "rcx", "r9")
    a.arithmetic("cmp", "rcx", layout.HEADER)
    a.jump_if("b", "done")
    _leave_areas(a)
    _find_point(a)
    _search(a)
    _not_ours(a)
    a.label("own memory")
    a.raw(b"/proc/self/mem\0")
    a.label("restorer")
    a.mov("rax", SYS_SIGRETURN)
    a.syscall()
    _call_site(a, origin)
    code = a.code()
    assert len(code) <= layout.HEADER
    return GuardCode(
        code, a.address("handler"), a.address("restorer"), FLAGS, a.address("call"), RESTORED
    )


def _call_site(a: Assembler, origin: int) -> None:
    """A system call, and behind it what we would do ourselves if we still lived: put all back."""
    a.label("call")
    a.syscall()
    _system_call(
        a, SYS_SIGPROCMASK, SIG_SETMASK, origin + layout.CALLER_MASK.offset, 0, SIGSET_SIZE
    )
    at = origin + layout.CALLER_REGISTERS.offset
    for number, register in enumerate(RESTORED[:-1]):
        a.load_from(register, at + 8 * number)
    a.jump_through(at + 8 * (len(RESTORED) - 1))


def _system_call(a: Assembler, number: int, *arguments: str | int | Mem) -> None:
    """Make a system call; an argument may stand in its register already."""
    for register, argument in zip(("rdi", "rsi", "rdx", "r10"), arguments, strict=False):
        if argument != register:
            a.mov(register, argument)
    a.mov("rax", number)
    a.syscall()


def _leave_areas(a: Assembler) -> None:
    """Rules 1 and 2."""
    a.mov("rcx", Mem("r9", layout.AREAS_USED.offset))
    a.lea("r10", Mem("r9", layout.AREAS.offset))
    a.label("area")
    a.arithmetic("sub", "rcx", 1)
    a.jump_if("b", "points")
    a.arithmetic("cmp", "r8", Mem("r10", 0))
    a.jump_if("b", "next area")
    a.arithmetic("cmp", "r8", Mem("r10", 8))
    a.jump_if("b", "inside")
    a.label("next area")
    a.arithmetic("add", "r10", 16)
    a.jump("area")

    a.label("inside")
    a.lea("rax", Mem("r8", -1))
    a.arithmetic("cmp", "rax", Mem("r9", layout.TRAMPOLINE.offset))
    a.jump_if("ne", "done")
    a.mov("rax", Mem("rbx", UC_SP))
    a.arithmetic("sub", "rax", 8)
    a.mov("rcx", Mem("r9", layout.FRAMES_USED.offset))
    a.mov("r10", Mem("r9", layout.FRAMES_AT.offset))
    a.label("frame")
    a.arithmetic("sub", "rcx", 1)
    a.jump_if("b", "die")
    a.arithmetic("cmp", "rax", Mem("r10", 0))
    a.jump_if("e", "returned")
    a.arithmetic("add", "r10", layout.FRAME_SIZE)
    a.jump("frame")
    a.label("returned")
    a.mov("rax", Mem("r10", 8))
    a.mov(Mem("rbx", UC_IP), "rax")
    a.label("done")
    a.ret()


def _find_point(a: Assembler) -> None:
    """Rule 3."""
    a.label("points")
    a.arithmetic("cmp", Mem("rbp", SI_CODE), SI_KERNEL, size=4)
    a.jump_if("ne", "unknown")
    a.test(Mem("rbx", UC_FLAGS), RESUME_FLAG, size=4)
    a.jump_if("ne", "forget")
    a.lea("rax", Mem("r8", -1))
    a.call("search")
    a.arithmetic("cmp", "r12", 0)
    a.jump_if("e", "unknown")
    a.mov("r13", "rax")
    a.mov("rax", Mem("r12", 8))
    a.arithmetic("cmp", Mem("r12", layout.LED), layout.LEADS, size=1)
    a.jump_if("e", "led")
    a.mov("r8", "r12")
    _heal_all(a)
    # Without /proc: go on in the copy, or unlock the page for a moment.
    a.label("alone")
    a.mov("r12", "r8")
    a.mov("rax", Mem("r12", 8))
    a.arithmetic("cmp", "rax", 0)
    a.jump_if("e", "unlock")
    a.label("led")
    a.mov(Mem("rbx", UC_IP), "rax")
    a.ret()
    a.label("unlock")
    a.mov("rdi", "r13")
    a.arithmetic("and", "rdi", PAGE_MASK)
    _system_call(a, SYS_MPROTECT, "rdi", 0x1000, PROT_ALL)
    a.arithmetic("cmp", "rax", 0)
    a.jump_if("ne", "die")
    a.load_byte("rax", Mem("r12", layout.ORIGINAL))
    a.mov(Mem("r13", 0), "rax", size=1)
    a.mov("rdi", "r13")
    a.arithmetic("and", "rdi", PAGE_MASK)
    _system_call(a, SYS_MPROTECT, "rdi", 0x1000, PROT_TEXT)
    a.label("healed")
    a.mov("rax", Mem("r8", 8))
    a.arithmetic("cmp", Mem("r8", layout.LED), 0, size=1)
    a.jump_if("ne", "led")
    a.mov(Mem("rbx", UC_IP), "r13")
    a.ret()


def _search(a: Assembler) -> None:
    """Find the row of the point at rax by halves: to r12, or 0; changes rcx, rsi, rdi, r10."""
    a.label("search")
    a.mov("r10", Mem("r9", layout.POINTS_AT.offset))
    a.mov("rcx", Mem("r10", 0))
    a.mov("rsi", 0)
    a.label("halve")
    a.arithmetic("cmp", "rsi", "rcx")
    a.jump_if("ae", "no row")
    a.lea("rdi", Mem("rsi", 0))
    a.arithmetic("add", "rdi", "rcx")
    a.shift_right("rdi", 1)
    a.mov("r12", "rdi")
    a.shift_left("r12", 5)
    a.arithmetic("add", "r12", "r10")
    a.arithmetic("add", "r12", 8)
    a.arithmetic("cmp", "rax", Mem("r12", 0))
    a.jump_if("e", "found")
    a.jump_if("b", "lower")
    a.lea("rsi", Mem("rdi", 1))
    a.jump("halve")
    a.label("lower")
    a.mov("rcx", "rdi")
    a.jump("halve")
    a.label("no row")
    a.mov("r12", 0)
    a.label("found")
    a.ret()


def _heal_all(a: Assembler) -> None:
    """Put back return addresses, then every original byte whose breakpoint stands still."""
    a.lea_label("rdi", "own memory")
    _system_call(a, SYS_OPEN, "rdi", O_RDWR)
    a.arithmetic("cmp", "rax", 0, size=4)
    a.jump_if("l", "alone")
    a.mov("r14", "rax")
    _return_addresses(a)
    a.mov("r12", Mem("r9", layout.POINTS_AT.offset))
    a.mov("r15", Mem("r12", 0))
    a.arithmetic("add", "r12", 8)
    a.label("row")
    a.arithmetic("sub", "r15", 1)
    a.jump_if("b", "all")
    a.arithmetic("cmp", Mem("r12", layout.LED), 0, size=1)
    a.jump_if("ne", "next row")
    _read_there(a, 1, "next row")
    a.arithmetic("cmp", Mem("rsp", -64), TRAP, size=1)
    a.jump_if("ne", "next row")
    a.lea("rsi", Mem("r12", layout.ORIGINAL))
    _system_call(a, SYS_PWRITE, "r14", "rsi", 1, Mem("r12", 0))
    a.label("next row")
    a.arithmetic("add", "r12", 32)
    a.jump("row")
    a.label("all")
    _system_call(a, SYS_CLOSE, "r14")
    a.jump("healed")


def _read_there(a: Assembler, size: int, otherwise: str) -> None:
    """Have the kernel read at the address that a row begins with, to 64 bytes below the stack."""
    a.lea("rsi", Mem("rsp", -64))
    _system_call(a, SYS_PREAD, "r14", "rsi", size, Mem("r12", 0))
    a.arithmetic("cmp", "rax", size)
    a.jump_if("ne", otherwise)


def _return_addresses(a: Assembler) -> None:
    """Exchange every trampoline that stands on a stack for the real return address.

    The stack of a thread that ended may be gone, so each place is read by the kernel first; its
    thread may return from it meanwhile, so it is written only while the trampoline stands there.
    """
    a.mov("r12", Mem("r9", layout.FRAMES_AT.offset))
    a.mov("r15", Mem("r9", layout.FRAMES_USED.offset))
    a.label("place")
    a.arithmetic("sub", "r15", 1)
    a.jump_if("b", "places done")
    _read_there(a, 8, "next place")
    a.mov("rax", Mem("rsp", -64))
    a.arithmetic("cmp", "rax", Mem("r9", layout.TRAMPOLINE.offset))
    a.jump_if("ne", "next place")
    a.mov("r10", Mem("r12", 0))
    a.mov("rdx", Mem("r12", 8))
    a.lock_cmpxchg(Mem("r10", 0), "rdx")
    a.label("next place")
    a.arithmetic("add", "r12", layout.FRAME_SIZE)
    a.jump("place")
    a.label("places done")


def _not_ours(a: Assembler) -> None:
    """Rules 4 and 5."""
    a.label("unknown")
    a.mov("rax", Mem("rbp", SI_CODE), size=4)
    a.mov("r11", Mem("r9", layout.OLD_ACTION.offset))
    a.arithmetic("cmp", "r11", 1)
    a.jump_if("a", "chain")
    a.arithmetic("cmp", "rax", 0, size=4)
    a.jump_if("le", "sent")
    a.arithmetic("cmp", "rax", SI_KERNEL, size=4)
    a.jump_if("ne", "forget")
    # The page before may be none: a thread that we sent somewhere, and then died.
    a.test("r8", 0xFFF, size=4)
    a.jump_if("e", "forget")
    a.arithmetic("cmp", Mem("r8", -1), TRAP, size=1)
    a.jump_if("e", "die")
    a.label("forget")
    a.arithmetic("and", Mem("rbx", UC_FLAGS), ~TRAP_FLAG)
    a.ret()

    a.label("chain")
    for code, instruction in TRAP_MADE_BY:
        a.mov("rdx", instruction)
        a.arithmetic("cmp", "rax", code, size=4)
        a.jump_if("e", "step")
    # It returns by its own restorer: this area may be gone by then.
    a.label("hand on")
    a.mov("rcx", Mem("r9", layout.OLD_ACTION.offset + layout.RESTORER))
    a.mov(Mem("rsp", 0), "rcx")
    a.mov("rdi", SIGTRAP)
    a.mov("rsi", "rbp")
    a.mov("rdx", "rbx")
    a.jump_to("r11")

    # Did it step itself, or was it that instruction? Where we have a breakpoint, its row knows.
    a.label("step")
    a.test(Mem("rbx", UC_FLAGS), TRAP_FLAG, size=4)
    a.jump_if("ne", "hand on")
    a.test("r8", 0xFFF, size=4)
    a.jump_if("e", "forget")
    a.lea("rax", Mem("r8", -1))
    a.call("search")
    a.arithmetic("cmp", "r12", 0)
    a.jump_if("ne", "covered")
    a.load_byte("rcx", Mem("rax", 0))
    a.jump("seen")
    a.label("covered")
    a.load_byte("rcx", Mem("r12", layout.ORIGINAL))
    a.label("seen")
    a.arithmetic("cmp", "rcx", "rdx")
    a.jump_if("e", "hand on")
    a.jump("forget")

    a.label("sent")
    a.arithmetic("cmp", "r11", 1)
    a.jump_if("e", "done")
    a.call("give up")
    _system_call(a, SYS_GETPID)
    a.mov("r12", "rax")
    _system_call(a, SYS_GETTID)
    _system_call(a, SYS_TGKILL, "r12", "rax", SIGTRAP)
    a.ret()

    a.label("die")
    a.call("give up")
    a.arithmetic("sub", Mem("rbx", UC_IP), 1)
    a.ret()

    a.label("give up")
    a.lea("rsi", Mem("r9", layout.DEFAULT_ACTION.offset))
    _system_call(a, SYS_SIGACTION, SIGTRAP, "rsi", 0, SIGSET_SIZE)
    a.ret()
