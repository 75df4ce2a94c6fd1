"""A limit to what probes cost: the dear ones are in for a part of the time only, and it is told.

Rules:
- the limit is a share of the time that passes, for all probes together; each may use the same part
  of it, and what the cheap ones leave belongs to the others;
- a probe that costs more is *sampled*: in during one window of each cycle, out for the rest;
- where in the cycle the window lies is drawn anew each time: nothing periodic in the program keeps
  step with it, and what was seen stands for the whole cycle;
- a probe is unregistered where even the shortest window in the longest cycle is too much.
"""

import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Protocol, Self

from uprobes.errors import ProbeError, TargetGone
from uprobes.point import ProbePoint
from uprobes.probe import Probe, ProbeState
from uprobes.sampling import Samples, Sampling, level

MS = 1_000_000
FIRST = 10 * MS
"""Nanoseconds of the first cycle, when nothing is known yet."""
CHECK = 25 * MS
"""After so many a cycle in which too much was spent may be cut short."""
CYCLE, LONGEST_CYCLE = 250 * MS, 2500 * MS
SHORTEST_WINDOW = 5 * MS
LEAST_DUTY = SHORTEST_WINDOW / LONGEST_CYCLE
GROWTH = 2.0
"""By how much a probe's part of a cycle may grow from one cycle to the next."""


class Limited(Protocol):
    """What a budget needs of a target."""

    @property
    def probes(self) -> Sequence[Probe]:
        """Every probe that was ever in."""
        ...

    def pause(self, probes: Iterable[Probe]) -> None:
        """Take probes out for a while."""
        ...

    def resume(self, probes: Iterable[Probe]) -> object:
        """Put them back."""
        ...

    def unregister(self, probes: Iterable[Probe]) -> None:
        """Take them out for good."""
        ...


