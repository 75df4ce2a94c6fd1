"""What a program can do without end costs its tracer nothing that stays: objects, descriptors."""

import gc
import os
import signal
import subprocess
import sys
from collections import Counter

import live
import pytest

import uprobes
from ubp.programs import Count, Program

pytestmark = pytest.mark.live

OURS = ("insn", "ssol", "ubp", "uprobes")
MOST = 12
"""By how much a count may differ between a short run and a long one: caches, threads in flight."""


def kept():
    """Count our own objects by class, and what is open."""
    gc.collect()
    found = Counter()
    for thing in gc.get_objects():
        kind = type(thing)
        if str(kind.__module__).partition(".")[0] in OURS:
            found[kind.__name__] += 1
    found["descriptors"] = len(os.listdir("/proc/self/fd"))
    return found


COUNT = Program(actions=(Count(),))


def run(victim, name, argv, specs, follow, install=None):
    """Probe entries and returns; return what was kept when the program was at its end, and hits."""
    started = victim(name, *argv)
    with uprobes.attach(started.pid, follow_forks=follow) as target:
        for spec in specs:
            where = started.spec(spec) if spec in started.points else spec
            target.register(where, lambda hit: None)
            target.register(where, lambda ret: None, returns=True)
        if install is not None:
            target.install([(install, COUNT)])
        status = live.run_to_the_end(target, started)
        assert (status.signal, target.failures) == (None, [])
        hits = sum(probe.hits for probe in target.probes)
        now = kept()
    started.finish()
    return now, hits


