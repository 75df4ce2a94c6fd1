"""Patches: jumps of several bytes go in, are hidden, come out, and never meet anything else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ubp
from ubp.testing import FakeMemory, NotThere

TEXT = bytes(range(0x40, 0x80)) * 512
BASE = 0x40_0000
JUMP = b"\xe9\x01\x02\x03\x04"


def patch(offset, code=JUMP):
    return ubp.Patch(BASE + offset, TEXT[offset : offset + len(code)], code)


@pytest.fixture
def memory():
    return FakeMemory({BASE: TEXT})


@pytest.fixture
def breakpoints(memory):
    return ubp.Breakpoints(memory, b"\xcc")


def test_patches_go_in_and_come_out_and_nobody_sees_them_meanwhile(memory, breakpoints):
    patches = breakpoints.patches
    assert patches.insert_many([patch(3), patch(9000)]) == {}
    assert memory.read(BASE + 3, 5) == memory.read(BASE + 9000, 5) == JUMP
    assert breakpoints.read(BASE, len(TEXT)) == TEXT
    assert breakpoints.read(BASE + 5, 2) == TEXT[5:7]
    assert patches.covering(BASE + 7) == patch(3)
    assert patches.covering(BASE + 8) is None
    assert patches.remove_many([BASE + 3, BASE + 9000]) == {}
    assert memory.read(BASE, len(TEXT)) == TEXT


def test_a_patch_that_was_made_for_other_bytes_is_refused(memory, breakpoints):
    memory.write(BASE + 4, b"\0")
    refused = breakpoints.patches.insert_many([patch(3), patch(20)])
    assert [type(e) for e in refused.values()] == [ubp.Changed]
    assert len(breakpoints.patches) == 1


def test_patches_never_overlap_each_other_or_a_breakpoint(memory, breakpoints):
    breakpoints.insert(BASE + 2)
    refused = breakpoints.patches.insert_many([patch(0), patch(10), patch(14), patch(15)])
    assert {a - BASE: e.code for a, e in refused.items()} == {0: "changed", 14: "already-inserted"}
    assert {a - BASE: e.code for a, e in breakpoints.insert_many([BASE + 12]).items()} == {
        12: "already-inserted"
    }
    assert breakpoints.read(BASE, 64) == TEXT[:64]


def test_the_bytes_that_a_jump_keeps_are_nobody_else_s(memory, breakpoints):
    """The last two bytes of this jump are the first of the next instruction."""
    kept = ubp.Patch(BASE + 20, TEXT[20:23], b"\xe9\x01\x02", kept=2)
    assert breakpoints.patches.insert_many([kept, patch(25), patch(15)]) == {}
    assert breakpoints.read(BASE, 64) == TEXT[:64]
    assert breakpoints.patches.covering(BASE + 22) == kept == breakpoints.patches.keeping(BASE + 23)
    assert breakpoints.patches.covering(BASE + 23) is None is breakpoints.patches.keeping(BASE + 22)
    refused = breakpoints.insert_many([BASE + 24, BASE + 30])
    assert {a - BASE: e.code for a, e in refused.items()} == {24: "already-inserted"}
    assert "depends on its bytes" in str(refused[BASE + 24])
    behind = ubp.Patch(BASE + 24, TEXT[24:25], b"\x90")
    before = ubp.Patch(BASE + 12, TEXT[12:14], b"\xeb\1", kept=3)
    assert len(breakpoints.patches.insert_many([behind, before])) == 2
    breakpoints.patches.remove_many([kept.address])
    assert breakpoints.insert_many([BASE + 24]) == {}


def test_what_somebody_else_wrote_over_a_patch_is_left_alone(memory, breakpoints):
    breakpoints.patches.insert_many([patch(3)])
    memory.write(BASE + 5, b"\0")
    refused = breakpoints.patches.remove_many([BASE + 3, BASE + 77])
    assert [e.code for e in refused.values()] == ["not-inserted", "changed"]
    assert memory.read(BASE + 3, 5) == b"\xe9\x01\0\x03\x04"
    assert not len(breakpoints.patches)


def test_a_place_that_is_not_there_is_refused_with_the_memorys_own_error(breakpoints):
    far = ubp.Patch(BASE * 4, JUMP, JUMP)
    assert [type(e) for e in breakpoints.patches.insert_many([far]).values()] == [NotThere]


@given(st.lists(st.integers(0, 300), unique=True), st.integers(0, 300), st.integers(1, 40))
def test_any_view_of_any_patches_shows_the_original_text(offsets, start, size):
    breakpoints = ubp.Breakpoints(FakeMemory({BASE: TEXT}), b"\xcc")
    breakpoints.patches.insert_many([patch(offset) for offset in offsets])
    assert breakpoints.read(BASE + start, size) == TEXT[start : start + size]
