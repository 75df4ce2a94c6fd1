"""How many records a second reach numpy, and where loss begins.

The reader is this process, in a loop; the victim's threads call as often as they are told, or as
they can. After every trial what was read and what was lost must add up to what was called, exactly.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.installed import FIELDS, install
from benchmarks.quiet import wait_for_quiet
from benchmarks.report import Figure, Ratio, Section
from benchmarks.victims import Ended, Victim
from uprobes.recording import Recording

SIZE = "256M"
TRIAL_S = 0.6
"""How long the victim calls in one trial; the rings hold a part of that only."""
PAUSE_S = 0.001
"""Between two readings: who looks all the time keeps the writers waiting for their own memory."""
PATIENCE_S = 2.0
"""How long to wait for others to leave the machine alone."""
SLOWEST, FASTEST = 0.25, 64.0
"""Million calls a second, of all threads together."""
HALVINGS = 4
"""How often the interval between a rate without loss and one with loss is halved."""
FULL_SPEED_CALLS = 20_000_000
Reader = Callable[[Recording], int]


@dataclass(frozen=True)
class Trial:
    """What came of one trial; `rate` is in million calls a second, as it was."""

    rate: float
    called: int
    read: int
    lost: int
    cpu_s: float
    """What the reader took of a CPU."""


def with_read(recording: Recording) -> int:
    """Read the records: copied, in nanoseconds, in order of time."""
    return len(recording.read())


def with_borrow(recording: Recording) -> int:
    """Look at the records where they stand, as they are: the last argument of each is added up."""
    with recording.borrow() as arrays:
        for array in arrays:
            array["arg0"].sum()
        return sum(map(len, arrays))


READERS: tuple[tuple[str, Reader], ...] = (
    ("read(), sorted, in ns", with_read),
    ("borrow(), in place", with_borrow),
)


class Drained:
    """A victim whose calls are recorded, and what was read of them."""

    def __init__(self, victim: Victim) -> None:
        self.victim = victim
        self.recording = install(
            victim, "victim:begins_lea", method="jump", fields=FIELDS, size=SIZE
        )

    def trial(self, reader: Reader, threads: int, rate: float | None) -> Trial:
        """Call at a rate, all threads together (None: as fast as they can), and read meanwhile."""
        recording, victim = self.recording, self.victim
        lost, hits = recording.lost, int(recording.hits.sum())
        if rate is None:
            interval, each = 0, FULL_SPEED_CALLS // threads
        else:
            interval = max(1, round(threads * 1000 / rate))
            each = round(TRIAL_S * 1e9 / interval)
        begun, cpu = time.perf_counter_ns(), time.process_time()
        victim.begin("begins_lea", each, threads, interval)
        read = 0
        while victim.calling:
            read += reader(recording)
            time.sleep(PAUSE_S)
        took = time.perf_counter_ns() - begun
        victim.end()
        while more := reader(recording):
            read += more
        cpu = time.process_time() - cpu
        lost = recording.lost - lost
        called = each * threads
        if not read + lost == called == int(recording.hits.sum()) - hits:
            raise Ended(f"{called} calls, but {read} records read and {lost} lost")
        return Trial(called * 1e3 / took, called, read, lost, cpu)

    def _lossless(self, reader: Reader, threads: int, rate: float) -> Trial:
        """Try a rate, and once more when something is lost: others use the machine, too."""
        trial = self.trial(reader, threads, rate)
        return self.trial(reader, threads, rate) if trial.lost else trial

    def fastest(self, reader: Reader, threads: int) -> float:
        """Find the highest rate at which nothing is lost."""
        best, rate, worst = 0.0, SLOWEST, None
        while worst is None and rate <= FASTEST:
            trial = self._lossless(reader, threads, rate)
            if trial.lost:
                worst = rate
            elif trial.rate < 0.8 * rate:
                return max(best, trial.rate)  # The victim cannot call as often as that.
            else:
                best, rate = max(best, trial.rate), rate * 2
        low, high = best, worst or rate
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            trial = self._lossless(reader, threads, middle)
            if trial.lost:
                high = middle
            else:
                low, best = middle, max(best, trial.rate)
        return best


def drain_costs(rounds: int) -> Section:
    """Search the highest rate without loss, and look at what is lost at full speed."""
    section = Section(
        "Records that reach numpy",
        "Million records a second: time, thread, six arguments, of one function; rings of 256 MB."
        " Without loss: the highest rate at which none was lost. In every trial what was read and"
        " what was lost added up to the calls made, exactly.",
    )
    for threads in (1, 2):
        for name, reader in READERS:
            busy = f"{threads} busy thread{'s' * (threads > 1)}, {name}"
            section.figures += _drained(busy, reader, threads, max(1, rounds // 4))
    return section


def _drained(busy: str, reader: Reader, threads: int, times: int) -> Iterator[Figure]:
    disturbed = 0
    best, full = [], []
    with Victim() as victim:
        drained = Drained(victim)
        for _ in range(times):
            disturbed += not wait_for_quiet(PATIENCE_S)
            best.append(drained.fastest(reader, threads))
            full.append(drained.trial(reader, threads, None))
    note = f"{disturbed} of {times} turns on a busy machine" if disturbed else ""
    yield Figure(f"{busy}: without loss", tuple(best), "M/s", note=note)
    read, called = sum(t.read for t in full), sum(t.called for t in full)
    ratios = (
        Ratio("M/s called", statistics.fmean(t.rate for t in full)),
        Ratio("% lost", 100 * sum(t.lost for t in full) / called),
        Ratio("M in a CPU second", read / 1e6 / sum(t.cpu_s for t in full)),
    )
    rates = tuple(t.rate * t.read / t.called for t in full)
    yield Figure(f"{busy}: read at full speed", rates, "M/s", ratios)
