"""Breakpoints: what is written, what is hidden, what is left alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ubp
from ubp.testing import FakeMemory, NotThere

TRAP = b"\xcc"
TEXT = bytes(range(0x40, 0x80)) * 512  # no byte of it is a trap
BASE, PAGE = 0x40_0000, 0x1000


@pytest.fixture
def memory():
    return FakeMemory({BASE: TEXT})


@pytest.fixture
def breakpoints(memory):
    return ubp.Breakpoints(memory, TRAP)


def test_an_inserted_breakpoint_is_one_byte_and_remembers_what_it_hides(memory, breakpoints):
    assert breakpoints.insert(BASE + 5) == ubp.Breakpoint(BASE + 5, TEXT[5:6])
    assert memory.read(BASE, len(TEXT)) == TEXT[:5] + TRAP + TEXT[6:]
    assert breakpoints.at(BASE + 5).original == TEXT[5:6]
    assert breakpoints.at(BASE + 4) is None


def test_reading_through_the_breakpoints_shows_the_original_bytes(memory, breakpoints):
    breakpoints.insert(BASE)
    breakpoints.insert(BASE + 9)
    assert breakpoints.read(BASE, 16) == TEXT[:16]
    assert breakpoints.read(BASE + 9, 1) == TEXT[9:10]
    assert memory.read(BASE, 1) == TRAP


def test_removing_puts_the_byte_back(memory, breakpoints):
    breakpoints.insert(BASE + 1)
    breakpoints.remove(BASE + 1)
    assert memory.read(BASE, len(TEXT)) == TEXT
    assert len(breakpoints) == 0


def test_a_second_breakpoint_at_one_address_is_refused(breakpoints):
    breakpoints.insert(BASE)
    with pytest.raises(ubp.AlreadyInserted, match="ours stands there at 0x400000"):
        breakpoints.insert(BASE)


def test_a_trap_that_is_not_ours_is_refused_and_left_alone(memory, breakpoints):
    """U20: a probe where a debugger's breakpoint or the program's own int3 stands."""
    memory.write(BASE + 3, TRAP)
    with pytest.raises(ubp.ForeignBreakpoint):
        breakpoints.insert(BASE + 3)
    assert breakpoints.at(BASE + 3) is None
    assert memory.read(BASE + 3, 1) == TRAP


def test_what_somebody_else_wrote_over_a_breakpoint_is_not_overwritten(memory, breakpoints):
    breakpoints.insert(BASE + 3)
    memory.write(BASE + 3, b"\x90")
    with pytest.raises(ubp.Changed):
        breakpoints.remove(BASE + 3)
    assert memory.read(BASE + 3, 1) == b"\x90"
    assert breakpoints.at(BASE + 3) is None


def test_removing_what_is_not_there_is_an_error(breakpoints):
    with pytest.raises(ubp.NotInserted) as caught:
        breakpoints.remove(BASE)
    assert caught.value.code == "not-inserted"
    assert caught.value.address == BASE


def test_memory_that_is_not_there_refuses_only_its_own_addresses(breakpoints):
    refused = breakpoints.insert_many([BASE, 0x10])
    assert set(refused) == {0x10}
    assert isinstance(refused[0x10], NotThere)
    assert breakpoints.at(BASE) is not None


def test_a_hole_between_two_breakpoints_refuses_neither():
    memory = FakeMemory({BASE: TEXT[:4096], BASE + 8192: TEXT[:4096]})
    breakpoints = ubp.Breakpoints(memory, TRAP)
    assert breakpoints.insert_many([BASE + 1, BASE + 8192 + 1]) == {}
    assert memory.read(BASE + 1, 1) == memory.read(BASE + 8193, 1) == TRAP


def test_pages_without_a_breakpoint_are_never_written(memory, breakpoints):
    breakpoints.insert_many([BASE + 10, BASE + 3 * 4096 + 10])
    touched = {
        page for at, size in memory.writes for page in range(at >> 12, (at + size - 1 >> 12) + 1)
    }
    assert touched == {BASE >> 12, (BASE >> 12) + 3}


def test_neighbouring_breakpoints_cost_one_write(memory, breakpoints):
    breakpoints.insert_many(range(BASE, BASE + 4096, 16))
    assert len(memory.writes) == 1


def test_a_copy_of_the_memory_is_cleaned_of_breakpoints_removed_since(memory, breakpoints):
    """A fork may hold a breakpoint that its parent removed before the tracer saw the child."""
    breakpoints.insert_many([BASE, BASE + 1])
    child_memory = FakeMemory({BASE: memory.read(BASE, len(TEXT))})
    breakpoints.remove(BASE)
    child = ubp.Breakpoints(child_memory, TRAP)
    child.inherit(breakpoints)
    assert child.remove_many([b.address for b in list(child)]) == {}
    assert child_memory.read(BASE, len(TEXT)) == TEXT


def test_what_will_be_hidden_is_announced_before_anything_is_written(memory, breakpoints):
    seen = []

    def announce(originals):
        seen.append((originals, memory.read(BASE, len(TEXT))))

    breakpoints.insert_many([BASE + 4, BASE + 4000, 0x10], announce)
    assert seen == [({BASE + 4: TEXT[4:5], BASE + 4000: TEXT[4000:4001]}, TEXT)]


def test_lift_and_lower_step_out_of_the_way_and_back(memory, breakpoints):
    breakpoints.insert(BASE + 2)
    breakpoints.lift(BASE + 2)
    assert memory.read(BASE, 4) == TEXT[:4]
    breakpoints.lower(BASE + 2)
    assert memory.read(BASE + 2, 1) == TRAP


@given(
    st.lists(
        st.tuples(st.booleans(), st.sets(st.integers(0, len(TEXT) - 1), max_size=40)), max_size=8
    )
)
def test_memory_is_always_text_plus_traps_and_the_view_is_always_the_text(moves):
    memory = FakeMemory({BASE: TEXT})
    breakpoints = ubp.Breakpoints(memory, TRAP)
    model: set[int] = set()
    for insert, offsets in moves:
        if insert:
            refused = breakpoints.insert_many(BASE + o for o in offsets)
            assert {a - BASE for a in refused} == offsets & model
            model |= offsets
        else:
            refused = breakpoints.remove_many(BASE + o for o in offsets)
            assert {a - BASE for a in refused} == offsets - model
            model -= offsets
        wanted = bytes(0xCC if o in model else b for o, b in enumerate(TEXT))
        assert memory.read(BASE, len(TEXT)) == wanted
        assert breakpoints.read(BASE, len(TEXT)) == TEXT


@given(st.binary(min_size=1, max_size=40), st.integers(0, 30), st.integers(1, 10))
def test_breakpoints_longer_than_a_byte_are_hidden_at_every_edge(code, offset, size):
    trap = b"\x00\x01\x02\x03"
    text = bytes(b | 0x80 for b in code) * 8
    memory = FakeMemory({BASE: text})
    breakpoints = ubp.Breakpoints(memory, trap)
    if offset + 4 <= len(text):
        breakpoints.insert(BASE + offset)
    for start in range(max(len(text) - size, 0)):
        assert breakpoints.read(BASE + start, size) == text[start : start + size]


def test_a_copy_gets_the_breakpoints_that_it_is_too_old_to_have(memory, breakpoints):
    """A child that was forked before its parent's last breakpoints were put in."""
    breakpoints.insert(BASE + 1)
    child_memory = FakeMemory({BASE: memory.read(BASE, len(TEXT))})
    breakpoints.insert_many([BASE + 5, BASE + 9])
    child_memory.write(BASE + 9, b"\x01")  # and what it wrote there itself
    child = ubp.Breakpoints(child_memory, TRAP)
    child.inherit(breakpoints)
    assert child.complete() == [BASE + 5]
    assert child_memory.read(BASE, 10) == (
        TEXT[:1] + TRAP + TEXT[2:5] + TRAP + TEXT[6:9] + b"\x01"
    )
    assert {each.address for each in child} == {BASE + 1, BASE + 5}
    assert child.complete() == []


