"""A killed tracer: the target goes on, right to its end, and `rescue` puts everything back."""

import os
import random
import signal
import subprocess
import sys
import time

import live
import pytest

import uprobes

pytestmark = [pytest.mark.live, pytest.mark.concurrent]

TRACER = """
import sys, time, uprobes
pid, how, *specs = sys.argv[1:]
target = uprobes.attach(int(pid))
returns = how == "returns"
method = None if how in ("any", "returns") else how
made = target.register(specs, lambda hit: None, returns=returns, method=method)
assert made.probes, made.refused
print("armed", flush=True)
while True:
    time.sleep(1)
"""
CHURN = """
import sys, uprobes
pid, how, *specs = sys.argv[1:]
print("armed", flush=True)
while True:
    with uprobes.attach(int(pid)) as target:
        made = target.register(specs, lambda hit: None, returns=how == "returns")
        assert made.probes, made.refused
"""
"""Always about to attach, to put probes in or to take them out."""
HOW = ("any", "inline", "step", "boost", "emulate")
SHOW_A_STEP = {"system_call", "pushf"}
"""Kinds in which a step shows that nobody was there to repair: rcx, the pushed trap flag."""
SLOWLY_PUT_BACK = (
    "str", "wc", "_IO_", "sig", "svc", "xdr", "key", "auth", "ns_", "res_", "re_", "n", "i",
    "f", "o", "q", "h", "l", "d", "u",
)
"""Many functions, and those that a handler leaves by; none that runs with all signals blocked."""
PUSHED_BEFORE = {"mov_rip_to_r14", "call_stack"}
"""Kinds that are probed behind a push: no return address is on top of the stack there."""


def start_tracer(victim, how, specs, program=TRACER):
    """Start a tracer as a program of its own; return it when its probes are in."""
    tracer = subprocess.Popen(
        [sys.executable, "-c", program, str(victim.pid), how, *specs], stdout=subprocess.PIPE
    )
    assert tracer.stdout.readline() == b"armed\n"
    return tracer


def kill(tracer):
    """Kill a tracer without a chance to clean up."""
    tracer.send_signal(signal.SIGKILL)
    tracer.wait(live.PATIENCE)
    tracer.stdout.close()


def survive(victim, how, delay, *, rescue):
    """Kill a tracer of a running victim; the victim must finish with the right output."""
    kinds = victim("kinds", 3, 400)
    left_out = SHOW_A_STEP | (PUSHED_BEFORE if how == "returns" else set())
    specs = [kinds.spec(name) for name in kinds.points if name not in left_out]
    tracer = start_tracer(kinds, how, specs)
    kinds.go()
    time.sleep(delay)
    kill(tracer)
    if rescue and kinds.alive:
        done = subprocess.run(
            [sys.executable, "-m", "uprobes", "rescue", str(kinds.pid)],
            capture_output=True,
            text=True,
            check=False,
        )
        if kinds.alive:
            assert done.returncode == 0, done.stderr
            kinds.check_untouched()
    said, code = kinds.finish()
    assert code == 0, (how, delay, code, said)
    return said


@pytest.fixture(scope="module")
def unprobed(build):
    return live.unprobed(build("kinds"), 3, 400)[0]


@pytest.mark.parametrize("how", HOW)
def test_a_program_outlives_its_tracer(victim, unprobed, how):
    for delay in (0.0, 0.05, 0.2):
        assert survive(victim, how, delay, rescue=False) == unprobed


@pytest.mark.parametrize("how", HOW)
def test_rescue_puts_back_every_byte_and_mapping(victim, unprobed, how):
    assert survive(victim, how, 0.1, rescue=True) == unprobed


def test_calls_under_way_in_a_return_probed_function_return_without_the_tracer(victim):
    said = live.unprobed(victim("returns").process.args[0], "recursion", 3000)
    for delay in (0.0, 0.02, 0.05, 0.08):
        deep = victim("returns", "recursion", 3000)
        tracer = start_tracer(deep, "returns", [deep.spec("factorial_sum")])
        deep.go()
        time.sleep(delay)
        kill(tracer)
        assert deep.finish() == said


@pytest.mark.parametrize("delay", [0.0, 0.1, 0.2])
def test_exceptions_pass_through_return_probed_functions_without_the_tracer(victim, delay):
    """The guard puts return addresses back before the unwinder looks: it does not know ours."""
    throws = victim("throws", 20_000)
    tracer = start_tracer(throws, "returns", [throws.spec("thrower"), throws.spec("middle")])
    throws.go()
    time.sleep(delay)
    kill(tracer)
    assert throws.finish() == (["caught 10000 sum 100010000"], 0)


def test_a_second_tracer_takes_over_from_a_dead_one(victim, unprobed):
    kinds = victim("kinds", 3, 400)
    specs = [kinds.spec(name) for name in kinds.points]
    kill(start_tracer(kinds, "any", specs))
    with uprobes.attach(kinds.pid) as target:
        assert target.remains is not None
        assert target.remains.breakpoints >= len(specs) // 2
        registration = target.register(specs)
        status = live.run_to_the_end(target, kinds)
    assert kinds.finish()[0] == unprobed
    assert status.code == 0
    assert {p.spec for p in registration.probes if p.hits == 0} == set()


