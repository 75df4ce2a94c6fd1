"""What is wanted of a place, and what stands there once it is installed."""

from dataclasses import dataclass, field

from insn import Method, Reason
from ubp import Patch
from ubp.programs import Program
from uprobes.errors import ProbeError
from uprobes.location import Location

IN_PROCESS = (Method.JUMP, Method.TRAP)
"""The methods that run in the process itself, the cheaper one first."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A program to run at a place, or with `returns` when the function there returns; `method`
    forces `jump` or `trap`.
    """

    location: Location
    program: Program
    returns: bool = False
    method: Method | None = None

    @property
    def address(self) -> int:
        """The run-time address of the probe point."""
        return self.location.address


@dataclass(slots=True)
class Site:
    """One place at which a program is installed.

    `cells` is where its program counts, as an offset in the shared memory; `number` is what its
    records are marked with. `trampoline` and `size` say where the code stands that runs.
    """

    number: int
    location: Location
    program: Program | None
    """None where somebody else installed it."""
    method: Method
    cells: int
    returns: bool = False
    why_not: dict[Method, Reason] = field(default_factory=dict)
    trampoline: int = 0
    size: int = 0
    form: str = ""
    """How the jump is written: insn's `JumpForm`."""
    patches: tuple[Patch, ...] = ()

    @property
    def address(self) -> int:
        """The run-time address of the probe point."""
        return self.location.address


def program_of(site: Site) -> Program:
    """Return the program of a site; raises ProbeError where somebody else installed it."""
    if site.program is None:
        raise ProbeError(
            "what that program counts is known only to whoever installed it", code="no-program"
        )
    return site.program
