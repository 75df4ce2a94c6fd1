"""What stepping must know of an architecture's registers: one record each, and the repairs as a
table.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from insn import Fixups
from ubp.ports import Memory, Registers


@dataclass(frozen=True, slots=True)
class Moved:
    """A finished step of a copy: from where to where, and the flags before it."""

    original: int
    length: int
    copy: int
    flags: int


Repair = Callable[[Moved, Registers, Memory], None]


@dataclass(frozen=True, slots=True)
class StepRules:
    """One architecture's registers for stepping.

    To add an architecture: name its program counter, stack pointer and flags, say how far behind a
    breakpoint the program counter is reported, and give a repair for each fixup that its copies can
    need.
    """

    ip: str
    sp: str
    flags: str
    skew: int
    mask: int
    repairs: Mapping[Fixups, Repair]
