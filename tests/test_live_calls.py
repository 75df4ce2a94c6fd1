"""Probes on the `syscall` instruction itself: births, ends, waits, restarts."""

import live
import pytest

import uprobes

pytestmark = pytest.mark.live

WAYS = (None, "inline", "step")
POINTS = ("raw_call_at", "raw_thread_at", "raw_thread_exit_at", "probed")


@pytest.fixture(scope="module")
def unprobed(build):
    """What each call says without probes."""
    known = {}

    def run(what):
        if what not in known:
            known[what] = live.unprobed(build("calls"), what, lines=2)
        return known[what]

    return run


def under_probes(victim, what, method, **how):
    """Run one kind of call with probes on every instruction; return what came of it."""
    calls = victim("calls", what)
    with uprobes.attach(calls.pid, **how) as target:
        probes = {
            name: target.uprobe(
                calls.spec(name), lambda hit: None, method=None if name == "probed" else method
            ).probes[0]
            for name in POINTS
        }
        calls.go()
        calls.go()
        status = target.run(live.PATIENCE)
        assert status is not None, f"the victim hangs: {calls.state()}"
    said, code = calls.finish()
    return said, code, status, {name: probe.hits for name, probe in probes.items()}


@pytest.mark.parametrize("method", WAYS)
@pytest.mark.parametrize(
    ("what", "hits"),
    [
        ("getpid", 1000),
        ("fork", 5),  # U5
        ("clone", 5),
        ("read_of_thread", 1),
        ("read_restarted", 2),  # X25: the kernel begins it once more, and nobody can tell from what
        ("read_interrupted", 1),
        ("nanosleep", 1),
        ("epoll", 1),
        ("exit", 1),  # U3
        ("exit_group", 1),
        ("kill", 1),
        ("sigreturn", 10),
        ("munmap", 1),
        ("unknown", 1),
    ],
)
def test_a_probed_system_call_does_what_it_does_unprobed(victim, unprobed, what, hits, method):
    said, code, status, counted = under_probes(victim, what, method)
    assert (said, code) == unprobed(what)
    assert (status.code, status.signal) == ((code, None) if code >= 0 else (None, -code))
    assert counted["raw_call_at"] == hits


@pytest.mark.parametrize("method", WAYS)
def test_threads_born_and_ended_by_probed_instructions_run_on(victim, unprobed, method):
    """Cases U4 (clone in a slot) and U3 (exit in a slot)."""
    said, code, _, counted = under_probes(victim, "threads", method)
    assert (said, code) == unprobed("threads")
    assert (counted["raw_thread_at"], counted["raw_thread_exit_at"]) == (20, 20)
    assert counted["probed"] == 20


def test_a_forked_child_is_cleaned_and_runs_on_unprobed(victim):
    """The child calls the probed function ten times: nobody counts that, and it ends well."""
    said, _, _, counted = under_probes(victim, "fork", None)
    assert said == ["child 20"] * 5 + ["done fork"]
    assert counted["probed"] == 0


def test_a_followed_child_is_probed_too(victim):
    said, _, _, counted = under_probes(victim, "fork", None, follow_forks=True)
    assert said == ["child 20"] * 5 + ["done fork"]
    assert counted["probed"] == 50


@pytest.mark.parametrize("method", WAYS)
def test_a_program_that_runs_another_by_a_probed_call_runs_it(victim, method):
    said, code, status, counted = under_probes(victim, "exec", method)
    assert said[-2:] == ["ready", "done getpid"]
    assert (code, status.code) == (0, 0)
    assert counted["raw_call_at"] == 1, (
        "the new program has other addresses: its calls are not ours"
    )


@pytest.mark.parametrize("method", WAYS)
def test_detaching_from_a_probed_call_that_waits_leaves_it_waiting(victim, method):
    calls = victim("calls", "read")
    with uprobes.attach(calls.pid) as target:
        probe = target.uprobe(calls.spec("raw_call_at"), lambda hit: None, method=method).probes[0]
        calls.go()
        calls.wait_for("blocking")
        live.until(lambda: probe.hits == 1, "the call is hit")
    calls.check_untouched()
    calls.process.stdin.write(b"q")
    said, code = calls.finish()
    assert said == ["blocking", "read 1 q", "done read"]
    assert code == 0


@pytest.mark.parametrize("method", WAYS)
def test_attaching_to_and_leaving_a_program_in_a_call_does_not_disturb_it(victim, method):
    """The program waits in read() while probes come, go and come again."""
    calls = victim("calls", "read")
    calls.go()
    calls.wait_for("blocking")
    for _ in range(5):
        with uprobes.attach(calls.pid) as target:
            target.register([calls.spec(name) for name in POINTS], method=method)
        calls.check_untouched()
    calls.process.stdin.write(b"r")
    said, code = calls.finish()
    assert said == ["blocking", "read 1 r", "done read"]
    assert code == 0
