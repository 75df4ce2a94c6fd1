"""Faults and traps under probes: the program's handler is told what it would be told unprobed."""

import re

import live
import pytest

import uprobes
from ubp.programs import Count, Program

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
    needs some stack: where there is none at all, it is that code which faults. A program that steps
    itself steps through it.
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
        if not name.endswith("_without_stack") and not name.startswith("stepped_")
    }
    assert len(expected) > 20
    assert differences(expected, without_flags(said)) == {}
    assert status == uprobes.ExitStatus(0, None)
    assert len(installed.sites) >= 10
