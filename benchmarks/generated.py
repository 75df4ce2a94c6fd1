"""What generated code costs where it runs: in a function whose entry became a jump.

Everything runs in this process: a loop of machine code calls a function; its first five bytes are a
jump to the program, behind which the displaced instructions and the way back follow. The time of
the same loop over the function as it was is taken off.
"""

import ctypes
import mmap
import platform
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from benchmarks.report import Figure, Goal, Ratio, Section, ratio
from insn import Dead
from ubp.programs import (
    Argument,
    Elapsed,
    Field,
    Log2,
    Placement,
    Program,
    Record,
    Register,
    ReturnValue,
    RingLayout,
    RingMode,
    StackPointer,
    String,
    Sum,
    TableLayout,
    Tid,
    Time,
    Word,
    assemble,
    cells,
    parse,
)
from ubp.x86_assembler import Assembler, Mem

CALLS = 200_000
CODE = 0x10000
CELLS, TABLE, RING = 0x20000, 0x40000, 0x200000
GLIBC_TID = 0x2D0
TURNS = 3
ARGUMENTS = ("rdi", "rsi", "rdx", "rcx", "r8", "r9")
FLAGS = frozenset({"cf", "pf", "af", "zf", "sf", "of"})
AT_ENTRY = Dead(frozenset({"rax"}), FLAGS)
NOTHING = Dead(frozenset(), frozenset())
LAYOUT = RingLayout(2, 4096, 80, RingMode.OVERWRITE)
RECORD = Record(
    (Field("time", Time()), Field("tid", Tid()), *(Field(f"arg{n}", Argument(n)) for n in range(6)))
)
FIRST = Argument(0)
SHORT = Record((Field("tid", Tid()), Field("arg0", FIRST)))
ON_STACK = Record((Field("word", Word(StackPointer())),))
WORD = Record((Field("word", Word(Register("rsp"))),))
TEXT = Record((Field("text", String(StackPointer(), 16)),))
LATENCY = Record(
    (
        Field("time", Time()),
        Field("elapsed", Elapsed()),
        Field("tid", Tid()),
        Field("ret", ReturnValue()),
    )
)


@dataclass(frozen=True)
class Contestant:
    """One thing that a hit may do: `make` gives code for an address and where it is entered.

    Without it the function is as it was. `times_hand`: at most so many times the limit.
    """

    name: str
    make: Callable[["Area", int], tuple[bytes, int]] | None
    times_hand: float | None = None


class Area:
    """Memory for the code, the cells, the table and the ring."""

    def __init__(self) -> None:
        self.map = mmap.mmap(-1, RING + LAYOUT.size)
        self.base = ctypes.addressof(ctypes.c_char.from_buffer(self.map))
        self.libc = ctypes.CDLL(None)
        self.map[RING : RING + 4096] = LAYOUT.header().ljust(4096, b"\0")
        self.map[TABLE : TABLE + 64] = TableLayout().header().ljust(64, b"\0")
        self.place = Placement(
            cells=self.base + CELLS,
            ring=self.base + RING,
            layout=LAYOUT,
            table=self.base + TABLE,
            table_layout=TableLayout(),
            dead=AT_ENTRY,
            at_entry=True,
            tid_offset=tid_offset(),
            cpu_offset=cpu_offset(),
            has_rdpid="rdpid" in _cpu_flags(),
        )

    def protect(self, protection: int) -> None:
        """Make the code writable, or executable."""
        if self.libc.mprotect(ctypes.c_void_p(self.base), CODE, protection):
            raise OSError("mprotect")

    def loop(self, contestant: Contestant) -> Callable[[int], None]:
        """Make a function that calls the probed function so many times."""
        function = self.base + 0x1000
        trampoline = function + 0x1000
        a = Assembler(function)
        displaced = bytes.fromhex("488d0437 90")  # lea rax, [rdi+rsi]; nop
        if contestant.make:
            code, entry = contestant.make(self, trampoline)
            back = trampoline + len(code) + len(displaced)
            code += displaced + b"\xe9" + struct.pack("<i", function + 5 - back - 5)
            a.raw(b"\xe9" + struct.pack("<i", entry - function - 5))
        else:
            code = b""
            a.raw(displaced)
        a.arithmetic("add", "rax", "rdx")
        a.ret()
        caller = Assembler(self.base)
        for register in ("rbx", "rbp", "r12"):
            caller.push(register)
        caller.mov("rbx", "rdi")
        caller.mov("rbp", function)
        caller.label("again")
        for number, register in enumerate(ARGUMENTS):
            caller.lea(register, Mem("rbx", number))
        caller.call_to("rbp")
        caller.arithmetic("sub", "rbx", 1)
        caller.jump_if("ne", "again")
        for register in ("r12", "rbp", "rbx"):
            caller.pop(register)
        caller.ret()
        self.protect(mmap.PROT_READ | mmap.PROT_WRITE)
        self.map[0 : len(caller.code())] = caller.code()
        self.map[0x1000 : 0x1000 + len(a.code())] = a.code()
        self.map[0x2000 : 0x2000 + len(code)] = code
        self.protect(mmap.PROT_READ | mmap.PROT_EXEC)
        made: Callable[[int], None] = ctypes.CFUNCTYPE(None, ctypes.c_uint64)(self.base)
        return made


