"""Children that are followed: forks inherit their probes, new programs get them by name."""

import contextlib
import os
import signal
import subprocess
import sys

import live
import pytest

import uprobes
from ubp.programs import Count, Program

pytestmark = pytest.mark.live

FORKS = """
import os, sys
for number in range(3):
    pid = os.fork()
    if pid == 0:
        for _ in range(100): os.getppid()
        os._exit(number)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == number
for _ in range(50): os.getppid()
"""


def probed(argv, spec, **options):
    """Run a command with children followed; return its end, its probes, and the hits by process."""
    by_pid = {}

    def count(hit):
        by_pid[hit.pid] = by_pid.get(hit.pid, 0) + 1

    with uprobes.spawn(argv, follow_forks=True) as target:
        registration = target.register(spec, count, **options)
        status = target.run(60)
        return status, registration.probes, by_pid, target.pid


@pytest.mark.parametrize("method", [None, "inline", "step", "boost"])
def test_a_forked_child_goes_on_with_the_probes_of_its_parent(method):
    status, probes, by_pid, pid = probed(
        [sys.executable, "-c", FORKS], "libc:getppid", method=method
    )
    assert status == uprobes.ExitStatus(0, None)
    assert by_pid.pop(pid) == 50
    assert list(by_pid.values()) == [100, 100, 100]
    assert sum(probe.hits for probe in probes) == 350


def test_children_that_are_not_followed_are_clean():
    """Case U5: a child must neither meet a breakpoint nor begin in a slot."""
    hits = []
    with uprobes.spawn([sys.executable, "-c", FORKS]) as target:
        target.register("libc:getppid", lambda hit: hits.append(hit.pid))
        status = target.run(60)
    assert status == uprobes.ExitStatus(0, None)
    assert hits == [target.pid] * 50


def test_a_return_under_way_when_a_child_is_forked_ends_in_both(tmp_path):
    """Case R-9: the child returns through the trampoline as well."""
    ends = []
    with uprobes.spawn([sys.executable, "-c", FORKS], follow_forks=True) as target:
        target.register("libc:fork", lambda ret: ends.append((ret.pid, ret.value)), returns=True)
        status = target.run(60)
    assert status == uprobes.ExitStatus(0, None)
    assert len(ends) == 6
    assert [value for pid, value in ends if pid != target.pid] == [0, 0, 0]
    children = {value for pid, value in ends if pid == target.pid}
    assert children == {pid for pid, _ in ends} - {target.pid}


def test_programs_that_a_shell_starts_are_probed_by_name(tmp_path):
    text = tmp_path / "text"
    text.write_bytes(b"abc\n" * 1000)
    command = f"gzip -c {text} | gzip -dc | tail -1; exit 3"
    plain = subprocess.run(["sh", "-c", command], capture_output=True, check=False)
    with uprobes.spawn(["sh", "-c", command], follow_forks=True) as target:
        registration = target.register(["libc:malloc", "gzip:*"])
        status = target.run(60)
    assert status == uprobes.ExitStatus(3, None) == uprobes.ExitStatus(plain.returncode, None)
    objects = {probe.location.object for probe in registration.probes if probe.hits}
    assert "gzip" in objects
    assert any("libc" in name for name in objects)


STAYS = """
import os, signal, sys, time
print("ready", flush=True)
input()
pid = os.fork()
if pid == 0 and sys.argv[1] == "exec":
    os.execv("/bin/true", ["true"])
if pid and sys.argv[1] == "exec":
    os.waitpid(pid, 0)
for _ in range(100_000):
    os.getppid()
    time.sleep(0.001)
    if os.getppid() == 1:
        break
"""


@pytest.mark.parametrize("what", ["fork", "exec"])
def test_unregistering_reaches_the_children_that_are_followed(what):
    """And what a child becomes is no matter of its parent's probes."""
    parent = subprocess.Popen(
        [sys.executable, "-c", STAYS, what], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert parent.stdout.readline() == b"ready\n"
    seen = {}
    with uprobes.attach(parent.pid, follow_forks=True) as target:

        def count(hit):
            seen[hit.pid] = seen.get(hit.pid, 0) + 1

        registration = target.register("libc:getppid", count)
        parent.stdin.write(b"\n")
        parent.stdin.flush()
        wanted = 2 if what == "fork" else 1
        live.until(lambda: len(seen) == wanted and min(seen.values()) > 20, "hits in all")
        assert registration.probes[0].armed
        children = [pid for pid in target.processes if pid != parent.pid]
        assert len(children) == wanted - 1
        registration.unregister()
        before = dict(seen)
        for pid in (parent.pid, *children):
            waits = live.switches(pid)
            live.until(lambda p=pid, w=waits: live.switches(p) > w + 20, "it runs on")
        assert seen == before
    parent.kill()
    parent.communicate()
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


@pytest.mark.concurrent
def test_a_child_of_the_moment_in_which_a_breakpoint_gets_its_trampoline_goes_on(victim):
    """The copy of the memory was made before the parent had that trampoline, and ran into it."""
    forks = victim("anything", "no-library")
    forks.process.stdin.write(b"begin f\n")
    forks.wait_for("begun")
    with uprobes.attach(forks.pid, follow_forks=True) as target:
        for _ in range(60):
            program = Program(actions=(Count(),))
            made = target.install([("anything:ripped", program)], method="trap")
            assert made.sites
            made.remove()
    forks.said.clear()
    forks.process.stdin.write(b"end\n")
    forks.wait_for("ended")
    assert "wrong 0 0" in forks.said