class Budget:
    """Keeps the probes of a target within `percent` of the time that passes, from a thread of its
    own, while it is entered as a context::

        with uprobes.Budget(target, 1) as budget:
            target.run(10)
        print(budget.sampled)

    What leaves the context goes on without a limit. `clock` counts nanoseconds, `draw` gives random
    numbers from 0 up to 1.
    """

    def __init__(
        self,
        target: Limited,
        percent: float,
        *,
        clock: Callable[[], int] = time.monotonic_ns,
        draw: Callable[[], float] = random.random,
    ) -> None:
        if not 0 < percent <= 100:
            raise ProbeError(
                f"{percent:g} % is no share of the target's time",
                code="bad-budget",
                hint="give a percentage above 0, up to 100",
            )
        self.percent = percent
        self.taken_out: list[ProbeError] = []
        """Why probes were unregistered, one for each."""
        self._target = target
        self._allowed = percent / 100
        self._clock, self._draw = clock, draw
        self._samples: dict[Probe, Samples] = {}
        """The accounts of those that are registered."""
        self._former: dict[Probe, Sampling] = {}
        """What came of those that are not any more, where that is worth telling."""
        self._cycle_began = clock()
        self._cycle = FIRST
        self._shift = 0.0
        """Where in the cycle the windows are: at its beginning (0) … at its end (1)."""
        self._debt = 0.0
        """Nanoseconds that were spent beyond the limit, as far as they are made up for."""
        self._closed: dict[Probe, Sampling] | None = None
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def sampled(self) -> dict[Probe, Sampling]:
        """The probes that were out for some time, and what that means for their counts."""
        if self._closed is not None:
            return self._closed
        now = self._clock()
        found = {probe: samples.sampling(now) for probe, samples in list(self._samples.items())}
        present = {probe: sampling for probe, sampling in found.items() if sampling is not None}
        return self._former | present

    # -- the thread ---------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self.begin()
        return self

    def begin(self) -> None:
        """Start the thread that keeps the limit."""
        self._thread = threading.Thread(target=self._run, name="uprobes budget", daemon=True)
        self._thread.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()
        try:
            self._target.resume([p for p in self._samples if p.state is ProbeState.PAUSED])
        except TargetGone:
            return

    def end(self) -> None:
        """Stop the thread and close the account. What is paused stays so."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        self._closed = self.sampled

    def _run(self) -> None:
        delay = 0.0
        while not self._over.wait(delay):
            try:
                delay = self.step()
            except ProbeError:
                return  # the target is gone, or tracing broke: whoever runs it is told

    # -- what is done ---------------------------------------------------------------------------

    def step(self) -> float:
        """Do what is due; return in how many seconds there is more to do."""
        now = self._take_in()
        passed = now - self._cycle_began
        if passed >= self._cycle or (passed >= CHECK and self._is_surprised()):
            self._end_cycle(now)
        self._set(self._clock() - self._cycle_began)
        return self._until_next()

    def _is_surprised(self) -> bool:
        """Tell whether probes that were thought to be cheap have spent too much already."""
        trusted = (s.spent() for s in self._by_point().values() if s.duty >= 1)
        return sum(trusted) > 2 * self._allowed * self._cycle

    def _take_in(self) -> int:
        """Look which probes there are, and which of them are in; return the time."""
        now = self._clock()
        for probe in self._target.probes:
            if probe.armed and probe not in self._samples:
                self._samples[probe] = Samples(probe, now)
                self._former.pop(probe, None)
        for probe, samples in list(self._samples.items()):
            samples.changed(now)
            if samples.over:
                sampling = samples.sampling(now)
                if sampling is not None:
                    self._former[probe] = sampling
                del self._samples[probe]
        return now

    def _by_point(self) -> dict[ProbePoint, Samples]:
        """Give one account for each place: probes that share one stop threads together."""
        return {
            samples.probe.point: samples
            for samples in self._samples.values()
            if samples.probe.point is not None and samples.probe.registered
        }

    def _end_cycle(self, now: int) -> None:
        """Decide how long, and when, each probe is in during the next cycle."""
        rates = {point: samples.rate(now) for point, samples in self._by_point().items()}
        most = level(rates.values(), self._owed(now))
        hopeless = self._hopeless(rates)
        leaving: list[Probe] = []
        for probe, samples in self._samples.items():
            rate = 0.0 if probe.point is None else rates.get(probe.point, 0.0)
            if probe.point in hopeless and probe.registered:
                leaving.append(probe)
                self.taken_out.append(self._reason(probe, rate))
            duty = min(1.0, most / rate if rate else 1.0, GROWTH * samples.duty)
            samples.duty = max(duty, LEAST_DUTY)
            samples.end_cycle(now)
        if leaving:
            self._target.unregister(leaving)
        staying = [s.duty for s in self._samples.values() if s.probe.registered]
        self._cycle = round(max(CYCLE, SHORTEST_WINDOW / min(staying, default=1.0)))
        self._cycle_began = now
        self._shift = self._draw()

    def _hopeless(self, rates: dict[ProbePoint, float]) -> set[ProbePoint]:
        """Choose the dearest, if all cost too much even with the shortest windows."""
        over = sum(rates.values()) * LEAST_DUTY - self._allowed
        chosen: set[ProbePoint] = set()
        for point in sorted(rates, key=lambda point: -rates[point]):
            if over <= 0:
                break
            chosen.add(point)
            over -= rates[point] * LEAST_DUTY
        return chosen

    def _window(self, samples: Samples) -> tuple[float, float]:
        """Return when a sampled probe is in, counted from the beginning of the cycle."""
        size = samples.duty * self._cycle
        start = (self._cycle - size) * self._shift
        return start, start + size

    def _set(self, passed: int) -> None:
        """Pause and resume what shall be out and in at this moment of the cycle."""
        out: list[Probe] = []
        back: list[Probe] = []
        for probe, samples in self._samples.items():
            start, end = self._window(samples)
            wanted = samples.duty >= 1 or start <= passed < end
            if probe.armed and not wanted:
                out.append(probe)
            elif wanted and probe.state is ProbeState.PAUSED:
                back.append(probe)
        if out:
            self._target.pause(out)
        if back:
            self._target.resume(back)
        if out or back:
            self._take_in()

    def _owed(self, now: int) -> float:
        """Return the share of the next cycle: less than the limit while too much was spent."""
        spent = sum(samples.spent() for samples in self._by_point().values())
        fair = self._allowed * (now - self._cycle_began)
        most = self._allowed * LONGEST_CYCLE
        self._debt = min(max(self._debt + spent - fair, 0), most)
        return max(self._allowed - self._debt / LONGEST_CYCLE, self._allowed / 4)

    def _until_next(self) -> float:
        passed = self._clock() - self._cycle_began
        edges: list[float] = [self._cycle, passed + CHECK]
        for samples in self._samples.values():
            if samples.duty < 1 and samples.probe.registered:
                edges += [edge for edge in self._window(samples) if edge > passed]
        return max(min(edges) - passed, 0) / 1e9

    def _reason(self, probe: Probe, rate: float) -> ProbeError:
        return ProbeError(
            f"taken out after {probe.hits:,} hits: they took {100 * rate:.3g} % of the time while"
            f" it was in, and all probes may take {self.percent:g} %",
            spec=probe.location.spec,
            address=probe.address,
            hint="allow more, or probe what is called less often",
            code="over-budget",
        )
