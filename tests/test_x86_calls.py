"""Calls that run in a copy: pushed return address, then a jump; compared with the CPU's own calls.

Every word of memory holds an address where int3 stands, so that calls through memory arrive
somewhere; what must be the same is what `test_x86_cpu` compares, faults included.
"""

import dataclasses
import functools
import os
import struct
from random import Random

import pytest
from test_x86_cpu import AREA, CODE, DATA, PLACES, harness, let_the_cpu_run

import insn

__all__ = ["harness"]  # a fixture

SEED = int(os.environ.get("SEED", "1"))
LANDING = {"x86_64": CODE + 0x80, "x86_32": CODE + 0x80, "x86_16": 0x180}
NOWHERE, NO_ADDRESS = 0x6000_0000, 1 << 60

# architecture | instructions | registers by number | whether the call itself faults
CALLS = """
x86_64 | e87b000000 | | no
x86_64 | 55 e87a000000 | | no
x86_32 | e87b000000 | | no
x86_64 | ffd0 | 0=landing | no
x86_64 | 41ffd7 | 15=landing | no
x86_64 | 3effd1 | 1=landing | no
x86_64 | f2ffd1 | 1=landing | no
x86_64 | ffd4 | | no
x86_64 | ff10 | 0=data | no
x86_64 | 41ff5508 | 13=data | no
x86_64 | ff14cb | 3=data 1=0 | no
x86_64 | f2ff10 | 0=data | no
x86_64 | 67ff10 | 0=data | no
x86_64 | ff1424 | | no
x86_64 | ff542408 | | no
x86_64 | ff5424f8 | | no
x86_64 | ff5424f0 | | no
x86_64 | ff5424e8 | | no
x86_64 | ff942400ffffff | | no
x86_64 | 488d4424f8 ff10 | | no
x86_64 | 488d4424f0 ff10 | | no
x86_64 | 488d4424e8 ff10 | | no
x86_64 | 50 ff5424f8 | | no
x86_64 | ff15faffff1f | | no
x86_64 | 64ff142500000000 | | no
x86_64 | 55 4889e5 41ffd3 | 11=landing | no
x86_64 | ff10 | 0=nowhere | yes
x86_64 | ff5008 | 0=no_address | yes
x86_64 | ffd0 | 0=no_address | yes
x86_64 | 9c ffd0 | 0=no_address | yes
x86_64 | ff15faffff07 | | yes
x86_64 | 85c0 7402 ff10 | 0=data | no
x86_32 | ffd0 | 0=landing | no
x86_32 | ffd4 | | no
x86_32 | ff10 | 0=data | no
x86_32 | ff1424 | | no
x86_32 | ff542404 | | no
x86_32 | ff5424fc | | no
x86_32 | ff5424f8 | | no
x86_32 | ff5424f4 | | no
x86_32 | 8d4424fc ff10 | | no
x86_32 | 55 89e5 ff15 00000030 | | no
x86_32 | ff10 | 0=nowhere | yes
x86_16 | ffd0 | 0=landing | no
x86_16 | 55 ff17 | 3=data | no
x86_16 | 67ff1424 | | refused
"""


def run_of(arch, text):
    """Decode instructions that stand where the harness puts them."""
    code, run, at = bytes.fromhex(text.replace(" ", "")), [], 0
    start = 0x100 if arch.bits == 16 else CODE
    while at < len(code):
        run.append(arch.decode(code[at:], start + at))
        at += run[-1].length
    return run


def registers_of(arch, text):
    values = {
        "landing": LANDING[arch.name],
        "data": 0x800 if arch.bits == 16 else DATA + 0x800,
        "nowhere": NOWHERE,
        "no_address": NO_ADDRESS,
        "five": 5,
        "0": 0,
    }
    return {int(n): values[value] for n, value in (pair.split("=") for pair in text.split())}


