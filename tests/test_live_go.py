"""Real Go programs, whose stacks move and whose panics unwind: nothing shows, all is counted."""

import json
import subprocess
import sys
import time
from collections import Counter

import live
import pytest
from test_live_killed import kill, start_tracer

import uprobes
from uprobes import Outcome

pytestmark = [pytest.mark.live, pytest.mark.concurrent]

NAME = "goroutines"
RETURNED, UNWOUND, LOST = Outcome.RETURNED, Outcome.UNWOUND, Outcome.LOST
ONLY_RETURNS = ["guarded", "climb", "pass", "work"]


def counts(said):
    """Read what the victim counted: lines of a name and a number."""
    return {name: int(number) for name, number in (line.split() for line in said)}


@pytest.fixture(scope="module")
def unprobed(build):
    """Give what the victim says without probes, for some workers and rounds."""
    known = {}

    def unprobed(*argv):
        if argv not in known:
            known[argv] = live.unprobed(build(NAME), *argv)
            assert known[argv][1] == 0
        return known[argv]

    return unprobed


@pytest.mark.parametrize("method", [None, *live.METHODS])
def test_each_call_is_one_hit_though_go_begins_anew_when_a_stack_grew(victim, unprobed, method):
    """Its first instructions look for room on the stack, and run again behind a growth."""
    argv = (4, 1 if method == "inline" else 20)
    started = victim(NAME, *argv)
    with uprobes.attach(started.pid) as target:
        made = target.register(f"{NAME}:main.*", method=method)
        status = live.run_to_the_end(target, started)
    assert (*started.finish(), status.code) == (*unprobed(*argv), 0)
    said = counts(started.said)
    hits = {probe.location.function: probe.hits for probe in made.probes}
    calls = {f"main.{name}": said[name] for name in ("divide", "climb")}
    if method != "emulate":
        assert made.refused == []
    assert hits == hits | {name: n for name, n in calls.items() if name in hits}
    assert {probe.misses for probe in made.probes} <= {0}


@pytest.mark.parametrize(
    "method", [None, "step", "boost", "emulate", pytest.param("inline", marks=pytest.mark.slow)]
)
def test_every_function_is_probed_and_the_program_notices_nothing(victim, unprobed, method):
    """Those of the runtime too: scheduler, garbage collector, signal handlers, growing stacks."""
    argv = (2, 1) if method in ("inline", "step") else (4, 4)
    started = victim(NAME, *argv)
    with uprobes.attach(started.pid) as target:
        made = target.register(f"{NAME}:*", method=method)
        status = live.run_to_the_end(target, started)
    assert (*started.finish(), status.code) == (*unprobed(*argv), 0)
    assert sum(probe.hits for probe in made.probes) > 100
    if method is None:
        assert {error.code for error in made.refused} <= {"trap-instruction"}


def test_returns_are_seen_at_the_return_instructions_and_paired_with_their_entries(
    victim, unprobed
):
    started = victim(NAME, 4, 40)
    divisions, ends = [], {}

    def end(ret):
        ends.setdefault(ret.probe.location.function, Counter())[ret.outcome] += 1
        if ret.probe.location.function == "main.divide":
            divisions.append((ret.saved, (ret.value, ret.registers["rbx"]), ret.outcome))

    with uprobes.attach(started.pid) as target:
        made = target.register(
            f"{NAME}:main.*",
            end,
            returns=True,
            save=lambda hit: (hit.registers["rax"], hit.registers["rbx"]),
        )
        status = live.run_to_the_end(target, started)
        assert not target.failures
    assert (*started.finish(), status.code) == (*unprobed(4, 40), 0)
    said = counts(started.said)
    assert ends["main.divide"] == {
        RETURNED: said["divide"] - said["recovered"],
        UNWOUND: said["recovered"],
    }
    assert ends["main.climb"] == {RETURNED: said["climb"]}
    for name in ONLY_RETURNS:
        assert set(ends[f"main.{name}"]) == {RETURNED}
    for (a, b), result, outcome in divisions:
        assert outcome is UNWOUND if b == 0 else (outcome, result) == (RETURNED, divmod(a, b))
    for probe in made.probes:
        seen = ends.get(probe.location.function, Counter())
        assert probe.entry_hits == probe.hits == seen.total()


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(("-ldflags=-s -w",), id="stripped"),
        pytest.param(("-buildmode=pie",), id="pie", marks=pytest.mark.slow),
    ],
)
def test_stripped_and_movable_programs_are_probed_alike(needs, tmp_path, unprobed, options):
    """Go's own table names functions where there is no other."""
    program = live.build_go(NAME, tmp_path, needs("go", package="golang-go"), *options)
    started = live.Victim([program, 4, 20])
    ends = {}
    try:
        with uprobes.attach(started.pid) as target:
            entry = target.register(f"{NAME}:main.climb").probes[0]
            made = target.register(
                [f"{NAME}:main.climb", f"{NAME}:main.divide"],
                lambda ret: ends.setdefault(ret.probe.spec, Counter()).update([ret.outcome]),
                returns=True,
            )
            assert made.refused == []
            status = live.run_to_the_end(target, started)
        assert (*started.finish(), status.code) == (*unprobed(4, 20), 0)
    finally:
        started.close()
    said = counts(started.said)
    assert entry.hits == said["climb"]
    assert ends == {
        f"{NAME}:main.climb": {RETURNED: said["climb"]},
        f"{NAME}:main.divide": {
            RETURNED: said["divide"] - said["recovered"],
            UNWOUND: said["recovered"],
        },
    }


