"""System calls that wait: whoever is stopped in one goes on waiting, and never learns of it."""

import contextlib
import signal

import live
import pytest

import uprobes
from uprobes import ptrace

pytestmark = [pytest.mark.live, pytest.mark.concurrent]


def waiting(victim):
    """Start the victim; give it when all of its threads wait."""
    restarts = victim("restarts")
    restarts.go()
    restarts.wait_for("waiting")
    return restarts


def check(restarts):
    """Let the victim have what it waits for; fail if any call noticed anything."""
    restarts.go()
    assert restarts.finish() == (["waiting", "done"], 0)


@pytest.mark.parametrize("method", ["inline", "step", "boost"])
def test_waiting_calls_are_stopped_hundreds_of_times_and_go_on(victim, method):
    """By `inline`, all threads are held at every hit of one."""
    restarts = waiting(victim)
    with uprobes.attach(restarts.pid) as target:
        probe = target.uprobe(restarts.spec("probed"), lambda hit: None, method=method).probes[0]
        live.until(lambda: probe.hits > 300, "hits")
    check(restarts)


def test_waiting_calls_go_on_while_tracers_come_and_go(victim):
    restarts = waiting(victim)
    for number in range(8):
        with uprobes.attach(restarts.pid) as target:
            made = target.register(restarts.spec("probed"), returns=bool(number % 2))
            live.until(lambda made=made: made.probes[0].hits > 3, "hits")
            made.unregister()
        restarts.check_untouched()
    check(restarts)


@pytest.mark.parametrize("number", [signal.SIGCHLD, signal.SIGWINCH, signal.SIGURG])
def test_signals_that_are_ignored_interrupt_no_call(victim, number):
    """The kernel drops them where nobody traces; a tracer gets them, and the call is over."""
    restarts = waiting(victim)
    with uprobes.attach(restarts.pid) as target:
        probe = target.uprobe(restarts.spec("probed"), lambda hit: None).probes[0]
        for _ in range(20):
            for tid in target.threads:
                with contextlib.suppress(ProcessLookupError):
                    ptrace.tgkill(restarts.pid, tid, number)
        hits = probe.hits
        live.until(lambda: probe.hits > hits + 20, "hits")
    check(restarts)
