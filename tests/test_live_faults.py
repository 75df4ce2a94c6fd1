"""Faults and traps under probes: the program's handler is told what it would be told unprobed."""

import re

import live
import pytest

import uprobes
from ubp.programs import Count, Program
from uprobes import memory

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def told(build):
    """What the handler is told of each fault without probes."""
    said, code = live.unprobed(build("faults"))
    assert code == 0
    return by_name(said)


def by_name(said):
    """Pair the report's lines: name to what was told of it."""
    return {
        first.split()[0]: (first, second)
        for first, second in zip(said[0:-1:2], said[1:-1:2], strict=True)
    }


def differences(told, said):
    """Give what the probed run told differently."""
    probed = by_name(said)
    return {name: (told[name], probed.get(name)) for name in told if told[name] != probed.get(name)}


@pytest.mark.parametrize("method", [None, *live.METHODS])
def test_a_fault_is_reported_as_if_nothing_was_probed(victim, told, method):
    """Cases U13 (si_addr), U26 (no stack), U28 (emulated access), X22 to X24 (flags, call)."""
    faults = victim("faults")
    with uprobes.attach(faults.pid) as target:
        specs = [faults.spec(name) for name in faults.points]
        probes = target.register(specs, lambda hit: None, method=method).probes
        status = live.run_to_the_end(target, faults)
    said, _ = faults.finish()
    assert differences(told, said) == {}
    assert said[-1] == f"signals {len(told)}"
    assert status == uprobes.ExitStatus(0, None)
    assert {probe.spec: probe.hits for probe in probes if probe.hits != 1} == {}
    assert len(probes) >= 10


@pytest.mark.parametrize("method", [None, "step", "boost"])
def test_every_fault_is_reported_right_with_every_instruction_around_it_probed(
    victim, told, method
):
    """Case U31: what a step before it left behind says nothing of the fault's cause."""
    faults = victim("faults")
    with uprobes.attach(faults.pid) as target:
        addresses = {address for name in faults.points for address in around(target, faults, name)}
        registration = target.register(
            [f"va:{address:#x}" for address in sorted(addresses)], method=method
        )
        status = live.run_to_the_end(target, faults)
    said, _ = faults.finish()
    assert differences(told, said) == {}
    assert status == uprobes.ExitStatus(0, None)
    assert len(registration.probes) > len(told) // 2


def around(target, victim, name):
    """Give the addresses of the instructions from a fault's place to the jump behind it."""
    import insn

    address = victim.points[name]
    while True:
        yield address
        instruction = insn.decode(target.read(address, 16), address, insn.X86_64)
        if instruction.flow is insn.Flow.JUMP:
            return
        address = instruction.end


def without_flags(lines):
    return [re.sub(r" flags \S+", "", line) for line in lines]


@pytest.mark.parametrize("method", [None, "trap"])
def test_a_fault_of_a_displaced_instruction_is_told_where_it_was(victim, told, method):
    """Case U13 for jump and trap: the handler never sees a trampoline.

    Flags that nobody looks at any more are not kept by what counts, and code that saves registers
    needs some stack: where there is none at all, it is that code which faults. Behind the pushf
    that steps itself a register is free, too.
    """
    faults = victim("faults")
    count = Program(actions=(Count(),))
    with uprobes.attach(faults.pid) as target:
        wanted = [(faults.spec(name), count) for name in faults.points]
        installed = target.install(wanted, method=method)
        status = live.run_to_the_end(target, faults)
    said, _ = faults.finish()
    expected = {
        name: tuple(without_flags(lines))
        for name, lines in told.items()
        if not name.endswith("_without_stack") and name != "stepped_pushf"
    }
    assert len(expected) > 20
    assert differences(expected, without_flags(said)) == {}
    assert status == uprobes.ExitStatus(0, None)
    assert len(installed.sites) >= 10


