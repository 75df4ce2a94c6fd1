"""Run generated code natively in this process: memory that is first written, then executed."""

import ctypes
import mmap
import platform
import struct
from dataclasses import dataclass, replace

import pytest
from hypothesis import HealthCheck, settings

from ubp.programs import Placement, RingLayout, TableLayout, assemble, cells
from ubp.x86_assembler import REGISTERS, Assembler, Mem, Near

needs_x86_64 = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="runs x86-64 code in the test process: needs x86-64"
)
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""Others may need the machine too."""
FLAG_BITS = {"cf": 0, "pf": 2, "af": 4, "zf": 6, "sf": 7, "of": 11}
FLAGS = frozenset(FLAG_BITS)
GENERAL = tuple(r for r in REGISTERS if r != "rsp")
CODE_SIZE = 0x20000
STATE = CODE_SIZE
CELLS = STATE + 0x4000
STACK_TOP = STATE + 0x3000
TABLE = CELLS + 0x8000
RING = TABLE + 0x100000
TID_OFFSET = 0x2D0
CALLS = TableLayout(16)
MASK = (1 << 64) - 1

libc = ctypes.CDLL(None, use_errno=True)
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


class Arena:
    """One stretch of memory: code (never writable and executable at once), cells, ring, stack."""

    def __init__(self, ring_size: int = 1 << 16, flags: int = mmap.MAP_SHARED) -> None:
        self.map = mmap.mmap(-1, RING + ring_size, flags | mmap.MAP_ANONYMOUS)
        self.base = ctypes.addressof(ctypes.c_char.from_buffer(self.map))
        self.sealed = False

    def write_code(self, code: bytes, at: int = 0) -> int:
        """Put code in and make it executable; returns its address."""
        assert at + len(code) <= CODE_SIZE
        self._protect(mmap.PROT_READ | mmap.PROT_WRITE)
        self.map[at : at + len(code)] = code
        self._protect(mmap.PROT_READ | mmap.PROT_EXEC)
        return self.base + at

    def _protect(self, protection: int) -> None:
        if libc.mprotect(self.base, CODE_SIZE, protection):
            raise OSError(ctypes.get_errno(), "mprotect")

    def close(self) -> None:
        """Make the memory writable again, so that it can be unmapped as it was mapped."""
        self._protect(mmap.PROT_READ | mmap.PROT_WRITE)

    def placement(self, layout: RingLayout | None = None, **choices) -> Placement:
        """Say where things are; `choices` are further fields."""
        return Placement(
            cells=self.base + CELLS,
            ring=self.base + RING if layout else None,
            layout=layout,
            table=self.base + TABLE,
            table_layout=CALLS,
            **choices,
        )

    def prepare(self, program, layout=None, returns=False) -> None:
        """Fill the cells and the ring's header."""
        content = cells.initial(program, returns=returns)
        self.map[CELLS : CELLS + len(content)] = content
        self.map[TABLE : TABLE + CALLS.size] = CALLS.header().ljust(CALLS.size, b"\0")
        if layout:
            self.map[RING : RING + layout.size] = layout.header().ljust(layout.size, b"\0")

    def words(self, at: int, count: int) -> tuple[int, ...]:
        """Read words of memory."""
        return struct.unpack_from(f"<{count}Q", self.map, at)


def resolve(a: Assembler, **symbols: int) -> bytes:
    """Give the code with its symbols filled in."""
    code = bytearray(a.code())
    for e in a.externals():
        struct.pack_into("<i", code, e.at, symbols[e.symbol] + e.offset - a.origin - e.end)
    return bytes(code)


