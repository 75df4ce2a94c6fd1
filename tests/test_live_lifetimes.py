"""Threads and processes that begin and end in unusual ways."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import live
import pytest
import told

import insn
import uprobes
from uprobes.guard.keeper import AREA
from uprobes.status import has_handler

pytestmark = pytest.mark.live

SLOW = pytest.mark.slow
METHODS = ["step", *(pytest.param(m, marks=SLOW) for m in ("inline", "boost", "emulate"))]


def run(victim, what, method=None, **how):
    """Run one way; return what was said, the exit code, the hits in the process and in others."""
    started = victim("lifetimes", what)
    hits = {}
    with uprobes.attach(started.pid, **how) as target:

        def count(hit):
            hits[hit.pid] = hits.get(hit.pid, 0) + 1

        target.uprobe(started.spec("probed"), count, method=method)
        status = live.run_to_the_end(target, started)
        assert not target.failures
    said, code = started.finish()
    assert code == status.code
    return said, code, hits.pop(started.pid, 0), hits


@pytest.mark.parametrize("method", ["inline", pytest.param(None, marks=SLOW)])
@pytest.mark.parametrize("what", ["vm", "vm_silent", "sighand", "vfork"])
def test_a_process_that_shares_memory_is_probed_like_a_thread(victim, what, method):
    """It has a number of its own, and breakpoints cannot be kept from it.

    Where all threads are held, a parent waits for its vfork child in the kernel, and can't stop.
    """
    said, code, own, others = run(victim, what, method)
    assert (said, code, own) == (["sum 200"], 0, 0)
    assert sorted(others.values()) == [10] * 20


def test_a_process_that_shares_memory_and_has_another_parent_is_probed(victim):
    said, code, own, others = run(victim, "parent")
    assert (said, code, own) == (["sum 10"], 0, 0)
    assert list(others.values()) == [10]
    for brother in others:  # our own child: the program was started by us
        assert os.waitstatus_to_exitcode(os.waitpid(brother, 0x40000000)[1]) == 10


@pytest.mark.parametrize("follow", [False, True])
def test_a_copy_made_by_clone_is_a_fork(victim, follow):
    said, code, own, others = run(victim, "copy", follow_forks=follow)
    assert (said, code, own) == (["sum 200"], 0, 0)
    assert sorted(others.values()) == ([10] * 20 if follow else [])


@pytest.mark.parametrize("method", [None, *live.METHODS])
def test_detaching_from_a_parent_that_waits_for_its_vfork_child(victim, method):
    """The parent can't stop; it goes on without us all the same, and so does the child."""
    started = victim("lifetimes", "vfork_waits")
    with uprobes.attach(started.pid) as target:
        probe = target.uprobe(started.spec("probed"), lambda hit: None, method=method).probes[0]
        target.register("libc:vfork", lambda hit: None, method=method)
        started.go()
        started.wait_for("waiting")
        assert probe.hits == 1
    live.until(lambda: live.tracer_of(started.pid) == 0, "nobody traces it")
    check_only_the_guard_is_left(started)
    started.go()
    assert started.finish() == (["waiting", "sum 8"], 0)


def check_only_the_guard_is_left(started):
    """Fail where more is left of us than a signal handler that nobody could take out: the only
    thread of the program waits in the kernel.
    """
    assert live.changed_text(started.pid) == []
    fresh = set(live.executable_mappings(started.pid)) - set(started.mappings)
    assert sum(end - start for start, end, *_ in fresh) == AREA
    assert has_handler(started.pid, signal.SIGTRAP)


@pytest.mark.parametrize("method", ["inline", "step"])
def test_a_parent_that_waits_for_its_vfork_child_comes_back_to_its_own_code(victim, method):
    """It waits inside of a probed system call, and is behind it when nobody traces it any more."""
    started = victim("lifetimes", "vfork_waits")
    with uprobes.attach(started.pid) as target:
        place = system_call_of(target, "libc:vfork")
        made = target.uprobe(place, lambda hit: None, method=method)
        started.go()
        started.wait_for("waiting")
        assert made.probes[0].hits == 1
        made.unregister()
    live.until(lambda: live.tracer_of(started.pid) == 0, "nobody traces it")
    started.go()
    assert started.finish() == (["waiting", "sum 8"], 0)


