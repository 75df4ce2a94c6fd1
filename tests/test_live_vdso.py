"""The code that the kernel maps into every process: the vdso is probed like a library, and the page
that the kernel itself executes (vsyscall) is refused with the reason.
"""

import re
import subprocess
import sys

import live
import pytest

import uprobes

pytestmark = [pytest.mark.live, pytest.mark.concurrent]

CLOCK = "vdso:__vdso_clock_gettime"
THREADS = 4


def vdso(pid):
    """Read the vdso of a process: the kernel has no file of it to compare with."""
    (row,) = [row for row in live.mappings(pid) if row[4] == "[vdso]"]
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        memory.seek(row[0])
        return memory.read(row[1] - row[0])


def answers(said):
    """Give what a victim counted: times that went backwards, clocks asked, CPUs asked."""
    found = re.fullmatch(r"backwards (\d+) time (\d+) cpu (\d+)", said)
    assert found is not None, said
    return tuple(map(int, found.groups()))


@pytest.mark.parametrize("returns", [False, True], ids=["entry", "return"])
@pytest.mark.parametrize("method", [None, *live.METHODS])
def test_calls_of_the_vdso_are_hit_each_once(victim, method, returns):
    started = victim("clocks", THREADS, 300)
    with uprobes.attach(started.pid) as target:
        (probe,) = target.register(CLOCK, lambda hit: None, returns=returns, method=method).probes
        status = live.run_to_the_end(target, started)
    (said,), code = started.finish()
    assert (status.code, code) == (0, 0)
    assert answers(said) == (0, THREADS * 300, THREADS * 38)
    assert (probe.hits, probe.misses) == (THREADS * 300, 0)


@pytest.mark.parametrize("returns", [False, True], ids=["entry", "return"])
@pytest.mark.parametrize("method", ["jump", "trap"])
def test_programs_of_ours_run_in_the_vdso(victim, method, returns):
    started = victim("clocks", THREADS, 3000)
    with uprobes.attach(started.pid) as target:
        if returns and method == "trap":
            method = None
        recording = target.record(CLOCK, ("tid",), returns=returns, method=method)
        assert recording.refused == []
        status = live.run_to_the_end(target, started)
        records = len(recording.read()) + recording.lost
    assert status.code == 0
    assert answers(started.finish()[0][0]) == (0, THREADS * 3000, THREADS * 375)
    assert records == THREADS * 3000


def test_every_instruction_of_a_vdso_function_is_probed_and_time_goes_on(victim):
    """The clocks are read in loops that begin anew when the kernel changes them meanwhile."""
    started = victim("clocks", 2, 200)
    with uprobes.attach(started.pid) as target:
        place = target.check(CLOCK)[0][0]
        specs = [f"{CLOCK}+{at:#x}" for at in range(place.function_size)]
        made = target.register(specs, lambda hit: None)
        assert {error.code for error in made.refused} <= {"inside-instruction"}
        assert len(made.probes) > 20
        status = live.run_to_the_end(target, started)
    assert status.code == 0
    assert answers(started.finish()[0][0]) == (0, 400, 50)
    by_address = {probe.address: probe.hits for probe in made.probes}
    assert by_address[place.address] == 400


def test_a_process_is_left_with_the_vdso_that_it_had(victim):
    """And threads that are inside of it are attached to and left, again and again."""
    started = victim("clocks", THREADS, 0)
    before = vdso(started.pid)
    started.go()
    started.wait_for("running")
    for _ in range(6):
        with uprobes.attach(started.pid) as target:
            probes = target.register("vdso:*", lambda hit: None).probes
            recording = target.record("libc:getcpu", ("tid",))
            live.until(lambda p=probes: sum(probe.hits for probe in p) > 20, "hits in the vdso")
            assert vdso(started.pid) != before
            assert recording.refused == []
        assert vdso(started.pid) == before
    started.check_untouched()
    started.go()
    assert answers(started.finish()[0][-1])[0] == 0


def test_the_page_that_the_kernel_executes_is_refused_with_the_reason(victim):
    started = victim("clocks", 1, 1)
    (page,) = [row[0] for row in live.mappings(started.pid) if row[4] == "[vsyscall]"]
    with uprobes.attach(started.pid) as target:
        for what in (
            lambda: target.uprobe(page, lambda hit: None),
            lambda: target.uretprobe(page, lambda ret: None),
            lambda: target.record(f"va:{page:#x}", ("tid",)),
            lambda: target.check(f"va:{page + 0x400:#x}"),
        ):
            with pytest.raises(uprobes.ProbeError) as caught:
                what()
            assert caught.value.code == "vsyscall"
            assert "kernel itself executes this page" in caught.value.why
            assert caught.value.hint
        probe = uprobes.Uprobe(started.pid, page)
        assert [error.code for error in target.register_probes([probe]).refused] == ["vsyscall"]
        assert live.run_to_the_end(target, started).code == 0


TRACER = """
import sys, time, uprobes
target = uprobes.attach(int(sys.argv[1]))
made = target.register("vdso:*", lambda hit: None, method=sys.argv[2])
assert made.probes and not made.refused, made.refused
print("armed", flush=True)
while True:
    time.sleep(1)
"""


@pytest.mark.parametrize("method", ["step", "boost"])
def test_a_killed_tracer_leaves_clocks_that_go_on_and_a_vdso_to_rescue(victim, method):
    started = victim("clocks", 2, 0)
    before = vdso(started.pid)
    tracer = subprocess.Popen(
        [sys.executable, "-c", TRACER, str(started.pid), method], stdout=subprocess.PIPE
    )
    assert tracer.stdout.readline() == b"armed\n"
    started.go()
    started.wait_for("running")
    tracer.kill()
    tracer.wait(live.PATIENCE)
    tracer.stdout.close()
    live.until(lambda: vdso(started.pid) == before, "the guard has put everything back")
    done = subprocess.run(
        [sys.executable, "-m", "uprobes", "rescue", str(started.pid)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert vdso(started.pid) == before
    started.check_untouched()
    started.go()
    said, code = started.finish()
    assert (answers(said[-1])[0], code) == (0, 0)
