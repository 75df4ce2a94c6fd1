"""What is wanted of a place, and what stands there once it is installed."""

import enum
from dataclasses import dataclass, field

from insn import Method, Reason
from ubp import Patch
from ubp.programs import Program
from uprobes.errors import ProbeError, Refused
from uprobes.location import Location


class Kind(enum.StrEnum):
    """When the code at a site runs, and what it is."""

    ENTRY = "entry"
    """Before the instruction there: a program."""
    RETURN = "return"
    """When the function that begins there returns: a program."""
    UNWINDER = "unwinder"
    """Before a function that unwinds the stack: real return addresses are put back."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A program to run at a place; `method` forces `jump` or `trap`."""

    location: Location
    program: Program | None
    kind: Kind = Kind.ENTRY
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
    """None where somebody else installed it, and for unwinders."""
    kind: Kind
    method: Method
    why_not: dict[Method, Reason] = field(default_factory=dict)
    cells: int = 0
    trampoline: int = 0
    size: int = 0
    moved: int = 0
    """Where in the trampoline the displaced instructions stand, those up to `end`."""
    end: int = 0
    form: str = ""
    """How the jump is written: insn's `JumpForm`."""
    patches: tuple[Patch, ...] = ()

    @property
    def address(self) -> int:
        """The run-time address of the probe point."""
        return self.location.address

    @property
    def returns(self) -> bool:
        """Whether it runs when a function returns."""
        return self.kind is Kind.RETURN

    def refusal(self, reason: Reason) -> ProbeError:
        """Say as an error why it is not in."""
        return refusal(self.location, reason)


def refusal(location: Location, reason: Reason) -> ProbeError:
    """Say as an error why no program is installed at a location."""
    return Refused(
        f"no program can be installed: {reason.why}",
        spec=location.spec,
        address=location.address,
        code=reason.code,
        hint=reason.hint,
    )


def program_of(site: Site) -> Program:
    """Return the program of a site; raises ProbeError where somebody else installed it."""
    if site.program is None:
        raise ProbeError(
            "what that program counts is known only to whoever installed it", code="no-program"
        )
    return site.program
