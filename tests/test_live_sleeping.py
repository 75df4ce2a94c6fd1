"""Handlers that sleep: they hold the thread that hit, and nobody else."""

import os
import signal
import subprocess
import sys
import threading
import time

import live
import pytest

import uprobes
from uprobes import Outcome, ProbeState

pytestmark = pytest.mark.live

THREADS = 4
METHODS = [None, *(pytest.param(name, marks=pytest.mark.slow) for name in live.METHODS)]


@pytest.fixture
def ticks(victim):
    """Four threads that call a function all the time."""
    started = victim("ticks", THREADS)
    started.go()
    started.wait_for("running")
    return started


class Bed:
    """A handler that sleeps in its first hit until it is woken."""

    def __init__(self):
        self.asleep = threading.Event()
        self.wake = threading.Event()
        self.tid = None
        self.calls = 0
        self._first = threading.Lock()

    def __call__(self, hit):
        self.calls += 1
        if self._first.acquire(blocking=False):
            self.tid = hit.tid
            self.asleep.set()
            assert self.wake.wait(live.PATIENCE)


def calls_of(ticks):
    """End the victim; give the calls that it made by its own count."""
    ticks.go()
    said, code = ticks.finish()
    assert code == 0, said
    return int(said[-2].split()[1])


@pytest.mark.parametrize("method", METHODS)
def test_other_threads_are_hit_while_one_handler_sleeps(ticks, method):
    """Also where each hit is stepped in place, with all threads held."""
    bed, seen = Bed(), []
    with uprobes.attach(ticks.pid) as target:
        quick = target.uprobe(ticks.spec("tick"), lambda hit: seen.append(hit.tid), method=method)
        target.uprobe(ticks.spec("tick"), bed, sleeps=True, method=method)
        assert bed.asleep.wait(live.PATIENCE)
        before = len(seen)
        live.until(lambda: len(seen) > before + 100, "hits of the others")
        assert bed.tid not in seen[before + 1 :]
        bed.wake.set()
        live.until(lambda: bed.tid in seen[before + 1 :], "a hit of the thread that was held")
        assert quick.probes[0].misses == 0


def test_every_hit_of_sleeping_handlers_is_counted_once(victim):
    """All four threads sleep at once, again and again; the program counts the same calls."""
    ticks = victim("ticks", THREADS)
    at_once = []
    running = set()

    def sleeps(hit):
        running.add(hit.tid)
        at_once.append(len(running))
        time.sleep(0.005)
        running.discard(hit.tid)

    with uprobes.attach(ticks.pid) as target:
        probe = target.uprobe(ticks.spec("tick"), sleeps, sleeps=True).probes[0]
        ticks.go()
        live.until(lambda: len(at_once) > 200, "handlers")
        ticks.go()
        status = target.run(live.PATIENCE)
    said, code = ticks.finish()
    assert (code, status.code) == (0, 0)
    assert probe.hits == len(at_once) == int(said[-2].split()[1])
    assert max(at_once) == THREADS
    assert not target.failures


def test_registers_that_a_sleeping_handler_writes_reach_the_thread(victim):
    kinds = victim("kinds", 1, 10, "mov_register")
    with uprobes.attach(kinds.pid) as target:

        def change(hit):
            assert hit.registers["rdi"] != 1_000_000
            time.sleep(0.001)
            hit.registers["rdi"] = 1_000_000

        target.uprobe(kinds.points["mov_register"], change, sleeps=True)
        status = live.run_to_the_end(target, kinds)
    said, _ = kinds.finish()
    assert not target.failures
    assert status.code != 0
    assert "wrong 10" in said


@pytest.mark.parametrize("method", METHODS)
def test_any_instruction_is_executed_after_its_handler_slept(victim, method):
    kinds = victim("kinds", 2, 5)
    specs = [kinds.spec(name) for name, hits in kinds.hits.items() if hits]
    with uprobes.attach(kinds.pid) as target:
        probes = target.register(
            specs, lambda hit: time.sleep(0.0002), method=method, sleeps=True
        ).probes
        status = live.run_to_the_end(target, kinds)
    said, _ = kinds.finish()
    assert status.code == 0, said
    assert not target.failures
    by_address = {kinds.points[name]: hits for name, hits in kinds.hits.items()}
    assert {p.address: p.hits for p in probes} == {
        p.address: by_address[p.address] * 10 for p in probes
    }


