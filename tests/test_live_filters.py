"""Programs under seccomp: filters are read and asked, and no call is made that they would stop."""

import errno
import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import live
import pytest
from test_live_killed import kill, start_tracer

import uprobes
from uprobes import Method, Outcome, ptrace, seccomp

pytestmark = [pytest.mark.live, pytest.mark.concurrent]

CALLS = 300
HARMLESS = ["allow", "container", "write-or-exec"]
STOPS_CODE = {
    "no-exec": "mmap with ERRNO EPERM",
    "kill-exec": "mmap with KILL_PROCESS",
    "kill-mmap": "mmap with KILL_PROCESS",
    "trap-munmap": "munmap with TRAP",
}
"""Filters with which no memory of ours is mapped, and what they answer."""
STOPS_GUARD = {
    "kill-sigaction": "rt_sigaction with KILL_THREAD",
    "kill-sigreturn": "rt_sigreturn with KILL_PROCESS",
}
BEFORE_OR_LATER = ["before", "after", "halfway"]


class Run:
    """One run of the victim under probes: an entry and a return probe, in three threads."""

    def __init__(self, victim, when, *filters):
        self.victim = started = victim("filters", when, *filters)
        self.outcomes = Counter()
        with uprobes.attach(started.pid) as target:
            self.returns = target.uretprobe(
                "filters:probed", lambda ret: self.outcomes.update([ret.outcome])
            ).probes[0]
            self.entry = target.uprobe("filters:counted", lambda hit: None).probes[0]
            process = target._process()
            self.guarded, self.unguarded = process.guard is not None, process.unguarded
            started.go()
            started.wait_for(f"sum {CALLS}")
            live.until(lambda: len(threads(started)) == 1, "the other threads ended")
            self.why_not = self.entry.why_not
            self.method = self.entry.method
        assert (self.entry.hits, self.entry.misses, self.returns.misses) == (CALLS, 0, 0)
        assert self.outcomes == {Outcome.RETURNED: CALLS}

    def finish(self):
        self.victim.go()
        assert self.victim.finish()[1] == 0


def threads(victim):
    return list(Path(f"/proc/{victim.pid}/task").iterdir())


@pytest.mark.parametrize("when", BEFORE_OR_LATER)
@pytest.mark.parametrize("kind", HARMLESS)
def test_a_filter_that_stops_none_of_our_calls_changes_nothing(victim, kind, when):
    run = Run(victim, when, kind)
    assert (run.guarded, run.unguarded, run.method) == (True, None, Method.BOOST)
    run.victim.check_untouched()
    run.finish()


@pytest.mark.parametrize("kind", STOPS_CODE)
def test_where_a_filter_stops_our_memory_instructions_run_in_place(victim, kind):
    """The filters that kill for a call would have done so; nothing is left behind."""
    run = Run(victim, "before", kind)
    assert not run.guarded
    assert run.method is Method.INLINE
    for why in (run.unguarded, run.why_not[Method.BOOST].why):
        assert why.endswith(f"seccomp filters answer {STOPS_CODE[kind]}")
    assert run.why_not[Method.BOOST].code == "seccomp"
    run.victim.check_untouched()
    run.finish()


@pytest.mark.parametrize("kind", ["no-exec", "kill-exec", "kill-mmap"])
@pytest.mark.parametrize("when", ["after", "halfway"])
def test_a_filter_that_comes_while_we_are_there_is_asked_from_then_on(victim, when, kind):
    run = Run(victim, when, kind)
    assert run.guarded
    assert run.method is (Method.INLINE if when == "after" else Method.BOOST)
    run.victim.check_untouched()
    run.finish()


@pytest.mark.parametrize("kind", STOPS_GUARD)
def test_where_a_filter_would_stop_the_guard_there_is_none(victim, kind):
    run = Run(victim, "before", kind)
    assert not run.guarded
    assert run.unguarded.endswith(f"seccomp filters answer {STOPS_GUARD[kind]}")
    assert run.method is Method.BOOST
    run.victim.check_untouched()
    run.finish()


@pytest.mark.parametrize("kind", ["trap-munmap", "kill-sigaction"])
def test_what_a_later_filter_forbids_to_take_back_stays_and_does_no_harm(victim, kind):
    run = Run(victim, "halfway", kind)
    assert live.changed_text(run.victim.pid) == []
    run.victim.go()
    assert run.victim.finish()[1] == 0


