"""`--max-overhead`: probes that cost the target too much of its time are taken out, and told."""

import time

from uprobes import Probe, ProbeError, Target, Uretprobe

UNMEASURED_NS = 10_000
"""What a hit is taken to cost before any of a probe's hits was measured."""


class Budget:
    """Looks at the stops since the last look, and takes out the dearest probes when all together
    cost more than `percent` of the time that passed.
    """

    def __init__(self, percent: float, target: Target) -> None:
        self._percent = percent
        self._target = target
        self._stops: dict[Probe, int] = {}
        self._looked = time.monotonic_ns()
        self.taken_out: list[ProbeError] = []

    def look(self, probes: list[Probe]) -> None:
        """Compare what was spent with what may be; take out what is too much."""
        now = time.monotonic_ns()
        passed, self._looked = max(now - self._looked, 1), now
        spent: list[tuple[int, Probe]] = []
        for probe in probes:
            stops = _stops(probe)
            fresh = stops - self._stops.get(probe, 0)
            if fresh:
                self._stops[probe] = stops
                if probe.registered:
                    spent.append((fresh * (probe.cost_ns or UNMEASURED_NS), probe))
        allowed = passed * self._percent / 100
        total = sum(cost for cost, _ in spent)
        leaving = []
        for cost, probe in sorted(spent, key=lambda item: -item[0]):
            if total <= allowed:
                break
            total -= cost
            leaving.append(probe)
            self.taken_out.append(self._reason(probe, 100 * cost / passed))
        if leaving:
            self._target.unregister(leaving)

    def _reason(self, probe: Probe, share: float) -> ProbeError:
        return ProbeError(
            f"taken out after {probe.hits:,} hits: they took {share:.3g} % of the time,"
            f" and all probes may take {self._percent:g} %",
            spec=probe.location.spec,
            address=probe.address,
            hint="allow more with --max-overhead, or probe what is called less often",
            code="over-budget",
        )


def _stops(probe: Probe) -> int:
    """Count how often a probe has stopped a thread: hits that a condition left out cost as much,
    and a call that is followed to its return stops twice.
    """
    if isinstance(probe, Uretprobe):
        return probe.hits + probe.entry_hits
    return probe.hits + probe.filtered
