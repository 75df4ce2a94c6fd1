"""Programs that run in the process itself, by jump and by trap: all hits counted, none noticed."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import live
import pytest

import uprobes
from insn import Method
from ubp.programs import Argument, Count, Linear, Program
from uprobes.patch import installer

pytestmark = pytest.mark.live

COUNT = Program(actions=(Count(),))


def hits(installed):
    """Give the hits of each site by address."""
    return {site.address: installed.results(site).hits for site in installed.sites}


def install_all(target, victim, method):
    """Install a counter on each callable kind; return it with the names of the sites.

    Left out is what reads below the red zone, which any signal overwrites, and our code may too.
    """
    names = (n for n, calls in victim.hits.items() if calls and n != "call_below_stack")
    specs = {victim.spec(name): name for name in names}
    installed = target.install([(spec, COUNT) for spec in specs], method=method)
    return installed, {site.address: specs[site.location.spec] for site in installed.sites}


@pytest.mark.parametrize("method", [None, "jump", "trap"])
def test_a_program_on_every_kind_of_instruction_counts_every_hit(victim, method):
    kinds = victim("kinds", 3, 20)
    with uprobes.attach(kinds.pid) as target:
        installed, names = install_all(target, kinds, method)
        status = live.run_to_the_end(target, kinds)
    said, _ = kinds.finish()
    counts = {names[address]: n for address, n in hits(installed).items()}
    wrong = {name: (n, kinds.hits[name] * 60) for name, n in counts.items()}
    assert {name: pair for name, pair in wrong.items() if pair[0] != pair[1]} == {}
    assert status == uprobes.ExitStatus(0, None), said
    assert said == ["rounds 60", "wrong 0", "locked 60"]
    assert len(counts) > 20
    if method is not None:
        assert {site.method for site in installed.sites} == {Method(method)}
    assert all(error.code and error.why for error in installed.refused)


@pytest.mark.parametrize("method", ["jump", "trap"])
def test_eight_threads_on_one_counter_lose_nothing(victim, method):
    kinds = victim("kinds", 8, 10_000, "push_rbp")
    with uprobes.attach(kinds.pid) as target:
        installed = target.install([(kinds.points["push_rbp"], COUNT)], method=method)
        assert installed.refused == []
        status = live.run_to_the_end(target, kinds)
    assert list(hits(installed).values()) == [80_000]
    assert status.code == 0
    assert kinds.finish()[0][:2] == ["rounds 80000", "wrong 0"]


def test_removing_leaves_nothing_behind_while_the_threads_run_on(victim):
    kinds = victim("kinds", 4, 0)
    kinds.go()
    with uprobes.attach(kinds.pid) as target:
        for _ in range(5):
            installed, _ = install_all(target, kinds, None)
            live.until(lambda: sum(hits(installed).values()) > 1000, "thousand hits")  # noqa: B023 - called at once
            installed.remove()
            before = hits(installed)
            assert live.changed_text(kinds.pid) == []
            assert not [row for row in live.mappings(kinds.pid) if "memfd:uprobes" in row[4]]
            assert hits(installed) == before
    kinds.check_untouched()
    kinds.go()
    said, code = kinds.finish()
    assert code == 0
    assert "wrong 0" in said


@pytest.mark.parametrize("method", ["jump", "trap"])
def test_what_is_detached_goes_on_counting_until_somebody_else_removes_it(victim, method):
    kinds = victim("kinds", 2, 0)
    kinds.go()
    with uprobes.attach(kinds.pid) as target:
        installed, _ = install_all(target, kinds, method)
        installed.detach()
    assert live.tracer_of(kinds.pid) == 0
    before = hits(installed)
    live.until(lambda: all(n > before[a] for a, n in hits(installed).items()), "all count on")
    with uprobes.attach(kinds.pid) as target:
        [adopted] = target.installed
        assert [s.address for s in adopted.sites] == [s.address for s in installed.sites]
        live.until(lambda: all(n > before[a] for a, n in hits(installed).items()), "while traced")
    before = hits(installed)
    live.until(lambda: all(n > before[a] for a, n in hits(installed).items()), "and again")
    with uprobes.attach(kinds.pid) as target:
        target.installed[0].remove()
        assert target.installed == ()
    kinds.check_untouched()
    kinds.go()
    said, code = kinds.finish()
    assert code == 0
    assert "wrong 0" in said


def test_a_killed_tracer_leaves_programs_running_and_the_next_one_cleans_up(victim):
    kinds = victim("kinds", 2, 0)
    kinds.go()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with uprobes.attach(kinds.pid) as target:
                install_all(target, kinds, None)
                os.write(writer, b"x")
                target.run(live.PATIENCE)
        finally:
            os._exit(1)
    os.close(writer)
    assert os.read(reader, 1) == b"x"
    os.close(reader)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert kinds.alive
    with uprobes.attach(kinds.pid) as target:
        assert target.installed == ()
    kinds.check_untouched()
    kinds.go()
    said, code = kinds.finish()
    assert code == 0
    assert "wrong 0" in said


@pytest.mark.parametrize("method", ["jump", "trap"])
@pytest.mark.parametrize("how", [{}, {"method": "step"}, {"returns": True}])
def test_handlers_and_programs_do_not_share_a_place(victim, method, how):
    kinds = victim("kinds", 2, 5)
    point = kinds.points["push_rbp"]
    with uprobes.attach(kinds.pid) as target:
        installed = target.install([(point, COUNT)], method=method)
        made = target.register(kinds.spec("push_rbp"), lambda hit: None, **how)
        assert [error.code for error in made.refused] == ["occupied"]
        assert made.probes == []
        installed.remove()
        probe = target.uprobe(point, lambda hit: None).probes[0]
        refused = target.install([(point, COUNT)]).refused
        assert [error.code for error in refused] == ["occupied"]
        live.run_to_the_end(target, kinds)
    assert probe.hits == 10


@pytest.mark.parametrize("step", ["place_jumps", "place_traps"])
def test_an_installation_that_fails_half_way_leaves_nothing(victim, monkeypatch, step):
    """Case O9: some jumps and breakpoints are in, and others are not."""
    kinds = victim("kinds", 2, 0)
    kinds.go()
    kinds.wait_for("running")
    genuine = getattr(installer, step)

    def fails(*arguments):
        genuine(*arguments)
        raise uprobes.ProbeError("by the test's will", code="half-way")

    with uprobes.attach(kinds.pid) as target:
        with monkeypatch.context() as patched:
            patched.setattr(installer, step, fails)
            with pytest.raises(uprobes.ProbeError, match="by the test's will"):
                install_all(target, kinds, None)
        assert target.installed == ()
        assert live.changed_text(kinds.pid) == []
        assert not [row for row in live.mappings(kinds.pid) if "memfd:uprobes" in row[4]]
        installed, _ = install_all(target, kinds, None)
        live.until(lambda: sum(hits(installed).values()) > 100, "hits")
    kinds.go()
    assert kinds.finish()[0][2] == "wrong 0"


@pytest.mark.parametrize("others", [0, 1])
def test_an_installation_that_is_refused_whole_leaves_nothing(victim, others):
    """Not even the tables that programs of returns need, unless others need them."""
    kinds = victim("kinds", 2, 0)
    kinds.go()
    kinds.wait_for("running")
    with uprobes.attach(kinds.pid) as target:
        point = kinds.spec("push_rbp")
        used = [target.install([(point, COUNT)], returns=True) for _ in range(others)]
        target.register(kinds.spec("call_near"), lambda hit: None)  # the guard stays
        before = live.mappings(kinds.pid)
        refused = target.install([("libc:_setjmp", COUNT)], returns=True)
        assert (refused.sites, len(refused.refused)) == ([], 1)
        assert live.mappings(kinds.pid) == before
        for installed in used:
            live.until(lambda each=installed: min(hits(each).values()) > 100, "hits")
    kinds.go()
    assert kinds.finish()[0][2] == "wrong 0"


def test_nothing_is_installed_at_a_place_that_holds_no_code(victim):
    kinds = victim("kinds", 1, 1)
    with uprobes.attach(kinds.pid) as target:
        with pytest.raises(uprobes.ProbeError, match="mapped nothing"):
            target.install([("va:0x1000", COUNT)])
        with pytest.raises(uprobes.ProbeError):
            target.install([("libc:no_such_function", COUNT)])
        live.run_to_the_end(target, kinds)


@pytest.mark.parametrize("method", [None, "trap"])
@pytest.mark.parametrize(
    ("program", "argv", "expected"),
    [
        ("returns", ("recursion", 3000), {"factorial_sum": (3001, 3001)}),
        ("returns", ("tail", 200), dict.fromkeys(("first", "second", "third"), (200, 200))),
        ("returns", ("pops", 20), {}),
        ("returns", ("longjmp", 50), dict.fromkeys(("jumps_out", "calls_jumper"), (51, 1))),
        ("returns", ("threads", 4), {"leaf": (32, 32)}),
        ("returns", ("thread_exit", 4), {"leaves_thread": (4, 0)}),
        ("returns", ("sigaltstack", 50), {"factorial_sum": (11, 11), "leaf": (50, 50)}),
        ("returns", ("swapcontext", 50), {"leaf": (2, 2), "switches": (2, 2)}),
        ("throws", (20,), dict.fromkeys(("thrower", "middle"), (20, 10))),
        ("backtraces", (20,), dict.fromkeys(("inner", "outer"), (20, 0))),
    ],
)
def test_programs_of_returns_run_at_every_return_and_disturb_nothing(
    victim, build, program, argv, expected, method
):
    """Entries, and those of them that returned; what unwinds the stack sees real addresses."""
    started = victim(program, *argv)
    with uprobes.attach(started.pid) as target:
        installed = target.install(
            [(address, COUNT) for address in started.points.values()], returns=True, method=method
        )
        live.run_to_the_end(target, started)
    names = {address: name for name, address in started.points.items()}
    results = {names[site.address]: installed.results(site) for site in installed.sites}
    assert started.finish() == live.unprobed(build(program), *argv)
    assert {name: (r.hits, r.passed) for name, r in results.items() if r.hits} == expected
    assert {error.code for error in installed.refused} <= {"pops-arguments"}


def test_removing_programs_of_returns_lets_calls_under_way_return(victim):
    started = victim("returns", "blocks")
    with uprobes.attach(started.pid) as target:
        installed = target.install([(started.points["blocks"], COUNT)], returns=True)
        started.go()
        live.until(lambda: installed.results(installed.sites[0]).hits == 4, "four calls")
        installed.remove()
        assert target.installed == ()
    started.check_untouched()
    started.process.stdin.write(b"abcd")
    said, code = started.finish()
    assert (said[-1], code) == ("done blocks", 0)
    assert installed.results(installed.sites[0]).passed == 0


@pytest.mark.parametrize("rounds", [10, pytest.param(1000, marks=pytest.mark.torture)])
def test_programs_come_and_go_under_load(victim, rounds):
    """Everything is patched and put back while eight threads run through it."""
    kinds = victim("kinds", 8, 0)
    kinds.go()
    total = 0
    with uprobes.attach(kinds.pid) as target:
        for number in range(rounds):
            installed, _ = install_all(target, kinds, None)
            installed.remove()
            assert target.installed == (), number
            total += sum(hits(installed).values())
    assert total > 0
    kinds.check_untouched()
    kinds.go()
    said, code = kinds.finish()
    assert code == 0
    assert "wrong 0" in said


@pytest.mark.torture
@pytest.mark.parametrize("method", ["jump", "trap"])
def test_eight_threads_calling_ten_million_times_each_lose_nothing(victim, method):
    calls = 10_000_000 if method == "jump" else 200_000
    kinds = victim("kinds", 8, calls, "push_rbp")
    with uprobes.attach(kinds.pid) as target:
        installed = target.install([(kinds.points["push_rbp"], COUNT)], method=method)
        status = live.run_to_the_end(target, kinds)
    assert status.code == 0
    assert list(hits(installed).values()) == [8 * calls]


def test_a_spawned_program_survives_its_tracer(build):
    """The guard goes into a program before its first instruction, not into the middle of exec."""
    reader, writer = os.pipe()
    silent, silence = os.pipe()
    os.write(silence, b"\n")
    child = os.fork()
    if child == 0:
        try:
            os.dup2(silent, 0)  # no second line ever comes, so that it goes on
            with uprobes.spawn([str(build("ticks")), "2"]) as target:
                target.uprobe("ticks:tick", lambda hit: os.write(writer, b"%d\n" % target.pid))
                target.run(live.PATIENCE)
        finally:
            os._exit(1)
    os.close(writer)
    os.close(silent)
    with os.fdopen(reader) as said:
        pid = int(said.readline())
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    try:
        switches = live.switches(pid)
        live.until(lambda: live.switches(pid) > switches + 20, "the threads tick on")
    finally:
        os.kill(pid, signal.SIGKILL)
        os.close(silence)


FORKS = """
import os, sys
sys.stdin.readline()
for _ in range(5):
    if os.fork() == 0:
        for _ in range(100):
            os.getppid()
        os._exit(0)
    os.wait()
