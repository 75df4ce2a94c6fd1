"""Probes that are registered while children are followed already: every process that has the code
gets them, each hit is known by its process, and what is unregistered leaves all.
"""

import os
import subprocess
import sys
from collections import Counter

import live
import pytest

import uprobes

pytestmark = [pytest.mark.live, pytest.mark.concurrent]

CHILDREN, COUNT = 3, 40
EACH = 2 * COUNT
"""Calls of each process in one round."""


class Family:
    """A victim with its children, all of them followed."""

    def __init__(self, victim, target, what):
        self.victim, self.target = victim, target
        self.seen = Counter()
        victim.go()
        victim.wait_for("forked")
        self.children = [int(line.split()[1]) for line in victim.said if line.startswith("child")]
        self.pids = {victim.pid, *self.children}
        if what == "exec":
            program = os.readlink(f"/proc/{victim.pid}/exe")
            live.until(
                lambda: all(b"child" in cmdline(pid) for pid in self.children),
                f"the children are {program} anew",
            )
        live.until(lambda: set(target.processes) == self.pids, "all are followed")

    def count(self, hit):
        self.seen[hit.pid] += 1

    def round(self):
        """Let every process call; return the hits by process since the last round."""
        self.seen.clear()
        self.victim.process.stdin.write(b"r\n")
        self.victim.wait_for("round")
        return dict(self.seen)

    def end(self):
        """Let all of them end; return what each says that it called."""
        self.victim.go()
        assert self.target.run(live.PATIENCE) == uprobes.ExitStatus(0, None)
        live.until(lambda: not self.target.processes, "all have ended")
        said, _ = self.victim.finish()
        words = [line.split() for line in said if line.startswith("calls")]
        return {int(pid): int(calls) for _, pid, calls in words}


def cmdline(pid):
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read()


@pytest.fixture
def family(victim):
    made = []

    def make(what):
        started = victim("family", CHILDREN, COUNT, what)
        target = uprobes.attach(started.pid, follow_forks=True)
        made.append(target)
        return Family(started, target, what)

    yield make
    for target in made:
        target.detach()


