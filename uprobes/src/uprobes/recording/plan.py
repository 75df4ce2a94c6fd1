"""What is asked of a recording: checked, made into a program, written down for later readers."""

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np

from ubp.programs import (
    Action,
    Count,
    Elapsed,
    Linear,
    Log2,
    Maximum,
    Minimum,
    Program,
    ProgramError,
    RingLayout,
    RingMode,
    Scaled,
    Sum,
    Value,
    parse,
    parse_value,
    record_dtype,
    record_fields,
)
from ubp.programs.walk import parts_of, values_of
from uprobes.errors import ProbeError
from uprobes.recording.clock import LONGEST_TICK, Clock, Sample
from uprobes.recording.fields import FieldSpec, check_times, parse_fields, record_of, split_fields
from uprobes.recording.recorded import Column, Kind

SIZE = 32 << 20
"""Bytes of all rings together, where nothing is said."""
LEAST = 4
"""Records that a ring must hold at least."""
SHIFT = 32
"""Ticks become nanoseconds in the process by a multiplication and a shift by so many bits."""
_SIZE = re.compile(r"(\d+)\s*([KMG]?)(?:i?B)?", re.IGNORECASE)
_MEASURE = re.compile(r"\s*(\w+)\s*\((.*)\)\s*", re.DOTALL)
_MEASURES: dict[str, Callable[[Value], Action]] = {
    "sum": Sum,
    "min": Minimum,
    "max": Maximum,
    "log2": Log2,
}
LONGEST_TEXT, MOST_TEXTS = 1000, 1000
"""Of a plan that a process holds; what is longer was forged."""
MEASURES = "sum(arg2), min(…), max(…), log2(…), linear(arg2, LOW, WIDTH, BINS)"


