"""Conditions, values and fields back to the text that `expression` reads."""

from collections.abc import Mapping

from ubp.programs.conditions import And, Compare, Condition, Not, Or, Truth
from ubp.programs.expression import NO_NAMES, PLAIN
from ubp.programs.values import (
    Argument,
    Binary,
    Bytes,
    Cast,
    Constant,
    Register,
    Scaled,
    String,
    Value,
    Word,
)


def format_condition(condition: Condition, names: Mapping[str, Value] = NO_NAMES) -> str:
    """Write a condition; `names` are the further ones that it may use."""
    match condition:
        case Compare(relation, left, right):
            return f"{_inner(left, names)} {relation} {_inner(right, names)}"
        case Truth(value):
            return format_value(value, names)
        case And(parts):
            return " and ".join(_part(part, names) for part in parts)
        case Or(parts):
            return " or ".join(_part(part, names) for part in parts)
        case Not(part):
            return f"not {_part(part, names)}"


def _part(condition: Condition, names: Mapping[str, Value]) -> str:
    text = format_condition(condition, names)
    return text if isinstance(condition, Compare | Truth) else f"({text})"


def format_value(value: Value | Bytes | String, names: Mapping[str, Value] = NO_NAMES) -> str:
    """Write a value or the content of a field."""
    for name, known in (*names.items(), *PLAIN.items()):
        if known == value:
            return name
    match value:
        case Argument(number):
            return f"arg{number}"
        case Register(name):
            return name
        case Constant(number):
            return str(number)
        case Binary(operator, left, right):
            return f"{_inner(left, names)} {operator} {_inner(right, names)}"
        case Word(base, offset, size, signed):
            kind = f"{'s' if signed else 'u'}{8 * size}"
            if offset:
                return f"{kind}({_inner(base, names)} + {offset})"
            return f"{kind}({format_value(base, names)})"
        case Cast(inner, size, signed):
            return f"{'' if signed else 'u'}int{8 * size}({format_value(inner, names)})"
        case Scaled(inner, multiplier, shift):
            return f"scaled({format_value(inner, names)}, {multiplier}, {shift})"
        case String(base, size):
            return f"str({format_value(base, names)}, {size})"
        case Bytes(base, size):
            return f"bytes({format_value(base, names)}, {size})"
    raise AssertionError(value)


def _inner(value: Value, names: Mapping[str, Value]) -> str:
    text = format_value(value, names)
    return f"({text})" if isinstance(value, Binary) and " " in text else text
