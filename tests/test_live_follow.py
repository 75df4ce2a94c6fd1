"""Children that are followed: forks inherit their probes, new programs get them by name."""

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import time

import live
import pytest
import told

import uprobes
from ubp.programs import Count, Program
from uprobes.memory import ProcessMemory

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


class Late:
    """Has a program fork just before something of ours is written into it: the `left`th of all."""

    def __init__(self, forks, monkeypatch):
        self.forks = forks
        self.left = 0
        self.write = ProcessMemory.write
        monkeypatch.setattr(ProcessMemory, "write", lambda *what: self.write_late(*what))

    def write_late(self, memory, address, code):
        self.left -= 1
        if self.left == 0:
            self.forks.process.stdin.write(b"f")
            time.sleep(0.01)
        self.write(memory, address, code)


def with_a_fork(victim, monkeypatch, put_in, then, *, follow):
    """Put something in and do something with it, with a fork before the first write of that, then
    again before the second, and so on; give what was put in with each.
    """
    forks = victim("forks_when_told")
    late = Late(forks, monkeypatch)
    for number in itertools.count(1):
        with uprobes.attach(forks.pid, follow_forks=follow) as target:
            late.left = number if then is None else 0
            made = put_in(target, forks.spec("probed"))
            if then is not None:
                late.left = number
                then(target, made)
            if late.left > 0:
                break
            forks.wait_for("child 0x1500")
            yield made
    forks.process.stdin.write(b"q")
    assert forks.finish()[1] == 0


def handler(how):
    """Give what puts in a probe with a handler."""
    return lambda target, spec: target.register(spec, lambda hit: None, **how)


def program(how):
    """Give what puts in a program."""
    return lambda target, spec: target.install([(spec, Program(actions=(Count(),)))], **how)


HANDLERS = [
    pytest.param(handler(how), id="-".join(map(str, ("handler", *how.values()))))
    for how in ({"method": "boost"}, {"method": "step"}, {"returns": True})
]
PROGRAMS = [
    pytest.param(program(how), id="-".join(map(str, ("program", *how.values()))))
    for how in ({"method": "trap"}, {"method": "jump"}, {"returns": True})
]


@pytest.mark.concurrent
@pytest.mark.parametrize("make", HANDLERS)
def test_a_child_of_any_moment_of_a_registration_has_the_probe(victim, monkeypatch, make):
    """Its copy of the memory was made before the parent had all that it has when it is followed."""
    for made in with_a_fork(victim, monkeypatch, make, None, follow=True):
        assert [probe.hits for probe in made.probes] == [3]


@pytest.mark.concurrent
@pytest.mark.parametrize("make", PROGRAMS)
def test_a_child_of_any_moment_of_an_installation_goes_on(victim, monkeypatch, make):
    """Whether it has the program depends on the moment."""
    for made in with_a_fork(victim, monkeypatch, make, None, follow=True):
        assert [made.results(site).hits in (0, 3) for site in made.sites] == [True]


@pytest.mark.concurrent
@pytest.mark.parametrize("make", HANDLERS + PROGRAMS)
def test_a_child_of_any_moment_that_is_not_followed_goes_on(victim, monkeypatch, make):
    assert list(with_a_fork(victim, monkeypatch, make, None, follow=False))


@pytest.mark.concurrent
@pytest.mark.parametrize("follow", [False, True])
@pytest.mark.parametrize("make", HANDLERS + PROGRAMS)
def test_a_child_of_any_moment_of_leaving_goes_on(victim, monkeypatch, make, follow):
    def leave(target, _made):
        target.detach()

    assert list(with_a_fork(victim, monkeypatch, make, leave, follow=follow))


@pytest.mark.concurrent
@pytest.mark.parametrize("follow", [False, True])
@pytest.mark.parametrize("make", HANDLERS + PROGRAMS)
def test_a_child_of_any_moment_of_taking_out_goes_on(victim, monkeypatch, make, follow):
    def take_out(_target, made):
        made.unregister() if isinstance(made, uprobes.Registration) else made.remove()

    assert list(with_a_fork(victim, monkeypatch, make, take_out, follow=follow))


@pytest.mark.concurrent
def test_leaving_does_not_depend_on_children_that_are_just_ending(victim):
    """Whose memory is gone when it is to be put in order."""
    forks = victim("anything", "no-library")
    forks.process.stdin.write(b"begin f\n")
    forks.wait_for("begun")
    tracer = told.Told()
    for number in range(25):
        tracer.ask("attach", pid=forks.pid, follow=True)
        spec, key = "anything:deep", str(number)
        made = tracer.ask("install", key=key, spec=spec, returns=number % 2 > 0, method="trap")
        assert made["in"] == 1
        tracer.ask("detach")
    tracer.close()
    forks.said.clear()
    forks.process.stdin.write(b"end\n")
    forks.wait_for("ended")
    assert "wrong 0 0" in forks.said
