"""Values and conditions computed in Python: what generated code must agree with."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, Protocol

from ubp.programs.conditions import And, Compare, Condition, Not, Or, Relation, Truth
from ubp.programs.values import (
    Argument,
    Binary,
    Cast,
    Constant,
    Cpu,
    Elapsed,
    Operator,
    Pid,
    Register,
    ReturnValue,
    Scaled,
    StackPointer,
    Tid,
    Time,
    Value,
    Word,
    is_signed,
)

Leaf = (
    Argument | Register | StackPointer | ReturnValue | Time | Tid | Pid | Cpu | Elapsed
)  # fmt: skip
_MASK: Final = (1 << 64) - 1


class NotComputableError(Exception):
    """A value could not be had: memory that cannot be read, a division by zero."""


class Source(Protocol):
    """Where values come from: one thread at one hit."""

    def leaf(self, value: Leaf) -> int:
        """Give an argument, a register, a time, …; from 0 to 2^64 - 1."""
        ...

    def read(self, address: int, size: int) -> bytes | None:
        """Give bytes of memory, None where any of them cannot be read."""
        ...


_COMPUTE: Final[Mapping[Operator, Callable[[int, int], int]]] = MappingProxyType(
    {
        Operator.ADD: lambda a, b: a + b,
        Operator.SUBTRACT: lambda a, b: a - b,
        Operator.MULTIPLY: lambda a, b: a * b,
        Operator.AND: lambda a, b: a & b,
        Operator.OR: lambda a, b: a | b,
        Operator.XOR: lambda a, b: a ^ b,
        Operator.LEFT: lambda a, b: a << b,
        Operator.RIGHT: lambda a, b: a >> b,
    }
)
_HOLDS: Final[Mapping[Relation, Callable[[int, int], bool]]] = MappingProxyType(
    {
        Relation.EQUAL: lambda a, b: a == b,
        Relation.DIFFERENT: lambda a, b: a != b,
        Relation.LESS: lambda a, b: a < b,
        Relation.AT_MOST: lambda a, b: a <= b,
        Relation.GREATER: lambda a, b: a > b,
        Relation.AT_LEAST: lambda a, b: a >= b,
    }
)


def cut(number: int, size: int, signed: bool) -> int:
    """Take the lowest `size` bytes of a number as signed or unsigned."""
    number &= (1 << 8 * size) - 1
    return number - (1 << 8 * size) if signed and number >> 8 * size - 1 else number


def value_of(value: Value, source: Source) -> int:
    """Compute a value; raises NotComputableError."""
    match value:
        case Constant(number):
            return number
        case Word(base, offset, size, signed):
            address = value_of(base, source) + offset & _MASK
            content = source.read(address, size)
            if content is None:
                raise NotComputableError(f"no memory at {address:#x}")
            return int.from_bytes(content, "little", signed=signed)
        case Cast(inner, size, signed):
            return cut(value_of(inner, source), size, signed)
        case Scaled(inner, multiplier, shift):
            return ((value_of(inner, source) & _MASK) * multiplier >> shift) & _MASK
        case Binary(operator, left, right):
            one, two = value_of(left, source), value_of(right, source)
            signed = is_signed(value)
            if operator in (Operator.DIVIDE, Operator.MODULO):
                one, two = cut(one, 8, signed), cut(two, 8, signed)
                if not two:
                    raise NotComputableError("a division by zero")
                return cut(one // two if operator is Operator.DIVIDE else one % two, 8, signed)
            return cut(_COMPUTE[operator](one, two), 8, signed)
    return source.leaf(value)


def holds(condition: Condition, source: Source) -> bool:
    """Tell whether a condition holds; False when a value that matters cannot be computed."""
    try:
        return _holds(condition, source)
    except NotComputableError:
        return False


def _holds(condition: Condition, source: Source) -> bool:
    match condition:
        case Compare(relation, left, right):
            return _HOLDS[relation](value_of(left, source), value_of(right, source))
        case Truth(value):
            return value_of(value, source) != 0
        case And(parts):
            return all(_holds(part, source) for part in parts)
        case Or(parts):
            return any(_holds(part, source) for part in parts)
        case Not(part):
            return not _holds(part, source)