WAYS = {
    "entry": {},
    "inline": {"method": "inline"},
    "step": {"method": "step"},
    "return": {"returns": True},
    "exit": {"returns": True, "exits": True},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("what", ["fork", "exec"])
def test_what_is_registered_later_is_hit_in_every_process_and_leaves_every_one(family, what, way):
    all_of = family(what)
    everywhere = dict.fromkeys(all_of.pids, EACH)
    registrations = []
    for _ in range(2):
        registrations.append(all_of.target.register("family:tick", all_of.count, **WAYS[way]))
        assert registrations[-1].refused == []
        assert all_of.round() == everywhere
        registrations[-1].unregister()
        assert all_of.round() == {}
    assert all_of.end() == dict.fromkeys(all_of.pids, 4 * EACH)
    for registration in registrations:
        probes = registration.probes
        assert len(probes) == (1 if what == "fork" else 1 + CHILDREN)
        assert sum(probe.hits for probe in probes) == EACH * (1 + CHILDREN)
        assert sum(probe.misses for probe in probes) == 0


@pytest.mark.parametrize("what", ["fork", "exec"])
def test_an_address_and_a_probe_object_reach_those_that_have_the_same_code(family, what):
    all_of = family(what)
    alike = all_of.pids if what == "fork" else {all_of.victim.pid}
    made = all_of.target.register(all_of.victim.spec("tick"), all_of.count)
    wanted = uprobes.Uprobe(None, "family:tick", all_of.count)
    both = all_of.target.register_probes([wanted])
    assert (made.refused, both.refused) == ([], [])
    assert all_of.round() == dict.fromkeys(alike, 2 * EACH)
    made.unregister()
    assert all_of.round() == dict.fromkeys(alike, EACH)
    all_of.target.unregister([wanted])
    assert all_of.round() == {}
    assert all_of.target.register_probes([wanted]).refused == []
    assert all_of.round() == dict.fromkeys(alike, EACH)
    assert set(all_of.end()) == all_of.pids


def test_a_second_probe_joins_the_first_in_every_process(family):
    all_of = family("fork")
    first = all_of.target.register("family:tick").probes[0]
    second = all_of.target.register("family:tick", all_of.count, returns=True).probes[0]
    assert all_of.round() == dict.fromkeys(all_of.pids, EACH)
    assert first.hits == second.hits == second.entry_hits == EACH * (1 + CHILDREN)
    all_of.target.unregister([first])
    assert all_of.round() == dict.fromkeys(all_of.pids, EACH)
    assert first.hits == EACH * (1 + CHILDREN)
    all_of.end()


def test_pausing_reaches_every_process(family):
    all_of = family("fork")
    probes = all_of.target.register("family:tick", all_of.count).probes
    all_of.target.pause(probes)
    assert all_of.round() == {}
    assert all_of.target.resume(probes) == []
    assert all_of.round() == dict.fromkeys(all_of.pids, EACH)
    all_of.end()


def test_children_are_left_as_they_were(family):
    """What came into them later is taken out of them as well."""
    all_of = family("fork")
    all_of.target.register(["family:tick", "libc:read"], all_of.count, returns=True)
    all_of.target.detach()
    for pid in all_of.pids:
        assert live.tracer_of(pid) == 0
        assert live.changed_text(pid) == []
        assert {row[:2] for row in live.executable_mappings(pid)} == {
            row[:2] for row in all_of.victim.mappings
        }
    all_of.victim.go()
    said, code = all_of.victim.finish()
    assert code == 0
    assert sum(line.startswith("calls") for line in said) == 1 + CHILDREN


def test_probes_of_a_parent_that_turned_into_another_program_leave_its_children(victim):
    """The probe waits in the new program; the children have it where it was."""
    started = victim("births_of_exec")
    seen = Counter()
    with uprobes.attach(started.pid, follow_forks=True) as target:
        registration = target.register("libc:getppid", lambda hit: seen.update([hit.pid]))
        started.go()
        started.wait_for("another program")
        live.until(lambda: len(seen) == 2 and min(seen.values()) > 20, "hits in both")
        (child,) = [pid for pid in target.processes if pid != started.pid]
        registration.unregister()
        before = dict(seen)
        for pid in (started.pid, child):
            waits = live.switches(pid)
            live.until(lambda p=pid, w=waits: live.switches(p) > w + 20, "it runs on")
        assert seen == before
        assert live.changed_text(child) == []
    # It has other mappings than it was started with.
    started.close()


FORKING = """
import os, select, sys
print("ready", flush=True)
os.read(0, 1)
left = 20
while left:
    left -= bool(select.select([0], [], [], 0)[0])
    for _ in range(5):
        pid = os.fork()
        if pid == 0:
            for _ in range(20): os.getppid()
            os._exit(0)
    for _ in range(5):
        assert os.wait()[1] == 0
os.getppid()
"""


@pytest.mark.parametrize("method", [None, "inline"])
def test_registering_and_unregistering_while_children_are_born(method):
    """Each child is forked between two changes: it gets what its parent has, or is cleaned."""
    parent = subprocess.Popen(
        [sys.executable, "-c", FORKING], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert parent.stdout.readline() == b"ready\n"
    seen, changing = Counter(), Counter()
    with uprobes.attach(parent.pid, follow_forks=True) as target:
        parent.stdin.write(b"\n")
        parent.stdin.flush()
        live.until(lambda: len(target.processes) > 1, "it forks")
        while len(changing) < 20:
            registration = target.register(
                "libc:getppid", lambda hit: changing.update([hit.pid]), method=method
            )
            assert registration.refused == []
            registration.unregister()
        registration = target.register("libc:getppid", lambda hit: seen.update([hit.pid]))
        parent.stdin.write(b"\n")
        parent.stdin.flush()
        assert target.run(live.PATIENCE) == uprobes.ExitStatus(0, None)
        assert registration.refused == []
    parent.communicate()
    # Those that were running when it was registered last have some hits, those born later all.
    counts = [hits for pid, hits in seen.items() if pid not in changing]
    assert seen[parent.pid] == 1
    assert all(hits <= 20 for hits in seen.values())
    assert sum(hits == 20 for hits in counts) > 5
    assert sum(hits < 20 for hits in counts) <= 5