@pytest.mark.parametrize(
    ("name", "few", "many", "specs", "follow"),
    [
        ("births", ["vfork_exit", 20], ["vfork_exit", 300], ["probed"], False),
        ("births", ["spawn", 10], ["spawn", 80], ["probed"], False),
        ("births", ["system", 10], ["system", 80], ["probed"], False),
        ("births", ["spawn", 10], ["spawn", 80], ["births:probed", "nowhere:never"], True),
        ("births", ["vfork", 10], ["vfork", 80], ["births:probed"], True),
        ("births", ["system", 10], ["system", 80], ["births:probed", "libc:getppid"], True),
        ("births", ["forks", 10], ["forks", 150], ["births:probed", "nowhere:never"], True),
        ("births", ["vfork_exit", 20], ["vfork_exit", 300], ["probed"], True),
        ("births", ["threads", 20], ["threads", 300], ["probed"], False),
        ("returns", ["longjmp", 20], ["longjmp", 1000], ["jumps_out", "calls_jumper"], False),
        ("returns", ["thread_exit", 20], ["thread_exit", 200], ["leaves_thread"], False),
        ("returns", ["sigaltstack", 20], ["sigaltstack", 500], ["leaf"], False),
        ("leaves", ["cancel", 10], ["cancel", 60], ["outer", "waits"], False),
        ("leaves", ["handler", 20], ["handler", 500], ["raises", "leaves_handler"], False),
        ("leaves", ["other stack", 20], ["other stack", 500], ["raises", "leaves_handler"], False),
        ("coroutines", ["threads", 20], ["threads", 300], ["outer", "yields"], False),
        ("hostile_reexecs", [2], [18], ["hostile_reexecs:outer"], False),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else str(value),
)
def test_more_of_the_same_leaves_no_more_behind(victim, name, few, many, specs, follow):
    run(victim, name, few, specs, follow)  # what is read once and kept for all
    short, some = run(victim, name, few, specs, follow)
    long, more = run(victim, name, many, specs, follow)
    assert more > some
    assert grown(short, long) == {}


def grown(short, long):
    """Say of what there is more after a long run than after a short one."""
    return {kind: (short[kind], long[kind]) for kind in long if long[kind] > short[kind] + MOST}


@pytest.mark.parametrize("follow", [False, True])
def test_forks_of_a_program_with_a_counter_installed_leave_nothing_behind(victim, follow):
    def forks(count):
        return run(victim, "births", ["forks", count], ["libc:getppid"], follow, "births:probed")[0]

    forks(10)
    assert grown(forks(10), forks(100)) == {}


@pytest.mark.slow
def test_a_program_that_turns_into_itself_hundreds_of_times_leaves_nothing_behind(victim):
    """Its probes are at other addresses each time; where they were before is forgotten."""
    specs = ["hostile_reexecs:outer", "libc:getppid"]
    run(victim, "hostile_reexecs", [2], specs, True)
    short, _ = run(victim, "hostile_reexecs", [2], specs, True)
    long, _ = run(victim, "hostile_reexecs", [120], specs, True)
    assert grown(short, long) == {}


def test_a_library_that_comes_and_goes_leaves_nothing_behind(victim, tmp_path, needs):
    library = tmp_path / "libone.so"
    options = f"-O2 -shared -fPIC -DADDS=1 -o {library} {live.VICTIMS / 'library.c'}"
    subprocess.run([needs("gcc", package="gcc"), *options.split()], check=True)

    def loads(times):
        started = victim("loads", "again", times, library)
        with uprobes.attach(started.pid, follow_forks=True) as target:
            for spec in ("libone:lib_probed", "libone:lib_*", "nowhere:never"):
                target.register(spec, lambda hit: None)
                target.register(spec, lambda ret: None, returns=True)
            started.go()
            started.wait_for("loaded")
            now = kept()
            assert sum(probe.hits for probe in target.probes) >= 2 * times
            live.run_to_the_end(target, started)
        return now

    loads(10)
    more = grown(loads(10), loads(400))
    assert {kind for kind in more if kind not in WAITING} == set()
    assert max(more[kind][1] for kind in more) <= QUARANTINE


def test_new_programs_go_on_with_the_probes_of_those_that_have_ended(victim):
    """No more probes than processes at once; their counts are exact, and what one holds goes on."""
    births = victim("births", "spawn", 60)
    returned = Counter()
    with uprobes.attach(births.pid, follow_forks=True) as target:
        entries = target.register("births:probed")
        returns = target.register(
            "births:probed", lambda ret: returned.update([ret.pid]), returns=True
        )
        live.run_to_the_end(target, births)
        for registration in (entries, returns):
            mine, childrens = registration.probes
            assert (mine.hits, childrens.hits) == (60, 60 * 5)
            assert mine.misses == childrens.misses == 0
            assert mine.state is childrens.state is uprobes.ProbeState.GONE
            assert mine.verdict.instruction == mine.instruction
            assert mine.method is not None
            assert childrens.method is mine.method
            kind = type(childrens).__name__
            assert repr(childrens) == f"<{kind} {childrens.spec!r} gone hits=300>"
    assert returned.pop(births.pid) == 60
    assert (len(returned), set(returned.values())) == (60, {5})


@pytest.mark.concurrent
def test_programs_that_run_at_once_have_probes_of_their_own(build):
    """Five start twenty others each, one after the other."""
    starts = f"{build('births')} spawn 20 </dev/null >/dev/null"
    command = f"for i in 1 2 3 4 5; do {starts} & done; wait"
    entered, returned = Counter(), Counter()
    with uprobes.spawn(["sh", "-c", command], follow_forks=True) as target:
        entries = target.register("births:probed", lambda hit: entered.update([hit.pid]))
        returns = target.register(
            "births:probed", lambda ret: returned.update([ret.pid]), returns=True
        )
        assert target.run(live.PATIENCE) == uprobes.ExitStatus(0, None)
    assert sorted(entered.values()) == [5] * 100 + [20] * 5
    assert entered == returned
    for registration in (entries, returns):
        assert sum(probe.hits for probe in registration.probes) == 600
        assert len(registration.probes) <= 10
        assert {probe.state for probe in registration.probes} == {uprobes.ProbeState.GONE}


STARTS_PARENTS = """
import os, subprocess, sys
PARENT = '''
import os, sys
if os.fork() == 0:
    os.read(int(sys.argv[1]), 1)
    for _ in range(100): os.getppid()
'''
OTHER = "import os; [os.getppid() for _ in range(10)]"
orders, order = os.pipe()
done, end = os.pipe()
for _ in range(3):
    started = [sys.executable, "-c", PARENT, str(orders)]
    subprocess.run(started, pass_fds=[orders, end], check=True)
for _ in range(2):
    subprocess.run([sys.executable, "-c", OTHER], check=True)
os.close(end)
os.write(order, b"go!")
assert os.read(done, 1) == b""
"""


def test_a_probe_stays_with_the_forks_of_a_program_that_has_ended():
    """Those that come later get others, until the forks have ended too."""
    seen = Counter()
    with uprobes.spawn([sys.executable, "-c", STARTS_PARENTS], follow_forks=True) as target:
        registration = target.register("libc:getppid", lambda hit: seen.update([hit.pid]))
        assert target.run(live.PATIENCE) == uprobes.ExitStatus(0, None)
        live.until(lambda: not target.processes, "the forks end")
        assert sorted(seen.values()) == [10, 10, 100, 100, 100]
        assert sum(probe.hits for probe in registration.probes) == 320
        assert {probe.state for probe in registration.probes} == {uprobes.ProbeState.GONE}


def test_a_probe_whose_handler_raised_stays_out_of_later_programs(victim):
    births = victim("births", "spawn", 30)

    def raises(hit):
        raise RuntimeError("on purpose")

    with uprobes.attach(births.pid, follow_forks=True) as target:
        registration = target.register("births:probed", raises)
        live.run_to_the_end(target, births)
        assert [probe.hits for probe in registration.probes] == [1, 1]
        assert len(target.failures) == 2


def test_programs_that_are_killed_while_they_get_their_probes_leave_none_behind(victim):
    births = victim("births", "spawn", 40)

    def policy(request):
        if request.what == "exec":
            os.kill(request.pid, signal.SIGKILL)

    with uprobes.attach(births.pid, follow_forks=True, policy=policy) as target:
        registration = target.register("births:probed")
        returns = target.register("births:probed", returns=True)
        assert live.run_to_the_end(target, births) == uprobes.ExitStatus(0, None)
        assert registration.refused == returns.refused == []
        assert [probe.hits for probe in registration.probes] in ([40], [40, 0])
        assert target.pending == ()


def test_what_every_program_refuses_is_said_once(victim):
    births = victim("births", "spawn", 30)

    def policy(request):
        if request.what == "register":
            asked.append(request)
            if len(asked) > 1:
                raise uprobes.ProbeError(f"not in {request.pid}, {len(asked)}", code="policy")

    asked = []
    with uprobes.attach(births.pid, follow_forks=True, policy=policy) as target:
        registration = target.register("births:probed")
        live.run_to_the_end(target, births)
        assert len(registration.probes) == len(registration.refused) == 1
        assert len(asked) == 31


QUARANTINE = 300
"""Slots, with what was in them, that wait until it is sure that no thread is inside."""
WAITING = {"Holding", "Instruction", "Plan", "Relocated", "Slot"}


def test_hundreds_of_registrations_leave_no_more_behind_than_a_few(victim):
    """Of the same probe objects: what was ever registered otherwise is in the report."""
    kinds = victim("kinds", 2, 0, "push_rbp")
    kinds.go()
    kinds.wait_for("running")
    with uprobes.attach(kinds.pid) as target:
        probes = [
            uprobes.Uprobe(kinds.pid, kinds.points["push_rbp"], lambda hit: None),
            uprobes.Uretprobe(kinds.pid, kinds.points["push_rbp"], lambda ret: None),
        ]

        def register(times):
            for _ in range(times):
                assert target.register_probes(probes).refused == []
                target.unregister(probes)
            return kept()

        register(20)
        short, long = register(20), register(400)
        more = {kind: long[kind] - short[kind] for kind in long}
        assert {k: n for k, n in more.items() if n > MOST and k not in WAITING} == {}
        assert max(more[kind] for kind in WAITING) <= QUARANTINE
    kinds.go()
    assert kinds.finish()[1] == 0