def by_hand(area: Area, at: int) -> tuple[bytes, int]:
    """The limit: nothing but the count, flags and all."""
    distance = area.place.cells - at - 8
    return b"\xf0\x48\xff\x05" + struct.pack("<i", distance), at


def rdtsc_only(_area: Area, at: int) -> tuple[bytes, int]:
    """What reading the clock alone costs."""
    a = Assembler(at)
    a.mov("r11", "rdx")
    a.rdtsc()
    a.mov("rdx", "r11")
    return a.code(), at


def program(
    what: Program, *, returns: bool = False, dead: Dead = AT_ENTRY
) -> Callable[[Area, int], tuple[bytes, int]]:
    """Let a hit run a program."""

    def make(area: Area, at: int) -> tuple[bytes, int]:
        content = cells.initial(what, returns=returns)
        area.map[CELLS : CELLS + len(content)] = content
        area.map[TABLE + 64 : TABLE + TableLayout().size] = bytes(TableLayout().size - 64)
        generated = assemble(what, at, replace(area.place, dead=dead), returns=returns)
        return generated.code, generated.entry

    return make


UNPROBED, HAND, CLOCK = "unprobed call", "lock inc, by hand", "rdtsc alone"
RECORDED, LATENCY_OF = "record time, tid, six arguments", "entry and return: log2(elapsed)"
CONTESTANTS = (
    Contestant(UNPROBED, None),
    Contestant(HAND, by_hand),
    Contestant(CLOCK, rdtsc_only),
    Contestant("count", program(Program()), 2),
    Contestant("count, flags and registers live", program(Program(), dead=NOTHING)),
    Contestant("count if arg0 > 40", program(Program(when=parse("arg0 > 40")))),
    Contestant("count if tid == 1: never", program(Program(when=parse("tid == 1")))),
    Contestant("count one in 64", program(Program(sample=64))),
    Contestant("sum(arg0), log2(arg1)", program(Program(actions=(Sum(FIRST), Log2(Argument(1)))))),
    Contestant("record tid, arg0", program(Program(actions=(SHORT,)))),
    Contestant(RECORDED, program(Program(actions=(RECORD,)))),
    Contestant("the same, all live", program(Program(actions=(RECORD,)), dead=NOTHING)),
    Contestant("record u64(sp)", program(Program(actions=(ON_STACK,)))),
    Contestant("record u64(x), anywhere", program(Program(actions=(WORD,)))),
    Contestant("record str(x, 16), anywhere", program(Program(actions=(TEXT,)))),
    Contestant("entry and return: count", program(Program(), returns=True)),
    Contestant(LATENCY_OF, program(Program(actions=(Log2(Elapsed()),)), returns=True)),
    Contestant(
        "entry and return: record time, elapsed, tid, ret",
        program(Program(actions=(LATENCY,)), returns=True),
    ),
)


def generated_costs(rounds: int) -> Section:
    """Nanoseconds that each program adds to a call."""
    section = Section(
        "generated code",
        f"ns of CPU time that a program adds to a call; {CALLS:,} calls in a loop, one thread",
    )
    if platform.machine() != "x86_64":
        section.figures.append(Figure("all", note="this machine is no x86-64"))
        return section
    area = Area()
    took: dict[str, list[float]] = {contestant.name: [] for contestant in CONTESTANTS}
    try:
        for _ in range(rounds):
            for contestant in CONTESTANTS:
                loop = area.loop(contestant)
                loop(CALLS // 10)
                took[contestant.name].append(min(_timed(loop) for _ in range(TURNS)))
    finally:
        area.protect(mmap.PROT_READ | mmap.PROT_WRITE)
    bare = took.pop(UNPROBED)
    section.figures.append(Figure(UNPROBED, tuple(bare), "ns"))
    net = {
        name: tuple(one - other for one, other in zip(times, bare, strict=True))
        for name, times in took.items()
    }
    for contestant in CONTESTANTS[1:]:
        rounds_of = net[contestant.name]
        ratios = []
        if contestant.times_hand is not None:
            goal = Goal(contestant.times_hand)
            ratios.append(Ratio(HAND, ratio(rounds_of, net[HAND]), goal))
        section.figures.append(Figure(contestant.name, rounds_of, "ns", tuple(ratios)))
    return section


def _timed(loop: Callable[[int], None]) -> float:
    begun = time.thread_time_ns()
    loop(CALLS)
    return (time.thread_time_ns() - begun) / CALLS


def tid_offset() -> int | None:
    """Find where the C library keeps the thread's number: glibc's place, if it is right here."""
    found = ctypes.c_uint32.from_address(thread_pointer() + GLIBC_TID).value
    return GLIBC_TID if found == threading.get_native_id() else None


def cpu_offset() -> int | None:
    """Find where the kernel keeps the number of the CPU, if the C library registered an area."""
    try:
        offset = ctypes.c_ssize_t.in_dll(ctypes.CDLL(None), "__rseq_offset").value
        size = ctypes.c_uint.in_dll(ctypes.CDLL(None), "__rseq_size").value
    except ValueError:
        return None
    return offset + 4 if size else None


def thread_pointer() -> int:
    """Return this thread's thread pointer (arch_prctl, ARCH_GET_FS)."""
    word = ctypes.c_uint64()
    ctypes.CDLL(None).syscall(158, 0x1003, ctypes.byref(word))
    return word.value


def _cpu_flags() -> list[str]:
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        return next((line.split() for line in lines if line.startswith("flags")), [])
