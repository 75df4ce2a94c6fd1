"""Handlers and programs in one process: at one return address, at one unwinder, side by side."""

import signal
import subprocess
import sys
import time
from collections import Counter

import live
import pytest

import uprobes
from ubp.programs import Count, Program
from uprobes import Outcome

pytestmark = pytest.mark.live

COUNT = Program(actions=(Count(),))
CHAIN = ("first", "second", "third")
"""Each jumps to the next one at its end; the last one begins with a `lea` of four bytes."""


@pytest.mark.parametrize("removed", [False, True], ids=["stays", "removed"])
@pytest.mark.parametrize("programs", ["first", "second", "third", "first third", "first second"])
def test_handlers_and_programs_of_returns_wait_for_one_tail_call(victim, programs, removed):
    """Each takes over the return address that the other left; either may go while they wait.

    The jumps at `first` and `second` depend on the first bytes of what stands behind them.
    """
    started = victim("returns", "tail", 200)
    seen = {name: [] for name in CHAIN if name not in programs}
    with uprobes.attach(started.pid) as target:

        def leave(hit):
            if removed and hit.probe.hits == 100:
                installed.remove()

        target.uprobe(started.points["third"] + 4, leave)
        wanted = [(started.points[name], COUNT) for name in programs.split()]
        installed = target.install(wanted, returns=True)
        handlers = {
            name: target.uretprobe(started.spec(name), saw.append) for name, saw in seen.items()
        }
        live.run_to_the_end(target, started)
    assert started.finish() == (["done tail"], 0)
    assert target.failures == []
    for name, returns in seen.items():
        assert [ret.value for ret in returns] == [3 * i for i in range(200)], name
        assert handlers[name].probes[0].hits == 200
    hits = {installed.results(site).hits for site in installed.sites}
    assert hits == {100 if removed else 200}


MIXES = [("thrower", "middle"), ("middle", "thrower")]


@pytest.mark.parametrize("leaves", [None, "program", "handler"])
@pytest.mark.parametrize("first", ["program", "handler"])
@pytest.mark.parametrize(("program", "handler"), MIXES)
def test_exceptions_pass_frames_of_handlers_and_of_programs(
    victim, program, handler, first, leaves
):
    """Before anything is unwound, both put their return addresses back, in whatever order they
    came; each goes on when the other leaves half way.
    """
    started = victim("throws", 40)
    seen = []
    made = {}
    with uprobes.attach(started.pid) as target:

        def saw(ret):
            seen.append(ret.outcome)
            if len(seen) == 20 and leaves == "program":
                made["program"].remove()
            if len(seen) == 20 and leaves == "handler":
                made["handler"].unregister()

        for what in sorted(("program", "handler"), key=first.__ne__):
            if what == "program":
                wanted = [(started.points[program], COUNT)]
                made[what] = target.install(wanted, returns=True)
            else:
                made[what] = target.uretprobe(started.spec(handler), saw)
        live.run_to_the_end(target, started)
        assert target.failures == []
    assert started.finish() == (["caught 20 sum 420"], 0)
    installed = made["program"]
    assert installed.refused == []
    results = installed.results(installed.sites[0])
    if leaves != "program":
        assert (results.hits, results.passed) == (40, 20)
    if leaves != "handler":
        assert Counter(seen) == {Outcome.RETURNED: 20, Outcome.UNWOUND: 20}


MIXED = """
import sys, uprobes
from ubp.programs import Count, Program
pid, program, handler, first = sys.argv[1:]
with uprobes.attach(int(pid)) as target:
    for what in sorted(("program", "handler"), key=first.__ne__):
        if what == "program":
            target.install([(program, Program(actions=(Count(),)))], returns=True)
        else:
            target.uretprobe(handler, lambda ret: None)
    print("in", flush=True)
    target.run()
"""


@pytest.mark.concurrent
@pytest.mark.parametrize("first", ["program", "handler"])
@pytest.mark.parametrize(("program", "handler"), MIXES)
def test_exceptions_are_caught_when_the_tracer_of_both_is_killed(victim, program, handler, first):
    started = victim("throws", 20_000)
    specs = [started.spec(program), started.spec(handler)]
    command = [sys.executable, "-c", MIXED, str(started.pid), *specs, first]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as tracer:
        assert tracer.stdout.readline() == "in\n"
        started.go()
        time.sleep(0.3)
        assert started.alive
        tracer.send_signal(signal.SIGKILL)
    assert started.finish() == (["caught 10000 sum 100010000"], 0)


@pytest.mark.parametrize("first", ["program", "handler"])
def test_an_unwinder_is_probed_beside_programs_of_returns(victim, first):
    started = victim("throws", 40)
    hits = []
    with uprobes.attach(started.pid) as target:
        for what in sorted(("program", "handler"), key=first.__ne__):
            if what == "program":
                installed = target.install([(started.points["thrower"], COUNT)], returns=True)
            else:
                target.uprobe("libgcc_s:_Unwind_RaiseException", hits.append)
        live.run_to_the_end(target, started)
    assert started.finish() == (["caught 20 sum 420"], 0)
    assert len(hits) == 20
    assert installed.results(installed.sites[0]).passed == 20