def test_a_handler_may_decide_at_the_hit_to_go_on_aside(ticks):
    """`hit.defer`, with the values of the hit as they were."""
    seen = []
    with uprobes.attach(ticks.pid) as target:

        def handler(hit):
            argument = hit.arg(0)
            hit.defer(lambda later: seen.append((argument, later.arg(0), later.tid == hit.tid)))

        target.uprobe(ticks.spec("tick"), handler)
        live.until(lambda: len(seen) > 50, "deferred work")
    assert all(first == second and same for first, second, same in seen)


def test_a_hit_that_is_over_can_not_be_deferred(ticks):
    kept = []
    with uprobes.attach(ticks.pid) as target:
        target.uprobe(ticks.spec("tick"), kept.append)
        live.until(lambda: len(kept) > 1, "a hit")
    with pytest.raises(uprobes.ProbeError) as raised:
        kept[0].defer(print)
    assert raised.value.code == "hit-over"


def test_unregistering_while_a_handler_sleeps_lets_its_thread_go_on(ticks):
    bed = Bed()
    with uprobes.attach(ticks.pid) as target:
        registration = target.uprobe(ticks.spec("tick"), bed, sleeps=True)
        assert bed.asleep.wait(live.PATIENCE)
        registration.unregister()
        assert registration.probes[0].state is ProbeState.UNREGISTERED
        again = target.uprobe(ticks.spec("tick"), lambda hit: None).probes[0]
        live.until(lambda: again.hits > 20, "hits of the others")
        bed.wake.set()
        seen = set()
        target.uprobe(ticks.spec("tick"), lambda hit: seen.add(hit.tid))
        live.until(lambda: bed.tid in seen, "the thread that was held")
        hits = registration.probes[0].hits
    assert hits == bed.calls
    assert calls_of(ticks) > 20


def test_detaching_while_a_handler_sleeps_does_not_wait_for_it(ticks):
    bed = Bed()
    with uprobes.attach(ticks.pid) as target:
        target.uprobe(ticks.spec("tick"), bed, sleeps=True)
        assert bed.asleep.wait(live.PATIENCE)
    ticks.check_untouched()
    assert calls_of(ticks) > 0
    bed.wake.set()
    assert not target.failures


def test_a_sleeping_handler_may_detach(ticks):
    with uprobes.attach(ticks.pid) as target:
        target.uprobe(ticks.spec("tick"), lambda hit: target.detach(), sleeps=True)
        live.until(lambda: target.detached, "the handler detaches")
        live.until(lambda: not target.threads, "nobody is traced")
    ticks.check_untouched()
    assert calls_of(ticks) > 0


@pytest.mark.parametrize("threads", [1, THREADS])
def test_a_sleeping_handler_may_register_and_unregister(victim, threads):
    """With one thread, nobody else is there to make a system call."""
    ticks = victim("ticks", threads)
    seen = []
    with uprobes.attach(ticks.pid) as target:

        def change(hit):
            first.unregister()
            target.uprobe(ticks.spec("tick"), lambda hit: seen.append(hit.tid), method="boost")

        first = target.register(ticks.spec("tick"), change, sleeps=True)
        ticks.go()
        live.until(lambda: len(seen) > 20, "hits of the new probe")
        assert not target.failures
    assert calls_of(ticks) > 20


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit, KeyboardInterrupt])
def test_a_sleeping_handler_that_raises_is_reported_and_disarmed(victim, error):
    ticks = victim("ticks", 1)
    with uprobes.attach(ticks.pid) as target:

        def raises(hit):
            raise error("mine")

        probe = target.uprobe(ticks.spec("tick"), raises, sleeps=True).probes[0]
        ticks.go()
        live.until(lambda: probe.state is ProbeState.DISABLED, "it is disarmed")
        assert probe.hits == 1
        assert "mine" in repr(target.failures[0][1])
    assert calls_of(ticks) > 0


