"""Recordings for other programs: CSV, JSON lines, and the trace format that Perfetto and
chrome://tracing open.
"""

import csv
import json
from collections.abc import Callable, Iterator
from typing import IO, Any

import numpy as np

from uprobes.recording.recorded import Kind, Recorded
from uprobes.recording.store import chunks
from uprobes.recording.summary import WRITTEN

Row = tuple[Any, ...]


def rows(recorded: Recorded) -> Iterator[Row]:
    """Give each record as plain values: the number of its place, then the columns in order.

    A value that could not be had is None.
    """
    for chunk in chunks(recorded.records):
        values = [chunk["probe"].tolist()]
        for column in recorded.columns:
            plain = chunk[column.name].tolist()
            write = WRITTEN.get(column.kind)
            if write is not None:
                plain = list(map(write, plain))
            if column.fault_bit is not None:
                for at in np.flatnonzero(chunk["faults"] >> column.fault_bit & 1).tolist():
                    plain[at] = None
            values.append(plain)
        yield from zip(*values, strict=True)


def export_csv(recorded: Recorded, file: IO[str]) -> None:
    """Write a table: a line of names, then a line for each record; times in nanoseconds."""
    labels = [place.label for place in recorded.places]
    writer = csv.writer(file)
    writer.writerow(["place", *(column.name for column in recorded.columns)])
    writer.writerows((labels[row[0]], *row[1:]) for row in rows(recorded))


def export_json_lines(recorded: Recorded, file: IO[str]) -> None:
    """Write an object a line for each record; times in nanoseconds."""
    labels = [place.label for place in recorded.places]
    names = ["place", *(column.name for column in recorded.columns)]
    for row in rows(recorded):
        values = (labels[row[0]], *row[1:])
        file.write(json.dumps(dict(zip(names, values, strict=True))) + "\n")


def export_chrome(recorded: Recorded, file: IO[str]) -> None:
    """Write trace events: a slice for each record with a duration, else an instant.

    Times are microseconds, as the format wants them; without a time, records are a microsecond
    apart, in their order.
    """
    names = [column.name for column in recorded.columns]
    at = {kind: names.index(name) + 1 for kind in Kind if (name := recorded.column(kind))}
    thread = names.index("tid") + 1 if "tid" in names else None
    shown = [
        (name, number + 1)
        for number, name in enumerate(names)
        if number + 1 not in (at.get(Kind.TIME), at.get(Kind.DURATION), thread)
    ]
    labels = [place.label for place in recorded.places]
    program = " ".join(recorded.command) or f"process {recorded.pid}"
    head = {"name": "process_name", "ph": "M", "pid": recorded.pid, "args": {"name": program}}
    file.write('{"displayTimeUnit":"ns","traceEvents":[\n' + json.dumps(head))
    for number, row in enumerate(rows(recorded)):
        time = row[at[Kind.TIME]] if Kind.TIME in at else number * 1000
        event: dict[str, object] = {
            "name": labels[row[0]],
            "pid": recorded.pid,
            "tid": row[thread] if thread is not None else 0,
            "args": {name: row[where] for name, where in shown},
        }
        if Kind.DURATION in at:
            duration = max(row[at[Kind.DURATION]], 0)
            event |= {"ph": "X", "ts": (time - duration) / 1000, "dur": duration / 1000}
        else:
            event |= {"ph": "i", "ts": time / 1000, "s": "t"}
        file.write(",\n" + json.dumps(event))
    file.write("\n]}\n")


EXPORTS: dict[str, Callable[[Recorded, IO[str]], None]] = {
    "csv": export_csv,
    "json": export_json_lines,
    "chrome": export_chrome,
}
"""The text formats, by the name that chooses them."""
