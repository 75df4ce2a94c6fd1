"""Turn the CPU's ticks into nanoseconds of CLOCK_MONOTONIC, with a known error.

Records hold raw ticks: reading the counter is most of what a record costs. Ticks and clock are
sampled together when a recording begins and at each reading, so that every record lies between two
samples. Between them the kernel bends CLOCK_MONOTONIC by some parts in a million at most (NTP), and
a straight line is right up to the samples' own errors.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from uprobes.errors import UnsupportedTarget
from uprobes.recording.ticks import sampler

Ticks = NDArray[np.uint64]
Nanoseconds = NDArray[np.int64]

TRIES = 16
"""Samples of which the one that was least disturbed counts."""
SHORTEST_NS = 20_000_000
"""Samples closer together than this would make a rate of ticks too uncertain."""
SHORTEST_TICK, LONGEST_TICK = 0.01, 100.0
"""In nanoseconds: no counter is quicker or slower."""
KEPT = 128
"""Samples that are remembered; beyond this, every second of the older half is forgotten."""
CHUNK = 16384
"""Ticks that are converted at a time: what fits the CPU's cache."""
NEEDED = ("constant_tsc", "nonstop_tsc")
"""Flags of /proc/cpuinfo: the counter's rate never changes, and it never stops."""
UNSTABLE = ("hpet", "acpi_pm", "jiffies", "refined-jiffies", "pit")
"""Clock sources that the kernel falls back on when it found the counters of the CPUs to differ."""
CPUINFO = Path("/proc/cpuinfo")
CLOCKSOURCE = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")


@dataclass(frozen=True, slots=True, order=True)
class Sample:
    """Ticks and nanoseconds of one moment; `error_ns` is how far apart they may be."""

    ticks: int
    ns: int
    error_ns: int


