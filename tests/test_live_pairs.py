"""Programs that come and go, again and again, in a program whose threads never pause."""

import random
import signal
import subprocess
import sys

import live
import pytest
from dying import Tracers

import uprobes
from ubp.programs import Count, Program
from uprobes.patch import removing

pytestmark = [pytest.mark.live, pytest.mark.concurrent]

COUNT = Program(actions=(Count(),))
THREADS = 8
MOST_AT_ONCE = THREADS + 2
"""So many threads call the functions at a time, those that are born and die included."""
DEPTH = 7
"""`recurses` is under way so often in one thread."""


def pairs(target, specs, rounds, returns):
    """Install programs and remove them, so many times; give what each pair counted by address."""
    before = target.installed
    counted = []
    for number in range(rounds):
        installed = target.install([(spec, COUNT) for spec in specs], returns=returns)
        assert installed.refused == [], number
        installed.remove()
        assert target.installed == before, number
        counted.append({site.address: installed.results(site) for site in installed.sites})
    return counted


def told_by(victim):
    """Let a victim end; return its own counts."""
    victim.go()
    said, code = victim.finish()
    assert code == 0, said
    told = {name: int(number) for name, number in map(str.split, said)}
    assert told["wrong"] == 0
    assert told["born"] > 0
    return told


def check_pairs(victim, rounds, *, steady):
    """Make pairs of programs of returns, with another such program in all the time or without."""
    program = victim("pairs", THREADS)
    points = program.points
    specs = [program.spec(name) for name in points if name != "steady"]
    with uprobes.attach(program.pid) as target:
        kept = target.install([(points["steady"], COUNT)], returns=True) if steady else None
        program.go()
        counted = pairs(target, [*specs, "libc:getppid"], rounds, returns=True)
        assert target._process().leftover == []
        if kept is not None:
            live.run_to_the_end(target, program)
    if kept is None:
        program.check_untouched()
    told = told_by(program)
    if kept is not None:
        results = kept.results(kept.sites[0])
        assert (results.hits, results.passed) == (told["steady"], told["steady"])
    for name, depth in (("plain", 1), ("recurses", DEPTH)):
        results = [each[points[name]] for each in counted]
        assert 0 < sum(r.hits for r in results) <= told[name]
        # What did not return in its time was under way when the program went.
        assert all(0 <= r.hits - r.passed <= MOST_AT_ONCE * depth for r in results), name
    thrown = [each[points["throws"]] for each in counted]
    assert sum(r.hits for r in thrown) <= told["throws"]
    assert all(r.passed <= r.hits for r in thrown)


@pytest.mark.parametrize("steady", [True, False], ids=["steady", "alone"])
@pytest.mark.parametrize(
    "rounds",
    [5, pytest.param(30, marks=pytest.mark.slow), pytest.param(200, marks=pytest.mark.torture)],
)
def test_programs_of_returns_come_and_go_under_eight_threads(victim, rounds, steady):
    check_pairs(victim, rounds, steady=steady)


@pytest.mark.parametrize("returns", [False, True], ids=["entries", "returns"])
@pytest.mark.parametrize("rounds", [10, pytest.param(200, marks=pytest.mark.torture)])
def test_programs_go_though_signals_interrupt_them(victim, rounds, returns):
    """A thread with a signal to get, or in its handler, is waited for, and has it meanwhile."""
    program = victim("torture", THREADS, 0)
    program.go()
    specs = [program.spec("probed"), program.spec("coming")]
    with uprobes.attach(program.pid) as target:
        counted = pairs(target, specs, rounds, returns)
        unmap_leftover(target)
    program.check_untouched()
    told = told_by(program)
    assert 0 < sum(each[program.points["probed"]].hits for each in counted) <= told["calls"]
    assert 0 < sum(each[program.points["coming"]].hits for each in counted) <= told["others"]
    assert told["signals"] > 0


def unmap_leftover(target):
    """Try again what a thread was inside of for long, and fail where one is still."""

    def work():
        process = target._process()
        removing.unmap_leftover(target._engine, process)
        return list(process.leftover)

    assert target._tracer.call(work) == []


def test_programs_of_returns_leave_no_mapping(victim):
    """Nor does what they all stand on: the tables of calls, and our shared memory."""
    program = victim("kinds", 1, 1, "push_rbp")
    with uprobes.attach(program.pid) as target:
        target.install([(program.spec("push_rbp"), COUNT)]).remove()
        before = live.mappings(program.pid)
        for _ in range(2):
            target.install([(program.spec("push_rbp"), COUNT)], returns=True).remove()
            assert live.mappings(program.pid) == before
        target.install([(program.spec("push_rbp"), COUNT)], returns=True)
        assert live.mappings(program.pid) != before
    program.check_untouched()
    program.go()
    assert program.finish()[1] == 0


def test_tables_of_calls_go_with_the_last_program_that_needs_them(victim):
    """In whatever order they are removed, and when a tracer leaves."""
    program = victim("pairs", THREADS)
    program.go()
    with uprobes.attach(program.pid) as target:
        one = target.install([(program.spec("plain"), COUNT)], returns=True)
        two = target.install([(program.spec("recurses"), COUNT)], returns=True)
        one.remove()
        before = two.results(two.sites[0]).passed
        live.until(lambda: two.results(two.sites[0]).passed > before, "calls return")
        two.remove()
        assert target.installed == ()
        target.install([(program.spec("plain"), COUNT)], returns=True)
    program.check_untouched()
    told_by(program)


IS_KILLED = """
import os, signal, sys, uprobes
from ubp.programs import Count, Program
pid, *specs = sys.argv[1:]
with uprobes.attach(int(pid)) as target:
    target.install([(spec, Program(actions=(Count(),))) for spec in specs], returns=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("kills", [3, pytest.param(50, marks=pytest.mark.torture)])
def test_the_next_tracer_takes_programs_of_returns_out_under_eight_threads(victim, kills):
    program = victim("pairs", THREADS)
    program.go()
    specs = [program.spec(name) for name in program.points]
    for number in range(kills):
        done = subprocess.run(
            [sys.executable, "-c", IS_KILLED, str(program.pid), *specs], check=False
        )
        assert done.returncode == -signal.SIGKILL, number
        with uprobes.attach(program.pid) as target:
            assert target.installed == (), number
        program.check_untouched()
    told_by(program)


@pytest.mark.parametrize("kills", [30, pytest.param(500, marks=pytest.mark.torture)])
@pytest.mark.parametrize("name", ["pairs", "kinds"])
def test_tracers_killed_at_random_lose_no_program_of_returns(victim, name, kills):
    """Each next tracer takes out what it finds, and puts in its own, or only detaches."""
    argv, functions = VICTIMS[name]
    program = victim(name, *argv)
    program.go()
    specs = [program.spec(each) for each in functions]
    chance = random.Random(kills)
    died = 0
    with Tracers() as tracers:
        while died < kills:
            died += tracers.run(chance.randrange(1, 900), program.pid, "leaves", specs)
            assert program.alive, (died, program.finish())
            if chance.random() < 0.4:
                live.leave_clean(program.pid, program.check_untouched, tries=20)
    live.leave_clean(program.pid, program.check_untouched, tries=20)
    program.go()
    said, code = program.finish()
    assert ("wrong 0" in said, code) == (True, 0), said


VICTIMS = {
    "pairs": (("3",), ("plain", "recurses", "throws", "compares")),
    "kinds": (("2", "0", "push_rbp"), ("push_rbp",)),
}
