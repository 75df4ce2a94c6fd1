"""Whatever the bytes are, only errors of this package come out."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import insn
from insn import InsnError, Method

NAMES = ("x86_64", "x86_32", "x86_16")
# Bytes that begin something: prefixes, escapes, VEX, EVEX, XOP, groups.
HEAD_BYTES = (
    "66", "67", "f0", "f2", "f3", "2e", "64", "48", "4f", "0f", "0f38", "0f3a", "0f0f", "c5",
    "c4e1", "c4e2", "c4e3", "62f17c48", "62f27d08", "62f3", "8fe8", "8fe9", "8fea", "d5", "d500",
    "ff", "f7", "0fae", "0f01", "0fc7", "e8",
)  # fmt: skip
HEADS = st.sampled_from([bytes.fromhex(head) for head in HEAD_BYTES])
CODE = st.tuples(st.lists(HEADS, max_size=5), st.binary(max_size=16)).map(
    lambda parts: b"".join(parts[0]) + parts[1]
)
ADDRESSES = st.one_of(st.integers(0, 1 << 47), st.integers(0, (1 << 64) - 1))


ANYTHING = given(code=CODE, address=ADDRESSES, name=st.sampled_from(NAMES), to=ADDRESSES)


@settings(max_examples=400, deadline=None)
@ANYTHING
def test_no_bytes_make_anything_but_an_error_of_this_package(code, address, name, to):
    ask_everything(code, address, name, to)


@pytest.mark.torture
@settings(max_examples=50_000, deadline=None, suppress_health_check=list(HealthCheck))
@ANYTHING
def test_no_bytes_of_fifty_thousand_make_anything_but_an_error_of_this_package(
    code, address, name, to
):
    ask_everything(code, address, name, to)


def ask_everything(code, address, name, to):
    """Decode, judge, copy, emulate and describe whatever the bytes begin with."""
    arch = insn.arch(name)
    address &= arch.address_mask
    to &= arch.address_mask
    try:
        instruction = insn.decode(code, address, arch)
    except (insn.Truncated, insn.Undecodable):
        return
    assert 1 <= instruction.length <= 15
    assert code.startswith(instruction.code)
    verdict = insn.judge(instruction)
    assert all(reason.code in insn.REASONS for reason in verdict.refusals.values())
    for back, calls in ((None, False), (instruction.end, False), (instruction.end, True)):
        try:
            copy = insn.relocate(instruction, to, back=back, expand_calls=calls)
        except insn.NotRelocatable:
            continue
        assert copy.boundaries[0] == (0, instruction.address & arch.address_mask)
    effects = insn.effects(instruction)
    assert effects.may_fault in (True, False)
    try:
        insn.emulator(instruction)
        made = True
    except insn.NotEmulable:
        made = False
    assert made == verdict.allows(Method.EMULATE)


@settings(max_examples=200, deadline=None)
@given(code=CODE, address=ADDRESSES, name=st.sampled_from(NAMES))
def test_the_same_bytes_are_the_same_instruction_and_what_follows_does_not_matter(
    code, address, name
):
    arch = insn.arch(name)
    try:
        instruction = insn.decode(code, address, arch, check=False)
    except InsnError:
        return
    assert insn.decode(instruction.code, address, arch, check=False) == instruction
    assert insn.decode(instruction.code + bytes(20), address, arch, check=False) == instruction
    with pytest.raises(insn.Truncated):
        insn.decode(instruction.code[:-1], address, arch, check=False)