def system_call_of(target, spec):
    """Give the address of the first system call of a function."""
    made = target.register(spec, lambda hit: None)
    address = made.probes[0].location.address
    made.unregister()
    while True:
        instruction = insn.decode(target.read(address, 15), address)
        if instruction.flow is insn.Flow.SYSTEM_CALL:
            return address
        address = instruction.end


@pytest.mark.parametrize("what", ["untraced", "untraced_vm"])
def test_a_process_that_the_kernel_hides_from_us_lives_on(victim, what):
    """CLONE_UNTRACED: nobody takes its traps, so the guard does; it loses nothing by that."""
    started = victim("lifetimes", what)
    with uprobes.attach(started.pid) as target:
        probe = target.uprobe(started.spec("probed"), lambda hit: None).probes[0]
        started.go()
        live.until(lambda: started.line() == "sum 50", "it is done")
        target.unregister([probe])
        # In the same memory the guard put every byte back; that is told.
        assert isinstance(probe.error, uprobes.Overwritten) == (what == "untraced_vm")
        assert probe.hits == 0
    started.go()
    assert started.finish()[1] == 0


def test_a_program_that_ends_as_a_whole_while_threads_are_in_slots(victim):
    """Case U3: nothing waits for a thread that will not come back."""
    for method in live.METHODS:
        started = victim("lifetimes", "exit_group")
        with uprobes.attach(started.pid) as target:
            probe = target.uprobe(started.spec("probed"), lambda hit: None, method=method).probes[0]
            status = live.run_to_the_end(target, started)
        assert status.code == 33
        assert probe.hits > 0


