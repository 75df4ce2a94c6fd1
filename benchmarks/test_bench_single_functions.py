# ruff: noqa: D103 - the names say what is timed
"""Times of single functions, for pytest-benchmark: `python -m pytest benchmarks`."""

import pytest

import insn
import ssol
import ubp
import uprobes
from benchmarks.scanning import text
from benchmarks.victims import Victim
from ssol.testing import FakeMapper
from ubp import X86_64

ADDRESS = 0x401000
CODE = {
    "push": "55",
    "lea": "488d4701",
    "rip": "488b0510000000",
    "jcc": "7405",
    "call": "e800010000",
    "vex": "c5f877",
}


@pytest.fixture(params=CODE, name="instruction")
def _instruction(request):
    return insn.decode(bytes.fromhex(CODE[request.param]), ADDRESS)


@pytest.mark.parametrize("name", CODE)
def test_decode(benchmark, name):
    code = bytes.fromhex(CODE[name])
    assert benchmark(insn.decode, code, ADDRESS).length == len(code)


def test_judge(benchmark, instruction):
    assert benchmark(insn.judge, instruction).probeable


def test_relocate(benchmark, instruction):
    copy = benchmark(insn.relocate, instruction, ADDRESS + 0x1000)
    assert copy.address == ADDRESS + 0x1000


def test_scan(benchmark):
    code, address = text()
    assert len(benchmark(insn.scan, code, address)) > len(code) // 10


def test_a_slot_is_taken_and_given_back(benchmark):
    pool = ssol.Pool(FakeMapper(), slot_size=32, area_size=1 << 16)

    def take():
        pool.free(pool.take(reach=(ADDRESS,), size=32))
        pool.reclaim(())

    benchmark(take)
    assert pool.statistics.held == 0


def test_a_step_is_planned(benchmark):
    verdict = insn.judge(insn.decode(bytes.fromhex(CODE["lea"]), ADDRESS))
    stepper = ubp.Stepper(X86_64)
    plan = benchmark(stepper.plan, verdict, insn.Method.BOOST, ADDRESS + 0x1000)
    assert plan.resume == ADDRESS + 0x1000


@pytest.mark.parametrize("method", ["boost", "step"])
def test_a_thousand_hits(benchmark, method):
    with Victim() as victim, uprobes.attach(victim.pid) as target:
        probe = uprobes.Uprobe(
            victim.pid, victim.address("begins_lea"), lambda hit: hit.arg(0), method=method
        )
        target.register_probes([probe])
        benchmark.pedantic(victim.call, ("begins_lea", 1000), rounds=20, warmup_rounds=2)
        assert probe.hits == 22_000


def test_one_probe_goes_in_and_out(benchmark):
    with Victim() as victim, uprobes.attach(victim.pid) as target:
        probe = uprobes.Uprobe(victim.pid, victim.address("begins_lea"))

        def in_and_out():
            assert not target.register_probes([probe]).refused
            target.unregister([probe])

        benchmark(in_and_out)
        assert not probe.registered
