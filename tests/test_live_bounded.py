"""What a program can do without end costs its tracer nothing that stays: objects, descriptors."""

import gc
import os
from collections import Counter

import live
import pytest

import uprobes

pytestmark = pytest.mark.live

OURS = ("insn", "ssol", "ubp", "uprobes")
MOST = 12
"""By how much a count may differ between a short run and a long one: caches, threads in flight."""


def kept():
    """Count our own objects by class, and what is open."""
    gc.collect()
    found = Counter()
    for thing in gc.get_objects():
        kind = type(thing)
        if str(kind.__module__).partition(".")[0] in OURS:
            found[kind.__name__] += 1
    found["descriptors"] = len(os.listdir("/proc/self/fd"))
    return found


def run(victim, name, argv, specs, follow):
    """Probe entries and returns; return what was kept when the program was at its end."""
    started = victim(name, *argv)
    with uprobes.attach(started.pid, follow_forks=follow) as target:
        for spec in specs:
            where = started.spec(spec) if spec in started.points else spec
            target.register(where, lambda hit: None)
            target.register(where, lambda ret: None, returns=True)
        status = live.run_to_the_end(target, started)
        assert (status.signal, target.failures) == (None, [])
        hits = sum(probe.hits for probe in target.probes)
        now = kept()
    started.finish()
    return now, hits


@pytest.mark.parametrize(
    ("name", "few", "many", "specs", "follow"),
    [
        ("births", ["vfork_exit", 20], ["vfork_exit", 300], ["probed"], False),
        ("births", ["spawn", 10], ["spawn", 80], ["probed"], False),
        ("births", ["system", 10], ["system", 80], ["probed"], False),
        ("returns", ["longjmp", 20], ["longjmp", 1000], ["jumps_out", "calls_jumper"], False),
        ("returns", ["thread_exit", 20], ["thread_exit", 200], ["leaves_thread"], False),
        ("returns", ["sigaltstack", 20], ["sigaltstack", 500], ["leaf"], False),
        ("leaves", ["cancel", 10], ["cancel", 60], ["outer", "waits"], False),
        ("leaves", ["handler", 20], ["handler", 500], ["raises", "leaves_handler"], False),
        ("leaves", ["other stack", 20], ["other stack", 500], ["raises", "leaves_handler"], False),
        ("coroutines", ["threads", 20], ["threads", 300], ["outer", "yields"], False),
        ("hostile_reexecs", [2], [18], ["hostile_reexecs:outer"], False),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else str(value),
)
def test_more_of_the_same_leaves_no_more_behind(victim, name, few, many, specs, follow):
    run(victim, name, few, specs, follow)  # what is read once and kept for all
    short, some = run(victim, name, few, specs, follow)
    long, more = run(victim, name, many, specs, follow)
    assert more > some
    grown = {kind: (short[kind], long[kind]) for kind in long if long[kind] > short[kind] + MOST}
    assert grown == {}


QUARANTINE = 300
"""Slots, with what was in them, that wait until it is sure that no thread is inside."""
WAITING = {"Holding", "Instruction", "Plan", "Relocated", "Slot"}


def test_hundreds_of_registrations_leave_no_more_behind_than_a_few(victim):
    """Of the same probe objects: what was ever registered otherwise is in the report."""
    kinds = victim("kinds", 2, 0, "push_rbp")
    kinds.go()
    kinds.wait_for("running")
    with uprobes.attach(kinds.pid) as target:
        probes = [
            uprobes.Uprobe(kinds.pid, kinds.points["push_rbp"], lambda hit: None),
            uprobes.Uretprobe(kinds.pid, kinds.points["push_rbp"], lambda ret: None),
        ]

        def register(times):
            for _ in range(times):
                assert target.register_probes(probes).refused == []
                target.unregister(probes)
            return kept()

        register(20)
        short, long = register(20), register(400)
        more = {kind: long[kind] - short[kind] for kind in long}
        assert {k: n for k, n in more.items() if n > MOST and k not in WAITING} == {}
        assert max(more[kind] for kind in WAITING) <= QUARANTINE
    kinds.go()
    assert kinds.finish()[1] == 0