for _ in range(50):
    os.getppid()
"""


def reads(pid):
    """Tell whether a process waits in a read from its standard input."""
    return Path(f"/proc/{pid}/syscall").read_text().startswith("0 0x0 ")


@pytest.mark.parametrize("follow", [False, True])
def test_children_keep_programs_only_where_they_are_followed(needs, follow):
    """A child that is let go is clean; one that is followed counts in the same cells."""
    python = needs("python3", package="python3")
    process = subprocess.Popen([python, "-S", "-c", FORKS], stdin=subprocess.PIPE)
    try:
        live.until(lambda: reads(process.pid), "it waits for its line")
        with uprobes.attach(process.pid, follow_forks=follow) as target:
            installed = target.install([("libc:getppid", COUNT)])
            entered = target.install([("libc:wait4", COUNT)], returns=True)
            process.stdin.write(b"\n")
            process.stdin.flush()
            status = target.run(live.PATIENCE)
        assert status == uprobes.ExitStatus(0, None)
        assert list(hits(installed).values()) == [550 if follow else 50]
        assert [entered.results(site).passed for site in entered.sites] == [5]
    finally:
        process.stdin.close()
        process.kill()
        process.wait()


def test_a_program_that_turns_into_another_takes_nothing_along(needs):
    shell = needs("sh", package="dash")
    script = "read line; exec /bin/sh -c 'echo done; exit 3'"
    process = subprocess.Popen([shell, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        live.until(lambda: reads(process.pid), "it waits for its line")
        with uprobes.attach(process.pid) as target:
            installed = target.install([("libc:execve", COUNT)])
            said, _ = process.communicate(b"\n", timeout=live.PATIENCE)
            assert target.run(live.PATIENCE) is not None
        assert said == b"done\n"
        assert process.returncode == 3
        assert list(hits(installed).values()) == [1]
    finally:
        process.kill()
        process.wait()


def test_a_program_of_many_actions_has_room(victim):
    kinds = victim("kinds", 2, 30, "push_rbp")
    actions = tuple(Linear(Argument(n % 6), 0, 10, 5) for n in range(200))
    with uprobes.attach(kinds.pid) as target:
        program = Program(actions=actions)
        installed = target.install([(kinds.points["push_rbp"], program), ("libc:getenv", program)])
        live.run_to_the_end(target, kinds)
    result = installed.results(installed.sites[0])
    assert (result.hits, len(result.actions)) == (60, 200)
    assert {sum(bins) for bins in result.actions} == {60}


COMES_AND_GOES = """
import sys, uprobes
from ubp.programs import Count, Program
pid, *specs = sys.argv[1:]
programs = [(spec, Program(actions=(Count(),))) for spec in specs]
with uprobes.attach(int(pid)) as target:
    target.install(programs).remove()  # the guard is in: what is done before has no way back
    print("attached", flush=True)
    while True:
        target.install(programs).remove()
