"""The budget: what is measured, what is allowed, what is sampled, taken out and told."""

import gc
import random
import weakref
from dataclasses import dataclass

import pytest

import uprobes
from uprobes import Budget, Location, ProbeState, Sampling, Uprobe, Uretprobe
from uprobes.sampling import UNMEASURED_NS, Samples, level

SECOND = 1_000_000_000
TICK = SECOND // 1000


@dataclass(eq=False)
class Place:
    """A probe point, as far as costs go."""

    timed: int
    time_ns: int | None


class Bed:
    """A target whose probes are hit as often as told while they are in, and a clock that is set."""

    def __init__(self, percent):
        self.now = 0
        self.probes = []
        self.per_s = {}
        self.out = []
        self.budget = Budget(self, percent, clock=lambda: self.now, draw=random.Random(1).random)
        self._due = 0.0

    def pause(self, probes):
        for probe in probes:
            assert probe.state is ProbeState.ARMED
            probe.state = ProbeState.PAUSED

    def resume(self, probes):
        for probe in probes:
            assert probe.state is ProbeState.PAUSED
            probe.state = ProbeState.ARMED

    def unregister(self, probes):
        for probe in probes:
            probe.state = ProbeState.UNREGISTERED
        self.out += probes

    def probe(self, per_s, cost_ns, kind=Uprobe, point=None):
        name = f"probe{len(self.probes)}"
        made = kind(1, name)
        made.location = Location(0x1000, name)
        made.state = ProbeState.ARMED
        timed = int(cost_ns is not None)
        made.point = point or Place(timed, cost_ns)
        self.probes.append(made)
        self.per_s[made] = per_s
        return made

    def pass_time(self, seconds, late_ns=0):
        """Let time pass in milliseconds; the budget's steps come when it asked for them."""
        end = self.now + int(seconds * SECOND)
        while self.now < end:
            if self.now >= self._due:
                self._due = self.now + self.budget.step() * SECOND + late_ns
            self.now += TICK
            for probe in self.probes:
                if probe.armed:
                    probe.hits += self.per_s[probe] // 1000

    def cost(self, seconds):
        """Give the part of so many seconds, in per cent, that all stops take."""
        before = {probe: probe.hits for probe in self.probes}
        self.pass_time(seconds)
        spent = sum((p.hits - before[p]) * (p.cost_ns or UNMEASURED_NS) for p in self.probes)
        return 100 * spent / (seconds * SECOND)


@pytest.mark.parametrize(
    ("rates", "allowed", "most"),
    [
        ([], 0.1, float("inf")),
        ([0.05, 0.05], 0.1, float("inf")),
        ([0.5], 0.1, 0.1),
        ([0.5, 0.5], 0.1, 0.05),
        ([0.02, 0.5, 0.5], 0.1, 0.04),
        ([0.02, 0.03, 0.5], 0.1, 0.05),
        ([1, 2, 4, 8], 4, 1),
    ],
)
def test_what_the_cheap_leave_belongs_to_the_dear(rates, allowed, most):
    found = level(rates, allowed)
    assert found == pytest.approx(most)
    assert sum(min(rate, found) for rate in rates) <= allowed + 1e-12


def test_what_stays_within_the_budget_is_in_all_the_time():
    """A thousand hits of 10 µs each in a second are one per cent exactly."""
    bed = Bed(1)
    probe = bed.probe(1000, 10_000)
    bed.pass_time(20)
    assert (probe.state, probe.hits) == (ProbeState.ARMED, 20_000)
    assert (bed.budget.sampled, bed.budget.taken_out) == ({}, [])


