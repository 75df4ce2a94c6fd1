"""The registers of generated x86-64 code: which may be used, where their own values are kept.

Code is generated several times over until it is known which registers it uses: those that hold
something (they are not dead) are then saved, in registers that are free, else on the stack, beyond
the 128 bytes below the stack pointer that leaf functions use (System V ABI, the red zone). Flags
are kept by `lahf` and `seto`: `popf` costs ten times as much. What uses no register saves none, and
what only the second stage uses is saved behind the condition, in the way of passing hits only.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from functools import lru_cache

from insn import Dead
from ubp.programs.placement import Saved
from ubp.x86_assembler import REGISTERS, Assembler, Mem

RED_ZONE = 128
TEMPORARIES = ("rax", "rcx", "rdx")
"""What instructions demand (cmpxchg, division, rdtsc, system calls): never holds a value long."""
POOL = ("r11", "r10", "r9", "r8", "rsi", "rdi", "rbx", "r14", "r15", "r12", "r13", "rbp")
FLAGS = frozenset({"cf", "pf", "af", "zf", "sf", "of"})
ALL_BUT_CARRY = FLAGS - {"cf"}
OVERFLOW = 0x7F
"""Added to a byte that is 1 it overflows, added to one that is 0 it does not."""
FLAGS_HOME = "flags"

Home = str | int
"""Where a register's own value is: in a register, or at an offset from the stack pointer."""


@dataclass(frozen=True, slots=True)
class Used:
    """What code was found to use; `early_…` of it already in the first stage."""

    early_registers: frozenset[str] = frozenset()
    registers: frozenset[str] = frozenset()
    early_flags: frozenset[str] = frozenset()
    flags: frozenset[str] = frozenset()
    early_stack: frozenset[str] = frozenset()
    stack: frozenset[str] = frozenset()
    """The names of words on the stack; a name alone says that something is pushed."""

    def __or__(self, other: "Used") -> "Used":
        return Used(*(getattr(self, f.name) | getattr(other, f.name) for f in fields(self)))


@dataclass(slots=True)
class _State:
    homes: dict[str, Home]
    depth: int
    late: bool


def matters(dead: Dead, most: int) -> Dead:
    """Leave of what is dead what code can profit from, so that few kinds of places differ.

    That are the temporaries, `most` other registers, and whether flags, and overflow, are kept.
    """
    return _matters(dead.registers, dead.flags, most)


@lru_cache(maxsize=4096)
def _matters(registers: frozenset[str], flags: frozenset[str], most: int) -> Dead:
    live = FLAGS - flags
    flags = FLAGS if not live else frozenset() if "of" in live else frozenset({"of"})
    others = [register for register in POOL if register in registers][:most]
    return Dead(registers & frozenset(TEMPORARIES) | frozenset(others), flags)


def matters_to_count(dead: Dead) -> Dead:
    """Leave of what is dead what a bare count can profit from: one register, if flags live."""
    if dead.flags >= ALL_BUT_CARRY:
        return Dead(frozenset(), FLAGS)
    best = next((r for r in ("rax", *POOL) if r in dead.registers), None)
    return Dead(frozenset((best,) if best else ()), matters(dead, 0).flags)