def test_returns_of_every_function_add_up(victim, unprobed):
    """What unwinds, never returns, or is still under way at the end is said to."""
    started = victim(NAME, 2, 3)
    ends = {}
    with uprobes.attach(started.pid) as target:
        made = target.register(
            f"{NAME}:*",
            lambda ret: ends.setdefault(ret.probe, Counter()).update([ret.outcome]),
            returns=True,
        )
        status = live.run_to_the_end(target, started)
        assert not target.failures
    assert (*started.finish(), status.code) == (*unprobed(2, 3), 0)
    assert {error.code for error in made.refused} <= {"no-exits", "tail-call", "unknown-extent"}
    assert len(made.probes) > 10 * len(made.refused)
    called = [probe for probe in made.probes if probe.entry_hits]
    assert len(called) > 100
    for probe in called:
        assert (probe, ends[probe].total()) == (probe, probe.entry_hits)


@pytest.mark.parametrize("returns", [False, True])
def test_a_go_program_is_left_in_the_middle_without_a_trace(victim, unprobed, returns):
    started = victim(NAME, 4, 100)
    with uprobes.attach(started.pid) as target:
        made = target.register(f"{NAME}:*", returns=returns)
        started.go()
        live.until(lambda: sum(probe.hits for probe in made.probes) > 500, "hits")
    try:
        started.check_untouched()
    except (AssertionError, OSError):
        if not started.ends_soon():  # what is ending has its memory to the last
            raise
    assert started.finish() == unprobed(4, 100)


@pytest.mark.parametrize("how", ["any", "returns"])
def test_a_go_program_outlives_its_tracer(victim, unprobed, how):
    """Not with probes in what Go runs with all signals blocked: the kernel ends it there."""
    specs = [f"{NAME}:{package}.*" for package in ("main", "fmt", "sync")]
    for delay in (0.0, 0.05, 0.2):
        started = victim(NAME, 4, 100)
        tracer = start_tracer(started, how, specs)
        started.go()
        time.sleep(delay)
        kill(tracer)
        assert started.finish() == unprobed(4, 100)


def test_programs_in_the_process_count_the_calls_of_go_functions(victim, unprobed):
    """Without a stop, at the same places; but not where Go says nothing about room on the stack."""
    started = victim(NAME, 4, 40)
    with uprobes.attach(started.pid) as target:
        recording = target.record(f"{NAME}:main.*", [])
        status = live.run_to_the_end(target, started)
        found = {each.site.location.function: each.hits for each in recording.results()}
    assert (*started.finish(), status.code) == (*unprobed(4, 40), 0)
    assert found["main.climb"] == counts(started.said)["climb"]
    assert [error.code for error in recording.refused] == ["no-room"]


def test_the_command_measures_how_long_go_functions_take(victim, unprobed):
    started = victim(NAME, 2, 10)
    specs = [f"{NAME}:main.climb", f"{NAME}:main.divide"]
    running = subprocess.Popen(
        [sys.executable, "-m", "uprobes", "latency", "--json", "-p", str(started.pid), *specs],
        stdout=subprocess.PIPE,
    )
    live.until(lambda: live.tracer_of(started.pid) and live.changed_text(started.pid), "probes")
    started.go()
    assert started.finish() == unprobed(2, 10)
    found = json.loads(running.communicate(timeout=live.PATIENCE)[0])
    assert {probe["function"]: probe["latency"]["count"] for probe in found["probes"]} == {
        "main.climb": counts(started.said)["climb"],
        "main.divide": counts(started.said)["divide"] - counts(started.said)["recovered"],
    }
    assert found["refused"] == []
