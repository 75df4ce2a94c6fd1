"""Actions, and the program of them: what generated code does at a hit, as records.

The values and conditions that they are made of stand in modules of their own.
"""

from dataclasses import dataclass
from typing import Final

from ubp.programs.conditions import Condition
from ubp.programs.errors import ProgramError
from ubp.programs.values import Bytes, String, Value, is_signed

LOG2_BINS: Final = 64


@dataclass(frozen=True, slots=True)
class Count:
    """How often the program passed; costs nothing beside the cell `passed`."""


@dataclass(frozen=True, slots=True)
class Sum:
    """The sum of a value, cut to 64 bits."""

    value: Value


@dataclass(frozen=True, slots=True)
class Minimum:
    """The least of a value."""

    value: Value


@dataclass(frozen=True, slots=True)
class Maximum:
    """The greatest of a value."""

    value: Value


@dataclass(frozen=True, slots=True)
class Log2:
    """A histogram of 64 bins: bin i counts 2^i ≤ value < 2^(i+1), bin 0 also what is below 1."""

    value: Value


@dataclass(frozen=True, slots=True)
class Linear:
    """A histogram: bin i counts low + i·width ≤ value < low + (i+1)·width, for i < `bins`.

    Two more bins count what is below and above. `width` is a positive number below 2^32.
    """

    value: Value
    low: int
    width: int
    bins: int

    def __post_init__(self) -> None:
        if not (0 < self.width < 1 << 32 and 0 < self.bins <= 1 << 16):
            raise ProgramError(
                f"a histogram of {self.bins} bins of width {self.width} cannot be",
                hint="1 to 65,536 bins; a width from 1 to 2^32 - 1",
            )
        least, most = (-(1 << 63), 1 << 63) if is_signed(self.value) else (0, 1 << 64)
        if not least <= self.low <= self.low + self.bins * self.width <= most:
            raise ProgramError("the bins reach beyond what the value can be")


@dataclass(frozen=True, slots=True)
class Field:
    """One named part of a record."""

    name: str
    value: Value | Bytes | String


@dataclass(frozen=True, slots=True)
class Record:
    """Write a record of these fields into the ring."""

    fields: tuple[Field, ...]

    def __post_init__(self) -> None:
        names = [field.name for field in self.fields]
        if len(set(names)) != len(names):
            raise ProgramError("two fields of a record have one name")


Action = Count | Sum | Minimum | Maximum | Log2 | Linear | Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What happens at a hit: `actions`, if `when` holds, for every `sample`-th time, `limit` times.

    In this order: of the hits that meet the condition, the first of each `sample` is taken; of
    those, the first `limit` act.
    """

    when: Condition | None = None
    sample: int = 1
    limit: int | None = None
    actions: tuple[Action, ...] = (Count(),)

    def __post_init__(self) -> None:
        if not 0 < self.sample < 1 << 31:
            raise ProgramError(f"one in {self.sample} cannot be sampled", hint="from 1 to 2^31 - 1")
        if self.limit is not None and not 0 < self.limit < 1 << 31:
            raise ProgramError(f"the limit {self.limit} cannot be", hint="from 1 to 2^31 - 1")
        if not self.actions:
            raise ProgramError("a program without an action", hint="Count() is the least")
        if sum(isinstance(action, Record) for action in self.actions) > 1:
            raise ProgramError("a program writes one record at most", hint="one with all fields")
