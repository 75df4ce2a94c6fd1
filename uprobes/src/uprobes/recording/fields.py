"""Names of fields, as people write them, to what generated code puts into a record.

time, elapsed              nanoseconds of CLOCK_MONOTONIC, and since the entry
tid, pid, cpu, sp, ret     …
arg0, arg1, …, rdi, …      arguments and registers
u32(arg0 + 8), arg1 * 2    any expression that `where` knows
str(arg0), str(arg0, 64)   the C string there, at most so many bytes
bytes(arg1, 32)            so many bytes of memory there
NAME=…                     any of them, under another name
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ubp.programs import (
    Bytes,
    Elapsed,
    Field,
    ProgramError,
    Record,
    ReturnValue,
    String,
    Time,
    Value,
    is_signed,
    parse_field,
)
from ubp.programs.expression import NO_NAMES
from ubp.programs.walk import parts_of
from uprobes.errors import ProbeError
from uprobes.recording.recorded import Column, Kind

DEFAULT = ("time", "tid")
"""What a record holds where nothing is said."""
AT_RETURNS = ("time", "tid", "elapsed", "ret")
TICKS: dict[str, Value] = {"time": Time(), "elapsed": Elapsed()}
"""Fields that are recorded in ticks; the reader makes nanoseconds of them."""
HINT = (
    "time, tid, pid, cpu, arg0, arg1, …, sp, registers such as rdi, u32(arg0 + 8), str(arg0, 64),"
    " bytes(arg1, 32); with returns also ret and elapsed"
)
HEAD = frozenset(("probe", "faults", "commit"))
"""Names that every record has already, or that would be taken for them."""
_NAMED = re.compile(r"\s*([A-Za-z_]\w*)\s*=(?!=)\s*(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """One field: its name in the record, and what it is."""

    name: str
    value: Value | Bytes | String

    @property
    def kind(self) -> Kind:
        """What its numbers mean."""
        match self.value:
            case Time():
                return Kind.TIME
            case Elapsed():
                return Kind.DURATION
            case String():
                return Kind.STRING
            case Bytes():
                return Kind.BYTES
        return Kind.SIGNED if is_signed(self.value) else Kind.NUMBER

    @property
    def column(self) -> Column:
        """How it is described beside the records."""
        return Column(self.name, self.kind)


def bad_field(text: str, why: str, hint: str) -> ProbeError:
    """Make the error for a field that can't be had."""
    return ProbeError(f"the field {text!r} {why}", code="bad-field", hint=hint)


def split_fields(text: str) -> list[str]:
    """Split a list of fields at the commas that stand in no parentheses."""
    parts, depth, begin = [], 0, 0
    for at, character in enumerate(text):
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(character, 0)
        if character == "," and depth <= 0:
            parts.append(text[begin:at])
            begin = at + 1
    parts.append(text[begin:])
    return [part.strip() for part in parts if part.strip()]


def parse_fields(
    fields: str | Iterable[str],
    registers: Iterable[str],
    *,
    returns: bool,
    names: Mapping[str, Value] = NO_NAMES,
) -> tuple[FieldSpec, ...]:
    """Parse fields; `registers` are the names of the target's, `names` what others stand for.

    Raises ProbeError with the code `bad-field` where one means nothing, is not to be had at an
    entry (`ret`, `elapsed`), or comes twice.
    """
    texts = split_fields(fields) if isinstance(fields, str) else [text.strip() for text in fields]
    parsed = tuple(_parse(text, registers, names, returns=returns) for text in texts)
    seen: set[str] = set()
    for field in parsed:
        if field.name in seen:
            raise bad_field(field.name, "comes twice", "leave one out, or name it: other=arg0")
        seen.add(field.name)
    if not parsed:
        raise ProbeError(
            "there is no field to record", code="bad-field", hint=f"for example {','.join(DEFAULT)}"
        )
    return parsed


def _parse(
    text: str, registers: Iterable[str], names: Mapping[str, Value], *, returns: bool
) -> FieldSpec:
    named = _NAMED.fullmatch(text)
    name, body = (named[1], named[2]) if named else (text, text)
    if name in HEAD:
        raise bad_field(name, "is there in every record", "name it differently: other=…")
    if body.strip() in TICKS:
        value: Value | Bytes | String = TICKS[body.strip()]
    else:
        try:
            value = parse_field(body, frozenset(registers), names)
        except ProgramError as error:
            raise bad_field(text, f"can't be recorded: {error}", HINT) from None
    check_times(text, parts_of(value), returns=returns, alone=body.strip() == "time")
    return FieldSpec(name, value)


def check_times(text: str, parts: Iterable[object], *, returns: bool, alone: bool = False) -> None:
    """Raise ProbeError for a value of returns at an entry, and for a time that is computed with."""
    for part in parts:
        if isinstance(part, ReturnValue | Elapsed) and not returns:
            raise bad_field(
                text,
                "is known only when a function returns",
                "record returns: returns=True, or --returns",
            )
        if isinstance(part, Time) and not alone:
            raise bad_field(
                text,
                "computes with the time, which can only be recorded",
                "record the field time, and compute with numpy",
            )


def record_of(fields: Sequence[FieldSpec]) -> Record:
    """Make the action that records fields."""
    return Record(tuple(Field(field.name, field.value) for field in fields))


def columns_of(fields: Iterable[FieldSpec]) -> Iterator[Column]:
    """Give the columns of fields."""
    return (field.column for field in fields)