@pytest.mark.parametrize("percent", [0.5, 1, 5, 20])
@pytest.mark.parametrize(("per_s", "cost_ns"), [(100_000, 10_000), (50_000, 8_000)])
def test_what_costs_more_is_in_for_its_share_and_told_what_it_would_have_counted(
    percent, per_s, cost_ns
):
    bed = Bed(percent)
    probe = bed.probe(per_s, cost_ns)
    bed.pass_time(10)
    assert bed.cost(20) <= percent * 1.2
    assert bed.cost(20) >= percent * 0.6
    bed.budget.end()
    sampling = bed.budget.sampled[probe]
    assert sampling.share == pytest.approx(probe.hits / (per_s * 50), rel=0.02)
    assert sampling.estimate == pytest.approx(per_s * 50, rel=0.05)
    assert bed.budget.taken_out == []


def test_cheap_probes_are_left_alone_and_dear_ones_share_the_rest():
    bed = Bed(10)
    cheap = bed.probe(1_000, 10_000)
    dear = [bed.probe(40_000, 10_000) for _ in range(2)]
    bed.pass_time(20)
    assert set(bed.budget.sampled) == set(dear)
    assert cheap.hits == 20_000
    one, other = (probe.hits for probe in dear)
    assert one == pytest.approx(other, rel=0.01)
    assert bed.cost(20) <= 10 * 1.2


def test_windows_that_last_longer_than_they_should_are_made_up_for():
    """A busy tracer takes its time to take a probe out."""
    bed = Bed(1)
    bed.probe(100_000, 10_000)
    bed.pass_time(10, late_ns=4 * TICK)
    before = bed.probes[0].hits
    bed.pass_time(30, late_ns=4 * TICK)
    assert (bed.probes[0].hits - before) * 10_000 <= 0.013 * 30 * SECOND


def test_a_probe_that_becomes_quiet_is_in_all_the_time_again():
    bed = Bed(1)
    probe = bed.probe(100_000, 10_000)
    bed.pass_time(10)
    bed.per_s[probe] = 1000
    bed.pass_time(10)
    before = probe.hits
    bed.pass_time(5)
    assert probe.hits - before == 5000
    sampling = bed.budget.sampled[probe]
    assert 0.5 < sampling.share < 1
    assert sampling.estimate == pytest.approx(100_000 * 10 + 1000 * 15, rel=0.05)


def test_nothing_periodic_keeps_step_with_the_windows():
    """What is hit in the first half of each quarter of a second only."""
    bed = Bed(5)
    probe = bed.probe(0, 10_000)
    calls = 0
    for tick in range(60_000):
        bed.per_s[probe] = 100_000 if tick % 250 < 125 else 0
        calls += bed.per_s[probe] // 1000
        bed.pass_time(0.001)
    bed.budget.end()
    assert bed.budget.sampled[probe].estimate == pytest.approx(calls, rel=0.25)


def test_only_what_even_the_shortest_window_costs_too_much_is_taken_out():
    bed = Bed(0.1)
    cheap, dear = bed.probe(10, 1_000), bed.probe(100_000, 10_000)
    bed.pass_time(10)
    assert bed.out == [dear]
    (told,) = bed.budget.taken_out
    assert (told.code, told.spec, told.address) == ("over-budget", "probe1", 0x1000)
    assert f"{dear.hits:,} hits" in told.why
    assert "0.1 %" in told.why
    assert cheap.armed
    # What came of it until then stays as it was.
    assert dear not in bed.budget.sampled or bed.budget.sampled[dear].share < 1


