"""Programs, rings and tables that cannot be: refused with a code, a reason, and what to do."""

import itertools

import pytest

from ubp import UbpError
from ubp.programs import (
    Argument,
    Binary,
    Bytes,
    Cast,
    Compare,
    Constant,
    Count,
    Cpu,
    Field,
    Linear,
    Minimum,
    Operator,
    Placement,
    Program,
    ProgramError,
    Record,
    Register,
    Relation,
    ReturnValue,
    RingLayout,
    RingMode,
    Scaled,
    String,
    Sum,
    TableLayout,
    Tid,
    Word,
    assemble,
    cells,
    record_dtype,
    record_fields,
)
from ubp.programs.ring import HEADER, MAGIC

PLACE = Placement(cells=0x20000)
A0 = Argument(0)
DEEP = A0
for _ in range(5):
    DEEP = Binary(Operator.ADD, DEEP, DEEP)


def put(value, **choices):
    return lambda: assemble(
        Program(actions=(Sum(value),)), 0x10000, Placement(cells=0x20000, **choices)
    )


MAKERS = {
    "negative argument": ("bad-program", lambda: Argument(-1)),
    "word of three bytes": ("bad-program", lambda: Word(A0, 0, 3)),
    "cast to three bytes": ("bad-program", lambda: Cast(A0, 3)),
    "far offset": ("bad-program", lambda: Word(A0, 1 << 31)),
    "large constant": ("bad-program", lambda: Constant(1 << 64)),
    "small constant": ("bad-program", lambda: Constant(-(1 << 63) - 1)),
    "shift by a value": ("bad-program", lambda: Binary(Operator.LEFT, A0, A0)),
    "shift by 64": ("bad-program", lambda: Binary(Operator.RIGHT, A0, Constant(64))),
    "division by zero": ("bad-program", lambda: Binary(Operator.MODULO, A0, Constant(0))),
    "scale of nothing": ("bad-program", lambda: Scaled(A0, 0, 1)),
    "empty bytes": ("too-large", lambda: Bytes(A0, 0)),
    "long string": ("too-large", lambda: String(A0, 4097)),
    "comparison never true": ("never", lambda: Compare(Relation.LESS, A0, Constant(0))),
    "comparison always true": ("never", lambda: Compare(Relation.GREATER, Constant(-1), A0)),
    "no bins": ("bad-program", lambda: Linear(A0, 0, 1, 0)),
    "bins beyond": ("bad-program", lambda: Linear(A0, (1 << 64) - 5, 1, 6)),
    "bins below": ("bad-program", lambda: Linear(A0, -1, 1, 6)),
    "two fields of a name": ("bad-program", lambda: Record((Field("a", A0), Field("a", A0)))),
    "no action": ("bad-program", lambda: Program(actions=())),
    "sampling none": ("bad-program", lambda: Program(sample=0)),
    "limit of none": ("bad-program", lambda: Program(limit=0)),
    "two records": (
        "bad-program",
        lambda: Program(actions=(Record((Field("a", A0),)), Record((Field("b", A0),)))),
    ),
    "odd rings": ("bad-program", lambda: RingLayout(3, 4, 24)),
    "odd capacity": ("bad-program", lambda: RingLayout(2, 6, 24)),
    "odd record": ("bad-program", lambda: RingLayout(2, 4, 25)),
    "huge rings": ("too-large", lambda: RingLayout(1 << 16, 1 << 30, 4096)),
    "odd buckets": ("bad-program", lambda: TableLayout(12)),
    "odd entries": ("bad-program", lambda: TableLayout(16, 72)),
    "17 strings": (
        "too-large",
        lambda: record_fields(Record(tuple(Field(f"{n}", String(A0, 4)) for n in range(17)))),
    ),
    "few cells": ("bad-program", lambda: cells.read(Program(sample=2), bytes(8))),
    "unknown register": ("no-such-value", put(Register("xmm0"))),
    "return value at an entry": ("no-such-value", put(ReturnValue())),
    "stack argument in the middle": ("no-such-value", put(Argument(6))),
    "thread's number without a call": ("needs-system-call", put(Tid(), may_call=False)),
    "far cells": (
        "out-of-reach",
        lambda: assemble(Program(), 0, Placement(cells=(1 << 31) + 64)),
    ),
    "record without a ring": (
        "no-ring",
        lambda: assemble(Program(actions=(Record((Field("a", A0),)),)), 0, PLACE),
    ),
    "record without the ring's address": (
        "no-ring",
        lambda: assemble(
            Program(actions=(Record((Field("a", A0),)),)),
            0,
            Placement(cells=0, layout=RingLayout(1, 4, 24)),
        ),
    ),
    "record larger than the ring's": (
        "too-large",
        lambda: assemble(
            Program(actions=(Record((Field("a", String(A0, 64)),)),)),
            0,
            Placement(cells=0, ring=0, layout=RingLayout(1, 4, 24)),
        ),
    ),
}


