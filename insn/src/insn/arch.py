"""The record that stands for one architecture, and the list of those that exist."""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from insn.errors import UnknownArchitecture

if TYPE_CHECKING:
    from insn.model import Calls, Effects, Instruction, Memory, Registers, Relocated, Verdict

Emulator = Callable[["Registers", "Memory"], None]


@dataclass(frozen=True, slots=True, eq=False)
class Arch:
    """Everything the rest of the toolkit needs to know about one architecture.

    To add an architecture, make one module whose last line is a constant of this type, name it in
    `_HOMES` below, and give it a corpus `tests/cases/NAME.txt`. Each tier is useful without the
    next ones:

    1. decode: rows for every instruction of user code; `decode` gives length, flow, target,
       pc-relative operand and the registers and flags that are read and written. Corpus lines and
       an agreement test with a second decoder.
    2. verdict: `judge` with a reason code for everything that some method must not be used for.
    3. relocate: the bare copy for stepping (or with a trap behind it where the CPU has no step),
       its fixups, its boundaries, scratch registers.
    4. emulate: branches, calls, returns, no-operations, and what compilers put at function entries.
    5. jump: `jump` and `relocate(..., back=...)`, so that copies are boosted and code can be
       patched.

    A field that a tier has not reached holds a function that raises the package's own error.

    Sizes are bytes. `breakpoint` is what is written over an instruction, `trap_advance` how far
    the program counter stands behind it when the trap is reported. `fill` is the byte that unused
    executable memory holds. `red_zone` is how much below the stack pointer belongs to the running
    function. `jump_field` is where in a jump its displacement begins, which counts from the
    jump's end and fills the rest, lowest byte first; 0 when jumps are made in another way.
    `short_jump` makes the jump of `short_jump_size` bytes, and raises OutOfReach like `jump`; 0
    when there is none. `entry_marks` are instructions that compilers put only where control may
    arrive indirectly.
    """

    name: str
    bits: int
    byte_order: Literal["little", "big"]
    pointer_size: int
    max_length: int
    alignment: int
    breakpoint: bytes
    trap_advance: int
    fill: bytes
    red_zone: int
    program_counter: str
    stack_pointer: str
    flags: str
    registers: tuple[str, ...]
    jump_size: int
    jump_reach: int
    decode: Callable[[bytes, int], "Instruction"]
    text: Callable[["Instruction"], str]
    effects: Callable[["Instruction"], "Effects"]
    judge: Callable[["Instruction"], "Verdict"]
    relocate: Callable[[Sequence["Instruction"], int, int | None, "Calls"], "Relocated"]
    emulator: Callable[["Instruction"], Emulator]
    only_moves_ip: Callable[["Instruction"], bool]
    jump: Callable[[int, int], bytes]
    jump_field: int = 0
    short_jump_size: int = 0
    short_jump: Callable[[int, int], bytes] | None = None
    entry_marks: tuple[bytes, ...] = ()

    @property
    def address_mask(self) -> int:
        """The bits an address of this architecture can have."""
        return (1 << self.bits) - 1

    def __repr__(self) -> str:
        return f"<Arch {self.name}>"


_HOMES = {
    "x86_64": ("insn.x86", "X86_64"),
    "x86_32": ("insn.x86", "X86_32"),
    "x86_16": ("insn.x86", "X86_16"),
}
_ALIASES = {
    "x86-64": "x86_64",
    "amd64": "x86_64",
    "x86-32": "x86_32",
    "i386": "x86_32",
    "i486": "x86_32",
    "i586": "x86_32",
    "i686": "x86_32",
    "x86-16": "x86_16",
    "i8086": "x86_16",
}


def names() -> tuple[str, ...]:
    """List the names that `arch` knows, aliases left out."""
    return tuple(_HOMES)


def arch(name: str) -> Arch:
    """Find an architecture by its name or a usual alias (`amd64`, `i686`); UnknownArchitecture
    lists the names."""
    home = _HOMES.get(_ALIASES.get(name.lower(), name.lower()))
    if home is None:
        raise UnknownArchitecture(
            f"no architecture is called {name!r}", hint=f"known: {', '.join(sorted(_HOMES))}"
        )
    module, constant = home
    found = getattr(importlib.import_module(module), constant)
    assert isinstance(found, Arch)
    return found
