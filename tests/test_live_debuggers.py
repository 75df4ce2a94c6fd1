"""A debugger attached afterwards sees the program's own stack, with its real return addresses."""

import re
import subprocess
import sys

import live
import pytest

import uprobes

pytestmark = [
    pytest.mark.live,
    pytest.mark.needs("gdb", package="gdb"),
]

THREADS, DEPTH = 3, 20

TRACER = """
import sys, time, uprobes
target = uprobes.attach(int(sys.argv[1]))
made = target.register(sys.argv[2:], lambda ret: None, returns=True)
assert made.probes and not made.refused, made.refused
print("armed", flush=True)
while True:
    time.sleep(1)
"""


def backtraces(pid, what=2):
    """Give the functions (or with 1 the addresses) on the stack of each thread, as gdb has them."""
    done = subprocess.run(
        ["gdb", "-nx", "-batch", "-p", str(pid), "-ex", "thread apply all bt 60"],
        capture_output=True,
        text=True,
        timeout=live.PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    stacks = {}
    thread = None
    for line in done.stdout.splitlines():
        if found := re.match(r"Thread (\d+) ", line):
            thread = int(found[1])
        elif (
            found := re.match(r"#\d+ +(?:0x([0-9a-f]+) in )?(\S+) ", line)
        ) and thread is not None:
            stacks.setdefault(thread, []).append(found[what])
    return stacks


@pytest.fixture
def deep(victim):
    """Start the victim; `at_the_bottom` lets its threads dive."""

    def start():
        return victim("deep", THREADS, DEPTH)

    return start


def at_the_bottom(started):
    started.go()
    started.wait_for("deep")


def surface(started):
    started.process.stdin.write(b"." * THREADS)
    said, code = started.finish()
    assert (said[-1], code) == (f"sum {THREADS * DEPTH * (DEPTH + 1) // 2}", 0)


@pytest.fixture
def expected(deep):
    """What gdb says of a process that nobody ever probed."""
    plain = deep()
    at_the_bottom(plain)
    stacks = backtraces(plain.pid)
    surface(plain)
    assert len(stacks) == 1 + THREADS
    assert sum(names.count("dive") for names in stacks.values()) == THREADS * (DEPTH + 1)
    return stacks


def specs_of(started):
    return [started.spec("dive"), started.spec("bottom"), "libc:read"]


def test_after_a_detach_with_calls_under_way(deep, expected):
    started = deep()
    with uprobes.attach(started.pid) as target:
        made = target.register(specs_of(started), lambda ret: None, returns=True)
        assert made.refused == []
        at_the_bottom(started)
    assert sum(probe.entry_hits for probe in made.probes) >= THREADS * (DEPTH + 2)
    assert backtraces(started.pid) == expected
    started.check_untouched()
    surface(started)


def start_tracer(started):
    tracer = subprocess.Popen(
        [sys.executable, "-c", TRACER, str(started.pid), *specs_of(started)],
        stdout=subprocess.PIPE,
    )
    assert tracer.stdout.readline() == b"armed\n"
    at_the_bottom(started)
    tracer.kill()
    tracer.wait(live.PATIENCE)
    tracer.stdout.close()


def test_after_a_killed_tracer_and_a_rescue(deep, expected):
    started = deep()
    start_tracer(started)
    subprocess.run(
        [sys.executable, "-m", "uprobes", "rescue", str(started.pid)],
        capture_output=True,
        check=True,
    )
    assert backtraces(started.pid) == expected
    started.check_untouched()
    surface(started)


def test_after_a_killed_tracer_as_soon_as_any_thread_meets_a_breakpoint(deep, expected):
    """The guard puts the real return addresses back on all stacks. Until then gdb finds no caller
    of a probed function: `rescue` comes first.
    """
    started = deep()
    start_tracer(started)
    reads = live.switches(started.pid)
    started.process.stdin.write(b"x")  # whoever gets it reads once more, and `read` is probed
    live.until(lambda: live.switches(started.pid) > reads, "it reads again")
    live.until(lambda: live.changed_text(started.pid) == [], "the guard has put everything back")
    assert backtraces(started.pid) == expected
    subprocess.run(
        [sys.executable, "-m", "uprobes", "rescue", str(started.pid)],
        capture_output=True,
        check=True,
    )
    surface(started)


@pytest.mark.parametrize("what", ["entries", "returns", "programs"])
def test_a_backtrace_in_a_handler_goes_where_gdb_goes(deep, what):
    """Whatever return addresses of ours stand on the stack; gdb comes when we are out."""
    started = deep()
    seen = {}
    with uprobes.attach(started.pid) as target:

        def look(hit):
            seen[hit.tid] = target.backtrace(hit)

        if what == "programs":
            made = target.record(specs_of(started)[:2], ("tid",), returns=True)
        else:
            returns = what == "returns"
            made = target.register(specs_of(started), lambda ret: None, returns=returns)
        assert made.refused == []
        target.register("libc:read", look)
        at_the_bottom(started)
        live.until(lambda: len(seen) == THREADS, "all read")
        threads = set(seen)
    for tid in threads:
        names = [place.function for place in seen[tid]]
        assert names[1 : DEPTH + 3] == ["bottom", *["dive"] * (DEPTH + 1)]
    # Without the addresses of inlined frames and of where each is now: what returns where.
    told = [[int(a, 16) for a in stack if a] for stack in backtraces(started.pid, 1).values()]
    for tid in threads:
        ours = [place.address for place in seen[tid]][1:]
        assert any(stack[-len(ours) :] == ours for stack in told), (ours, told)
    surface(started)


def test_a_backtrace_goes_through_a_signal_handler_on_its_own_stack(victim):
    started = victim("returns", "sigaltstack", 3)
    seen = []
    with uprobes.attach(started.pid) as target:
        target.register(
            "returns:leaf",
            lambda ret: None,
            returns=True,
            save=lambda hit: seen.append([p.function for p in target.backtrace(hit)]),
        )
        target.register("returns:handler", lambda ret: None, returns=True)
        assert live.run_to_the_end(target, started).code == 0
    assert len(seen) == 3
    for names in seen:
        assert names[:2] == ["leaf", "handler"]
        assert "main" in names
    started.finish()


def test_a_handler_reads_the_stack_and_the_code_as_they_are_without_us(deep):
    started = deep()
    seen = []
    with uprobes.attach(started.pid) as target:
        place = started.points["dive"]
        before = target.read(place, 16)

        def look(hit):
            sp = hit.registers["rsp"]
            word = int.from_bytes(hit.read(sp, 8), "little")
            parts = b"".join(hit.read(sp + at, 1) for at in range(8))
            seen.append((word, int.from_bytes(parts, "little"), hit.memory.word(sp)))
            assert hit.read(place, 16) == before != hit.memory.read(place, 16)

        target.register(started.spec("dive"), lambda ret: None, returns=True)
        target.register(started.spec("dive"), look)
        at_the_bottom(started)
        assert not target.failures
        code = [row for row in live.executable_mappings(started.pid) if row[4]]
    assert len(seen) == THREADS * (DEPTH + 1)
    for word, parts, raw in seen:
        assert word == parts
        assert any(start <= word < end for start, end, *_ in code)
        assert not any(start <= raw < end for start, end, *_ in code)
    surface(started)
