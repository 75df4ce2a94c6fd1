"""What a recording says as a whole: counts and times by function, who did most, and when."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uprobes.recording.recorded import Column, Kind, Measured, Place, Recorded
from uprobes.recording.ring import Records

LOG2_BINS = 64
TOP = 10
"""Values of a field that are told one by one."""
BINS = 60
"""Pieces of a time line."""
CHUNK = 1 << 20
"""Records that are looked at in one go: what a summary needs of memory beside them."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """How long calls took, in nanoseconds; `log2_ns[i]` counts 2^i ≤ time < 2^(i+1)."""

    count: int
    min_ns: int
    mean_ns: int
    median_ns: int
    p99_ns: int
    max_ns: int
    log2_ns: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Function:
    """The records of one place: how many, which share, how many a second, and their durations."""

    place: Place
    records: int
    share: float
    per_s: float | None
    latency: Distribution | None


@dataclass(frozen=True, slots=True)
class Top:
    """The commonest values of a column, with the number of records of each; `distinct` values."""

    column: str
    values: tuple[tuple[int | str, int], ...]
    distinct: int


@dataclass(frozen=True, slots=True)
class Timeline:
    """Records in `len(counts)` pieces of time of `width_ns` each, from `begin_ns` on."""

    begin_ns: int
    width_ns: int
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Counted:
    """What was counted and measured at one place, whether or not it was recorded."""

    label: str
    hits: int
    passed: int
    measures: Mapping[str, Measured]


@dataclass(frozen=True, slots=True)
class Summary:
    """All of it; functions with most records first, those without any left out.

    `counted` has the places that were hit, those with most hits first, where there are measures or
    no records.
    """

    records: int
    lost: int
    damaged: int
    span_ns: int | None
    functions: tuple[Function, ...]
    tops: tuple[Top, ...]
    timeline: Timeline | None
    counted: tuple[Counted, ...] = ()

    def as_document(self) -> dict[str, object]:
        """Return it as the JSON contract writes it."""
        document = asdict(self)
        for row, function in zip(document["functions"], self.functions, strict=True):
            row.update(row.pop("place"))
            del row["measures"]
            row["label"] = function.place.label
        return document


def summarise(recorded: Recorded) -> Summary:
    """Summarise a recording; works through records on disk piece by piece."""
    records = recorded.records
    counts = np.bincount(records["probe"], minlength=len(recorded.places))
    moments, span = _span(recorded)
    functions = [
        _function(recorded, number, int(count), span)
        for number, count in enumerate(counts)
        if count
    ]
    functions.sort(key=lambda function: -function.records)
    return Summary(
        len(records),
        recorded.lost,
        recorded.damaged,
        span,
        tuple(functions),
        tuple(_top(records, column) for column in recorded.columns if _is_telling(column)),
        _timeline(moments, span),
        _counted_at(recorded),
    )


def _counted_at(recorded: Recorded) -> tuple[Counted, ...]:
    if recorded.columns and not any(place.measures for place in recorded.places):
        return ()
    hit = sorted((p for p in recorded.places if p.hits), key=lambda place: -place.hits)
    return tuple(Counted(p.label, p.hits, p.passed, p.measures) for p in hit)


def _span(recorded: Recorded) -> tuple[NDArray[np.int64] | None, int | None]:
    name = recorded.column(Kind.TIME)
    if name is None or not len(recorded.records):
        return None, None
    moments = np.ascontiguousarray(recorded.records[name])
    # Their difference in Python: forged times may be more than 63 bits apart.
    return moments, int(moments.max()) - int(moments.min())


def _function(recorded: Recorded, number: int, count: int, span: int | None) -> Function:
    duration = recorded.column(Kind.DURATION)
    return Function(
        recorded.places[number],
        count,
        count / len(recorded.records),
        count * 1e9 / span if span else None,
        None if duration is None else distribution(_chosen(recorded.records, number, duration)),
    )


def _chosen(records: Records, number: int, name: str) -> NDArray[np.int64]:
    parts = []
    for at in range(0, len(records), CHUNK):
        chunk = records[at : at + CHUNK]
        parts.append(chunk[name][chunk["probe"] == number])
    return np.concatenate(parts)


def distribution(times_ns: NDArray[Any]) -> Distribution | None:
    """Describe durations; a negative one (a clock that went back) counts as 0; None of none."""
    if not len(times_ns):
        return None
    times = np.maximum(times_ns, 0)
    least, median, p99, most = np.quantile(times, [0, 0.5, 0.99, 1], method="inverted_cdf")
    bins = log2_bins(times)  # of at least one
    return Distribution(
        len(times),
        int(least),
        int(times.mean(dtype=np.float64)),
        int(median),
        int(p99),
        int(most),
        tuple(bins[: int(np.flatnonzero(bins)[-1]) + 1].tolist()),
    )


def log2_bins(times: NDArray[Any]) -> NDArray[np.int64]:
    """Count non-negative numbers by powers of two, 0 together with 1."""
    edges = np.left_shift(np.uint64(1), np.arange(1, LOG2_BINS, dtype=np.uint64))
    which = np.searchsorted(edges, times.astype(np.uint64), "right")
    return np.bincount(which, minlength=LOG2_BINS)


def _is_telling(column: Column) -> bool:
    """Whether a column's commonest values tell anything: hardly two times are the same."""
    return column.kind not in (Kind.TIME, Kind.DURATION, Kind.BYTES)


def _top(records: Records, column: Column) -> Top:
    values, counts = _counted(records, column.name)
    order = np.argsort(-counts, kind="stable")[:TOP]
    write = WRITTEN.get(column.kind, int)
    return Top(
        column.name,
        tuple((write(values[at].item()), int(counts[at])) for at in order),
        len(values),
    )


def _counted(records: Records, name: str) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the distinct values of a column, and how many records have each."""
    values = np.empty(0, records.dtype[name])
    counts = np.empty(0, np.int64)
    for at in range(0, len(records), CHUNK):
        column = np.ascontiguousarray(records[name][at : at + CHUNK])
        new, many = np.unique(column, return_counts=True)
        values, which = np.unique(np.concatenate([values, new]), return_inverse=True)
        summed = np.zeros(len(values), np.int64)
        np.add.at(summed, which, np.concatenate([counts, many]))
        counts = summed
    return values, counts


def text(value: bytes) -> str:
    """Write a string of the target's; what is no UTF-8 is shown by its bytes."""
    return value.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")


WRITTEN: Mapping[Kind, Callable[[Any], int | str]] = {Kind.STRING: text, Kind.BYTES: bytes.hex}
"""How the values of a column are written where they are no numbers."""


def _timeline(moments: NDArray[np.int64] | None, span: int | None) -> Timeline | None:
    if moments is None or span is None:
        return None
    width = span // BINS + 1
    begin = int(moments.min())
    since = moments.view(np.uint64) - np.uint64(begin % (1 << 64))
    counts = np.bincount((since // np.uint64(width)).astype(np.int64), minlength=BINS)
    return Timeline(begin, width, tuple(counts.tolist()))