def take_sample() -> Sample:
    """Sample ticks and CLOCK_MONOTONIC; raises UnsupportedTarget with the code `no-clock`."""
    read = sampler().sample
    before, ns, after = min((read() for _ in range(TRIES)), key=lambda one: one[2] - one[0])
    # One tick is at most a nanosecond on any CPU with a constant counter since 2008.
    return Sample((before + after) // 2, ns, (after - before) // 2 + 1)


def check_counter() -> None:
    """Raise UnsupportedTarget with the code `no-clock` where ticks are no measure of time."""
    flags = _cpu_flags()
    missing = [flag for flag in NEEDED if flag not in flags]
    if missing:
        raise _no_clock(f"this CPU's tick counter is not {' and '.join(missing)}")
    try:
        source = CLOCKSOURCE.read_text().strip()
    except OSError:
        return
    if source in UNSTABLE:
        raise _no_clock(f"the kernel found the tick counters to differ and went over to {source}")


def _no_clock(why: str) -> UnsupportedTarget:
    return UnsupportedTarget(
        why, code="no-clock", hint="record without time and elapsed, or use latency --method boost"
    )


def _cpu_flags() -> frozenset[str]:
    for line in CPUINFO.read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "flags":
            return frozenset(value.split())
    return frozenset()


class Clock:
    """Ticks to nanoseconds. `mark` takes another sample: between two of them the error is theirs.

    `samples` are those of an earlier process, such as the one that began a recording: the oldest
    counts, if it can be of this machine and boot.
    Raises UnsupportedTarget with the code `no-clock` where ticks are no measure of time.
    """

    def __init__(self, samples: Iterable[Sample] = ()) -> None:
        check_counter()
        self._samples: list[Sample] = []
        self.mark()
        now = self._samples[0]
        earlier = [sample for sample in samples if _is_plausible(sample, now)]
        self._samples = [*sorted(earlier)[:1], now]

    @classmethod
    def of_process(cls) -> Self:
        """Make a clock that goes back to the first one of this process: its rate is known better
        and sooner.
        """
        return cls([_first_sample()])

    @property
    def samples(self) -> tuple[Sample, ...]:
        """The samples that are remembered, in the order of time."""
        return tuple(self._samples)

    @property
    def error_ns(self) -> int:
        """How far a time between the first and the last sample may be from CLOCK_MONOTONIC."""
        return max(sample.error_ns for sample in self._samples) + 1

    @property
    def ns_per_tick(self) -> float:
        """How long a tick is; waits until that can be told to some parts in a million."""
        first, last = self._span()
        return (last.ns - first.ns) / (last.ticks - first.ticks)

    def mark(self) -> None:
        """Take a sample."""
        sample = take_sample()
        if self._samples and sample.ticks <= self._samples[-1].ticks:
            # The machine was started again, or these are another machine's samples.
            self._samples.clear()
        self._samples.append(sample)
        if len(self._samples) > KEPT:
            half = KEPT // 2
            self._samples[1:half] = self._samples[1:half:2]

    def _span(self) -> tuple[Sample, Sample]:
        if self._samples[-1].ns - self._samples[0].ns < SHORTEST_NS:
            time.sleep(SHORTEST_NS / 1e9)
            self.mark()
        return self._samples[0], self._samples[-1]

    def times(self, ticks: NDArray[Any]) -> Nanoseconds:
        """Return ticks as nanoseconds of CLOCK_MONOTONIC; any 64 bits have some answer."""
        self._span()
        moments = np.array([sample.ticks for sample in self._samples], np.uint64)
        result = np.empty(len(ticks), np.int64)
        if not len(ticks):
            return result
        ticks = ticks.view(np.uint64)
        low, high = int(ticks.min()), int(ticks.max())
        # Nearly always all lie between two neighbours; what lies outside goes straight on.
        first = _piece(moments, low)
        last = _piece(moments, high)
        if first == last:
            return self._line(ticks, first, result)
        pieces = np.clip(np.searchsorted(moments, ticks, "right") - 1, 0, len(moments) - 2)
        for piece in range(first, last + 1):
            chosen = pieces == piece
            part = ticks[chosen]
            if len(part):
                result[chosen] = self._line(part, piece, np.empty(len(part), np.int64))
        return result

    def _line(self, ticks: Ticks, piece: int, result: Nanoseconds) -> Nanoseconds:
        near, far = self._samples[piece], self._samples[piece + 1]
        rate = (far.ns - near.ns) / (far.ticks - near.ticks)
        if far.ns - near.ns < SHORTEST_NS and (piece == 0 or piece == len(self._samples) - 2):
            # Close together, and what lies outside would be led far astray.
            rate = self.ns_per_tick
        origin, product = np.uint64(near.ticks), np.empty(min(CHUNK, len(ticks)))
        with np.errstate(invalid="ignore"):  # forged ticks may be too far away for any answer
            for at in range(0, len(ticks), CHUNK):
                part = ticks[at : at + CHUNK]
                since = (part - origin).view(np.int64)
                scaled = np.multiply(since, rate, out=product[: len(part)])
                np.rint(scaled, out=scaled)
                np.add(scaled.astype(np.int64), near.ns, out=result[at : at + CHUNK])
        return result

    def durations(self, ticks: NDArray[Any]) -> Nanoseconds:
        """Return differences of ticks as nanoseconds; negative where they are."""
        since = ticks.view(np.int64)
        with np.errstate(invalid="ignore"):
            result: Nanoseconds = np.rint(since * self.ns_per_tick).astype(np.int64)
        return result


@cache
def _first_sample() -> Sample:
    return take_sample()


def _is_plausible(earlier: Sample, now: Sample) -> bool:
    """Whether a sample that somebody else took can be of this machine and boot."""
    ticks, ns = now.ticks - earlier.ticks, now.ns - earlier.ns
    return (
        ticks > 0 and SHORTEST_TICK < ns / ticks < LONGEST_TICK and 0 <= earlier.error_ns < 1 << 32
    )


def _piece(moments: Ticks, ticks: int) -> int:
    at = int(np.searchsorted(moments, np.uint64(ticks), "right")) - 1
    return min(max(at, 0), len(moments) - 2)
