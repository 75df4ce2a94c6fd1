"""Copies of x86 instructions: those of the corpus byte by byte, and properties of all others."""

import os
from random import Random

import pytest
from insn_corpus import cases
from x86_samples import samples

import insn
from insn import Fixups, Flow, PcRelativeKind

NEAR = 0x7000_0000
FAR = 0x7F00_0000_0000
FAR_JUMP = bytes.fromhex("ff2500000000")  # through the eight bytes behind it
SEED = int(os.environ.get("SEED", "1"))


def decode_run(arch, text):
    run, address = [], 0x1000
    for hexadecimal in text.split():
        run.append(insn.decode(bytes.fromhex(hexadecimal), address, insn.arch(arch)))
        address = run[-1].end
    return run


def written(copy):
    """Write a copy as the corpus does."""
    fixups = ",".join(f.name.lower() for f in Fixups if f in copy.fixups) or "-"
    scratch = f"{copy.scratch}={copy.scratch_value:#x}" if copy.scratch else "-"
    boundaries = " ".join(f"{offset}:{address:#x}" for offset, address in copy.boundaries)
    return [copy.code.hex(), fixups, scratch, boundaries]


@pytest.mark.parametrize("case", cases("relocate_x86.txt"))
def test_a_copy_is_what_the_corpus_says(case):
    arch, text, to, how, *expected = case
    run = decode_run(arch, text)
    back = None if how == "step" else run[-1].end
    options = {"expand_calls": how in ("calls", "balanced"), "balanced": how == "balanced"}
    if len(expected) == 1:
        with pytest.raises(insn.NotRelocatable) as caught:
            insn.relocate(run, int(to, 0), back=back, **options)
        assert caught.value.code == expected[0]
        return
    assert written(insn.relocate(run, int(to, 0), back=back, **options)) == expected


def copies(per_row, to, back):
    for instruction in samples(Random(SEED), per_row, modes=(64,)):
        try:
            yield (
                instruction,
                insn.relocate(instruction, to, back=instruction.end if back else None),
            )
        except insn.NotRelocatable:
            continue


def test_a_near_copy_addresses_what_the_original_addresses():
    counted = 0
    for instruction, copy in copies(5, NEAR, back=False):
        moved = instruction.arch.decode(copy.code, copy.address)
        assert moved.length == instruction.length
        if instruction.pc_relative and instruction.pc_relative.kind is not PcRelativeKind.BRANCH:
            distance = instruction.pc_relative.target - (NEAR + instruction.length)
            assert (copy.scratch is None) == (
                -(1 << 31) <= distance < 1 << 31 or instruction.detail.address_size == 4
            )
            if copy.scratch is not None:
                continue
            counted += 1
            assert moved.pc_relative.target == instruction.pc_relative.target, instruction
            assert moved.reads == instruction.reads
            assert moved.writes == instruction.writes
    assert counted > 100


def test_a_far_copy_addresses_the_same_through_a_register_that_it_does_not_use():
    counted = 0
    for instruction, copy in copies(5, FAR, back=False):
        if copy.scratch is None:
            continue
        counted += 1
        moved = instruction.arch.decode(copy.code, copy.address)
        detail = moved.detail
        assert copy.scratch not in instruction.reads | instruction.writes
        assert moved.length == instruction.length
        assert moved.pc_relative is None
        if not detail.is_nop:
            assert moved.reads == instruction.reads | {copy.scratch}, instruction
        assert moved.writes == instruction.writes
        assert moved.name == instruction.name
        assert detail.register_names[detail.base] == copy.scratch
        mask = 0xFFFFFFFF if detail.address_size == 4 else (1 << 64) - 1
        reached = (copy.scratch_value + detail.displacement) & mask
        assert reached == instruction.pc_relative.target
    assert counted > 100


def test_a_boosted_copy_leaves_nothing_to_repair_and_ends_where_the_original_goes():
    counted = 0
    for instruction, copy in copies(2, NEAR, back=True):
        counted += 1
        assert copy.fixups is Fixups.NONE
        assert copy.scratch is None
        ends, offset = set(), 0
        while offset < len(copy.code):
            moved = instruction.arch.decode(copy.code[offset:], copy.address + offset)
            if moved.code == FAR_JUMP:
                offset += moved.length + 8
                ends.add(int.from_bytes(copy.code[offset - 8 : offset], "little"))
                continue
            if moved.target is not None and not NEAR <= moved.target < NEAR + len(copy.code):
                ends.add(moved.target)
            offset += moved.length
        wanted = {
            Flow.NEXT: {instruction.end},
            Flow.JUMP: {instruction.target},
            Flow.CONDITIONAL_JUMP: {instruction.target, instruction.end},
            Flow.INDIRECT_JUMP: set(),
            Flow.RETURN: set(),
        }[instruction.flow]
        assert ends == wanted, instruction
    assert counted > 2000


@pytest.mark.parametrize("to", [NEAR, FAR])
@pytest.mark.parametrize("back", [False, True])
def test_the_first_boundary_of_a_copy_is_the_instruction_itself(to, back):
    for instruction, copy in copies(1, to, back):
        offsets = [offset for offset, _ in copy.boundaries]
        assert copy.boundaries[0] == (0, instruction.address)
        assert offsets == sorted(set(offsets))
        assert offsets[-1] <= len(copy.code)


def test_what_the_verdict_allows_can_be_copied_and_what_it_refuses_cannot():
    for instruction in samples(Random(SEED), 2):
        verdict = insn.judge(instruction)
        for method, back in ((insn.Method.STEP, None), (insn.Method.BOOST, instruction.end)):
            try:
                insn.relocate(instruction, instruction.address + 0x100, back=back)
                copied = True
            except insn.OutOfReach:
                continue
            except insn.NotRelocatable:
                copied = False
            beyond = instruction.arch.bits == 16 and (instruction.target or 0) > 0xFFFF
            assert copied == verdict.allows(method) or beyond, (instruction, method)


def test_a_run_with_a_gap_is_refused():
    first = insn.decode(b"\x90", 0x1000)
    other = insn.decode(b"\x90", 0x1002)
    with pytest.raises(insn.NotRelocatable, match="do not follow"):
        insn.relocate([first, other], 0x2000, back=0x1003)


def test_an_empty_run_is_refused():
    with pytest.raises(insn.NotRelocatable, match="no instruction"):
        insn.relocate([], 0x2000, back=0x1003)


def test_several_instructions_cannot_be_stepped():
    with pytest.raises(insn.NotRelocatable, match="one instruction"):
        insn.relocate(decode_run("x86_64", "90 90"), 0x2000)


def test_a_jump_reaches_2_gib_and_says_when_it_does_not():
    assert insn.X86_64.jump(0x1000, 0x1005) == bytes.fromhex("e900000000")
    assert insn.X86_64.jump(0x1000, 0x1000 + 5 + 0x7FFFFFFF) == bytes.fromhex("e9ffffff7f")
    with pytest.raises(insn.OutOfReach):
        insn.X86_64.jump(0x1000, 0x1000 + 5 + 0x80000000)
    assert insn.X86_32.jump(0x1000, 0xFFFF0000) == bytes.fromhex("e9fbeffeff")
