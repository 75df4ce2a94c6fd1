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


def kill_after(program, threads, point, how, moments, *, tries=1):
    """Kill a tracer after each of these numbers of touches, as long as there are that many.

    Every other one is cleaned up after by us, the others by the next tracer. What a thread is still
    inside of stays mapped until a later detach: there are so many `tries`.
    """
    program.go()
    program.wait_for("running")
    live.until(lambda: live.born(program.pid, threads), "the threads are born")
    before = live.masks(program.pid)
    specs = [program.spec(point)]
    died = 0
    with Tracers() as tracers:
        for number, touches in enumerate(moments):
            if not tracers.run(touches, program.pid, how, specs):
                break
            died += 1
            time.sleep(0.001)
            assert program.alive, (how, touches, program.finish())
            await_signals(program.pid, before, touches)
            if number % 2:
                leave_untouched(program, before, touches, tries)
    leave_untouched(program, before, "all", tries)
    program.go()
    said, code = program.finish()
    assert ("wrong 0" in said, code) == (True, 0), said
    print(how, "died", died)
    return died


def await_signals(pid, before, touches):
    """Wait until every thread blocks what it did: one may be on its way back from a call."""
    wanted = {tid: lines[0] for tid, lines in before.items()}
    end = time.monotonic() + 10
    while (now := blocked(pid)) != wanted:
        assert time.monotonic() < end, f"after {touches} touches: {now}, not {wanted}"
        time.sleep(0.001)


def leave_untouched(program, before, touches, tries):
    """Attach, which cleans up, and detach; fail where that leaves anything each time."""
    live.leave_clean(program.pid, lambda: untouched(program, before, touches), tries)


def untouched(victim, before, touches):
    """Fail where anything of ours is left in the victim after so many touches."""
    try:
        victim.check_untouched()
    except AssertionError as error:
        raise AssertionError(f"after {touches} touches: {error}") from None
    assert live.masks(victim.pid) == before, touches
    files = [os.readlink(entry) for entry in Path(f"/proc/{victim.pid}/fd").glob("*")]
    assert not any("uprobes" in name for name in files), (touches, files)


def kinds_after(victim, how, moments, handles=""):
    """Do so while two threads execute one kind of instruction."""
    return kill_after(victim("kinds", 2, 0, EVERY[how], handles), 3, EVERY[how], how, moments)


@pytest.mark.parametrize("how", EVERY)
def test_a_program_outlives_a_tracer_killed_after_some_of_its_touches(victim, how):
    assert kinds_after(victim, how, range(1, 2000, 53)) > 2


@pytest.mark.torture
@pytest.mark.parametrize("how", EVERY)
def test_a_program_outlives_a_tracer_killed_after_any_of_its_touches(victim, how):
    assert kinds_after(victim, how, range(int(os.environ.get("FROM", "1")), 2000)) > 50


@pytest.mark.parametrize("how", EVERY)
def test_a_handler_of_the_program_sees_no_trap_of_a_killed_tracer(victim, how):
    assert kinds_after(victim, how, range(7, 2000, 67), "handles") > 2


@pytest.mark.parametrize("how", ["jump", "trap", "leaves"])
@pytest.mark.parametrize("point", ["first", "framed"])
def test_a_program_that_comes_back_to_faults_outlives_a_killed_tracer(victim, how, point):
    started = victim("retries", 0, 2)
    assert kill_after(started, 3, point, how, range(1, 2000, 53), tries=50) > 2
