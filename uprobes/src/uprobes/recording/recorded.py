"""What a recording came to: its records, and all that is needed to understand them later."""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from ubp.programs.ring import FAULT_BITS
from uprobes.errors import ProbeError
from uprobes.printable import printable
from uprobes.recording.ring import Records

T = TypeVar("T")

FORMAT = 1
"""The version of the description below; readers refuse any other."""


Measured = int | Sequence[int] | None
"""A number, the bins of a histogram, or None of an extreme of nothing."""


class Kind(enum.StrEnum):
    """What the numbers of a column mean."""

    NUMBER = "number"
    SIGNED = "signed"
    TIME = "time"
    """Nanoseconds of CLOCK_MONOTONIC."""
    DURATION = "duration"
    """Nanoseconds."""
    STRING = "string"
    BYTES = "bytes"


@dataclass(frozen=True, slots=True)
class Column:
    """One field of the records; `fault_bit` is the bit of a record's `faults` that marks a value
    which could not be had (memory that could not be read), None where it always can.
    """

    name: str
    kind: Kind
    fault_bit: int | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """One site of a recording: where it is, how it executes, and what it counted.

    `hits` is how often it was reached, `passed` how often a record was due. `measures` has what was
    computed in the process: numbers, or the bins of histograms.
    """

    spec: str
    object: str
    function: str | None
    address: int
    method: str
    returns: bool = False
    hits: int = 0
    passed: int = 0
    measures: Mapping[str, Measured] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The shortest name: `libc.so.6:read`."""
        if self.function is None:
            return f"{self.address:#x}"
        return printable(f"{self.object}:{self.function}" if self.object else self.function)


@dataclass(frozen=True, slots=True)
class Recorded:
    """Records and their meaning. The field `probe` of a record is an index into `places`.

    `began_ns` and `ended_ns` are moments of CLOCK_MONOTONIC; `wall_ns` is what the time of day
    was ahead of it (Unix time). `error_ns` is how far a time may be wrong. `damaged` counts what
    no writer of ours could have written: above 0, nothing here is to be relied on.
    """

    records: Records
    columns: tuple[Column, ...]
    places: tuple[Place, ...]
    pid: int = 0
    command: tuple[str, ...] = ()
    began_ns: int = 0
    ended_ns: int = 0
    wall_ns: int = 0
    error_ns: int = 0
    lost: int = 0
    damaged: int = 0
    refused: tuple[Mapping[str, object], ...] = field(default=())

    def column(self, kind: Kind) -> str | None:
        """Return the name of the first column of a kind, None without one."""
        return next((column.name for column in self.columns if column.kind is kind), None)

    def faulty(self, name: str) -> NDArray[np.bool_]:
        """Tell of each record whether a column's value could not be had."""
        bit = next(column.fault_bit for column in self.columns if column.name == name)
        if bit is None:
            return np.zeros(len(self.records), np.bool_)
        faulty: NDArray[np.bool_] = (self.records["faults"] >> bit & 1).astype(np.bool_)
        return faulty

    def description(self) -> dict[str, Any]:
        """Return all but the records as what JSON can say."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "records"}
        own["columns"] = [asdict(column) for column in self.columns]
        own["places"] = [asdict(place) for place in self.places]
        return {"format": FORMAT, **own}

    @classmethod
    def from_description(cls, description: object, records: Records) -> Self:
        """Put records and their description together again; raises ProbeError (`bad-recording`)
        where the two are none, or don't belong together.
        """
        try:
            own = dict(_checked(description, dict))
            if own.pop("format", None) != FORMAT:
                raise ValueError("it was written by another version")
            own["columns"] = tuple(_column(column) for column in own["columns"])
            own["places"] = tuple(_place(place) for place in own["places"])
            own["command"] = tuple(_checked(word, str) for word in own["command"])
            own["refused"] = tuple(_checked(error, dict) for error in own["refused"])
            for name in ("pid", "began_ns", "ended_ns", "wall_ns", "error_ns", "lost", "damaged"):
                _checked(own[name], int)
            made = cls(records, **own)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise bad_recording(f"it is not described as one: {error}") from None
        names = records.dtype.names
        if names is None or records.ndim != 1:
            raise bad_recording("its records are no records")
        missing = {"probe", *(column.name for column in made.columns)} - set(names)
        if any(column.fault_bit is not None for column in made.columns):
            missing |= {"faults"} - set(names)
        if missing:
            raise bad_recording(f"its records have no {', '.join(sorted(missing))}")
        if len(records) and int(records["probe"].max()) >= len(made.places):
            raise bad_recording("a record names a place that is not there")
        return made


def bad_recording(why: str) -> ProbeError:
    """Make the error for what should be a recording and is none."""
    return ProbeError(
        f"this is no recording: {why}",
        code="bad-recording",
        hint="give a file that `uprobes record -o FILE` wrote, or the number of a process",
    )


def _column(described: Mapping[str, Any]) -> Column:
    bit = described["fault_bit"]
    if bit is not None and not 0 <= _checked(bit, int) < FAULT_BITS:
        raise ValueError(f"no field has the fault bit {bit}")
    return Column(_checked(described["name"], str), Kind(described["kind"]), bit)


def _place(described: Mapping[str, Any]) -> Place:
    place = Place(**described)
    _checked(place.spec, str)
    _checked(place.object, str)
    _checked(place.method, str)
    if place.function is not None:
        _checked(place.function, str)
    for number in (place.address, place.hits, place.passed):
        _checked(number, int)
    for name, value in _checked(place.measures, dict).items():
        _checked(name, str)
        for number in value if isinstance(value, list) else [value or 0]:
            _checked(number, int)
    return place


def _checked(value: Any, kind: type[T]) -> T:  # noqa: ANN401 - it may be anything, from a file
    if not isinstance(value, kind):
        raise TypeError(f"{str(value)[:40]!r} should be a {kind.__name__}")
    return value


def empty_records(columns: Sequence[str]) -> Records:
    """Return no records, with columns of plain numbers."""
    return np.empty(0, [("probe", "<u4"), *((name, "<u8") for name in columns)])