def test_a_process_without_remains_is_left_alone(victim):
    kinds = victim("kinds", 1, 10)
    with uprobes.attach(kinds.pid) as target:
        assert target.remains is None
    kinds.check_untouched()


def test_the_programs_own_sigtrap_handler_gets_its_own_traps_with_the_guard_in(victim):
    traps = victim("traps", 1)
    before = live.unprobed(traps.process.args[0], 1)[0]
    with uprobes.attach(traps.pid) as target:
        target.register([traps.spec(name) for name in traps.points])
        status = live.run_to_the_end(target, traps)
    assert traps.finish()[0] == before
    assert status.code == 0


@pytest.mark.parametrize("how", [*HOW, "returns"])
def test_a_handler_that_the_program_set_while_probed_gets_its_traps_without_the_tracer(
    victim, build, how
):
    expected = live.unprobed(build("handles"), "wait", lines=2)
    handles = victim("handles", "wait")
    tracer = start_tracer(handles, how, [handles.spec("probed")])
    handles.go()
    handles.wait_for("set")
    kill(tracer)
    handles.go()
    said, code = handles.finish()
    # That the guard's handler stands before its own is all that it can still see.
    assert traps_of(said) == traps_of(expected[0])
    assert code == expected[1]


def traps_of(said):
    """Leave out which handlers a program found."""
    return [line for line in said if line.startswith(("signal ", "child ", "seen "))]


def survive_attaching(victim, chance, how, times):
    """Kill tracers that attach and detach all the time; each one takes over from the one before."""
    kinds = victim("kinds", 3, 0)
    kinds.go()
    kinds.wait_for("running")
    left_out = SHOW_A_STEP | (PUSHED_BEFORE if how == "returns" else set())
    specs = [kinds.spec(name) for name in kinds.points if name not in left_out]
    for number in range(times):
        tracer = start_tracer(kinds, how, specs, CHURN)
        delay = chance.random() * 0.08
        time.sleep(delay)
        assert tracer.poll() is None, "the tracer ended by itself"
        kill(tracer)
        time.sleep(0.001)
        assert kinds.alive, (number, delay, kinds.finish())
    with uprobes.attach(kinds.pid):
        pass
    kinds.check_untouched()
    kinds.go()
    said, code = kinds.finish()
    assert (said[2], code) == ("wrong 0", 0), said


@pytest.mark.parametrize("how", ["any", "returns"])
def test_a_program_outlives_tracers_that_attach_and_detach_all_the_time(victim, how):
    survive_attaching(victim, random.Random(1), how, 6)


@pytest.mark.torture
@pytest.mark.parametrize("how", ["any", "returns"])
def test_two_hundred_and_fifty_kills_while_attaching_and_detaching(victim, how):
    seed = int(os.environ.get("SEED", time.time_ns() % 2**32))
    print("seed", seed)
    survive_attaching(victim, random.Random(seed), how, 250)


@pytest.mark.torture
@pytest.mark.parametrize("how", [*HOW, "returns"])
def test_five_hundred_kills_at_random_moments(victim, unprobed, how):
    seed = int(os.environ.get("SEED", time.time_ns() % 2**32))
    print("seed", seed)
    chance = random.Random(seed)
    for _ in range(100):
        delay = chance.random() * 0.3
        assert survive(victim, how, delay, rescue=chance.random() < 0.5) == unprobed


def test_doctor_sees_what_a_dead_tracer_left(victim):
    kinds = victim("kinds", 1, 10)
    asked = [sys.executable, "-m", "uprobes", "doctor", "--json", "-p", str(kinds.pid)]
    kill(start_tracer(kinds, "any", [kinds.spec("push_rbp")]))
    before = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert "uprobes rescue" in before.stdout
    assert before.returncode == 1
    uprobes.attach(kinds.pid).detach()
    after = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert "uprobes rescue" not in after.stdout
    kinds.check_untouched()


def test_signal_handlers_meet_breakpoints_while_the_guard_puts_everything_back(victim):
    """With the signal of breakpoints blocked, as in a handler of it, one kills the program."""
    for _ in range(8):
        storm = victim("anything", "no-library")
        storm.process.stdin.write(b"begin e\n")
        storm.wait_for("begun")
        specs = ["anything:escaping", *(f"libc:{name}*" for name in SLOWLY_PUT_BACK)]
        tracer = start_tracer(storm, "any", specs)
        time.sleep(0.05)
        kill(tracer)
        time.sleep(0.1)
        storm.said.clear()
        storm.process.stdin.write(b"end\nquit\n")
        storm.wait_for("ended")
        assert "wrong 0 0" in storm.said
        assert storm.finish()[1] == 0
