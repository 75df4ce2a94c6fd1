"""How many records a second reach numpy, and where loss begins.

The reader is this process, in a loop; the victim's threads call as often as they are told, or as
they can. After every trial what was read and what was lost must add up to what was called, exactly.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.installed import FIELDS, install
from benchmarks.report import Figure, Ratio, Section
from benchmarks.victims import Ended, Victim
from uprobes.recording import Recording

SIZE = "256M"
TRIAL_S = 0.6
"""How long the victim calls in one trial; the rings hold a part of that only."""
PAUSE_S = 0.001
"""Between two readings: who looks all the time keeps the writers waiting for their own memory."""
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
        begun = time.perf_counter_ns()
        victim.begin("begins_lea", each, threads, interval)
        read = 0
        while victim.calling:
            read += reader(recording)
            time.sleep(PAUSE_S)
        took = time.perf_counter_ns() - begun
        victim.end()
        while more := reader(recording):
            read += more
        lost = recording.lost - lost
        called = each * threads
        if not read + lost == called == int(recording.hits.sum()) - hits:
            raise Ended(f"{called} calls, but {read} records read and {lost} lost")
        return Trial(called * 1e3 / took, called, read, lost)

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
            with Victim() as victim:
                drained = Drained(victim)
                best = [drained.fastest(reader, threads) for _ in range(max(1, rounds // 4))]
                full = [drained.trial(reader, threads, None) for _ in range(max(1, rounds // 4))]
            busy = f"{threads} busy thread{'s' * (threads > 1)}, {name}"
            section.figures.append(Figure(f"{busy}: without loss", tuple(best), "M/s"))
            read = tuple(trial.rate * trial.read / trial.called for trial in full)
            written = sum(trial.called for trial in full)
            ratios = (
                Ratio("M/s called", sum(trial.rate for trial in full) / len(full)),
                Ratio("% lost", 100 * sum(trial.lost for trial in full) / written),
            )
            section.figures.append(Figure(f"{busy}: read at full speed", read, "M/s", ratios))
    return section
