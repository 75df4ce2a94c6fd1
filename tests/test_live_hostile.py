"""Hostile programs, each a small C file: they may harm themselves, and nobody else.

Whatever they do, the tracer says how they ended, hangs for nothing and keeps no descriptor; another
process that is probed at the same time notices nothing.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import live
import pytest

import uprobes

pytestmark = pytest.mark.live

FAULTS = {-signal.SIGSEGV, -signal.SIGBUS, -signal.SIGILL, -signal.SIGTRAP, -signal.SIGFPE}


def descriptors():
    """Count what we have open."""
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture(autouse=True)
def bystander(victim):
    """Another process, probed meanwhile, whose every call is counted."""
    ticks = victim("ticks", 2)
    with uprobes.attach(ticks.pid) as target:
        probe = target.uprobe(ticks.spec("tick"), lambda hit: None).probes[0]
        ticks.go()
        ticks.wait_for("running")
        before = descriptors()
        yield
        hits = probe.hits
        live.until(lambda: probe.hits > hits + 5, "the bystander is hit")
        assert descriptors() <= before + 6, "descriptors are left open"  # the victim's pipes
        status = live.run_to_the_end(target, ticks)
    said, _ = ticks.finish()
    assert status.code == 0
    assert probe.hits == int(said[-2].split()[1])


@contextlib.contextmanager
def probed(hostile, method=None, **how):
    """Probe everything of a hostile program in every way."""
    with uprobes.attach(hostile.pid, **how) as target:
        for name in ("outer", "probed"):
            spec = hostile.spec(name)
            target.register(spec, lambda hit: hit.arg(0), method=method)
            target.register(spec, lambda ret: ret.value, returns=True, method=method)
        yield target
        assert {type(error) for _, error in target.failures} <= {uprobes.NotMapped}


def ended(target, hostile):
    """Let it run out; give how it ended and what it said."""
    status = live.run_to_the_end(target, hostile)
    said, code = hostile.finish()
    expected = uprobes.ExitStatus(None, -code) if code < 0 else uprobes.ExitStatus(code, None)
    assert status == expected
    return code, said


METHODS = [None, *(pytest.param(name, marks=pytest.mark.slow) for name in ("step", "boost"))]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("byte", ["00", "90", "c3", "cc", "ff"])
def test_it_overwrites_slots_trampolines_and_the_guard(victim, method, byte):
    hostile = victim("hostile_overwrites", byte)
    with probed(hostile, method) as target:
        code, said = ended(target, hostile)
    assert said[0].startswith("areas ")
    assert code in FAULTS | {0}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("what", ["unmap", "move", "protect", "replace"])
def test_it_takes_away_the_memory_of_slots(victim, method, what):
    hostile = victim("hostile_unmaps", what)
    with probed(hostile, method) as target:
        code, said = ended(target, hostile)
    assert said[0].startswith("areas ")
    assert code in FAULTS | {0}


def test_it_takes_away_the_page_of_a_breakpoint_of_its_own(victim):
    """Before anybody could look whose the trap is."""
    hostile = victim("hostile_trap_gone")
    with uprobes.attach(hostile.pid) as target:
        target.register(hostile.spec("probed"), lambda hit: time.sleep(0.2))
        assert ended(target, hostile) == (0, ["both came back"])


@pytest.mark.parametrize("turn", range(3))
@pytest.mark.parametrize("method", ["step", "inline"])
@pytest.mark.parametrize("name", ["here_call", "here_push"])
def test_it_takes_away_the_stack_under_a_step(victim, name, method, turn):
    hostile = victim("hostile_stack_gone")
    with uprobes.attach(hostile.pid) as target:
        target.register(hostile.spec(name), lambda hit: None, method=method)
        assert ended(target, hostile) == (-signal.SIGSEGV, []), turn


@pytest.mark.parametrize("turn", range(3))
@pytest.mark.parametrize("method", live.METHODS)
def test_it_takes_away_the_code_under_a_probe(victim, method, turn):
    hostile = victim("hostile_code_gone")
    with uprobes.attach(hostile.pid) as target:
        made = target.register(hostile.spec("page"), lambda hit: None, method=method)
        assert made.probes, made.refused
        assert ended(target, hostile) == (-signal.SIGSEGV, []), turn


@pytest.mark.parametrize("method", METHODS)
def test_it_jumps_into_slots(victim, method):
    """Case R-11: also to the return trampoline, where no call of its is known to end."""
    hostile = victim("hostile_jumps")
    with probed(hostile, method) as target:
        code, said = ended(target, hostile)
    # One slot leads into the C library's `sigaction`, which then finds its stack in disorder.
    assert code in FAULTS | {0, -signal.SIGABRT}
    assert code or said[0] == "jumped yes"


@pytest.mark.parametrize("method", METHODS)
def test_it_writes_its_own_text_over_breakpoints(victim, method):
    """Its probes are hit no more; taking them out leaves what it wrote."""
    hostile = victim("hostile_text")
    with uprobes.attach(hostile.pid) as target:
        probe = target.register(hostile.spec("probed"), method=method).probes[0]
        hostile.go()
        hostile.wait_for("written")
        target.unregister([probe])
        assert probe.hits == 1
        assert isinstance(probe.error, uprobes.Overwritten)
        again = target.register(hostile.spec("probed"), method=method).probes
        code, said = ended(target, hostile)
    assert (code, said[-1]) == (0, "sum 200")
    assert [p.hits for p in again] == [100]


def test_overwritten_breakpoints_are_in_the_report(victim):
    hostile = victim("hostile_text")
    command = [sys.executable, "-m", "uprobes", "trace", "probed", "-p", str(hostile.pid), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as tracer:
        live.until(lambda: live.changed_text(hostile.pid), "it is probed")
        hostile.go()
        hostile.wait_for("written")
        tracer.send_signal(signal.SIGINT)
        document = json.loads(tracer.stdout.read().splitlines()[-1])
        assert tracer.wait(live.PATIENCE) == 1
    assert [row["code"] for row in document["refused"]] == ["overwritten"]
    hostile.go()
    assert hostile.finish()[1] == 0


@pytest.mark.parametrize("method", METHODS)
def test_it_blocks_ignores_and_handles_sigtrap(victim, method):
    hostile = victim("hostile_sigtrap")
    with probed(hostile, method) as target:
        code, _ = ended(target, hostile)
    assert code in {0, -signal.SIGTRAP}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("where", ["null", "code", "odd", "kernel", "ours", "edge"])
def test_it_has_no_stack_at_a_probe(victim, method, where):
    hostile = victim("hostile_stack", where)
    with probed(hostile, method) as target:
        code, said = ended(target, hostile)
    assert code in FAULTS | {0}
    assert code or said[-1] == "sum 200"


def test_it_forges_what_we_read(victim):
    """Strings without end, lists that loop, return addresses that are none."""
    hostile = victim("hostile_forges")
    seen = []
    with probed(hostile) as target:
        target.register(hostile.spec("taker"), lambda hit: seen.append(len(hit.cstring(0))))
        target.register(hostile.spec("returns_to"), returns=True)
        target.register("libnever:function")
        code, said = ended(target, hostile)
    assert (code, said) == (0, ["sum 0"])
    assert seen == [4096, 3]


@pytest.mark.parametrize("follow", [False, True])
def test_it_forks_without_end(victim, follow):
    """Bounded by a limit; every child is let go or followed, none is left behind."""
    hostile = victim("hostile_forks", prefix=("prlimit", "--nproc=4000", "--cpu=30"))
    with probed(hostile, follow_forks=follow) as target:
        code, _ = ended(target, hostile)
        assert target.processes == ()
    assert code == 0


def test_it_changes_its_symbols_on_disk(victim, build, tmp_path):
    """What can't be read any more is refused; what is in goes on."""
    copy = tmp_path / "hostile_disk"
    copy.write_bytes(build("hostile_disk").read_bytes())
    copy.chmod(0o755)
    hostile = live.Victim([copy])
    try:
        with probed(hostile) as target:
            hostile.go()
            hostile.wait_for("scrambled")
            late = target.register(
                [f"{copy}:main", "hostile_disk:main", "main", hostile.spec("outer", 1)]
            )
            assert all(isinstance(error, uprobes.ProbeError) for error in late.refused)
            code, said = ended(target, hostile)
        assert (code, said[-1]) == (0, "sum 200")
    finally:
        hostile.close()


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        (40, b"\xff" * 8),
        (40, b"\x08" + bytes(7)),
        (60, b"\xff\xff"),
        (62, b"\xff\xff"),
        (32, b"\x08"),
    ],
    ids=["far sections", "sections of the header", "many sections", "strings", "segments"],
)
def test_its_own_file_is_made_to_hurt(build, tmp_path, offset, value):
    """The kernel runs what no reader of symbols understands; addresses can be probed still."""
    content = bytearray(build("hostile_reexecs").read_bytes())
    started = tmp_path / "hostile_reexecs"
    started.write_bytes(bytes(content))
    started.chmod(0o755)
    hostile = live.Victim([started, 3])
    try:
        content[offset : offset + len(value)] = value
        started.unlink()  # what runs stays what it is; what it becomes next is this
        started.write_bytes(bytes(content))
        started.chmod(0o755)
        with uprobes.attach(hostile.pid) as target:
            made = target.register(["outer", f"{started}:*", "main+1"], lambda hit: None)
            made.refused += target.register(hostile.spec("outer"), returns=True).refused
            assert all(isinstance(error, uprobes.ProbeError) for error in made.refused)
            assert ended(target, hostile)[0] == 0
    finally:
        hostile.close()


