"""Return probes: every call ends once, as it really ended, and the program notices nothing."""

from collections import Counter

import live
import pytest

import uprobes
from uprobes import Outcome, arming

pytestmark = [pytest.mark.live, pytest.mark.concurrent]

RETURNED, UNWOUND, LOST = Outcome.RETURNED, Outcome.UNWOUND, Outcome.LOST


def probed_exits(victim, names, *argv):
    """Do as `probed_returns` does, with probes on return instructions."""
    return probed_returns(victim, names, *argv, exits=True)


def probed_returns(victim, names, *argv, program="returns", exits=False, **how):
    """Put return probes on functions; return what was said, the end, and the returns seen."""
    started = victim(program, *argv)
    seen = {name: [] for name in names}
    with uprobes.attach(started.pid, **how) as target:
        for name in names:
            target.uretprobe(
                started.spec(name),
                seen[name].append,
                save=lambda hit: hit.registers["rdi"],
                exits=exits,
            )
        status = live.run_to_the_end(target, started)
        assert not target.failures, target.failures
    said, code = started.finish()
    assert code == (status.code if status.code is not None else -status.signal)
    return said, code, seen


def outcomes(returns):
    return Counter(ret.outcome for ret in returns)


@pytest.mark.parametrize("depth", [10, 100, 3000])
def test_deep_recursion_returns_call_by_call(victim, depth):
    """Case R-8."""
    said, code, seen = probed_returns(victim, ["factorial_sum"], "recursion", depth)
    assert said == [f"sum {depth * (depth + 1) // 2}", "done recursion"]
    assert code == 0
    returns = seen["factorial_sum"]
    assert outcomes(returns) == {RETURNED: depth + 1}
    assert [(ret.saved, ret.value) for ret in returns] == [
        (n, n * (n + 1) // 2) for n in range(depth + 1)
    ]


def test_tail_calls_return_once_for_each_function_innermost_first(victim):
    """Case R-5."""
    said, _, seen = probed_returns(victim, ["first", "second", "third"], "tail", 200)
    assert said == ["done tail"]
    for name in ("first", "second", "third"):
        assert [ret.value for ret in seen[name]] == [3 * i for i in range(200)]
        assert outcomes(seen[name]) == {RETURNED: 200}


def test_a_function_that_pops_its_arguments_returns(victim):
    """Case R-3."""
    said, _, seen = probed_returns(victim, ["pops"], "pops", 200)
    assert said == ["done pops"]
    assert [(ret.outcome, ret.value) for ret in seen["pops"]] == [
        (RETURNED, 3000 + i) for i in range(200)
    ]


def test_several_return_probes_on_one_function_all_see_each_return(victim):
    started = victim("returns", "threads", 50)
    counts = Counter()
    with uprobes.attach(started.pid) as target:
        for number in range(3):
            target.uretprobe(
                started.spec("leaf"), lambda ret, number=number: counts.update([number])
            )
        entry = target.uprobe(started.spec("leaf"), lambda hit: None).probes[0]
        status = live.run_to_the_end(target, started)
    assert status.code == 0
    assert counts == {0: 400, 1: 400, 2: 400}
    assert entry.hits == 400


def test_longjmp_out_of_functions_leaves_nothing_behind(victim):
    """Case R-4: a thousand calls that never return, then one that does."""
    said, _, seen = probed_returns(victim, ["jumps_out", "calls_jumper"], "longjmp", 1000)
    assert said == ["jumped 1000 then -4", "done longjmp"]
    for name in ("jumps_out", "calls_jumper"):
        assert outcomes(seen[name]) == {UNWOUND: 1000, RETURNED: 1}


def test_frames_of_longjmp_are_not_kept(victim):
    started = victim("returns", "longjmp", 1000)
    most = [0]
    with uprobes.attach(started.pid) as target:

        def look(_ret):
            most[0] = max(most[0], len(target._process().returns.frames))

        target.uretprobe(started.spec("jumps_out"), look)
        status = live.run_to_the_end(target, started)
    assert status.code == 0
    assert most[0] <= 2


def test_eight_threads_return_exactly_as_often_as_they_call(victim):
    said, _, seen = probed_returns(victim, ["leaf"], "threads", 500)
    assert said == [f"sum {8 * 2 * sum(range(500))}", "done threads"]
    assert outcomes(seen["leaf"]) == {RETURNED: 4000}
    assert all(ret.value == 2 * ret.saved for ret in seen["leaf"])
    assert len({ret.tid for ret in seen["leaf"]}) == 8


def test_a_thread_that_ends_inside_a_function_ends_its_calls(victim):
    said, _, seen = probed_returns(victim, ["leaves_thread"], "thread_exit", 50)
    assert said == ["done thread_exit"]
    kinds = outcomes(seen["leaves_thread"])
    assert sum(kinds.values()) == 50
    assert set(kinds) <= {UNWOUND, LOST}


def test_a_child_forked_inside_a_function_returns_from_it_too(victim):
    """Case R-9: the child is not followed, and finds the real return address."""
    said, code, seen = probed_returns(victim, ["forks"], "fork", 7)
    assert said == ["value 107", "value 107"]
    assert code == 107
    assert [(ret.outcome, ret.value) for ret in seen["forks"]] == [(RETURNED, 107)]


def test_handlers_on_another_stack_return(victim):
    """Case R-7."""
    said, _, seen = probed_returns(victim, ["leaf", "factorial_sum"], "sigaltstack", 50)
    assert said == ["handled 50 sum 55", "done sigaltstack"]
    assert outcomes(seen["leaf"]) == {RETURNED: 50}
    assert outcomes(seen["factorial_sum"]) == {RETURNED: 11}


def test_switching_stacks_inside_a_function_is_followed(victim):
    """Case R-2."""
    said, _, seen = probed_returns(victim, ["switches", "leaf"], "swapcontext")
    assert said == ["other side 6", "switched 6 7", "done swapcontext"]
    assert [(ret.outcome, ret.value) for ret in seen["switches"]] == [(RETURNED, 6), (RETURNED, 7)]
    assert [(ret.outcome, ret.value) for ret in seen["leaf"]] == [(RETURNED, 2), (RETURNED, 4)]


@pytest.mark.parametrize("names", [["thrower"], ["middle"], ["thrower", "middle"]])
def test_exceptions_pass_through_probed_functions(victim, names):
    """Case R-15: the unwinder must find the real return addresses."""
    said, code, seen = probed_returns(victim, names, 100, program="throws")
    assert said == [f"caught 50 sum {sum(i + 1 for i in range(1, 100, 2))}"]
    assert code == 0
    for name in names:
        assert outcomes(seen[name]) == {RETURNED: 50, UNWOUND: 50}


def test_detaching_with_calls_under_way_gives_their_return_addresses_back(victim):
    started = victim("returns", "blocks")
    seen = []
    with uprobes.attach(started.pid) as target:
        target.uretprobe(started.spec("blocks"), seen.append)
        probe = target.probes[-1]
        started.go()
        started.wait_for("blocking")
        live.until(lambda: probe.entry_hits == 4, "all threads are inside")
    started.check_untouched()
    started.process.stdin.write(b"abcd")
    said, code = started.finish()
    assert said == ["blocking", "sum 34", "done blocks"]
    assert code == 0


def test_unregistering_with_calls_under_way_lets_them_return(victim):
    started = victim("returns", "blocks")
    seen = []
    with uprobes.attach(started.pid) as target:
        registration = target.uretprobe(started.spec("blocks"), seen.append)
        probe = registration.probes[0]
        started.go()
        started.wait_for("blocking")
        live.until(lambda: probe.entry_hits == 4, "all threads are inside")
        registration.unregister()
        started.process.stdin.write(b"ab")
        again = target.uretprobe(started.spec("blocks"), seen.append).probes[0]
        started.process.stdin.write(b"cd")
        status = target.run(live.PATIENCE)
    assert status is not None
    assert status.code == 0
    said, _ = started.finish()
    assert said == ["blocking", "sum 34", "done blocks"]
    assert seen == []
    assert again.entry_hits == 0


def test_backtraces_show_the_real_return_addresses(victim):
    """Case R-14: what the program says of its own stack is the same as unprobed."""
    started = victim("backtraces", 30)
    seen = []
    with uprobes.attach(started.pid) as target:
        for name in ("outer", "inner"):
            target.uretprobe(started.spec(name), seen.append)
        status = live.run_to_the_end(target, started)
    said, code = started.finish()
    assert said == ["same 30 different 0"]
    assert (code, status.code) == (0, 0)
    assert outcomes(seen) == {RETURNED: 60}
    assert [ret.value for ret in seen] == [n for i in range(30) for n in (i * 2, i * 2 + 1)]


@pytest.mark.parametrize("way", ["name", "address", "object"])
def test_returns_in_go_programs_are_seen_without_touching_the_stack(victim, way):
    """Case R-1: Go moves stacks, and ends programs in which it finds a strange return address."""
    started = victim("looks_like_go")
    spec = started.spec("probed")
    seen = []
    with uprobes.attach(started.pid) as target:
        with pytest.raises(uprobes.ProbeError, match="Go moves the stacks") as refused:
            target.record(spec, ["time"], returns=True)
        assert refused.value.code == "needs-exits"
        if way == "object":
            probe = uprobes.Uretprobe(started.pid, started.points["probed"], seen.append)
            assert target.register_probes([probe]).refused == []
        else:
            named = "looks_like_go:probed" if way == "name" else spec
            probe = target.register(named, seen.append, returns=True).probes[0]
        entries = target.register(spec).probes
        status = live.run_to_the_end(target, started)
    assert (status.code, [entry.hits for entry in entries]) == (0, [100])
    assert started.finish()[0] == ["sum 100"]
    assert [(ret.outcome, ret.value) for ret in seen] == [(RETURNED, n) for n in range(1, 101)]
    assert (probe.hits, probe.entry_hits, probe.misses) == (100, 100, 0)


@pytest.mark.parametrize("method", [None, "step", "inline"])
@pytest.mark.parametrize("what", ["same", "threads"])
def test_coroutines_return_wherever_they_are_resumed(victim, what, method):
    """Case R-2: a call belongs to its place on a stack, not to the thread that began it."""
    started = victim("coroutines", what, 30)
    seen = {}
    with uprobes.attach(started.pid) as target:
        for name in ("outer", "yields", "resume"):
            target.uretprobe(
                started.spec(name),
                lambda ret, name=name: seen.setdefault(name, []).append(ret),
                save=lambda hit: (hit.tid, hit.arg(0)),
                method=method,
            )
        status = live.run_to_the_end(target, started)
    assert (status.code, started.finish()[0]) == (0, [f"sum {sum(3 * i + 1 for i in range(30))}"])
    assert {name: outcomes(rows) for name, rows in seen.items()} == {
        "outer": {RETURNED: 30},
        "yields": {RETURNED: 30},
        "resume": {RETURNED: 31},
    }
    for ret in seen["yields"]:
        began_on, argument = ret.saved
        assert ret.value == 3 * argument
        assert (ret.tid == began_on) == (what == "same")


def test_functions_that_read_their_return_address_are_refused(victim):
    """What `call` serves for, where code has to find out its own address."""
    started = victim("coroutines", "self", 20)
    with uprobes.attach(started.pid) as target:
        refused = target.register("coroutines:where_am_i", returns=True).refused
        assert [error.code for error in refused] == ["no-return"]
        assert "return address" in refused[0].why
        entry = target.register("coroutines:where_am_i").probes[0]
        status = live.run_to_the_end(target, started)
    assert (status.code, entry.hits) == (0, 20)
    assert started.finish()[0] == [f"sum {sum(range(1, 21)) + 20}"]


@pytest.mark.parametrize("method", [None, "inline", "step", "emulate"])
def test_a_call_of_the_next_instruction_returns_once(victim, method):
    """Case U12's sister: its return address is popped, nothing returns to it."""
    started = victim("coroutines", "self", 20)
    seen = []
    with uprobes.attach(started.pid) as target:
        spec = started.spec("self_call")
        target.uretprobe(spec, seen.append, method=method)
        inside = [
            target.register(f"va:{started.points['self_call'] + at:#x}", method=method)
            for at in (5, 6)
        ]
        status = live.run_to_the_end(target, started)
    assert status.code == 0
    assert started.finish()[0] == [f"sum {sum(range(1, 21)) + 20}"]
    assert outcomes(seen) == {RETURNED: 20}
    assert [probe.hits for made in inside for probe in made.probes] in ([20, 20], [20])


def test_programs_with_a_hardware_shadow_stack_get_no_return_probes(victim, monkeypatch):
    """Case R-12: with the words of a kernel that has them on; not every CPU can."""
    started = victim("returns", "recursion", 5)
    monkeypatch.setattr(arming, "has_shadow_stack", lambda tid: True)
    with uprobes.attach(started.pid) as target:
        refused = target.register(started.spec("factorial_sum"), returns=True).refused
        assert [error.code for error in refused] == ["shadow-stack"]
        entry = target.register(started.spec("factorial_sum")).probes[0]
        status = live.run_to_the_end(target, started)
    assert (status.code, entry.hits) == (0, 6)


def test_exits_of_a_function_are_probed_on_request_and_a_shadow_stack_agrees(victim, monkeypatch):
    """Case R-12: with the words of a kernel that has them on; not every CPU can."""
    started = victim("returns", "recursion", 20)
    monkeypatch.setattr(arming, "has_shadow_stack", lambda tid: True)
    seen = []
    with uprobes.attach(started.pid) as target:
        probe = target.uretprobe(
            "returns:factorial_sum", seen.append, save=lambda hit: hit.arg(0), exits=True
        ).probes[0]
        status = live.run_to_the_end(target, started)
    assert (status.code, probe.entry_hits, probe.hits) == (0, 21, 21)
    assert [(ret.saved, ret.value, ret.outcome) for ret in seen] == [
        (n, n * (n + 1) // 2, RETURNED) for n in range(21)
    ]


def test_longjmp_past_a_function_whose_exits_are_probed_is_told(victim):
    said, _, seen = probed_exits(victim, ["jumps_out", "calls_jumper"], "longjmp", 100)
    assert said[-1] == "done longjmp"
    for name in ("jumps_out", "calls_jumper"):
        assert set(outcomes(seen[name])) <= {RETURNED, UNWOUND, LOST}
        assert outcomes(seen[name])[UNWOUND] >= 99


def test_exits_are_seen_in_each_thread_by_each_method(victim):
    for method in (None, *live.METHODS):
        forbid = [] if method is None else [m for m in live.METHODS if m != method]
        started = victim("returns", "threads", 50)
        counts = Counter()
        with uprobes.attach(started.pid) as target:
            made = target.register(
                "returns:leaf",
                lambda ret, counts=counts: counts.update([ret.outcome]),
                returns=True,
                exits=True,
                forbid=forbid,
            )
            status = live.run_to_the_end(target, started)
        assert status.code == 0
        if made.probes:
            assert counts == {RETURNED: 400}
        else:
            assert [error.code for error in made.refused] == ["no-method-left"]


def test_exits_go_with_their_probe_and_come_back_with_it(victim):
    started = victim("returns", "recursion", 20)
    with uprobes.attach(started.pid) as target:
        made = target.register("returns:factorial_sum", returns=True, exits=True)
        assert len(live.changed_text(started.pid)) > 1
        made.unregister()
        assert live.changed_text(started.pid) == []
        assert target.register_probes(made.probes).refused == []
        status = live.run_to_the_end(target, started)
    assert (status.code, made.probes[0].hits) == (0, 21)


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ("returns:factorial_sum+4", "no-return"),
        ("libc:abort", "no-exits"),
        ("libc:setjmp", "tail-call"),
    ],
)
def test_functions_whose_exits_are_not_all_known_are_refused_and_left_alone(victim, spec, code):
    started = victim("returns", "recursion", 5)
    with uprobes.attach(started.pid) as target:
        refused = target.register(spec, returns=True, exits=True).refused
        assert [error.code for error in refused] == [code]
        # What tells of libraries, and of the program's own handlers.
        assert len(live.changed_text(started.pid)) <= 2
