"""Threads that are inside of our code while tracers come and go: nothing goes from under them.

A program that is stopped keeps them there for as long as it takes.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import live
import pytest
import told

pytestmark = [pytest.mark.live, pytest.mark.concurrent]

ROUNDS = 30
"""After so many in which no thread was where it is wanted we give up."""
SYS_TGKILL = 234
LARGE = 1 << 20
"""Areas of slots are smaller, the guard's is not."""


def say(victim, text):
    """Tell a victim something; give what it says to it."""
    victim.said.clear()
    victim.process.stdin.write(text.encode() + b"\n")
    victim.wait_for("done")
    return victim.said[:-1]


def tasks(pid):
    """List the threads of a process but for the main one."""
    return [int(name) for name in os.listdir(f"/proc/{pid}/task") if int(name) != pid]


def stop(pid):
    """Stop a program, and wait until neither it nor its tracer does anything more."""
    os.kill(pid, signal.SIGSTOP)
    before, now = None, places(pid)
    while None in now or now != before:
        time.sleep(0.05)
        before, now = now, places(pid)


def places(pid):
    """Give the address at which each thread of a program stands, None for one that runs."""
    found = []
    for tid in tasks(pid):
        *_, last = Path(f"/proc/{pid}/task/{tid}/syscall").read_text().split()
        found.append(None if last == "running" else int(last, 16))
    return found


def in_slots(victim):
    """Tell how many threads of a stopped victim are in slots."""
    fresh = set(live.executable_mappings(victim.pid)) - set(victim.mappings)
    areas = [(row[0], row[1]) for row in fresh if row[1] - row[0] < LARGE]
    standing = [ip for ip in places(victim.pid) if ip is not None]
    return sum(start <= ip < end for ip in standing for start, end in areas)


@contextlib.contextmanager
def stopped_in_slots(victim, name, method):
    """Give a victim that is stopped with threads in slots, and its tracer."""
    for _ in range(ROUNDS):
        tracer = told.Told()
        tracer.ask("attach", pid=victim.pid, follow=False)
        answer = tracer.ask(
            "register", key="x", spec=victim.spec(name), returns=False, method=method
        )
        assert answer["in"] == 1, answer
        stop(victim.pid)
        if in_slots(victim):
            yield tracer
            return
        tracer.ask("detach")
        tracer.close()
        os.kill(victim.pid, signal.SIGCONT)
    raise AssertionError(f"in {ROUNDS} rounds no thread was stopped in a slot")


def take_over_and_leave(pid):
    """Have another tracer find what is left, and leave the process."""
    tracer = told.Told()
    assert tracer.ask("attach", pid=pid, follow=False)["remains"]
    tracer.ask("detach")
    tracer.close()


def end(victim):
    """Let a victim come to its end; nothing may have gone wrong in it, nothing be left."""
    live.leave_clean(victim.pid, victim.check_untouched, tries=20)
    victim.process.stdin.write(b"end\n")
    said, code = victim.finish()
    assert (said[-1], code) == ("wrong 0", 0)


def test_a_thread_in_the_slot_of_a_removed_probe_goes_on_when_the_tracer_was_killed(victim):
    lingers = victim("lingers")
    with stopped_in_slots(lingers, "lingering", "boost") as tracer:
        tracer.ask("unregister", key="x")
        assert in_slots(lingers)
        tracer.kill()
        take_over_and_leave(lingers.pid)
        os.kill(lingers.pid, signal.SIGCONT)
    end(lingers)


@pytest.mark.parametrize(
    ("name", "method"), [("lingering", "boost"), ("lingering", "step"), ("called_there", "step")]
)
def test_a_thread_in_a_slot_goes_on_when_the_tracer_was_killed(victim, name, method):
    lingers = victim("lingers")
    with stopped_in_slots(lingers, name, method) as tracer:
        tracer.kill()
        take_over_and_leave(lingers.pid)
        os.kill(lingers.pid, signal.SIGCONT)
    end(lingers)


def test_whom_a_signal_interrupted_in_a_slot_comes_back_to_the_code(victim):
    lingers = victim("lingers")
    say(lingers, "hold")
    with stopped_in_slots(lingers, "lingering", "boost") as tracer:
        tracer.kill()
        workers = tasks(lingers.pid)
        for tid in workers:
            libc = ctypes.CDLL(None)
            assert libc.syscall(SYS_TGKILL, lingers.pid, tid, signal.SIGUSR1) == 0
        os.kill(lingers.pid, signal.SIGCONT)
    everyone = [f"inside {len(workers)}"]
    live.until(lambda: say(lingers, "inside") == everyone, "all threads are in the handler")
    rescue = [sys.executable, "-m", "uprobes", "rescue", str(lingers.pid)]
    done = subprocess.run(rescue, check=False)
    assert done.returncode == 0
    lingers.check_untouched()
    say(lingers, "let")
    end(lingers)
