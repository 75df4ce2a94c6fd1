"""What a program is made of: its values, one by one, and which of them read memory."""

from collections.abc import Iterator

from ubp.programs.conditions import And, Compare, Condition, Not, Or, Truth
from ubp.programs.model import Action, Count, Program, Record
from ubp.programs.values import (
    Argument,
    Binary,
    Bytes,
    Cast,
    Constant,
    Operator,
    Scaled,
    String,
    Value,
    Word,
)

STACK_ARGUMENTS = 6
"""Arguments from this one on may lie on the stack, in memory that may not be there."""

Part = Value | Bytes | String


def parts_of(value: Part) -> Iterator[Part]:
    """Give a value and all that it is computed of, itself last."""
    match value:
        case Binary(_, left, right):
            yield from parts_of(left)
            yield from parts_of(right)
        case Word(base) | Bytes(base) | String(base):
            yield from parts_of(base)
        case Cast(inner) | Scaled(inner):
            yield from parts_of(inner)
    yield value


def values_of(condition: Condition | None) -> Iterator[Part]:
    """Give every value that a condition looks at, and all that they are computed of."""
    match condition:
        case Compare(_, left, right):
            yield from parts_of(left)
            yield from parts_of(right)
        case Truth(value):
            yield from parts_of(value)
        case And(conditions) | Or(conditions):
            for part in conditions:
                yield from values_of(part)
        case Not(part):
            yield from values_of(part)


def values_of_action(action: Action) -> Iterator[Part]:
    """Give every value that an action uses, and all that they are computed of."""
    match action:
        case Record(fields):
            for field in fields:
                yield from parts_of(field.value)
        case Count():
            pass
        case _:
            yield from parts_of(action.value)


def values_of_program(program: Program) -> Iterator[Part]:
    """Give every value of a program, and all that they are computed of."""
    yield from values_of(program.when)
    for action in program.actions:
        yield from values_of_action(action)


def may_fail(value: Part) -> bool:
    """Tell whether a value can turn out not to be computable at a hit."""
    return any(_can_fail(part) for part in parts_of(value))


def _can_fail(part: Part) -> bool:
    match part:
        case Binary(Operator.DIVIDE | Operator.MODULO, _, right):
            return not isinstance(right, Constant)
        case Argument(number):
            return number >= STACK_ARGUMENTS
    return isinstance(part, Word | Bytes | String)


def program_may_fail(program: Program) -> bool:
    """Tell whether any value of a program can turn out not to be computable."""
    return any(_can_fail(part) for part in values_of_program(program))
