"""Programs as x86-64 machine code for one place."""

from functools import lru_cache

from ubp.programs import x86_64_actions as act
from ubp.programs import x86_64_guard as guard
from ubp.programs.cells import cells_of
from ubp.programs.model import Program
from ubp.programs.placement import Generated, Placement
from ubp.programs.shape import Shape, shape_of
from ubp.programs.walk import values_of_program
from ubp.programs.x86_64_frame import Frame, Used, matters, matters_to_count
from ubp.programs.x86_64_returns import ReturnProgram
from ubp.programs.x86_64_template import Template, put, registers_of, settle
from ubp.programs.x86_64_values import Values
from ubp.x86_assembler import Assembler

MOST_DEAD = 4
"""How many dead registers beside the temporaries are made use of: the more, the more templates."""


def assemble(
    program: Program, origin: int, place: Placement, *, returns: bool = False
) -> Generated:
    """Make the code of a program for the address `origin` and these surroundings.

    With `returns` it runs when the function returns that begins there. Raises ProgramError:
    `no-such-value`, `no-ring`, `no-table`, `needs-system-call`, `too-large`, `out-of-reach`.
    """
    return put(prepare(program, place, returns=returns), origin, place)


def prepare(program: Program, place: Placement, *, returns: bool = False) -> Template:
    """Make what `put` puts at an address: the same for all places that differ in addresses only.

    Raises what `assemble` raises, but for `out-of-reach`.
    """
    counts_only = not returns and program == Program()
    dead = matters_to_count(place.dead) if counts_only else matters(place.dead, MOST_DEAD)
    return _template(shape_of(program, place, dead, returns=returns))


@lru_cache(maxsize=4096)
def _template(shape: Shape) -> Template:
    if shape.returns:
        return settle(lambda expected: _return_attempt(shape, expected), 2)
    return settle(lambda expected: _attempt(shape, expected[0]), 1)


def _attempt(shape: Shape, expected: Used) -> tuple[tuple[Used, ...], Template]:
    program = shape.program
    layout = cells_of(program)
    a = Assembler()
    read = frozenset[str]().union(*(registers_of(part) for part in values_of_program(program)))
    frame = Frame(a, shape.dead, read, expected)
    values = Values(a, frame, shape, "v")
    skip, over = "skip", "over"
    frame.begin()
    act.increment(values, layout.hits)
    if program.limit is not None:
        act.below_limit(values, program.limit, layout.passed, skip)
    if program.when is not None:
        act.filter_(values, program.when, layout.faults, skip)
    if layout.matched is not None:
        act.sample(values, program.sample, layout.matched, skip)
    frame.begin_late()
    act.pass_(values, program, layout, over)
    marks = act.actions(values, program, layout)
    a.label(over)
    frame.end_late()
    a.label(skip)
    frame.end()
    a.begin_cold()
    frame.emit_cold()
    guard.emit(a, values.routines)
    template = Template(
        a.code(),
        a.place(0),
        tuple(a.externals()),
        tuple(a.place(mark) for mark in marks),
        tuple(frame.saved()),
    )
    return (frame.used,), template


def _return_attempt(shape: Shape, expected: tuple[Used, ...]) -> tuple[tuple[Used, ...], Template]:
    made = ReturnProgram(shape, expected)
    made.emit()
    a = made.a
    template = Template(
        a.code(),
        a.place(0),
        tuple(a.externals()),
        tuple(a.place(mark) for mark in made.marks),
        tuple(made.entry.saved() + made.back.saved()),
        a.address("hook"),
    )
    return made.used, template
