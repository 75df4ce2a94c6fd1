"""The budget of `--max-overhead`: what is measured, what is allowed, what is taken out and told."""

from types import SimpleNamespace

import pytest

from uprobes import Location, ProbeState, Uprobe, Uretprobe
from uprobes.command import budget as module
from uprobes.command.budget import UNMEASURED_NS, Budget

SECOND = 1_000_000_000


class Bed:
    """A target whose probes are taken out, and a clock that is set."""

    def __init__(self, monkeypatch, percent):
        self.now = 0
        self.out = []
        monkeypatch.setattr(module.time, "monotonic_ns", lambda: self.now)
        self.budget = Budget(percent, self)
        self.probes = []

    def unregister(self, probes):
        for probe in probes:
            probe.state = ProbeState.UNREGISTERED
        self.out += probes

    def probe(self, cost_ns, kind=Uprobe):
        made = kind(1, f"cost{cost_ns}")
        made.location = Location(0x1000, f"cost{cost_ns}")
        made.state = ProbeState.ARMED
        made.point = SimpleNamespace(timed=int(cost_ns is not None), time_ns=cost_ns)
        self.probes.append(made)
        return made

    def pass_time(self, seconds):
        self.now += int(seconds * SECOND)
        self.budget.look(self.probes)


@pytest.fixture
def bed(monkeypatch):
    return lambda percent: Bed(monkeypatch, percent)


def test_what_stays_within_the_budget_stays_in(bed):
    """A thousand hits of 10 µs each in a second are one per cent exactly."""
    bed = bed(1)
    probe = bed.probe(10_000)
    for _ in range(5):
        probe.hits += 1000
        bed.pass_time(1)
    assert (bed.out, bed.budget.taken_out) == ([], [])


def test_one_hit_more_is_too_much(bed):
    bed = bed(1)
    probe = bed.probe(10_000)
    probe.hits = 1001
    bed.pass_time(1)
    assert bed.out == [probe]
    (told,) = bed.budget.taken_out
    assert (told.code, told.spec, told.address) == ("over-budget", "cost10000", 0x1000)
    assert "1,001 hits" in told.why
    assert "1 %" in told.why


def test_the_dearest_go_first_and_only_as_many_as_must(bed):
    bed = bed(10)
    cheap, dear, middle = bed.probe(1_000), bed.probe(50_000), bed.probe(8_000)
    for probe in (cheap, dear, middle):
        probe.hits = 10_000  # 10, 500 and 80 ms of a second; 100 ms are allowed
    bed.pass_time(1)
    assert bed.out == [dear]


def test_only_what_was_spent_since_the_last_look_counts(bed):
    bed = bed(1)
    probe = bed.probe(10_000)
    probe.hits = 900
    bed.pass_time(1)
    probe.hits += 900
    bed.pass_time(1)
    assert bed.out == []
    probe.hits += 900
    bed.pass_time(0.5)
    assert bed.out == [probe]


def test_what_was_not_measured_yet_is_taken_for_dear(bed):
    bed = bed(1)
    probe = bed.probe(None)
    probe.hits = SECOND // 100 // UNMEASURED_NS + 1
    bed.pass_time(1)
    assert bed.out == [probe]


def test_what_is_out_is_told_once(bed):
    bed = bed(1)
    probe = bed.probe(10_000)
    probe.hits = 5000
    bed.pass_time(1)
    probe.hits += 5000  # hits that were under way
    bed.pass_time(1)
    assert len(bed.budget.taken_out) == 1


def test_hits_that_a_condition_leaves_out_cost_as_much(bed):
    bed = bed(1)
    probe = bed.probe(10_000)
    probe.filtered = 1001
    bed.pass_time(1)
    assert bed.out == [probe]


def test_a_call_that_is_followed_to_its_return_costs_two_stops(bed):
    bed = bed(1)
    probe = bed.probe(10_000, Uretprobe)
    probe.hits = probe.entry_hits = 500
    bed.pass_time(1)
    assert bed.out == []
    probe.hits, probe.entry_hits = 1000, 1001
    bed.pass_time(1)
    assert bed.out == [probe]