"""


@pytest.mark.parametrize("kills", [5, pytest.param(300, marks=pytest.mark.torture)])
def test_a_tracer_killed_while_programs_come_and_go_leaves_what_the_next_one_undoes(victim, kills):
    kinds = victim("kinds", 3, 0)
    kinds.go()
    specs = [kinds.spec(n) for n, calls in kinds.hits.items() if calls and n != "call_below_stack"]
    dice = random.Random(kills)
    for number in range(kills):
        command = [sys.executable, "-c", COMES_AND_GOES, str(kinds.pid), *specs]
        tracer = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert tracer.stdout.readline() == b"attached\n", number
        time.sleep(dice.random() * 0.5)
        tracer.kill()
        tracer.wait()
        tracer.stdout.close()
        assert kinds.alive, number
        with uprobes.attach(kinds.pid) as target:
            assert target.installed == (), number
        kinds.check_untouched()
    kinds.go()
    said, code = kinds.finish()
    assert code == 0
    assert "wrong 0" in said


def test_a_program_does_not_take_the_place_of_a_probe_that_waits_for_its_object(
    victim, tmp_path, needs
):
    """The object may be mapped, and nobody have been told yet."""
    library = tmp_path / "libone.so"
    options = f"-O2 -shared -fPIC -o {library} {live.VICTIMS / 'library.c'}"
    subprocess.run([needs("gcc", package="gcc"), *options.split()], check=True)
    loads = victim("anything", library)
    with uprobes.attach(loads.pid) as target:
        waiting = target.register("libone:lib_probed", lambda hit: None)
        assert waiting.pending
        loads.process.stdin.write(b"begin l\n")
        loads.wait_for("begun")
        refused = 0
        for _ in range(400):
            try:
                made = target.install([("libone:lib_probed", COUNT)])
            except uprobes.ProbeError:
                continue
            refused += len(made.refused)
            made.remove()
        loads.said.clear()
        loads.process.stdin.write(b"end\n")
        loads.wait_for("ended")
        [count] = [line for line in loads.said if line.startswith("lib_probed")]
        assert sum(probe.hits for probe in waiting.probes) == int(count.split()[1]) > 10
        assert refused > 0
