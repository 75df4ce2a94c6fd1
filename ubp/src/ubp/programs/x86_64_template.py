"""Templates: generated x86-64 code with the fields that hold addresses still empty.

What the bytes depend on but for addresses is made once; putting it at an address is then a matter
of a few fields, so that many thousand places take little time.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass

from ubp.programs.errors import ProgramError
from ubp.programs.placement import Generated, Placement, Saved
from ubp.programs.values import Argument, Register, ReturnValue
from ubp.programs.walk import Part
from ubp.programs.x86_64_frame import Used
from ubp.programs.x86_64_values import ARGUMENTS
from ubp.x86_assembler import External

ATTEMPTS = 12
REACH = 1 << 31


@dataclass(frozen=True, slots=True)
class Template:
    """Code with its fields still empty: `externals` and, for numbers of probes, `marks`."""

    code: bytes
    entry: int
    externals: tuple[External, ...]
    marks: tuple[int, ...]
    map: tuple[Saved, ...]
    hook: int | None = None


def put(template: Template, origin: int, place: Placement) -> Generated:
    """Fill in the fields of a template; raises ProgramError (`out-of-reach`, `no-ring`, …)."""
    code = bytearray(template.code)
    for external in template.externals:
        address = getattr(place, external.symbol)
        if address is None:
            raise ProgramError(
                f"the address of the {external.symbol} is missing", code=f"no-{external.symbol}"
            )
        distance = address + external.offset - origin - external.end
        if not -REACH <= distance < REACH:
            raise ProgramError(
                f"the {external.symbol} at {address:#x} is out of reach from {origin:#x}",
                code="out-of-reach",
                hint="code and memory must lie within 2 GiB",
            )
        struct.pack_into("<i", code, external.at, distance)
    for mark in template.marks:
        struct.pack_into("<I", code, mark, place.probe)
    hook = None if template.hook is None else origin + template.hook
    return Generated(bytes(code), origin + template.entry, hook, template.map)


def settle(
    attempt: Callable[[tuple[Used, ...]], tuple[tuple[Used, ...], Template]], frames: int
) -> Template:
    """Repeat until what is expected to be used is all that is used."""
    expected = (Used(),) * frames
    for _ in range(ATTEMPTS):
        used, template = attempt(expected)
        together = tuple(old | new for old, new in zip(expected, used, strict=True))
        if together == expected:
            return template
        expected = together
    raise AssertionError("the registers of a program never settle")


def registers_of(part: Part) -> frozenset[str]:
    """Return the register whose own value this is, if it is one's."""
    match part:
        case Argument(n) if n < len(ARGUMENTS):
            return frozenset((ARGUMENTS[n],))
        case Register(name):
            return frozenset((name,))
        case ReturnValue():
            return frozenset(("rax",))
    return frozenset()