def test_a_program_killed_while_a_handler_sleeps_ends_the_run(ticks):
    bed = Bed()
    with uprobes.attach(ticks.pid) as target:
        target.uprobe(ticks.spec("tick"), bed, sleeps=True)
        assert bed.asleep.wait(live.PATIENCE)
        target.kill()
        status = target.run(live.PATIENCE)
        bed.wake.set()
    assert status == uprobes.ExitStatus(None, signal.SIGKILL)


def test_a_program_that_exits_while_a_handler_sleeps_exits(victim):
    """Another thread of it calls exit_group; the thread that is held goes with it."""
    bed = Bed()
    ends = victim("lifetimes", "exit_group")
    with uprobes.attach(ends.pid) as target:
        target.uprobe(ends.spec("probed"), bed, sleeps=True)
        status = live.run_to_the_end(target, ends)
        bed.wake.set()
    assert status.code == 33


def test_stop_and_continue_while_a_handler_sleeps(ticks):
    bed = Bed()
    with uprobes.attach(ticks.pid) as target:
        probe = target.uprobe(ticks.spec("tick"), bed, sleeps=True).probes[0]
        assert bed.asleep.wait(live.PATIENCE)
        os.kill(ticks.pid, signal.SIGSTOP)
        others = [tid for tid in target.threads if tid != bed.tid]
        live.until(lambda: all(live.process_state(tid) in "tT" for tid in others), "stopped")
        bed.wake.set()
        live.until(lambda: live.process_state(bed.tid) in "tT", "stopped too")
        hits = probe.hits
        os.kill(ticks.pid, signal.SIGCONT)
        live.until(lambda: probe.hits > hits + 20, "it goes on")
    assert calls_of(ticks) > 20


def test_return_handlers_may_sleep(victim):
    """Each thread waits at the end of its own call; values and outcomes are right."""
    started = victim("returns", "threads", 20)
    seen = []

    def slow(ret):
        time.sleep(0.002)
        seen.append((ret.outcome, ret.value == 2 * ret.saved, ret.tid))

    with uprobes.attach(started.pid) as target:
        target.uretprobe(started.spec("leaf"), slow, save=lambda hit: hit.arg(0), sleeps=True)
        status = live.run_to_the_end(target, started)
    assert status.code == 0
    assert started.finish()[0][-1] == "done threads"
    assert len(seen) == 8 * 20
    assert {row[:2] for row in seen} == {(Outcome.RETURNED, True)}
    assert len({tid for *_, tid in seen}) == 8


def test_handlers_of_calls_that_end_with_their_thread_may_sleep(victim):
    started = victim("returns", "thread_exit", 5)
    seen = []

    def slow(ret):
        time.sleep(0.002)
        seen.append(ret.outcome)

    with uprobes.attach(started.pid) as target:
        target.uretprobe(started.spec("leaves_thread"), slow, sleeps=True)
        status = live.run_to_the_end(target, started)
        live.until(lambda: len(seen) == 5, "all handlers")
    assert status.code == 0
    assert set(seen) <= {Outcome.LOST, Outcome.UNWOUND}


def test_a_program_outlives_a_tracer_that_is_killed_while_a_handler_sleeps(ticks):
    tracer = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import os, sys, time, uprobes\n"
            "target = uprobes.attach(int(sys.argv[1]))\n"
            "def slow(hit):\n"
            "    os.write(1, b'asleep\\n')\n"
            "    time.sleep(600)\n"
            "target.uprobe(sys.argv[2], slow, sleeps=True)\n"
            "target.run()\n",
            str(ticks.pid),
            ticks.spec("tick"),
        ],
        stdout=subprocess.PIPE,
    )
    for _ in range(THREADS):
        assert tracer.stdout.readline() == b"asleep\n"
    tracer.kill()
    tracer.wait(live.PATIENCE)
    tracer.stdout.close()
    live.until(lambda: live.tracer_of(ticks.pid) == 0, "nobody traces it")
    with uprobes.attach(ticks.pid) as target:
        assert target.remains is not None
    ticks.check_untouched()
    assert calls_of(ticks) > 0
