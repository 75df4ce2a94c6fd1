"""Conditions: what decides whether a program acts, as records."""

import enum
from dataclasses import dataclass
from typing import Final

from ubp.programs.errors import ProgramError
from ubp.programs.values import Constant, Value, is_signed


class Relation(enum.StrEnum):
    """How two values are compared."""

    EQUAL = "=="
    DIFFERENT = "!="
    LESS = "<"
    AT_MOST = "<="
    GREATER = ">"
    AT_LEAST = ">="


@dataclass(frozen=True, slots=True)
class Compare:
    """Whether one number stands in a relation to another."""

    relation: Relation
    left: Value
    right: Value

    def __post_init__(self) -> None:
        check_comparison(self.relation, self.left, self.right)


@dataclass(frozen=True, slots=True)
class Truth:
    """Whether a value is not 0."""

    value: Value


@dataclass(frozen=True, slots=True)
class And:
    """Whether all parts hold; the first that does not ends it."""

    parts: tuple["Condition", ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Whether any part holds; the first that does ends it."""

    parts: tuple["Condition", ...]


@dataclass(frozen=True, slots=True)
class Not:
    """Whether a condition does not hold (one that cannot be computed is false all the same)."""

    part: "Condition"


Condition = Compare | Truth | And | Or | Not


def check_comparison(relation: Relation, left: Value, right: Value) -> None:
    """Raise ProgramError (code `never`) for a comparison whose outcome is known beforehand.

    `ret == -1` is one: values are unsigned unless they are said to be signed.
    """
    if isinstance(left, Constant) == isinstance(right, Constant):
        return
    if isinstance(left, Constant):
        relation, left, right = MIRRORED[relation], right, left
    assert isinstance(right, Constant)
    least, most = (-(1 << 63), (1 << 63) - 1) if is_signed(left) else (0, (1 << 64) - 1)
    number = right.value
    never_below = number < least or (
        number == least and relation in (Relation.LESS, Relation.AT_LEAST)
    )
    never_above = number > most or (
        number == most and relation in (Relation.GREATER, Relation.AT_MOST)
    )
    if never_below or never_above:
        kind = "a signed" if is_signed(left) else "an unsigned"
        raise ProgramError(
            f"{kind} value is always or never {relation} {number}",
            code="never",
            hint="int64(x) takes a value as signed, int32(x) its lower 32 bits: int32(ret) == -1"
            if number <= 0
            else "uint64(x) takes a value as unsigned",
        )


MIRRORED: Final = {
    Relation.EQUAL: Relation.EQUAL,
    Relation.DIFFERENT: Relation.DIFFERENT,
    Relation.LESS: Relation.GREATER,
    Relation.AT_MOST: Relation.AT_LEAST,
    Relation.GREATER: Relation.LESS,
    Relation.AT_LEAST: Relation.AT_MOST,
}
"""The relation in which the right side stands to the left one."""
