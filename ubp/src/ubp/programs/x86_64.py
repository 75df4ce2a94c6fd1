"""Programs as x86-64 machine code for one place.

What the bytes depend on but for addresses is made once and kept as a template; putting it at an
address is then a matter of a few fields, so that many thousand places take little time.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from ubp.programs import x86_64_actions as act
from ubp.programs import x86_64_guard as guard
from ubp.programs.cells import cells_of
from ubp.programs.errors import ProgramError
from ubp.programs.model import Argument, Program, Register, ReturnValue
from ubp.programs.placement import Generated, Placement, Saved
from ubp.programs.shape import Shape, shape_of
from ubp.programs.walk import values_of_program
from ubp.programs.x86_64_frame import Frame, Used
from ubp.programs.x86_64_values import ARGUMENTS, Values
from ubp.x86_assembler import Assembler, External

ATTEMPTS = 8
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


def assemble(program: Program, origin: int, place: Placement) -> Generated:
    """Make the code of a program for the address `origin` and these surroundings.

    Raises ProgramError: `no-such-value`, `no-ring`, `needs-system-call`, `too-large`,
    `out-of-reach`.
    """
    return put(_template(shape_of(program, place, False)), origin, place)


def put(template: Template, origin: int, place: Placement) -> Generated:
    """Fill in the fields of a template."""
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


def settle(attempt: Callable[[Used], tuple[Used, Template]]) -> Template:
    """Repeat until what is expected to be used is all that is used."""
    expected = Used()
    for _ in range(ATTEMPTS):
        used, template = attempt(expected)
        if used | expected == expected:
            return template
        expected |= used
    raise AssertionError("the registers of a program never settle")


def registers_read(program: Program) -> frozenset[str]:
    """Return the registers whose own values a program looks at."""
    found = set()
    for value in values_of_program(program):
        match value:
            case Argument(n) if n < len(ARGUMENTS):
                found.add(ARGUMENTS[n])
            case Register(name):
                found.add(name)
            case ReturnValue():
                found.add("rax")
    return frozenset(found)


@lru_cache(maxsize=4096)
def _template(shape: Shape) -> Template:
    return settle(lambda expected: _attempt(shape, expected))


def _attempt(shape: Shape, expected: Used) -> tuple[Used, Template]:
    program = shape.program
    layout = cells_of(program)
    a = Assembler()
    frame = Frame(a, shape.dead, registers_read(program), expected)
    values = Values(a, frame, shape, "v")
    skip = "skip"
    frame.begin()
    act.increment(values, layout.hits)
    if program.limit is not None:
        act.below_limit(values, program.limit, layout.passed, skip)
    if program.when is not None:
        act.filter_(values, program.when, layout.faults, skip)
    if layout.matched is not None:
        act.sample(values, program.sample, layout.matched, skip)
    frame.begin_late()
    over = "over"
    if program.limit is not None:
        act.limit(values, program.limit, layout.passed, over)
    elif layout.passed != layout.hits:
        act.increment(values, layout.passed)
    marks = act.actions(values, program, layout)
    a.label(over)
    frame.end_late()
    a.label(skip)
    frame.end()
    a.begin_cold()
    frame.emit_cold()
    if values.copies:
        guard.routine(a)
    template = Template(
        a.code(),
        a.place(0),
        tuple(a.externals()),
        tuple(a.place(mark) for mark in marks),
        tuple(frame.saved()),
    )
    return frame.used, template
