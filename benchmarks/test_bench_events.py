# ruff: noqa: D103 - the names say what is tested
"""What is made of the victims' answers; and that the probes written by hand do what they say."""

from contextlib import contextmanager

import pytest

from benchmarks import peers
from benchmarks.events import PAIRS, Contestant, Running, compete, figures
from benchmarks.report import Goal
from benchmarks.victims import Answer, Ended, Missing

BARE = 2.0


class FakeVictim:
    """Answers with given costs, one after the other, for the probed function."""

    def __init__(self, *costs):
        self.costs = costs
        self.calls = 0
        self.order = 0

    def call(self, function, count):
        """Answer what a call costs."""
        cost = BARE
        if function == "probed":
            cost += self.costs[self.order % len(self.costs)]
            self.order += 1
            self.calls += count
        return Answer(int(cost * count), cost, cost)


def contestant(name, *costs, missed=0, against=()):
    victim = FakeVictim(*costs)

    @contextmanager
    def start():
        yield Running(victim, "probed", "bare", lambda _: victim.calls - missed)

    return Contestant(name, start, against)


def absent(name):
    @contextmanager
    def start():
        raise Missing("install it")
        yield

    return Contestant(name, start)


def test_what_the_bare_call_costs_is_taken_off():
    one = contestant("one", 7.0)
    compete([one], 4)
    assert one.rounds == [7.0] * 4


def test_of_the_pairs_of_a_turn_the_least_counts():
    one = contestant("one", 30.0, *[9.0, 5.0, 8.0][:PAIRS])
    compete([one], 1)
    assert one.rounds == [5.0]


def test_ours_ends_the_run_when_it_misses_an_event():
    with pytest.raises(Ended, match="uprobes, blind: it saw"):
        compete([contestant("uprobes, blind", 5.0, missed=1)], 1)


def test_a_peer_that_misses_an_event_has_no_figure():
    blind, other = contestant("blind", 5.0, missed=1), contestant("other", 4.0)
    compete([blind, other], 1)
    [line, _] = figures([blind, other])
    assert line.rounds == ()
    assert "it saw" in line.note
    assert other.rounds == [4.0]


def test_a_tool_that_is_missing_is_named_and_the_others_go_on():
    there = contestant("there", 5.0, against=(("over absent", "gone", Goal(2)),))
    gone = absent("gone")
    compete([there, gone], 2)
    [line, other] = figures([there, gone])
    assert line.rounds == (5.0, 5.0)
    assert line.ratios == ()
    assert other.note == "not measured: install it"


def test_nobody_there_is_no_error():
    gone = absent("gone")
    compete([gone], 2)
    assert [figure.rounds for figure in figures([gone])] == [()]


def test_costs_are_divided_round_by_round():
    ours = contestant("ours", 2.0)
    peer = contestant("peer", 8.0, against=(("over ours", "ours", Goal(3, at_most=False)),))
    compete([ours, peer], 3)
    [_, line] = figures([ours, peer])
    assert [(r.to, r.value, r.met) for r in line.ratios] == [("over ours", 4.0, True)]


@pytest.mark.parametrize(
    ("way", "function"),
    [
        ("count", "begins_lea"),
        ("flags", "flags_live"),
        ("record", "begins_lea"),
        ("trap", "begins_lea"),
    ],
)
def test_probes_written_by_hand_see_every_call(way, function):
    one = Contestant(way, peers.by_hand(way, function))
    compete([one], 1)
    assert one.calls > 0


def test_a_victim_that_was_called_more_often_than_its_probe_was_hit_is_noticed():
    with peers.by_hand("count")() as running:
        running.victim.call(running.function, 100)
        assert running.hits(100) == 100
        assert running.hits(101) != 101