def test_what_was_not_measured_yet_is_taken_for_dear():
    bed = Bed(1)
    probe = bed.probe(SECOND // UNMEASURED_NS, None)
    bed.pass_time(5)
    assert bed.budget.sampled[probe].share < 0.1


def test_probes_at_one_place_stop_once_and_are_paused_together():
    bed = Bed(10)
    point = Place(1, 10_000)
    probes = [bed.probe(8_000, 10_000, point=point) for _ in range(3)]
    bed.pass_time(10)
    assert bed.budget.sampled == {}
    for probe in probes:
        bed.per_s[probe] = 20_000
    bed.pass_time(20)
    shares = {sampling.share for sampling in bed.budget.sampled.values()}
    assert len(bed.budget.sampled) == 3
    assert len(shares) == 1


def test_hits_that_a_condition_leaves_out_cost_as_much():
    bed = Bed(1)
    probe = bed.probe(0, 10_000)
    for _ in range(100):
        probe.filtered += 1000 if probe.armed else 0
        bed.pass_time(0.01)
    assert probe in bed.budget.sampled


def test_a_call_that_is_followed_to_its_return_costs_two_stops():
    """And returns that come while the entry is out count for what was seen."""
    bed = Bed(1)
    probe = bed.probe(500, 10_000, Uretprobe)
    for _ in range(10_000):
        bed.pass_time(0.001)
        probe.entry_hits = probe.hits
    assert bed.budget.sampled == {}
    bed.per_s[probe] = 1000
    for _ in range(10_000):
        bed.pass_time(0.001)
        probe.entry_hits = probe.hits
    assert 0.4 < bed.budget.sampled[probe].share < 0.9


def test_a_probe_that_comes_later_is_limited_too_and_one_that_leaves_is_not_asked():
    bed = Bed(1)
    first = bed.probe(100_000, 10_000)
    bed.pass_time(5)
    second = bed.probe(100_000, 10_000)
    bed.pass_time(5)
    assert set(bed.budget.sampled) == {first, second}
    bed.unregister([first])
    bed.pass_time(1)
    told = bed.budget.sampled[first]
    bed.pass_time(5)
    assert bed.budget.sampled[first] == told
    first.state = ProbeState.ARMED
    bed.pass_time(5)
    assert first.state in (ProbeState.ARMED, ProbeState.PAUSED)
    assert bed.cost(10) <= 1.3


def test_an_account_says_nothing_of_a_probe_that_was_in_all_the_time():
    probe = Uprobe(1, "one")
    probe.state = ProbeState.ARMED
    samples = Samples(probe, 0)
    probe.hits = 10
    samples.changed(50)
    assert samples.sampling(100) is None
    probe.state = ProbeState.PAUSED
    samples.changed(100)
    assert samples.sampling(200) == Sampling(0.5, 20)
    samples.end_cycle(200)
    probe.state = ProbeState.ARMED
    samples.changed(200)
    probe.hits += 30
    assert samples.sampling(400) == Sampling(0.75, 50)


def test_a_cycle_of_which_nothing_was_seen_is_taken_to_be_as_the_others():
    """A run may end before the window of its last cycle."""
    probe = Uprobe(1, "one")
    probe.state = ProbeState.ARMED
    samples = Samples(probe, 0)
    probe.hits = 10
    samples.end_cycle(50)
    probe.state = ProbeState.PAUSED
    samples.changed(50)
    assert samples.sampling(200) == Sampling(0.25, 40)
    samples.end_cycle(200)
    assert samples.sampling(500) == Sampling(0.1, 100)


@pytest.mark.parametrize("percent", [0, -1, 100.5, float("nan")])
def test_a_share_that_is_none_is_refused(percent):
    with pytest.raises(uprobes.ProbeError) as caught:
        Bed(percent)
    assert caught.value.code == "bad-budget"


def test_what_is_taken_out_leaves_no_account_but_what_came_of_sampling():
    bed = Bed(1)
    cheap, dear = bed.probe(100, 1000), bed.probe(100_000, 10_000)
    bed.pass_time(2)
    bed.unregister([cheap, dear])
    bed.pass_time(1)
    sampled = bed.budget.sampled
    assert set(sampled) == {dear}
    bed.pass_time(1)
    assert bed.budget.sampled == sampled
    gone = weakref.ref(cheap)
    bed.probes.clear()
    bed.per_s.clear()
    bed.out.clear()
    del cheap
    gc.collect()
    assert gone() is None


def test_what_is_registered_again_has_an_account_of_its_own():
    bed = Bed(1)
    dear = bed.probe(100_000, 10_000)
    bed.pass_time(2)
    bed.unregister([dear])
    bed.pass_time(1)
    assert dear in bed.budget.sampled
    dear.state = ProbeState.ARMED
    bed.per_s[dear] = 0
    bed.pass_time(0.1)
    assert dear not in bed.budget.sampled