class Machine:
    """Runs one program from chosen registers and flags, and shows those after.

    With a `body`, the code of a function, its return runs the program. With `trap` it begins with a
    breakpoint.
    """

    def __init__(
        self, arena: Arena, program, place: Placement, body: bytes = b"", *, trap: bool = False
    ) -> None:
        self.arena = arena
        self.body = body
        self.generated = assemble(program, arena.base + 0x1000, place, returns=bool(body))
        entering = Assembler(arena.base)
        if trap:
            entering.int3()
        entering.push("rbx")
        for register in ("rbp", "r12", "r13", "r14", "r15"):
            entering.push(register)
        entering.mov(Near("state", 0), "rsp")
        entering.mov("rax", Near("state", 8))
        entering.push("rax")
        entering.pop_flags()
        for number, register in enumerate(REGISTERS):
            entering.mov(register, Near("state", 16 + 8 * number))
        if body:
            entering.raw(b"\xff\x15" + struct.pack("<i", STATE + 0x200 - entering.position - 6))
            entering.raw(b"\xe9" + struct.pack("<i", 0x2000 - entering.position - 5))
        else:
            entering.jump_through(arena.base + STATE + 0x200)
        code = resolve(entering, state=arena.base + STATE).ljust(0x1000, b"\xcc")
        code += self.generated.code + body
        if body:
            code = code.ljust(0x2000, b"\xcc")
        leaving = Assembler(arena.base + len(code))
        for number, register in enumerate(REGISTERS):
            leaving.mov(Near("state", 0x100 + 8 * number), register)
        leaving.mov("rsp", Near("state", 0))
        leaving.push_flags()
        leaving.pop("rax")
        leaving.mov(Near("state", 0x180), "rax")
        for register in ("r15", "r14", "r13", "r12", "rbp", "rbx"):
            leaving.pop(register)
        leaving.ret()
        code += resolve(leaving, state=arena.base + STATE)
        arena.write_code(code)
        struct.pack_into("<Q", arena.map, STATE + 0x200, self.generated.entry)
        self.call = ctypes.CFUNCTYPE(None)(arena.base)

    def run(
        self, registers: dict[str, int], flags: int = 0, stack: bytes = b""
    ) -> tuple[dict, int]:
        """Run once; returns the registers and flags after. The red zone must be as it was."""
        arena = self.arena
        sp = arena.base + STACK_TOP
        given = {"rsp": sp} | registers
        struct.pack_into("<Q", arena.map, STATE + 8, flags | 0x202)
        struct.pack_into(
            "<16Q", arena.map, STATE + 16, *(given.get(r, 0) & MASK for r in REGISTERS)
        )
        sp = given["rsp"]
        zone = bytes(range(128, 256)) + stack
        ctypes.memmove(sp - 128, zone, len(zone))
        self.call()
        found = ctypes.string_at(sp - 128, len(zone))
        if self.body:
            zone, found = zone[:120] + zone[128:], found[:120] + found[128:]  # the return address
        assert found == zone, "red zone or stack changed"
        after = dict(zip(REGISTERS, arena.words(STATE + 0x100, 16), strict=True))
        return after, arena.words(STATE + 0x180, 1)[0]


class Calls:
    """Functions in an arena, probed or not, that call one another; each has cells of its own."""

    def __init__(self, arena: Arena, place: Placement, at: int = 0x8000) -> None:
        self.arena = arena
        self.place = place
        self.at = at
        self.cells_at = CELLS

    def add(self, body, program=None, returns=True, make=assemble):
        """Put a function in; `body` gets an assembler. Returns its address, or its `Probed`."""
        origin = self.arena.base + self.at
        if program is None:
            a = Assembler(origin)
            body(a)
            self.arena.write_code(a.code(), self.at)
            self.at += 0x800
            return origin
        place = replace(self.place, cells=self.arena.base + self.cells_at)
        content = cells.initial(program, returns=returns)
        self.arena.map[self.cells_at : self.cells_at + len(content)] = content
        if make is assemble:
            generated = assemble(program, origin, place, returns=returns)
        else:
            generated = make(origin, place)
        a = Assembler(origin + len(generated.code))
        body(a, generated.entry)
        self.arena.write_code(generated.code + a.code(), self.at)
        probed = Probed(self.arena, program, generated, self.cells_at, returns)
        self.at += 0x800
        self.cells_at += 0x800
        return probed


@dataclass
class Probed:
    """One probed function."""

    arena: Arena
    program: object
    generated: object
    cells_at: int
    returns: bool

    @property
    def entry(self) -> int:
        return self.generated.entry

    @property
    def results(self):
        """What its cells say."""
        length = cells.size(self.program, returns=self.returns)
        content = self.arena.map[self.cells_at : self.cells_at + length]
        return cells.read(self.program, content, returns=self.returns)


def loop(arena: Arena, program, place: Placement, at: int = 0x8000):
    """Make a C function of a program run in a loop: `f(times, arguments: pointer to 6 words)`."""
    a = Assembler(arena.base + at)
    for register in ("rbx", "rbp", "r12", "r13", "r14", "r15"):
        a.push(register)
    a.mov("rbx", "rdi")
    a.mov("rax", "rsi")
    for number, register in enumerate(("rdi", "rsi", "rdx", "rcx", "r8", "r9")):
        a.mov(register, Mem("rax", 8 * number))
    a.mov("rbp", "rsp")
    a.label("again")
    # Aligned, with the entry jumped to as a patched function would.
    top = a.address("again")
    generated = assemble(program, a.here + 5, place)
    a.raw(b"\xe9" + struct.pack("<i", generated.entry - a.here - 5))
    a.raw(generated.code)
    a.arithmetic("sub", "rbx", 1)
    a.jump_if("ne", "again")
    assert top == a.address("again")
    for register in ("r15", "r14", "r13", "r12", "rbp", "rbx"):
        a.pop(register)
    a.ret()
    address = arena.write_code(a.code(), at)
    return ctypes.CFUNCTYPE(None, ctypes.c_uint64, ctypes.POINTER(ctypes.c_uint64 * 6))(address)