def pending(pid, number):
    """Tell whether a signal waits for a process; the next one to stop it would take that away."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"^ShdPnd:\s+(\w+)", status, re.MULTILINE)
    return int(found[1], 16) >> (number - 1) & 1


def told_to_the_parent(command, tracer, numbers):
    """Stop and continue a program by signals; return all that its parent is told."""
    # In a group of its own: a group whose parents are all in other sessions is not stopped by a
    # terminal's signals.
    child = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0
    )
    told = []
    try:
        assert b"tick" in child.stdout.readline()
        assert child.stdout.readline() == b"ready\n"
        with contextlib.ExitStack() as stack:
            if tracer is not None:
                stack.enter_context(tracer(child.pid))
            child.stdin.write(b"\n")
            child.stdin.flush()
            assert child.stdout.readline() == b"running\n"
            for number in numbers:
                os.kill(child.pid, number)
                _, status = os.waitpid(child.pid, os.WUNTRACED)
                told.append((os.WIFSTOPPED(status), os.WSTOPSIG(status)))
                os.kill(child.pid, signal.SIGCONT)
                _, status = os.waitpid(child.pid, os.WUNTRACED | os.WCONTINUED)
                told.append((os.WIFCONTINUED(status), 0))
                live.until(lambda: not pending(child.pid, signal.SIGCONT), "its handler runs")
            child.stdin.write(b"\n")
            child.stdin.flush()
            said = child.stdout.read().split()
            _, status = os.waitpid(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
            told.append((os.WIFEXITED(status), os.WEXITSTATUS(status)))
        return told, said[2:]
    finally:
        if child.returncode is None:
            child.kill()
            child.wait()
        child.stdin.close()
        child.stdout.close()


@pytest.mark.parametrize("method", METHODS)
def test_the_parent_sees_stops_and_continues_as_if_nobody_traced(build, method):
    """By a tracer in a process of its own: waitpid(2) treats tracers and parents differently."""
    numbers = [signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU] * 5
    program = str(build("ticks"))

    @contextlib.contextmanager
    def counting(pid):
        command = f"-m uprobes count tick -p {pid} --json --method {method}"
        with subprocess.Popen(
            [sys.executable, *command.split()], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as tracer:
            live.until(lambda: live.tracer_of(pid), "it is traced")
            yield
            report, errors = tracer.communicate()
            assert tracer.returncode == 0, (report, errors)
        assert b'"hits": 0' not in report

    unprobed = told_to_the_parent([program, "3"], None, numbers)
    assert told_to_the_parent([program, "3"], counting, numbers) == unprobed
    assert unprobed[0][0] == (True, signal.SIGSTOP)
    assert unprobed[1] == [b"conts", b"20"]


def test_a_program_that_was_stopped_stays_so_until_it_is_continued(victim):
    """In the midst of its own code; probing it needs system calls of its own."""
    started = victim("kinds", 2, 0, "push_rbp")
    started.go()
    started.wait_for("running")
    os.kill(started.pid, signal.SIGSTOP)
    live.until(lambda: live.process_state(started.pid) in "tT", "it stops")
    with uprobes.attach(started.pid) as target:
        probe = target.uprobe(started.spec("push_rbp"), lambda hit: None).probes[0]
        live.until(lambda: all(live.process_state(t) in "tT" for t in target.threads), "it stays")
        assert probe.hits == 0
        os.kill(started.pid, signal.SIGCONT)
        live.until(lambda: probe.hits > 20, "hits")
        os.kill(started.pid, signal.SIGSTOP)
        live.until(lambda: all(live.process_state(t) in "tT" for t in target.threads), "it stops")
    live.until(lambda: live.process_state(started.pid) == "T", "it stays stopped without us")
    os.kill(started.pid, signal.SIGCONT)
    started.go()
    assert started.finish()[1] == 0


def probe_in(started, tracer):
    """Have a tracer put a probe into a victim."""
    tracer.ask("attach", pid=started.pid, follow=False)
    place = started.spec("probed")
    assert tracer.ask("register", key="x", spec=place, returns=False, method=None)["in"] == 1


def die_with_a_probe_in(started):
    """Have a tracer put a probe into a victim, and kill it."""
    tracer = told.Told()
    probe_in(started, tracer)
    tracer.kill()


def waiting_with_its_child(victim):
    """Start a program that waits for its vfork child, which waits for us."""
    started = victim("lifetimes", "vfork_waits")
    started.go()
    started.wait_for("waiting")
    return started


def test_a_vfork_child_that_sets_its_signals_to_default_outlives_the_tracer(victim):
    started = victim("lifetimes", "vfork_waits")
    tracer = told.Told()
    probe_in(started, tracer)
    started.go()
    started.wait_for("waiting")
    tracer.kill()
    started.go()
    assert started.finish() == (["waiting", "sum 8"], 0)


def test_a_vfork_child_that_is_there_already_is_probed(victim):
    started = waiting_with_its_child(victim)
    with uprobes.attach(started.pid) as target:
        by_pid = []
        target.register(started.spec("probed"), lambda hit: by_pid.append(hit.pid))
        started.go()
        assert started.finish() == (["waiting", "sum 8"], 0)
    assert len(by_pid) == 2
    assert by_pid[0] != started.pid == by_pid[1]


def test_a_vfork_child_that_is_there_already_outlives_the_tracer(victim):
    started = waiting_with_its_child(victim)
    die_with_a_probe_in(started)
    started.go()
    assert started.finish() == (["waiting", "sum 8"], 0)


def test_a_tracer_takes_over_while_a_vfork_child_is_there(victim):
    started = waiting_with_its_child(victim)
    for _ in range(2):
        die_with_a_probe_in(started)
    with uprobes.attach(started.pid):
        pass
    live.until(lambda: live.tracer_of(started.pid) == 0, "nobody traces it")
    started.check_untouched()
    started.go()
    assert started.finish() == (["waiting", "sum 8"], 0)