@pytest.mark.parametrize("follow", [False, True])
def test_it_wants_to_trace_and_be_traced(victim, follow):
    hostile = victim("hostile_traces")
    with probed(hostile, follow_forks=follow) as target:
        code, said = ended(target, hostile)
    assert (code, said) == (0, ["failed 1", "sum 200"])


@pytest.mark.parametrize("before", [0, 1])
@pytest.mark.parametrize("method", METHODS)
def test_it_seals_itself(victim, method, before):
    """By a filter that kills on nearly every system call; none of ours is among those it sees."""
    hostile = victim("hostile_seals", before)
    with probed(hostile, method) as target:
        hostile.go()
        hostile.wait_for("sealed")
        late = target.register(hostile.spec("probed", 4), lambda hit: None, method=method)
        assert len(late.probes) + len(late.refused) == 1
        code, said = ended(target, hostile)
    assert (code, said[-1]) == (0, "sum 200")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("what", ["group", "thread", "slot"])
def test_it_ends_in_slots(victim, method, what):
    hostile = victim("hostile_exits", what)
    with probed(hostile, method) as target:
        code, _ = ended(target, hostile)
    assert code == 0 if what == "thread" else code in FAULTS | {44}


def test_it_forbids_to_be_looked_at(victim):
    hostile = victim("hostile_undumpable")
    with probed(hostile) as target:
        hostile.go()
        hostile.wait_for("undumpable")
        late = target.register([hostile.spec("probed", 4), "main"], lambda hit: None)
        assert len(late.probes) + len(late.refused) == 2
        code, said = ended(target, hostile)
    assert (code, said[-1]) == (0, "sum 200")


@pytest.mark.parametrize("how", [{}, {"method": "inline"}, {"returns": True}])
def test_it_becomes_itself_anew_all_the_time(victim, how):
    """Its exec waits for threads that we may be holding, and kills others in the midst of hits."""
    hostile = victim("hostile_reexecs", 60)
    with probed(hostile) as target:
        by_name = target.register("hostile_reexecs:outer", lambda hit: None, **how)
        code, _ = ended(target, hostile)
        assert len(by_name.probes) == 1
        assert by_name.probes[0].hits > 160
    assert code == 0
