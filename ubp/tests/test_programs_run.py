"""Generated code, run in this process: it does what it says and leaves everything else alone."""

import random
import struct
import threading

import pytest
from running import (
    CELLS,
    FLAG_BITS,
    FLAGS,
    GENERAL,
    MASK,
    RING,
    TID_OFFSET,
    Arena,
    Machine,
    needs_x86_64,
)

from insn import Dead
from ubp.programs import (
    Argument,
    Compare,
    Constant,
    Count,
    Cpu,
    Field,
    Linear,
    Log2,
    Maximum,
    Minimum,
    Program,
    Record,
    Register,
    Relation,
    RingLayout,
    StackPointer,
    Sum,
    Tid,
    Time,
    assemble,
    cells,
    record_dtype,
)
from ubp.programs.placement import NOTHING_DEAD

pytestmark = needs_x86_64
FLAGS_DEAD = Dead(frozenset(), FLAGS)
ARGUMENTS = ("rdi", "rsi", "rdx", "rcx", "r8", "r9")


@pytest.fixture
def arena():
    made = Arena()
    yield made
    made.close()


def random_dead(source: random.Random) -> Dead:
    registers = [r for r in GENERAL if source.random() < source.choice((0, 0.2, 0.7))]
    flags = [f for f in FLAG_BITS if source.random() < source.choice((0, 0.5, 1))]
    return Dead(frozenset(registers), frozenset(flags))


def random_flags(source: random.Random) -> int:
    return sum(1 << bit for bit in FLAG_BITS.values() if source.random() < 0.5)


def assert_kept(before, after, flags_before, flags_after, dead):
    changed = {r for r in GENERAL if before[r] != after[r]} - dead.registers
    assert not changed
    assert after["rsp"] == before.get("rsp", after["rsp"])
    for flag, bit in FLAG_BITS.items():
        if flag not in dead.flags:
            assert (flags_before ^ flags_after) >> bit & 1 == 0, flag


def results(arena, program, returns=False):
    length = cells.size(program, returns=returns)
    return cells.read(program, arena.map[CELLS : CELLS + length], returns=returns)


RECORD = Record(
    (
        Field("time", Time()),
        Field("tid", Tid()),
        Field("cpu", Cpu()),
        Field("sp", StackPointer()),
        Field("r12", Register("r12")),
        Field("rax", Register("rax")),
        *(Field(f"arg{n}", Argument(n)) for n in range(6)),
    )
)
LAYOUT = RingLayout(2, 64, 128)
ACTIONS = {
    "count": Program(),
    "sum": Program(actions=(Sum(Argument(1)),)),
    "extremes": Program(actions=(Minimum(Argument(0)), Maximum(Argument(5)))),
    "log2": Program(actions=(Log2(Register("rax")),)),
    "linear": Program(actions=(Linear(Argument(2), 10, 3, 5),)),
    "record": Program(actions=(RECORD,)),
    "chosen": Program(
        when=Compare(Relation.GREATER, Argument(0), Constant(1 << 40)), sample=3, limit=4
    ),
    "everything": Program(
        when=Compare(Relation.LESS, Argument(0), Argument(3)),
        sample=2,
        limit=20,
        actions=(Count(), Sum(Argument(4)), Log2(Argument(0)), RECORD),
    ),
}


@pytest.mark.parametrize("name", ACTIONS)
def test_registers_flags_and_red_zone_stay_whatever_is_dead(arena, name):
    program = ACTIONS[name]
    source = random.Random(name)
    for _ in range(60):
        dead = random_dead(source)
        place = arena.placement(
            LAYOUT,
            dead=dead,
            at_entry=True,
            tid_offset=source.choice((None, TID_OFFSET)),
            cpu_offset=source.choice((None, -0x60)),
            has_rdpid=source.random() < 0.5,
        )
        arena.prepare(program, LAYOUT)
        machine = Machine(arena, program, place)
        for _ in range(4):
            before = {r: source.getrandbits(source.choice((3, 41, 64))) for r in GENERAL}
            flags = random_flags(source)
            after, flags_after = machine.run(before, flags)
            assert_kept(before, after, flags, flags_after, dead)
        assert results(arena, program).hits == 4


def test_a_count_at_an_entry_is_one_instruction(arena):
    generated = assemble(Program(), arena.base, arena.placement(dead=FLAGS_DEAD))
    assert generated.entry == arena.base
    assert generated.code == b"\xf0\x48\xff\x05" + struct.pack("<i", CELLS - 8)


def test_a_record_holds_what_was_asked_for(arena):
    program = ACTIONS["record"]
    arena.prepare(program, LAYOUT)
    place = arena.placement(LAYOUT, probe=7, tid_offset=TID_OFFSET, dead=FLAGS_DEAD)
    machine = Machine(arena, program, place)
    before = {r: 1000 + n for n, r in enumerate(GENERAL)}
    machine.run(before)
    parts, record_size = record_dtype(RECORD)
    heads = [struct.unpack_from("<Q", arena.map, RING + LAYOUT.control(n))[0] for n in range(2)]
    assert sorted(heads) == [0, 1]
    at = RING + LAYOUT.data(heads.index(1))
    found = {}
    for field, form, offset in parts:
        letter = {"<u8": "Q", "<u4": "I", "<u2": "H"}[form]
        found[field] = struct.unpack_from("<" + letter, arena.map, at + offset)[0]
    assert found.pop("commit") == 1
    assert found.pop("probe") == 7
    assert found.pop("tid") == threading.get_native_id()
    assert found.pop("cpu") in range(1 << 12)
    assert found.pop("time")
    assert found.pop("sp") == arena.base + 0x23000
    assert found.pop("faults") == 0
    assert found.pop("rax") == before["rax"]
    assert found.pop("r12") == before["r12"]
    assert found == {f"arg{n}": before[r] for n, r in enumerate(ARGUMENTS)}
    assert record_size <= LAYOUT.record_size


def test_sums_extremes_and_histograms_are_those_of_python(arena):
    value = Argument(0)
    program = Program(
        actions=(Sum(value), Minimum(value), Maximum(value), Log2(value), Linear(value, 8, 4, 3))
    )
    arena.prepare(program)
    machine = Machine(arena, program, arena.placement(dead=FLAGS_DEAD))
    numbers = [0, 1, 2, 3, 7, 8, 11, 12, 19, 20, 4096, MASK, 1 << 63]
    for number in numbers:
        machine.run({"rdi": number})
    found = results(arena, program)
    log2 = [0] * 64
    for number in numbers:
        log2[max(number.bit_length() - 1, 0)] += 1
    assert found.hits == found.passed == len(numbers)
    assert found.actions == (sum(numbers) & MASK, 0, MASK, tuple(log2), (2, 1, 1, 5, 4))


def test_one_in_n_and_at_most_so_many(arena):
    for every in (1, 2, 3, 7, 8, 12, 100):
        for most in (None, 1, 5):
            program = Program(sample=every, limit=most, actions=(Count(), Sum(Argument(0))))
            arena.prepare(program)
            machine = Machine(arena, program, arena.placement(dead=NOTHING_DEAD))
            for number in range(60):
                machine.run({"rdi": number})
            taken = list(range(0, 60, every))[:most]
            found = results(arena, program)
            assert (found.hits, found.passed) == (60, len(taken))
            assert found.actions == (len(taken), sum(taken))
