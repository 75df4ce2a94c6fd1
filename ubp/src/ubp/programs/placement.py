"""Where generated code is put and what it may use there; and what comes out."""

from dataclasses import dataclass, field

from insn import Dead
from ubp.programs.returns import TableLayout
from ubp.programs.ring import RingLayout

NOTHING_DEAD = Dead(frozenset(), frozenset())


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """The surroundings of one probe point's code; addresses are those in the target.

    `cells`, `ring` (the header of the rings) and `table` (of calls under way) must lie within
    ±2 GiB of the code. `probe` is the number that records carry. `dead` is what may be overwritten
    at the probed instruction. `at_entry` says that it is a function's first, so that arguments
    beyond the registers can be found.
    """

    cells: int
    ring: int | None = None
    layout: RingLayout | None = None
    probe: int = 0
    dead: Dead = NOTHING_DEAD
    at_entry: bool = False
    tid_offset: int | None = None
    """Where, counted from the thread pointer, the C library keeps the thread's number (4 bytes).

    None: the kernel is asked, which takes some 50 ns. Only offsets that were compared with the
    numbers of living threads are right; in a child of vfork the parent's number stands there."""
    cpu_offset: int | None = None
    """Where, counted from the thread pointer, the kernel keeps the number of the CPU.

    That is `cpu_id` of the thread's rseq area (`__rseq_offset` + 4, glibc 2.35 and later). None:
    the CPU is asked."""
    has_rdpid: bool = False
    """Whether the CPU has the instruction for that; otherwise lsl, on every x86-64."""
    may_call: bool = True
    """Whether system calls may be made: not under seccomp."""
    table: int | None = None
    table_layout: TableLayout | None = None


@dataclass(frozen=True, slots=True)
class Saved:
    """From offset `start` to `end` of the code, where the probed program's registers are.

    The stack pointer is `depth` bytes below its own value. `registers` pairs the names of those
    that may hold something else with where their values are: an offset from the present stack
    pointer, or the name of the register that keeps it. The flags may be anything inside.
    """

    start: int
    end: int
    depth: int
    registers: tuple[tuple[str, int | str], ...]


@dataclass(frozen=True, slots=True)
class Generated:
    """The code of a program for one place.

    It is entered at the address `entry` and leaves by falling through behind its last byte, where
    the displaced instructions follow. `hook` is the return address that calls under way return to,
    in programs of returns. `map` says where registers are, for threads found inside.
    """

    code: bytes
    entry: int
    hook: int | None = None
    map: tuple[Saved, ...] = field(default=(), repr=False)