class Frame:
    """The registers of one stretch of code; `expected` is what earlier attempts used.

    `read` are the registers whose own values the code looks at. The first stage stands between
    `begin` and `end`, the second inside it between `begin_late` and `end_late`.
    """

    def __init__(self, a: Assembler, dead: Dead, read: Iterable[str], expected: Used) -> None:
        self.a = a
        self.dead = dead.registers - {"rsp"}
        self.read = frozenset(read)
        self.expected = expected
        self.map: list[tuple[int, int, _State]] = []
        self._state = _State({}, 0, False)
        self._used = Used()
        self._since = a.position
        self.reserved: set[str] = set()
        """Registers that hold something of the code's own for long."""
        self._colds: list[tuple[Callable[[], None], _State]] = []
        self._plan(FLAGS - dead.flags)

    def _plan(self, live_flags: frozenset[str]) -> None:
        """Decide from what is expected where everything is kept."""
        used = self.expected
        early = set(used.early_registers)
        registers = set(used.registers) | early
        self.flags = used.flags & live_flags
        if "of" in self.flags:
            self.flags = live_flags  # putting it back takes an addition
        self.early_flags = bool(used.early_flags & live_flags)
        self.flags_stay = "rax" not in registers  # … in rax, all the time
        if self.flags:
            registers.add("rax")
            if self.early_flags:
                early.add("rax")
        saved = [r for r in REGISTERS if r in registers and not self._free(r)]
        self.early_saves = [r for r in saved if r in early]
        self.late_saves = [r for r in saved if r not in early]
        wanted = [*self.early_saves, *self.late_saves]
        if self.flags and not self.flags_stay:
            wanted.insert(0, FLAGS_HOME)
        idle = [r for r in POOL + TEMPORARIES if self._free(r) and r not in registers]
        self.words = {name: 8 * n for n, name in enumerate(sorted(used.stack | used.early_stack))}
        self.planned: dict[str, Home] = {}
        offset = 8 * len(self.words)
        for name in wanted:
            if idle:
                self.planned[name] = idle.pop(0)
            else:
                self.planned[name] = offset
                offset += 8
        self.size = RED_ZONE + offset
        at_once = list(self.early_saves)
        if self.early_flags and not self.flags_stay:
            at_once.append(FLAGS_HOME)
        self.early_stack = bool(used.early_stack) or any(
            isinstance(self.planned[name], int) for name in at_once
        )
        self.late_stack = not self.early_stack and offset > 0

    def _free(self, register: str) -> bool:
        """Whether a register can be overwritten with nothing saved."""
        return register in self.dead and register not in self.read

    # -- what the code uses ---------------------------------------------------------------------

    def touch(self, *registers: str) -> None:
        """Say that registers are overwritten here."""
        names = frozenset(registers)
        early = frozenset() if self._state.late else names
        self._used |= Used(early_registers=early, registers=names)

    def touch_flags(self, flags: frozenset[str] = FLAGS) -> None:
        """Say that flags are overwritten here."""
        early = frozenset() if self._state.late else flags
        self._used |= Used(early_flags=early, flags=flags)

    def word(self, name: str) -> Mem:
        """Return 8 bytes of the stack by a name."""
        names = frozenset((name,))
        early = frozenset() if self._state.late else names
        self._used |= Used(early_stack=early, stack=names)
        return Mem("rsp", self.words.get(name, 0))

    @property
    def used(self) -> Used:
        """What was used, to be expected next time."""
        return self._used

    @property
    def depth(self) -> int:
        """How far the stack pointer is now below where it was."""
        return self._state.depth

    def own(self, register: str) -> str | Mem:
        """Return where the probed program's value of a register is to be read now."""
        home = self._state.homes.get(register, register)
        return home if isinstance(home, str) else Mem("rsp", home)

    def pool(self) -> list[str]:
        """Return registers for values, the cheapest first: dead ones, then ones nobody reads."""
        return sorted(
            (r for r in POOL if r not in self.reserved),
            key=lambda r: (not self._free(r), r in self.read, POOL.index(r)),
        )

    # -- saving and restoring -------------------------------------------------------------------

    def begin(self) -> None:
        """Save what the first stage uses."""
        self._since = self.a.position
        if self.early_stack:
            self.move(-self.size)
        self._save(self.early_saves)
        if self.early_flags:
            self._save_flags()

    def begin_late(self) -> None:
        """Save what else the second stage uses; only in the way through both."""
        self._state.late = True
        if self.late_stack:
            self.move(-self.size)
        self._save(self.late_saves)
        if not self.early_flags:
            self._save_flags()

    def end_late(self) -> None:
        """Put back what the second stage saved."""
        if not self.early_flags:
            self._restore_flags()
        self._restore(self.late_saves)
        if self.late_stack:
            self.move(self.size)
        self._state.late = False

    def end(self, keep: int = 0) -> None:
        """Put back what the first stage saved; `keep` bytes of the stack are not given back."""
        if self.early_flags:
            self._restore_flags()
        self._restore(self.early_saves)
        if self.early_stack:
            self.move(self.size - keep)

    def _note(self) -> None:
        """Enter into the map where registers were since the last change."""
        here = self.a.position
        if here > self._since:
            state = _State(dict(self._state.homes), self._state.depth, self._state.late)
            self.map.append((self._since, here, state))
        self._since = here

    def move(self, by: int) -> None:
        """Move the stack pointer."""
        self.a.lea("rsp", Mem("rsp", by))
        self._note()
        self._state.depth -= by

    def _save(self, registers: list[str]) -> None:
        for register in registers:
            home = self.planned[register]
            self.a.mov(home if isinstance(home, str) else Mem("rsp", home), register)
            self._note()
            self._state.homes[register] = home

    def _save_flags(self) -> None:
        if not self.flags:
            return
        if self.flags - {"of"}:
            self.a.lahf()
        if "of" in self.flags:
            self.a.set_if("o", "rax")
        if not self.flags_stay:
            home = self.planned[FLAGS_HOME]
            self.a.mov(home if isinstance(home, str) else Mem("rsp", home), "rax")

    def _restore_flags(self) -> None:
        if not self.flags:
            return
        if not self.flags_stay:
            home = self.planned[FLAGS_HOME]
            self.a.mov("rax", home if isinstance(home, str) else Mem("rsp", home))
        if "of" in self.flags:
            self.a.arithmetic("add", "rax", OVERFLOW, size=1)
        if self.flags - {"of"}:
            self.a.sahf()

    def _restore(self, registers: list[str]) -> None:
        for register in reversed(registers):
            if register not in self.dead:
                self.a.mov(register, self.own(register))
            self._note()
            del self._state.homes[register]

    # -- seldom run ------------------------------------------------------------------------------

    def cold(self, emit: Callable[[], None]) -> None:
        """Let code that is seldom run be put elsewhere; it finds the registers as they are now."""
        state = _State(dict(self._state.homes), self._state.depth, self._state.late)
        self._colds.append((emit, state))

    def emit_cold(self) -> None:
        """Put the seldom run code here."""
        self._note()
        while self._colds:
            emit, state = self._colds.pop(0)
            self._since = self.a.position
            self._state = state
            emit()
            self._note()

    def saved(self) -> list[Saved]:
        """Return the map, by places in the final code."""
        found = []
        for start, end, state in self.map:
            at = self.a.place(start)
            found.append(
                Saved(at, at + end - start, state.depth, tuple(sorted(state.homes.items())))
            )
        return found
