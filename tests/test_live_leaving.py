"""Return probes on functions that are left by cancellation, exec, exit, and out of handlers."""

from collections import Counter

import live
import pytest

import uprobes
from uprobes import Outcome

pytestmark = [pytest.mark.live, pytest.mark.concurrent]

RETURNED, UNWOUND, LOST = Outcome.RETURNED, Outcome.UNWOUND, Outcome.LOST
METHODS = [None, *(pytest.param(m, marks=pytest.mark.slow) for m in ("inline", "step", "boost"))]


def leave(victim, names, *argv, method=None, **how):
    """Have functions left; return what was said, the exit code, and outcomes, values by name."""
    started = victim("leaves", *argv)
    seen = {name: [] for name in names}
    with uprobes.attach(started.pid, **how) as target:
        probes = [
            target.uretprobe(started.spec(name), seen[name].append, method=method).probes[0]
            for name in names
        ]
        status = live.run_to_the_end(target, started)
        assert not target.failures, target.failures
        assert target._engine.processes == {}
    said, code = started.finish()
    assert code == status.code
    for probe, name in zip(probes, names, strict=True):
        assert (probe.misses, probe.last_miss) == (0, None)
        assert probe.entry_hits == probe.hits == len(seen[name])
    outcomes = {name: Counter(ret.outcome for ret in rows) for name, rows in seen.items()}
    return said, code, outcomes, seen


def over(counter):
    """Tell how many calls ended without a return, whatever is known of how."""
    return counter[UNWOUND] + counter[LOST]


@pytest.mark.parametrize("method", METHODS)
def test_threads_are_cancelled_inside_of_functions(victim, method):
    """By force, frame by frame: the unwinder must find all of them, and the clean-up runs."""
    names = ["outer", "waits", "runs", "leaf"]
    said, code, outcomes, _ = leave(victim, names, "cancel", 20, method=method)
    assert (said, code) == (["cancelled 20 cleaned 20"], 0)
    assert outcomes["leaf"] == {RETURNED: 20}
    assert (outcomes["outer"][RETURNED], over(outcomes["outer"])) == (0, 20)
    assert over(outcomes["waits"]) == over(outcomes["runs"]) == 10


@pytest.mark.parametrize("method", METHODS)
def test_a_vfork_child_lives_inside_of_a_function(victim, method):
    """It runs on its parent's stack, where the return address is replaced."""
    said, code, outcomes, seen = leave(victim, ["vforks", "leaf"], "vfork", 20, method=method)
    assert (said, code) == ([f"sum {sum(3 * i for i in range(20))}"], 0)
    assert outcomes == {"vforks": {RETURNED: 20}, "leaf": {RETURNED: 20}}
    assert [ret.value for ret in seen["vforks"]] == [3 * i for i in range(20)]


@pytest.mark.parametrize("follow", [False, True])
def test_commands_are_spawned_inside_of_a_function(victim, follow):
    said, code, outcomes, _ = leave(victim, ["spawns", "leaf"], "spawn", 10, follow_forks=follow)
    assert (said, code) == ([f"sum {sum(range(10)) + 220}"], 0)
    assert outcomes["spawns"] == {RETURNED: 10}


def test_a_program_becomes_another_inside_of_a_function(victim):
    """Nobody returns from there any more, and it is said."""
    said, code, outcomes, _ = leave(victim, ["becomes", "leaf"], "exec")
    assert (said, code) == ([], 22)
    assert outcomes == {"becomes": {LOST: 1}, "leaf": {}}


@pytest.mark.parametrize("what", ["handler", "other stack"])
@pytest.mark.parametrize("method", METHODS)
def test_handlers_are_left_by_longjmp_with_all_that_they_interrupted(victim, what, method):
    """A thousand times, on the stack that was interrupted, or on one of its own."""
    names = ["raises", "leaves_handler", "leaf"]
    said, code, outcomes, _ = leave(victim, names, what, 1000, method=method)
    assert (said, code) == ([f"handled 1000 sum {sum(2 * i for i in range(1000))}"], 0)
    assert outcomes["leaf"] == {RETURNED: 1000}
    assert over(outcomes["raises"]) == over(outcomes["leaves_handler"]) == 1000


def test_a_program_exits_inside_of_a_function(victim):
    """What it has registered for its end runs on the same stack, above."""
    said, code, outcomes, _ = leave(victim, ["ends", "leaf"], "exit", 7)
    assert (said, code) == (["at the end 8"], 14)
    assert outcomes == {"ends": {LOST: 1}, "leaf": {RETURNED: 2}}
