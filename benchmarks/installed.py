"""Ours at work where no tracer stands by: installed, detached, and left to itself."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

import uprobes
from benchmarks.events import Running
from benchmarks.peers import TWINS, Start, cpus
from benchmarks.victims import Missing, Victim
from uprobes.recording import Recording

SIX = tuple(f"arg{number}" for number in range(6))
FIELDS = ("time", "tid", *SIX)
SIZE = "4M"


def counting(method: str, function: str, offset: int = 0) -> Start:
    """Count how often an instruction is reached."""
    return _left_alone(method, function, offset, fields=())


def recording(method: str, function: str) -> Start:
    """Record the time, the thread and six arguments in rings that overwrite the oldest."""
    return _left_alone(
        method, function, check=_records_are_right, fields=FIELDS, mode="overwrite", size=SIZE
    )


def short_record(function: str) -> Start:
    """Record the thread and an argument."""
    return _left_alone("jump", function, fields=("tid", "arg0"), mode="overwrite", size=SIZE)


def latency(method: str, function: str) -> Start:
    """Count the time between entry and return in a histogram."""
    return _left_alone(
        method,
        function,
        check=_histogram_is_full,
        fields=(),
        measures=("log2(elapsed)",),
        returns=True,
    )


def returning(method: str, function: str) -> Start:
    """Record at the return: time, thread, time since the entry, and what is returned."""
    fields = ("time", "tid", "elapsed", "ret")
    return _left_alone(method, function, fields=fields, returns=True, mode="overwrite", size=SIZE)


def _left_alone(
    method: str,
    function: str,
    offset: int = 0,
    check: Callable[[Recording, Victim, int], None] = lambda *_: None,
    **how: Any,
) -> Start:
    @contextmanager
    def start() -> Iterator[Running]:
        with Victim("victim", cpus()) as victim:
            try:
                made = install(victim, f"victim:{function}+{offset:#x}", method=method, **how)
            except uprobes.ProbeError as error:
                raise Missing(str(error)) from None

            def hits(calls: int) -> int:
                check(made, victim, calls)
                return int(made.hits.sum())

            yield Running(victim, function, TWINS[function], hits)

    return start


def install(victim: Victim, spec: str, **how: Any) -> Recording:
    """Install in a victim, and let it go."""
    with uprobes.attach(victim.pid) as target:
        made = target.record(spec, **how)
        assert not made.refused, made.refused[0]
        made.detach()
    return made


def _records_are_right(made: Recording, victim: Victim, _calls: int) -> None:
    records = made.read(final=True)
    assert len(records), "nothing was recorded"
    assert (records["tid"] == victim.pid).all(), "a record names the wrong thread"
    steps = np.diff(records["arg0"].astype(np.int64))
    # Each call's argument is one more than the last one's; where an order ends it begins at 0.
    assert (steps[steps != 1] < 0).all(), "a record is missing, or has a wrong argument"
    assert (np.diff(records["time"].astype(np.int64)) >= 0).all(), "time goes back"


def _histogram_is_full(made: Recording, _victim: Victim, calls: int) -> None:
    assert int(made.histogram().sum()) == calls, "not every return is in the histogram"