COUNT = Program(actions=(Count(),))
FAULTING = ("first", "second", "pushed", "framed", "loaded")
GAVE_WAY = dict.fromkeys(FAULTING, b"\xcc") | {"loaded": b"\xe9"}
"""The last one faults behind its jump."""


def first_bytes(victim):
    """Give what the functions that fault begin with, breakpoints and jumps of ours included."""
    there = memory.ProcessMemory(victim.pid)
    return {name: there.read(victim.points[name], 1) for name in FAULTING}


def install(target, victim, how):
    """Count the calls of every function that faults: `leaves` counts their returns."""
    wanted = [(victim.spec(name), COUNT) for name in FAULTING]
    method = None if how == "leaves" else how
    installed = target.install(wanted, method=method, returns=how == "leaves")
    assert len(installed.sites) == len(FAULTING), installed.refused
    return installed


@pytest.mark.concurrent
@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("how", ["jump", "trap", "leaves"])
def test_a_handler_can_come_back_to_a_displaced_instruction(victim, build, how, threads):
    """The bytes of a jump reach beyond the instruction that it begins in: they are no code."""
    expected, _ = live.unprobed(build("retries"), 100, threads)
    retries = victim("retries", 100, threads)
    with uprobes.attach(retries.pid) as target:
        installed = install(target, retries, how)
        status = live.run_to_the_end(target, retries)
    assert retries.finish()[0] == expected
    assert status == uprobes.ExitStatus(0, None)
    found = [installed.results(site).hits for site in installed.sites]
    assert found == [100 * threads] * len(FAULTING)


@pytest.mark.parametrize("how", ["jump", "leaves"])
def test_a_handler_can_come_back_when_nobody_traces_any_more(victim, build, how):
    """The jumps stand again then, but where the thread is, and where it came before we had left.

    It is told of a place in the trampoline, and comes back there.
    """
    retries = victim("retries", 0)
    with uprobes.attach(retries.pid) as target:
        installed = install(target, retries, how)
        retries.go()
        retries.wait_for("running")
        live.until(
            lambda: all(installed.results(site).hits > 50 for site in installed.sites), "hits"
        )
        live.until(lambda: first_bytes(retries) == GAVE_WAY, "the jumps give way for good")
        installed.detach()
    left = sorted(first_bytes(retries).values())
    assert left[2:] == [b"\xe9"] * (len(FAULTING) - 2), left
    assert set(left[:2]) <= {b"\xcc", b"\xe9"}
    retries.go()
    said, code = retries.finish()
    assert ("wrong 0" in said, code) == (True, 0), said


STEPPED = [
    (name, how)
    for name in ("probed", "probed_inside")
    for how in (None, *live.METHODS, "returns", "jump", "trap", "leaves")
    if name == "probed" or how not in ("returns", "leaves", "jump")
]


@pytest.mark.parametrize(("name", "how"), STEPPED)
def test_a_program_that_steps_itself_meets_the_traps_that_it_expects(victim, build, how, name):
    """Each instruction traps once, and where it is: the program sees no copy and no trampoline."""
    expected, _ = live.unprobed(build("steps_itself"), 20)
    steps = victim("steps_itself", 20)
    with uprobes.attach(steps.pid) as target:
        if how in ("jump", "trap", "leaves"):
            method = None if how == "leaves" else how
            wanted = [(steps.spec(name), COUNT)]
            installed = target.install(wanted, method=method, returns=how == "leaves")
            assert installed.sites, installed.refused
            (hits,) = [lambda site=site: installed.results(site).hits for site in installed.sites]
        else:
            method = None if how == "returns" else how
            made = target.register([steps.spec(name)], returns=how == "returns", method=method)
            (hits,) = [lambda probe=probe: probe.hits for probe in made.probes]
        status = live.run_to_the_end(target, steps)
    assert steps.finish()[0] == expected
    assert status == uprobes.ExitStatus(0, None)
    assert hits() == 20
