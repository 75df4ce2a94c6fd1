"""Values: what a program looks at, as records.

Values are numbers of 64 bits, signed or unsigned (`is_signed`), and stand for what Python would
compute as long as that fits:

- arguments, registers, `ret`, times and numbers of threads are unsigned, as `hit.arg(0)` is;
  `Cast` and signed `Word`s take bits as signed;
- a difference is signed; a sum, product, union or exclusion is signed when one of its operands is
  (constants at or above 0 leave that to the other one), an intersection when both are; a quotient
  or rest, rounded down as in Python, when one of its operands is; a shift like what is shifted;
- what does not fit is cut to 64 bits;
- comparisons are those of the numbers: a signed -1 is less than every unsigned number.

What cannot be computed (memory that cannot be read, a division by zero) makes the whole condition
false, and leaves a record's field empty and marked; both are counted in the cell `faults`.
"""

import enum
from dataclasses import dataclass
from typing import Final

from ubp.programs.errors import ProgramError

WORD_SIZES: Final = (1, 2, 4, 8)
LONGEST: Final = 4096
"""The largest number of bytes that a field copies from memory."""


class Operator(enum.StrEnum):
    """What is computed of two values."""

    ADD = "+"
    SUBTRACT = "-"
    MULTIPLY = "*"
    DIVIDE = "//"
    MODULO = "%"
    AND = "&"
    OR = "|"
    XOR = "^"
    LEFT = "<<"
    RIGHT = ">>"


@dataclass(frozen=True, slots=True)
class Argument:
    """An integer argument of the function, counted from 0, by the calling convention.

    In a program of a return: as it was at the entry.
    """

    number: int

    def __post_init__(self) -> None:
        if not 0 <= self.number < 100:
            raise ProgramError(
                f"there is no argument {self.number}", hint="arguments are counted from 0"
            )


@dataclass(frozen=True, slots=True)
class Register:
    """A register by its full-width name; in a program of a return: at the return."""

    name: str


@dataclass(frozen=True, slots=True)
class StackPointer:
    """The stack pointer as it is for the probed instruction; at a return, behind the `ret`."""


@dataclass(frozen=True, slots=True)
class ReturnValue:
    """The integer that the function returns; only in programs of returns."""


@dataclass(frozen=True, slots=True)
class Time:
    """Ticks of the time stamp counter."""


@dataclass(frozen=True, slots=True)
class Tid:
    """The thread's number."""


@dataclass(frozen=True, slots=True)
class Pid:
    """The process's number; asks the kernel at every hit."""


@dataclass(frozen=True, slots=True)
class Cpu:
    """The number of the CPU."""


@dataclass(frozen=True, slots=True)
class Elapsed:
    """Ticks of the time stamp counter since the entry; only in programs of returns."""


@dataclass(frozen=True, slots=True)
class Constant:
    """A number from -2^63 to 2^64 - 1."""

    value: int

    def __post_init__(self) -> None:
        if not -(1 << 63) <= self.value < 1 << 64:
            raise ProgramError(f"{self.value} does not fit 64 bits")


@dataclass(frozen=True, slots=True)
class Word:
    """`size` bytes (1, 2, 4, 8) of memory at `base` + `offset`, as a number."""

    base: "Value"
    offset: int = 0
    size: int = 8
    signed: bool = False

    def __post_init__(self) -> None:
        _check_size(self.size)
        if not -(1 << 31) <= self.offset < 1 << 31:
            raise ProgramError(f"the offset {self.offset:#x} does not fit 32 bits")


@dataclass(frozen=True, slots=True)
class Binary:
    """Two values computed to one; only constants may be shifted by (0 … 63)."""

    operator: Operator
    left: "Value"
    right: "Value"

    def __post_init__(self) -> None:
        right = self.right
        if self.operator in (Operator.LEFT, Operator.RIGHT) and not (
            isinstance(right, Constant) and 0 <= right.value < 64
        ):
            raise ProgramError("a shift needs a constant number of bits, from 0 to 63")
        if self.operator in (Operator.DIVIDE, Operator.MODULO) and right == Constant(0):
            raise ProgramError("a division by zero")


@dataclass(frozen=True, slots=True)
class Cast:
    """The lowest `size` bytes (1, 2, 4, 8) of a value, taken as signed or unsigned."""

    value: "Value"
    size: int = 8
    signed: bool = True

    def __post_init__(self) -> None:
        _check_size(self.size)


@dataclass(frozen=True, slots=True)
class Scaled:
    """An unsigned value times `multiplier`, over 2^`shift`, in 128 bits: ticks to nanoseconds."""

    value: "Value"
    multiplier: int
    shift: int

    def __post_init__(self) -> None:
        if not 0 < self.multiplier < 1 << 64 or not 0 <= self.shift < 64:
            raise ProgramError("a scale needs 0 < multiplier < 2^64 and 0 ≤ shift < 64")


Value = (
    Argument | Register | StackPointer | ReturnValue | Time | Tid | Pid | Cpu | Elapsed | Constant
    | Word | Binary | Cast | Scaled
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Bytes:
    """`size` bytes (1 … 4096) of memory at a pointer; zeros where it cannot be read."""

    base: Value
    size: int

    def __post_init__(self) -> None:
        _check_length(self.size)


@dataclass(frozen=True, slots=True)
class String:
    """The bytes at a pointer up to the first zero, at most `size` (1 … 4096) of them."""

    base: Value
    size: int

    def __post_init__(self) -> None:
        _check_length(self.size)


def is_signed(value: Value) -> bool:
    """Tell whether the 64 bits of a value are a signed number; the rules stand at the top."""
    match value:
        case Word() | Cast():
            return value.signed
        case Constant(number):
            return number < 0
        case Binary(Operator.SUBTRACT):
            return True
        case Binary(Operator.AND, left, right):
            return is_signed(left) and is_signed(right)
        case Binary(Operator.LEFT | Operator.RIGHT, left):
            return is_signed(left)
        case Binary(_, left, right):
            return is_signed(left) or is_signed(right)
    return False


def _check_size(size: int) -> None:
    if size not in WORD_SIZES:
        raise ProgramError(f"a word of {size} bytes cannot be", hint="1, 2, 4 or 8")


def _check_length(size: int) -> None:
    if not 0 < size <= LONGEST:
        raise ProgramError(
            f"{size} bytes of memory cannot be copied", code="too-large", hint=f"1 to {LONGEST}"
        )
