"""Every method on every kind of instruction, by many threads: all hits counted, none noticed."""

import live
import pytest

import insn
import uprobes
from insn import Method

pytestmark = [pytest.mark.live, pytest.mark.concurrent]

REFUSED = {
    "refused_int3": "trap-instruction",
    "refused_int1": "trap-instruction",
    "refused_int": "trap-instruction",
    "refused_hlt": "privileged",
    "refused_cli": "privileged",
    "refused_in": "port-io",
    "refused_lret": "far-transfer",
    "refused_iret": "far-transfer",
    "refused_ud2": "always-faults",
    "refused_undecodable": "undecodable",
    "refused_branch_size": "vendor-dependent",
}


def probe_all(target, victim, **how):
    """Register one probe on each callable kind that allows it; return them by name."""
    specs = {victim.spec(name): name for name, hits in victim.hits.items() if hits}
    registration = target.register(specs, **how)
    return {specs[probe.spec]: probe for probe in registration.probes}, {
        specs[error.spec]: error.code for error in registration.refused
    }


def wrong_counts(victim, probes, calls):
    """Give the probes whose hits are not what the calls must make, with both figures."""
    return {
        name: (probe.hits, victim.hits[name] * calls)
        for name, probe in probes.items()
        if probe.hits != victim.hits[name] * calls
    }


@pytest.mark.parametrize("method", [None, *live.METHODS])
def test_every_kind_runs_the_same_by_each_method(victim, method):
    kinds = victim("kinds", 3, 20)
    with uprobes.attach(kinds.pid) as target:
        probes, refused = probe_all(target, kinds, method=method, handler=lambda hit: hit.arg(0))
        status = live.run_to_the_end(target, kinds)
        methods = {probe.method for probe in probes.values()}
    said, _ = kinds.finish()
    assert status == uprobes.ExitStatus(0, None), (said, wrong_counts(kinds, probes, 60))
    assert said == ["rounds 60", "wrong 0", "locked 60"]
    assert wrong_counts(kinds, probes, 60) == {}
    assert not target.failures
    if method is None:
        assert refused == {}
        assert methods >= {Method.BOOST, Method.EMULATE}
    else:
        assert methods == {Method(method)}
        assert all(refused.values())


def test_every_instruction_of_every_kind_can_be_probed_at_once(victim):
    """Probes on neighbours: a copy may end at the next probe point, or jump to others."""
    kinds = victim("kinds", 2, 20)
    with uprobes.attach(kinds.pid) as target:
        starts = instruction_starts(target, kinds)
        registration = target.register(f"va:{address:#x}" for address in starts)
        status = live.run_to_the_end(target, kinds)
    said, _ = kinds.finish()
    assert status.code == 0
    assert said == ["rounds 40", "wrong 0", "locked 40"]
    assert len(registration.probes) > 150
    assert sum(probe.hits for probe in registration.probes) > 10_000


def instruction_starts(target, kinds):
    """Decode the text of kinds.S from each entry on; the refused kinds have nothing behind them."""
    starts = set()
    for name, point in kinds.points.items():
        address = point
        while not name.startswith("refused"):
            starts.add(address)
            instruction = insn.decode(target.read(address, 16), address, insn.X86_64)
            if instruction.flow in (insn.Flow.RETURN, insn.Flow.INDIRECT_JUMP, insn.Flow.JUMP):
                break
            address = instruction.end
    return sorted(starts)


@pytest.mark.parametrize("method", ["step", "boost", "emulate"])
def test_eight_threads_calling_one_function_make_exactly_80000_hits(victim, method):
    kinds = victim("kinds", 8, 10_000, "push_rbp")
    seen = set()
    with uprobes.attach(kinds.pid) as target:
        probe = target.uprobe(
            kinds.points["push_rbp"], lambda hit: seen.add(hit.tid), method=method
        ).probes[0]
        status = live.run_to_the_end(target, kinds)
    assert (probe.hits, probe.misses) == (80_000, 0)
    assert probe.method == method
    assert len(seen) == 8
    assert status.code == 0
    assert kinds.finish()[0][:2] == ["rounds 80000", "wrong 0"]


@pytest.mark.parametrize("count", [2000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_eight_threads_make_exactly_as_many_hits_in_place(victim, count):
    kinds = victim("kinds", 8, count, "push_rbp")
    with uprobes.attach(kinds.pid) as target:
        probe = target.uprobe(kinds.points["push_rbp"], lambda hit: None, method="inline").probes[0]
        status = live.run_to_the_end(target, kinds)
    assert (probe.hits, probe.misses, probe.method) == (8 * count, 0, Method.INLINE)
    assert status.code == 0
    assert kinds.finish()[0][:2] == [f"rounds {8 * count}", "wrong 0"]


def test_what_nobody_may_probe_is_refused_with_its_reason(victim):
    kinds = victim("kinds", 1, 1)
    names = [name for name, hits in kinds.hits.items() if not hits]
    with uprobes.attach(kinds.pid) as target:
        registration = target.register(kinds.spec(name) for name in names)
        refused = live.refusals(registration)
        status = live.run_to_the_end(target, kinds)
    assert registration.probes == []
    assert {name: refused[kinds.points[name]] for name in names} == REFUSED
    assert status.code == 0