def memory_of(arch):
    size = {64: "<Q", 32: "<I", 16: "<H"}[arch.bits]
    word = struct.pack(size, LANDING[arch.name])
    return word * (2 * AREA // len(word))


@pytest.mark.parametrize("balanced", [False, True], ids=["", "balanced"])
@pytest.mark.parametrize("line", [line for line in CALLS.splitlines() if line])
def test_a_call_in_a_copy_does_what_the_call_does(harness, monkeypatch, line, balanced):
    monkeypatch.setattr(insn, "relocate", functools.partial(insn.relocate, balanced=balanced))
    name, text, registers, faults = (part.strip() for part in line.split("|"))
    arch = insn.arch(name)
    run = run_of(arch, text)
    back = run[-1].end
    if faults == "refused":
        with pytest.raises(insn.NotRelocatable):
            insn.relocate(run, PLACES[arch.bits][0], back=back, expand_calls=True)
        return
    copy = insn.relocate(run, PLACES[arch.bits][0], back=back, expand_calls=True)
    fixed = registers_of(arch, registers)
    chosen = [(run, fixed, 40)]
    (result,) = let_the_cpu_run(harness, arch, chosen, Random(SEED), memory_of(arch))
    assert result.mismatches == 0, (result, copy.code.hex())
    assert result.ran >= 80
    (seen,) = let_the_cpu_run(
        harness, arch, chosen, Random(SEED), memory_of(arch), wants_states=True
    )
    last = run[-1].address
    for _, after, _ in seen.states:
        assert (after[16] == last and after[19] != 0) == (faults == "yes")


@pytest.mark.parametrize(
    "text", ["e800000000 90", "ffd0 90", "ff10 90", "90 ffd0 90"], ids=lambda text: text
)
def test_a_call_that_is_not_last_is_refused(text):
    run = run_of(insn.arch("x86_64"), text)
    with pytest.raises(insn.NotRelocatable, match="must come last"):
        insn.relocate(run, 0x2000_0000, back=run[-1].end, expand_calls=True)


@pytest.mark.parametrize("balanced", [False, True])
def test_where_a_call_is_under_way_the_stack_pointer_is_known(balanced):
    for text in ("ffd0", "ffd4", "ff10", "ff542408"):
        run = run_of(insn.arch("x86_64"), text)
        copy = insn.relocate(
            run, 0x2000_0000, back=run[-1].end, expand_calls=True, balanced=balanced
        )
        pushed, height, at = dict(copy.pushed), 0, 0
        code = copy.code
        while True:
            moved = insn.decode(code[at:], copy.address + at)
            assert pushed.get(at, 0) == height, (text, at)
            assert (at, run[-1].address) in copy.boundaries
            if moved.flow is insn.Flow.INDIRECT_JUMP:
                assert height == 8
                break
            change = insn.effects(moved).stack
            assert change is not None
            height -= change
            at += moved.length
            if moved.flow is insn.Flow.CALL:
                assert copy.code[at] == 0xCC  # nobody returns there
                assert moved.target == copy.address + at + 1
                at += 1
        assert 8 <= copy.overwrites <= 24


def test_a_balanced_copy_makes_one_call():
    for text in ("e87b000000", "ffd0", "ffd4", "ff10"):
        run = run_of(insn.arch("x86_64"), text)
        for balanced in (False, True):
            copy = insn.relocate(
                run, 0x2000_0000, back=run[-1].end, expand_calls=True, balanced=balanced
            )
            assert copy.code.count(b"\xe8\x01\0\0\0\xcc") == balanced


def test_the_harness_notices_a_call_that_pushes_the_wrong_address(harness, monkeypatch):
    arch = insn.arch("x86_64")
    run = run_of(arch, "ffd0")
    real = insn.relocate

    def spoiled(*some, **more):
        copy = real(*some, **more)
        if not copy.pushed:
            return copy
        return dataclasses.replace(copy, code=copy.code[:-8] + bytes(8))

    monkeypatch.setattr(insn, "relocate", spoiled)
    chosen = [(run, {0: LANDING["x86_64"]}, 3)]
    (result,) = let_the_cpu_run(harness, arch, chosen, Random(SEED), memory_of(arch))
    assert result.mismatches > 0