@pytest.mark.parametrize("name", MAKERS)
def test_what_cannot_be_is_refused_with_its_code(name):
    code, make = MAKERS[name]
    with pytest.raises(UbpError) as caught:
        make()
    assert isinstance(caught.value, ProgramError)
    assert caught.value.code == code
    assert " at 0x0" not in str(caught.value)


def test_equal_parts_may_be_nested_deeply_as_long_as_registers_last():
    assert put(DEEP)().code
    value = A0
    for _ in range(14):
        value = Binary(Operator.MULTIPLY, value, value)
    with pytest.raises(ProgramError, match="nested too deeply") as caught:
        put(value)()
    assert caught.value.code == "too-large"


def test_cells_are_laid_out_only_for_what_a_program_has():
    assert cells.size(Program()) == 8
    plain = cells.cells_of(Program())
    assert (plain.hits, plain.passed, plain.matched, plain.faults) == (0, 0, None, None)
    full = Program(
        when=Compare(Relation.EQUAL, Word(A0), Constant(1)),
        sample=2,
        actions=(Count(), Minimum(A0)),
    )
    layout = cells.cells_of(full)
    assert (layout.hits, layout.passed, layout.matched, layout.faults) == (0, 8, 16, 24)
    assert layout.actions == (32, 32)
    assert layout.size == 40
    assert cells.initial(full)[32:] == b"\xff" * 8
    found = cells.read(full, cells.initial(full))
    assert (found.hits, found.passed, found.actions) == (0, 0, (0, None))
    assert cells.cells_of(Program(), returns=True).size == 8 * 4


def test_a_ring_begins_with_its_geometry_and_every_part_has_its_own_place():
    layout = RingLayout(64, 256, 72, RingMode.OVERWRITE)
    assert HEADER.unpack(layout.header()) == (MAGIC, 1, 64, 256, 72, 1)
    places = [(0, HEADER.size)]
    places += [(layout.control(n), layout.control(n) + 128) for n in range(64)]
    places += [(layout.data(n), layout.data(n) + 256 * 72) for n in range(64)]
    for (_, end), (start, _) in itertools.pairwise(places):
        assert end <= start
    assert layout.data(0) % 4096 == 0
    assert places[-1][1] == layout.size


def test_fields_are_aligned_and_named_as_numpy_names_them():
    record = Record(
        (
            Field("small", Cast(A0, 1)),
            Field("cpu", Cpu()),
            Field("text", String(A0, 5)),
            Field("wide", A0),
            Field("half", Word(A0, 0, 2, True)),
            Field("difference", Binary(Operator.SUBTRACT, A0, A0)),
        )
    )
    fields, size = record_fields(record)
    assert [field.format for field in fields] == ["<i1", "<u4", "S5", "<u8", "<i2", "<i8"]
    assert [field.fault_bit for field in fields] == [None, None, 0, None, 1, None]
    for field in fields:
        if field.format[0] == "<":
            assert field.offset % field.size == 0
    ends = sorted((field.offset, field.offset + field.size) for field in fields)
    assert ends[0][0] == 16
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(ends))
    assert size % 8 == 0
    assert size >= ends[-1][1]
    names = [name for name, _, _ in record_dtype(record)[0]]
    assert sorted(names) == sorted({"commit", "probe", "faults", *(f.name for f in record.fields)})