def test_a_trap_stands_whoever_wrote_it(memory, breakpoints):
    breakpoints.insert(BASE + 5)
    memory.write(BASE + 9, TRAP)
    assert breakpoints.stands(BASE + 5) is True
    assert breakpoints.stands(BASE + 9) is True
    assert breakpoints.stands(BASE + 6) is False
    assert breakpoints.stands(BASE - 1) is None


class Vanishing(FakeMemory):
    """Memory whose second page is gone as soon as it has been read."""

    def write(self, address, code):
        if address + len(code) > BASE + PAGE:
            raise NotThere(f"{address:#x}")
        super().write(address, code)


def test_breakpoints_on_a_page_that_goes_before_the_write_are_refused_and_the_others_stand():
    breakpoints = ubp.Breakpoints(Vanishing({BASE: TEXT}), TRAP)
    near, far = [BASE + 5, BASE + PAGE - 1], [BASE + PAGE, BASE + PAGE + 7]
    assert breakpoints.insert_many(near + far).keys() == set(far)
    assert [b.address for b in breakpoints] == near
    assert [breakpoints.stands(address) for address in near] == [True, True]
    breakpoints.adopt(dict.fromkeys(far, b"\x55"))
    for address in far:
        FakeMemory.write(breakpoints.memory, address, TRAP)
    assert breakpoints.remove_many(near + far).keys() == set(far)
    assert [breakpoints.stands(address) for address in near] == [False, False]
