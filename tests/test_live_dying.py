"""A tracer killed after any of its touches of the process: the program goes on as if unprobed.

Kills at random moments rarely meet what lies between two system calls; these do, one after the
other.
"""

import os
import time
from pathlib import Path

import live
import pytest
from dying import Tracers

import uprobes

pytestmark = [pytest.mark.live, pytest.mark.concurrent]

EVERY = {
    "inline": "push_rbp",
    "step": "push_rbp",
    "boost": "push_rbp",
    "emulate": "push_rbp",
    "any": "call_near",
    "returns": "push_rbp",
    "jump": "push_rbp",
    "trap": "push_rbp",
    "leaves": "push_rbp",
}
"""What is probed, by which method; `leaves` are programs of returns."""


def blocked(pid):
    """Give what each thread blocks."""
    return {tid: lines[0] for tid, lines in live.masks(pid).items()}


def kill_after(victim, how, kind, moments):
    """Kill a tracer after each of these numbers of touches, as long as there are that many.

    Every other one is cleaned up after by us, the others by the next tracer.
    """
    kinds = victim("kinds", 2, 0, kind)
    kinds.go()
    kinds.wait_for("running")
    live.until(lambda: live.born(kinds.pid, 3), "the threads are born")
    before = live.masks(kinds.pid)
    specs = [kinds.spec(kind)]
    died = 0
    with Tracers() as tracers:
        for number, touches in enumerate(moments):
            if not tracers.run(touches, kinds.pid, how, specs):
                break
            died += 1
            time.sleep(0.001)
            assert kinds.alive, (how, touches, kinds.finish())
            await_signals(kinds.pid, before, touches)
            if number % 2:
                with uprobes.attach(kinds.pid):
                    pass
                untouched(kinds, before, touches)
    with uprobes.attach(kinds.pid):
        pass
    untouched(kinds, before, "all")
    kinds.go()
    said, code = kinds.finish()
    assert (said[2], code) == ("wrong 0", 0), said
    print(how, "died", died)
    return died


def await_signals(pid, before, touches):
    """Wait until every thread blocks what it did: one may be on its way back from a call."""
    wanted = {tid: lines[0] for tid, lines in before.items()}
    end = time.monotonic() + 10
    while (now := blocked(pid)) != wanted:
        assert time.monotonic() < end, f"after {touches} touches: {now}, not {wanted}"
        time.sleep(0.001)


def untouched(victim, before, touches):
    """Fail where anything of ours is left in the victim after so many touches."""
    try:
        victim.check_untouched()
    except AssertionError as error:
        raise AssertionError(f"after {touches} touches: {error}") from None
    assert live.masks(victim.pid) == before, touches
    files = [os.readlink(entry) for entry in Path(f"/proc/{victim.pid}/fd").glob("*")]
    assert not any("uprobes" in name for name in files), (touches, files)


@pytest.mark.parametrize("how", EVERY)
def test_a_program_outlives_a_tracer_killed_after_some_of_its_touches(victim, how):
    assert kill_after(victim, how, EVERY[how], range(1, 2000, 53)) > 2


@pytest.mark.torture
@pytest.mark.parametrize("how", EVERY)
def test_a_program_outlives_a_tracer_killed_after_any_of_its_touches(victim, how):
    assert kill_after(victim, how, EVERY[how], range(int(os.environ.get("FROM", "1")), 2000)) > 50
