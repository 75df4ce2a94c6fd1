"""How programs end under probes, and who gets to know."""

import signal
import subprocess
import sys

import live
import pytest

import uprobes
from uprobes.memory import ProcessMemory

pytestmark = [pytest.mark.live, pytest.mark.concurrent]


@pytest.mark.parametrize(
    ("program", "code"),
    [
        ("raise SystemExit(7)", 7),
        ("import os; os._exit(8)", 8),
        ("import os; os.kill(os.getpid(), 15)", -15),
        ("import os; os.kill(os.getpid(), 9)", -9),
        ("import threading, os; threading.Thread(target=lambda: os._exit(9)).start()", 9),
    ],
)
def test_a_parent_in_our_own_program_gets_the_exit_status_of_its_child(program, code):
    child = subprocess.Popen(
        [sys.executable, "-c", f"input(); {program}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with uprobes.attach(child.pid) as target:
        child.stdin.write(b"\n")
        child.stdin.flush()
        status = target.run(live.PATIENCE)
    assert child.wait(live.PATIENCE) == code
    child.stdin.close()
    child.stdout.close()
    assert status is not None
    expected = uprobes.ExitStatus(None, -code) if code < 0 else uprobes.ExitStatus(code, None)
    assert status == expected


def test_a_main_thread_that_ends_first_ends_nothing(victim):
    ends = victim("ends", "leader")
    with uprobes.attach(ends.pid) as target:
        probe = target.uprobe(ends.spec("probed"), lambda hit: None).probes[0]
        status = live.run_to_the_end(target, ends)
    said, code = ends.finish()
    assert said == ["threads 4", "calls 400"]
    assert probe.hits == 400
    assert (status.code, code) == (21, 21)


def test_threads_that_come_and_go_are_all_seen(victim):
    ends = victim("ends", "threads")
    seen = set()
    with uprobes.attach(ends.pid) as target:
        probe = target.uprobe(ends.spec("probed"), lambda hit: seen.add(hit.tid)).probes[0]
        status = live.run_to_the_end(target, ends)
    assert ends.finish() == (["calls 3000"], 0)
    assert status.code == 0
    assert probe.hits == 3000
    assert len(seen) > 100


def test_a_program_killed_while_handlers_run_ends_the_run(victim):
    ticks = victim("ticks", 4)
    with uprobes.attach(ticks.pid) as target:

        def kill_at_fifth(hit):
            if probe.hits == 5:
                target.kill(signal.SIGKILL)

        probe = uprobes.Uprobe(ticks.pid, ticks.points["tick"], kill_at_fifth)
        target.register_probes([probe])
        ticks.go()
        status = target.run(live.PATIENCE)
    assert status == uprobes.ExitStatus(None, signal.SIGKILL)
    assert ticks.process.wait(live.PATIENCE) == -signal.SIGKILL
    assert not target.failures


def test_memory_that_ended_with_its_process_is_told_from_an_address_without_memory(victim):
    ticks = victim("ticks", 1)
    memory = ProcessMemory(ticks.pid)
    with pytest.raises(uprobes.NotMapped):
        memory.read(8, 1)
    ticks.process.kill()
    live.until(lambda: not ticks.alive, "it is a zombie")
    for access in (lambda: memory.read(ticks.points["tick"], 1), lambda: memory.write(8, b"x")):
        with pytest.raises(uprobes.TargetGone):
            access()
    memory.close()


SLOW = [pytest.param(method, marks=pytest.mark.slow) for method in live.METHODS]


@pytest.mark.parametrize("method", [None, *SLOW])
def test_a_program_may_be_killed_at_any_moment(victim, method):
    """While it is hit by six threads, at whatever moment that is."""
    for number in range(6):
        kinds = victim("kinds", 6, 0)
        kinds.go()
        kinds.wait_for("running")
        with uprobes.attach(kinds.pid) as target:
            specs = [kinds.spec(name) for name, hits in kinds.hits.items() if hits]
            probes = target.register(specs, lambda hit: None, method=method).probes
            live.until(lambda p=probes, n=number: sum(x.hits for x in p) > 20 * n, "hits")
            target.kill()
            status = target.run(live.PATIENCE)
        assert status == uprobes.ExitStatus(None, signal.SIGKILL)
        assert kinds.process.wait(live.PATIENCE) == -signal.SIGKILL
        assert not target.failures


TRACER = """
import sys, uprobes
pid, method, address = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
with uprobes.attach(pid) as target:
    probe = target.uprobe(address, lambda hit: None, method=method).probes[0]
    print("armed", flush=True)
    status = target.run(60)
    print(probe.hits, probe.misses, status, flush=True)
"""


@pytest.mark.parametrize("method", live.METHODS)
@pytest.mark.parametrize("way", ["leader", "gone"])
def test_a_main_thread_that_has_ended_holds_up_nobody(victim, way, method):
    """Its end is reported when all others have ended: whoever waits for it waits for them.

    The tracer is a program of its own: here the victim would be left to us, its parent.
    """
    ends = victim("ends", way)
    if way == "gone":
        live.until(lambda: live.process_state(ends.pid) == "Z", "the main thread ends")
    tracer = subprocess.Popen(
        [sys.executable, "-c", TRACER, str(ends.pid), method, str(ends.points["probed"])],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert tracer.stdout.readline() == "armed\n"
        ends.go()
        said = tracer.stdout.readline()
        assert tracer.wait(live.PATIENCE) == 0
    finally:
        tracer.kill()
        tracer.wait()
        tracer.stdout.close()
    assert ends.finish() == (["threads 4", "calls 400"], 21)
    assert said == "400 0 ExitStatus(code=21, signal=None)\n"
