"""The cells of a program: where its counters stand in shared memory, and what they say.

Each is an unsigned 64-bit word in the target's byte order (little-endian), only ever changed by
atomic instructions, so that any moment's reading is right for each of them:

    hits       how often the probed instruction was reached (in programs of returns: entries)
    passed     how often the actions were done; only with a condition, sampling, a limit, or at
               returns, otherwise it is `hits`
    matched    how often the condition held; only with sampling
    faults     values that could not be computed; only where that can happen
    unhooked   entries whose return was not awaited: no place left in the table of calls
    chained    entries by a tail call of the function to itself: their return is the first one's
    then the words of each action, in order
"""

import struct
from dataclasses import dataclass
from typing import Final

from ubp.programs.errors import ProgramError
from ubp.programs.model import (
    LOG2_BINS,
    Action,
    Count,
    Linear,
    Log2,
    Maximum,
    Minimum,
    Program,
    Record,
    Sum,
)
from ubp.programs.values import is_signed
from ubp.programs.walk import program_may_fail

WORD: Final = 8
_ONES: Final = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Cells:
    """The offsets of a program's cells in bytes, None for those that it has not; `size` of all."""

    hits: int
    passed: int
    matched: int | None
    faults: int | None
    unhooked: int | None
    chained: int | None
    actions: tuple[int, ...]
    size: int


@dataclass(frozen=True, slots=True)
class Results:
    """What the cells of a program say.

    `actions` has one result for each action, in order: a number for `Count` and `Sum`; a number, or
    None before the first, for `Minimum` and `Maximum`; 64 numbers for `Log2`; those of the bins,
    then below, then above, for `Linear`; None for `Record`.
    """

    hits: int
    passed: int
    faults: int
    unhooked: int
    chained: int
    actions: tuple[int | tuple[int, ...] | None, ...]


def cells_of(program: Program, *, returns: bool = False) -> Cells:
    """Lay out the cells of a program; with `returns`, of one that runs at a function's return."""
    at = WORD
    chosen = program.when is not None or program.sample > 1 or program.limit is not None
    optional = []
    for wanted in (
        chosen or returns,
        program.sample > 1,
        program_may_fail(program),
        returns,
        returns,
    ):
        optional.append(at if wanted else None)
        at += WORD * wanted
    passed, matched, faults, unhooked, chained = optional
    actions = []
    for action in program.actions:
        actions.append(at)
        at += WORD * words(action)
    return Cells(0, passed or 0, matched, faults, unhooked, chained, tuple(actions), at)


def words(action: Action) -> int:
    """Count the cells of an action."""
    match action:
        case Count() | Record():
            return 0
        case Log2():
            return LOG2_BINS
        case Linear(bins=bins):
            return bins + 2
    return 1


def size(program: Program, *, returns: bool = False) -> int:
    """Count the bytes of a program's cells."""
    return cells_of(program, returns=returns).size


def initial(program: Program, *, returns: bool = False) -> bytes:
    """Give the cells before the first hit: zeros, but for the extremes."""
    layout = cells_of(program, returns=returns)
    content = bytearray(layout.size)
    for action, at in zip(program.actions, layout.actions, strict=True):
        if isinstance(action, Minimum | Maximum):
            struct.pack_into("<Q", content, at, _nothing_yet(action))
    return bytes(content)


def _nothing_yet(action: Minimum | Maximum) -> int:
    signed = is_signed(action.value)
    if isinstance(action, Minimum):
        return _ONES >> 1 if signed else _ONES
    return 1 << 63 if signed else 0


def read(
    program: Program, content: bytes | bytearray | memoryview, *, returns: bool = False
) -> Results:
    """Say what the cells hold; raises ProgramError when there are too few bytes.

    An extreme that equals what the cell begins with (the least or greatest possible value) is
    taken for one that never was, unless the program passed.
    """
    layout = cells_of(program, returns=returns)
    if len(content) < layout.size:
        raise ProgramError(
            f"{len(content)} bytes are not the {layout.size} of this program's cells"
        )
    numbers = struct.unpack_from(f"<{layout.size // WORD}Q", content)

    def cell(at: int | None) -> int:
        return 0 if at is None else numbers[at // WORD]

    passed = cell(layout.passed)
    if program.limit is not None:
        passed = min(passed, program.limit)
    faults = cell(layout.faults)
    actions = tuple(
        _result(action, numbers[at // WORD :], passed, passed > faults)
        for action, at in zip(program.actions, layout.actions, strict=True)
    )
    return Results(
        cell(layout.hits), passed, faults, cell(layout.unhooked), cell(layout.chained), actions
    )


def _result(
    action: Action, numbers: tuple[int, ...], passed: int, certain: bool
) -> int | tuple[int, ...] | None:
    match action:
        case Count():
            return passed
        case Record():
            return None
        case Minimum(value) | Maximum(value):
            number = numbers[0]
            if number == _nothing_yet(action) and not certain:
                return None
            return _as_number(number, is_signed(value))
        case Sum(value):
            return _as_number(numbers[0], is_signed(value))
    return tuple(numbers[: words(action)])


def _as_number(bits: int, signed: bool) -> int:
    return bits - (1 << 64) if signed and bits >> 63 else bits