def test_all_filters_of_a_chain_are_asked(victim):
    run = Run(victim, "before", "allow", "container", "kill-sigaction", "write-or-exec")
    assert run.unguarded.endswith("rt_sigaction with KILL_THREAD")
    run.finish()


def test_filters_are_read_as_they_were_written(victim):
    started = victim("filters", "before", "container", "kill-mmap")
    read = []
    with uprobes.attach(started.pid) as target:
        target.uprobe("filters:counted", lambda hit: read.append(seccomp.filters_of(hit.tracee)))
        started.go()
        started.wait_for(f"sum {CALLS}")
        live.until(lambda: len(threads(started)) == 1, "the other threads ended")
    assert {filters.count for filters in read} == {2}
    older, newer = read[-1].programs
    assert older[0] == (0x20, 0, 0, 4)
    assert older[1] == (0x15, 1, 0, 0xC000003E)
    assert newer == [
        (0x20, 0, 0, 0), (0x15, 0, 1, 9), (0x06, 0, 0, 0x80000000), (0x06, 0, 0, 0x7FFF0000),
    ]  # fmt: skip
    assert len({id(filters) for filters in read}) <= 3, "read once for each thread"
    started.go()


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.EMEDIUMTYPE])
def test_filters_that_may_not_be_read_forbid_everything(victim, monkeypatch, number):
    def refuse(tid, index):
        raise OSError(number, "no")

    monkeypatch.setattr(ptrace, "seccomp_filter", refuse)
    run = Run(victim, "before", "allow")
    assert not run.guarded
    assert run.method is Method.INLINE
    assert seccomp.UNREADABLE in run.unguarded
    assert run.unguarded.endswith(seccomp.WHY_UNREADABLE[number])
    run.finish()


def test_without_the_right_to_read_filters_no_call_is_made(victim, needs):
    setpriv = needs("setpriv", package="util-linux")
    started = victim("filters", "before", "allow")
    drop = [setpriv, "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin"]
    command = [sys.executable, "-m", "uprobes", "count", "--json", "-p", str(started.pid)]
    running = subprocess.Popen([*drop, *command, "filters:counted"], stdout=subprocess.PIPE)
    live.until(lambda: live.changed_text(started.pid), "probes")
    started.go()
    started.wait_for(f"sum {CALLS}")
    started.go()
    [probe] = json.loads(running.communicate(timeout=live.PATIENCE)[0])["probes"]
    assert (probe["hits"], probe["method"]) == (CALLS, "inline")
    assert probe["why_not"]["boost"] == "seccomp"


@pytest.mark.parametrize("returns", [False, True])
@pytest.mark.parametrize("kind", [*HARMLESS, "kill-sigaction", "kill-sigreturn"])
def test_programs_are_installed_where_filters_let_them(victim, kind, returns):
    started = victim("filters", "before", kind)
    with uprobes.attach(started.pid) as target:
        recording = target.record("filters:probed", ["tid"], returns=returns)
        started.go()
        started.wait_for(f"sum {CALLS}")
        live.until(lambda: len(threads(started)) == 1, "the other threads ended")
        assert len(recording.read()) == CALLS
    started.check_untouched()
    started.go()
    assert started.finish()[1] == 0


@pytest.mark.parametrize("kind", [*STOPS_CODE, "kill-memfd"])
def test_programs_are_refused_where_filters_stop_what_they_need(victim, kind):
    started = victim("filters", "before", kind)
    with uprobes.attach(started.pid) as target:
        for returns in (False, True):
            with pytest.raises(uprobes.ProbeError, match="seccomp filters answer") as refused:
                target.record("filters:counted", ["tid"], returns=returns)
            assert refused.value.code == "seccomp"
        probe = target.uprobe("filters:counted", lambda hit: None).probes[0]
        started.go()
        started.wait_for(f"sum {CALLS}")
        live.until(lambda: len(threads(started)) == 1, "the other threads ended")
    assert probe.hits == CALLS
    started.check_untouched()
    started.go()
    assert started.finish()[1] == 0


@pytest.mark.parametrize("kind", HARMLESS)
def test_a_filtered_program_outlives_its_tracer(victim, build, kind):
    left_out = {"system_call", "pushf"}
    said = live.unprobed(build("kinds"), 3, 400)
    for delay in (0.0, 0.1):
        kinds = victim("sealing", kind, build("kinds"), 3, 400)
        specs = [kinds.spec(name) for name in kinds.points if name not in left_out]
        tracer = start_tracer(kinds, "any", specs)
        kinds.go()
        time.sleep(delay)
        kill(tracer)
        assert kinds.finish() == said