@dataclass(frozen=True, slots=True)
class Plan:
    """A recording as it was asked for: text and numbers only, so that JSON can say it.

    `fields` go into records, `measures` are computed in the process; without either, hits are
    counted. `capacity` is in records for each of `rings`, 0 without records. `ns_per_tick` and
    `began` (ticks, nanoseconds, error) are of the clock, 0 and None where none is needed.
    """

    fields: tuple[str, ...] = ()
    measures: tuple[str, ...] = ()
    where: str | None = None
    sample: int = 1
    limit: int | None = None
    returns: bool = False
    rings: int = 0
    capacity: int = 0
    overwrite: bool = False
    ns_per_tick: float = 0.0
    began: tuple[int, int, int] | None = None
    wall_ns: int = 0

    def timed(self, clock: Clock) -> Self:
        """Note how long a tick is, and when it begins; may take some milliseconds."""
        rate = clock.ns_per_tick
        first = clock.samples[-1]
        return replace(self, ns_per_tick=rate, began=(first.ticks, first.ns, first.error_ns))

    def sized(self, size: int | str, registers: Iterable[str]) -> Self:
        """Choose the rings: as many as CPUs, of `size` bytes together; raises ProbeError."""
        if not self.fields:
            return self
        record = record_dtype(record_of(self.parsed(registers)))[1]
        rings = 1 << (max(os.cpu_count() or 1, 1) - 1).bit_length()
        room = size_of(size) // (rings * record)
        if room < LEAST:
            raise ProbeError(
                f"{size} holds no {LEAST} records of {record} bytes for each of {rings} CPUs",
                code="bad-size",
                hint=f"at least {rings * record * LEAST} bytes, or fewer and smaller fields",
            )
        return replace(self, rings=rings, capacity=1 << (room.bit_length() - 1))

    def parsed(self, registers: Iterable[str]) -> tuple[FieldSpec, ...]:
        """Return the fields; raises ProbeError with the code `bad-field`."""
        return parse_fields(self.fields, registers, returns=self.returns, names=self._names)

    @property
    def _names(self) -> dict[str, Value]:
        """What `elapsed` stands for where it is computed with: nanoseconds."""
        in_ns = Scaled(Elapsed(), round(self.ns_per_tick * (1 << SHIFT)) or 1, SHIFT)
        return {"elapsed": in_ns, "elapsed_ns": in_ns}

    def program(self, registers: Iterable[str]) -> Program:
        """Make the program; raises ProbeError where the plan can't be carried out."""
        names = frozenset(registers)
        try:
            when = parse(self.where, names, self._names) if self.where else None
        except ProgramError as error:
            raise ProbeError(
                f"the condition {self.where!r}: {error}",
                code="bad-condition",
                hint=error.hint or "write it as in Python: arg0 > 4096 and tid == 17",
            ) from None
        check_times(self.where or "", values_of(when), returns=self.returns)
        actions: list[Action] = [self._measure(text, names) for text in self.measures]
        try:
            if self.fields:
                record = record_of(self.parsed(names))
                record_fields(record)
                actions.append(record)
            return Program(
                when=when,
                sample=self.sample,
                limit=self.limit,
                actions=tuple(actions) or (Count(),),
            )
        except ProgramError as error:
            raise ProbeError(str(error), code=error.code, hint=error.hint) from None

    def _measure(self, text: str, registers: frozenset[str]) -> Action:
        match = _MEASURE.fullmatch(text)
        what, inside = (match[1], split_fields(match[2])) if match else ("", [])
        if (what in _MEASURES and len(inside) == 1) or (what == "linear" and len(inside) == 4):
            try:
                value = parse_value(inside[0], registers, self._names)
                check_times(text, parts_of(value), returns=self.returns)
                if what in _MEASURES:
                    return _MEASURES[what](value)
                low, width, bins = (int(number, 0) for number in inside[1:])
                return Linear(value, low, width, bins)
            except (ProgramError, ValueError) as error:
                raise ProbeError(
                    f"{text!r} can't be measured: {error}", code="bad-measure", hint=MEASURES
                ) from None
        raise ProbeError(f"{text!r} is nothing to measure", code="bad-measure", hint=MEASURES)

    def layout(self, registers: Iterable[str]) -> RingLayout | None:
        """Return the geometry of the rings, None without records; raises ProbeError."""
        if not self.fields:
            return None
        size = record_dtype(record_of(self.parsed(registers)))[1]
        try:
            return RingLayout(self.rings, self.capacity, size, RingMode(self.overwrite))
        except ProgramError as error:
            raise ProbeError(str(error), code=error.code, hint=error.hint) from None

    def columns(self, registers: Iterable[str]) -> tuple[Column, ...]:
        """Return what the fields are called, and what they mean."""
        parsed = self.parsed(registers)
        if not parsed:
            return ()
        placed = {part.name: part for part in record_fields(record_of(parsed))[0]}
        return tuple(replace(f.column, fault_bit=placed[f.name].fault_bit) for f in parsed)

    def dtype(self, registers: Iterable[str]) -> np.dtype[Any]:
        """Return how numpy sees a record: its probe, the fields, and `faults` where any can fail.

        The fields stand in the order in which they lie in memory, as numpy's own files want it.
        """
        parsed = self.parsed(registers)
        parts, size = record_dtype(record_of(parsed))
        columns = {column.name: column for column in self.columns(registers)}
        can_fail = any(column.fault_bit is not None for column in columns.values())
        shown = {"probe", *columns} | ({"faults"} if can_fail else set())
        signed = (Kind.TIME, Kind.DURATION)
        chosen = sorted((part for part in parts if part[0] in shown), key=lambda part: part[2])
        formats = [
            "<i8" if name in columns and columns[name].kind in signed else form
            for name, form, _ in chosen
        ]
        return np.dtype(
            {
                "names": [name for name, _, _ in chosen],
                "formats": formats,
                "offsets": [offset for _, _, offset in chosen],
                "itemsize": size,
            }
        )

    @property
    def needs_clock(self) -> bool:
        """Whether ticks must be turned into nanoseconds."""
        texts = (*self.fields, *self.measures, self.where or "")
        return any(re.search(r"\b(?:time|elapsed)\b", text) for text in texts)

    @property
    def beginning(self) -> tuple[Sample, ...]:
        """The clock's samples at the beginning."""
        return () if self.began is None else (Sample(*self.began),)

    def as_note(self) -> dict[str, object]:
        """Return it as what JSON can say."""
        return {"recording": 1, **asdict(self)}

    @classmethod
    def from_note(cls, note: object) -> Self:
        """Take a plan from a note that a process holds; raises ProbeError (`bad-recording`).

        Whatever the numbers say, what is made of them is checked where it is used.
        """
        try:
            own = dict(note)  # type: ignore[call-overload]  # what it is shows here
            if own.pop("recording") != 1:
                raise ValueError("it was made by another version")
            own["fields"] = _texts(own["fields"])
            own["measures"] = _texts(own["measures"])
            own["where"] = None if own["where"] is None else _text(own["where"])
            own["began"] = None if own["began"] is None else _moment(own["began"])
            own["ns_per_tick"] = float(own["ns_per_tick"])
            if not 0 <= own["ns_per_tick"] < LONGEST_TICK:
                raise ValueError("no tick is that long")
            for name in ("sample", "rings", "capacity", "wall_ns"):
                own[name] = _whole(own[name])
            own["limit"] = None if own["limit"] is None else _whole(own["limit"])
            for name in ("returns", "overwrite"):
                own[name] = bool(own[name])
            return cls(**own)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ProbeError(
                f"what the process holds describes no recording: {error}",
                code="bad-recording",
                hint="`uprobes remove PID` takes it out",
            ) from None


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or len(value) > MOST_TEXTS:
        raise TypeError(f"{value!r:.40} should be a list")
    return tuple(map(_text, value))


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > LONGEST_TEXT:
        raise TypeError(f"{value!r:.40} should be a text")
    return value


def _whole(value: object) -> int:
    if not isinstance(value, int) or not 0 <= value < 1 << 64:
        raise TypeError(f"{value!r:.40} should be a number")
    return value


def _moment(value: Any) -> tuple[int, int, int]:  # noqa: ANN401 - it may be anything
    ticks, ns, error = map(_whole, value)
    return ticks, ns, error


def size_of(size: int | str) -> int:
    """Return a size in bytes: a number, or a text such as `64M`; raises ProbeError."""
    if isinstance(size, int):
        return size
    match = _SIZE.fullmatch(size.strip())
    if match is None:
        raise ProbeError(f"{size!r} is no size", code="bad-size", hint="write 64M, or 65536")
    return int(match[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[match[2].upper()]
