"""Targets that make it hard: sealed ones, places that fit no return probe, slots looked into."""

import live
import pytest

import uprobes

pytestmark = pytest.mark.live


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("method", [None, "inline", "step", "boost"])
def test_a_program_that_may_make_no_system_calls_is_probed_without_any(victim, when, method):
    """Cases R-10 and U29: where no slot can be had the instruction runs in place."""
    sealed = victim("sealed", when)
    with uprobes.attach(sealed.pid) as target:
        probe = target.uprobe(sealed.spec("probed"), lambda hit: None, method=method).probes[0]
        status = live.run_to_the_end(target, sealed)
    assert sealed.finish() == (["sum 100"], 7)
    assert status == uprobes.ExitStatus(7, None)
    assert (probe.hits, probe.misses) == (100, 0)


def test_a_sealed_program_is_left_as_it_was(victim):
    sealed = victim("sealed", "before")
    with uprobes.attach(sealed.pid) as target:
        target.uprobe(sealed.spec("probed"), lambda hit: None)
    sealed.check_untouched()
    sealed.go()
    assert sealed.finish() == (["sum 100"], 7)


@pytest.mark.parametrize("offset", [1, 4])
def test_a_return_probe_in_the_middle_of_a_function_is_refused(victim, offset):
    """Cases R-13 and R-16: the return address is not where the stack points."""
    started = victim("returns", "recursion", 5)
    with uprobes.attach(started.pid) as target:
        spec = f"returns:factorial_sum+{offset}"
        registration = target.register([spec], lambda ret: None, returns=True)
        assert registration.probes == []
        assert registration.refused[0].code in ("no-return", "inside-instruction")
        status = live.run_to_the_end(target, started)
    assert status.code == 0


def test_slots_hold_traps_where_they_hold_no_copy(victim):
    """Case U1: nothing of the kernel's or of ours shows in memory that the program can read."""
    kinds = victim("kinds", 1, 2)
    with uprobes.attach(kinds.pid) as target:
        target.uprobe(kinds.points["mov_rip"], lambda hit: None, method="step")
        keep = {}

        def look(hit):
            for start, end in hit.process.areas:
                keep[start] = hit.memory.read(start, end - start)

        target.uprobe(kinds.points["xchg_memory"], look)
        status = live.run_to_the_end(target, kinds)
    assert status.code == 0
    assert keep
    for code in keep.values():
        assert code.count(0xCC) > len(code) - 64


@pytest.mark.parametrize("method", [None, *live.METHODS])
def test_restartable_sequences_are_refused_and_what_is_around_them_is_not(victim, method):
    """A stop in one makes the kernel restart it: it would never come to its end."""
    started = victim("restartable", 500)
    with uprobes.attach(started.pid) as target:
        for spec in (
            started.spec("sequence_begin"),
            started.spec("sequence_middle"),
            f"elf:restartable:{elf_address(started, 'sequence_middle'):#x}",
        ):
            refused = target.register(spec, method=method).refused
            assert [error.code for error in refused] == ["restartable"]
        wanted = uprobes.Uprobe(started.pid, started.points["sequence_begin"], lambda hit: None)
        assert [e.code for e in target.register_probes([wanted]).refused] == ["restartable"]
        entry = target.register(started.spec("add_one"), method=method).probes[0]
        behind = target.register(started.spec("sequence_end"), method=method).probes[0]
        status = live.run_to_the_end(target, started)
    assert status.code == 0
    assert started.finish()[0] == ["counter 500"]
    assert entry.hits >= behind.hits == 500


def elf_address(victim, name):
    start = min(row[0] - row[3] for row in live.mappings(victim.pid) if "restartable" in row[4])
    return victim.points[name] - start


@pytest.mark.parametrize("when", ["before", "after"])
def test_returns_are_seen_in_a_program_that_may_make_no_system_calls(victim, when):
    """Case R-10: where no memory can be had for it, the trampoline is the program's entry."""
    sealed = victim("sealed", when)
    seen = []
    with uprobes.attach(sealed.pid) as target:
        probe = target.uretprobe(sealed.spec("probed"), seen.append).probes[0]
        status = live.run_to_the_end(target, sealed)
    assert sealed.finish() == (["sum 100"], 7)
    assert status == uprobes.ExitStatus(7, None)
    assert [(ret.outcome, ret.value) for ret in seen] == [
        (uprobes.Outcome.RETURNED, number) for number in range(1, 101)
    ]
    assert (probe.hits, probe.misses) == (100, 0)


@pytest.mark.parametrize("follow", [False, True])
def test_a_filter_that_kills_on_mmap_is_never_met(victim, build, follow):
    """With forks, exits and returns; each of our own calls would end the program."""
    births = victim("sealing", "kill-exec", build("births"), "fork")
    seen = []
    with uprobes.attach(births.pid, follow_forks=follow) as target:
        probe = target.uprobe(births.spec("probed"), lambda hit: None).probes[0]
        target.uretprobe(births.spec("probed"), seen.append)
        status = live.run_to_the_end(target, births)
    assert (status.code, births.finish()[0]) == (0, [f"sum {40 * (6 + 1)}"])
    assert probe.hits == len(seen) == 40 + (80 if follow else 0)
    assert {ret.outcome for ret in seen} == {uprobes.Outcome.RETURNED}


def test_a_sealed_program_is_left_without_a_trace_of_return_probes(victim, build):
    kinds = victim("sealing", "kill-exec", build("kinds"), 1, 0, "push_rbp")
    kinds.go()
    kinds.wait_for("running")
    with uprobes.attach(kinds.pid) as target:
        probe = target.register(kinds.spec("push_rbp"), returns=True).probes[0]
        live.until(lambda: probe.entry_hits > 20, "calls")
    kinds.check_untouched()
    kinds.go()
    assert kinds.finish()[1] == 0
