"""How much of the time a probe was in, what it saw meanwhile, and what that makes in all.

Rules:
- time is cut into cycles; each counts for itself, so that a probe that was in all the time at first
  keeps what it counted then;
- a cycle of which nothing was seen is taken to be as the others were;
- a return that comes while its probe is out belongs to the cycle in which it comes.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

from uprobes.probe import Probe, ProbeState, Uretprobe

UNMEASURED_NS = 10_000
"""What a stop is taken to cost before any of a probe's was measured."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """What is known of a probe that was not in all the time.

    `share` of the time it was in, more than 0 and less than 1; `estimate` is about how many hits it
    would have had otherwise.
    """

    share: float
    estimate: int


class Samples:
    """The account of one probe; all times are nanoseconds of one clock."""

    def __init__(self, probe: Probe, now: int) -> None:
        self.probe = probe
        self.duty = 1.0
        """The part of a cycle for which it shall be in."""
        self._began = self._cycle = now
        self._armed_since: int | None = now
        self._armed = 0
        """Time that it was in, this cycle not counted."""
        self._armed_now = 0
        """The same of this cycle, up to the last change."""
        self._counted = 0.0
        """About how many hits there were in the cycles during which it was in at all."""
        self._covered = 0
        """How long those cycles were."""
        self._hits = probe.hits
        self._stops = stops_of(probe)
        self._first = probe.hits
        self._ended: int | None = None

    @property
    def over(self) -> bool:
        """Whether the probe was taken out for good: the account is closed."""
        return self._ended is not None

    def changed(self, now: int) -> None:
        """Take in that the probe was paused, resumed or taken out, or was not."""
        if self.over:
            return
        if not self.probe.registered:
            self.end_cycle(now)
            self._ended, self._armed_since = now, None
        out = self.probe.state is ProbeState.PAUSED
        if out and self._armed_since is not None:
            self._armed_now += now - self._armed_since
            self._armed_since = None
        elif not out and not self.over and self._armed_since is None:
            self._armed_since = now

    def spent(self) -> int:
        """Return what its stops cost in this cycle, in nanoseconds."""
        return (stops_of(self.probe) - self._stops) * (self.probe.cost_ns or UNMEASURED_NS)

    def rate(self, now: int) -> float:
        """Return the part of the time that it costs while it is in, judged by this cycle."""
        return self.spent() / max(self._armed_in_cycle(now), 1)

    def _armed_in_cycle(self, now: int) -> int:
        since = self._armed_since
        return self._armed_now + (0 if since is None else now - since)

    def _with_cycle(self, now: int) -> tuple[float, int]:
        """Return what was counted and covered, this cycle included."""
        armed, passed = self._armed_in_cycle(now), now - self._cycle
        hits = self.probe.hits - self._hits
        if not armed:
            return self._counted + hits, self._covered
        return self._counted + hits * passed / armed, self._covered + passed

    def end_cycle(self, now: int) -> None:
        """Close this cycle's account and begin the next."""
        self._counted, self._covered = self._with_cycle(now)
        self._armed += self._armed_in_cycle(now)
        self._armed_now, self._cycle = 0, now
        if self._armed_since is not None:
            self._armed_since = now
        self._hits, self._stops = self.probe.hits, stops_of(self.probe)

    def sampling(self, now: int) -> Sampling | None:
        """Return what came of it, None for a probe that was in all the time."""
        now = now if self._ended is None else self._ended
        armed, passed = self._armed + self._armed_in_cycle(now), now - self._began
        if armed >= passed:
            return None
        counted, covered = self._with_cycle(now)
        whole = counted * passed / covered if covered else counted
        return Sampling(armed / passed, self._first + round(whole))


def stops_of(probe: Probe) -> int:
    """Count how often a probe has stopped a thread: hits that a condition left out cost as much,
    and a call that is followed to its return stops twice.
    """
    if isinstance(probe, Uretprobe):
        return probe.hits + probe.entry_hits
    return probe.hits + probe.filtered


def level(rates: Iterable[float], allowed: float) -> float:
    """Return the most that each may cost so that all together cost no more than `allowed`.

    What costs less leaves its share to the others; infinite where nothing need be limited.
    """
    ordered = sorted(rates)
    for index, rate in enumerate(ordered):
        left = len(ordered) - index
        if rate * left > allowed:
            return allowed / left
        allowed -= rate
    return inf
