"""Fields, measures and conditions as people write them; what can't be is said with what to do."""

import numpy as np
import pytest

from ubp.programs import (
    Argument,
    Bytes,
    Elapsed,
    Log2,
    Scaled,
    String,
    Tid,
    Time,
    Word,
    record_fields,
)
from uprobes import ProbeError
from uprobes.machine import machine_of_host
from uprobes.recording.clock import Clock
from uprobes.recording.fields import parse_fields, record_of, split_fields
from uprobes.recording.plan import Plan, size_of
from uprobes.recording.recorded import Kind

REGISTERS = machine_of_host().arch.registers


def parse(text, returns=False):
    return parse_fields(text, REGISTERS, returns=returns)


def test_a_list_is_split_at_its_own_commas_only():
    text = "time, str(arg0, 64),u32(arg1+8) ,,bytes(arg2,(32))"
    assert split_fields(text) == ["time", "str(arg0, 64)", "u32(arg1+8)", "bytes(arg2,(32))"]


def test_fields_are_values_of_a_program():
    parsed = parse("time,tid,arg0,str(arg1),str(arg1, 0x20),bytes(arg2, 4),name=u32(arg0+8)")
    values = [field.value for field in parsed]
    assert values[:6] == [
        Time(), Tid(), Argument(0), String(Argument(1), 64), String(Argument(1), 32),
        Bytes(Argument(2), 4),
    ]  # fmt: skip
    assert isinstance(values[6], Word)
    assert [field.name for field in parsed[3:]] == [
        "str(arg1)", "str(arg1, 0x20)", "bytes(arg2, 4)", "name",
    ]  # fmt: skip
    kinds = [field.kind for field in parsed]
    assert kinds == [
        Kind.TIME, Kind.NUMBER, Kind.NUMBER, Kind.STRING, Kind.STRING, Kind.BYTES, Kind.NUMBER,
    ]  # fmt: skip


def test_signed_values_are_known_as_such():
    [field] = parse("int32(ret)", returns=True)
    assert field.kind is Kind.SIGNED


BAD_FIELDS = {
    "nonsense": "nonsense",
    "arg0 +": "at character",
    "": "no field",
    "arg0,arg0": "comes twice",
    "probe=arg0": "in every record",
    "ret": "only when a function returns",
    "elapsed": "only when a function returns",
    "ret + 1": "only when a function returns",
    "str()": "can't be recorded",
    "str(arg0, x)": "can't be recorded",
    "bytes(arg0)": "can't be recorded",
    "bytes(arg0, 5000)": "cannot be copied",
    "bytes(arg0, 0)": "cannot be copied",
    "arg0 == 1": "can't be recorded",
    "__import__('os')": "can't be recorded",
}


@pytest.mark.parametrize("text", BAD_FIELDS)
def test_a_field_that_cannot_be_is_refused_with_what_to_do(text):
    with pytest.raises(ProbeError, match=BAD_FIELDS[text]) as refused:
        parse(text)
    assert refused.value.code == "bad-field"
    assert refused.value.hint


def test_the_array_has_the_fields_in_the_order_of_memory_and_times_are_signed():
    plan = Plan(fields=("tid", "time", "str(arg0, 5)", "name=u32(arg1)"), rings=2, capacity=4)
    dtype = plan.dtype(REGISTERS)
    assert set(dtype.names) == {"probe", "faults", "tid", "time", "str(arg0, 5)", "name"}
    offsets = [dtype.fields[name][1] for name in dtype.names]
    assert offsets == sorted(offsets)
    assert dtype["time"] == "<i8"
    assert dtype["str(arg0, 5)"] == "S5"
    assert dtype.itemsize == plan.layout(REGISTERS).record_size
    columns = plan.columns(REGISTERS)
    assert [column.name for column in columns] == ["tid", "time", "str(arg0, 5)", "name"]
    assert [column.fault_bit is None for column in columns] == [True, True, False, False]


def test_records_in_which_nothing_can_fail_have_no_faults():
    assert "faults" not in Plan(fields=("tid", "arg0")).dtype(REGISTERS).names


def test_time_spent_is_computed_with_in_nanoseconds_and_recorded_in_ticks():
    plan = Plan(
        fields=("elapsed", "ms=elapsed // 1000000"),
        measures=("log2(elapsed)",),
        where="elapsed > 1000",
        returns=True,
        ns_per_tick=0.5,
    )
    program = plan.program(REGISTERS)
    in_ns = Scaled(Elapsed(), 1 << 31, 32)
    assert program.when.left == in_ns
    log2, record = program.actions
    assert log2 == Log2(in_ns)
    assert record.fields[0].value == Elapsed()
    assert record.fields[1].value.left == in_ns
    assert plan.needs_clock


@pytest.mark.parametrize(
    ("fields", "where", "needed"),
    [(("tid",), None, False), (("time",), None, True), (("arg0",), "tid == 3", False)],
)
def test_a_clock_is_needed_only_for_times(fields, where, needed):
    assert Plan(fields=fields, where=where).needs_clock is needed


BAD_PLANS = {
    "bad-condition": {"where": "arg0 >"},
    "bad-field": {"where": "time > 5", "fields": ("tid",)},
    "bad-measure": {"measures": ("mean(arg0)",)},
    "bad-program": {"sample": 0},
}


@pytest.mark.parametrize("code", BAD_PLANS)
def test_a_plan_that_cannot_be_is_refused(code):
    with pytest.raises(ProbeError) as refused:
        Plan(**BAD_PLANS[code]).program(REGISTERS)
    assert refused.value.code == code
    assert refused.value.hint


@pytest.mark.parametrize(
    "text", ["log2()", "log2(arg0, 1)", "linear(arg0)", "linear(arg0, 0, 0, 5)", "sum", "min(nix)"]
)
def test_a_measure_that_cannot_be_is_refused(text):
    with pytest.raises(ProbeError) as refused:
        Plan(measures=(text,)).program(REGISTERS)
    assert refused.value.code == "bad-measure"


def test_the_place_in_a_condition_is_told():
    with pytest.raises(ProbeError, match="at character") as refused:
        Plan(where="tid ==").program(REGISTERS)
    assert refused.value.code == "bad-condition"


def test_rings_are_as_many_as_cpus_and_of_the_size_that_is_asked_for():
    plan = Plan(fields=("time", "tid")).sized("1M", REGISTERS)
    layout = plan.layout(REGISTERS)
    assert layout.rings & (layout.rings - 1) == 0
    assert (1 << 20) / 2 < layout.rings * layout.ring_size <= 1 << 20


@pytest.mark.parametrize("size", ["1 banana", "-5", "", "10", 0])
def test_a_size_that_cannot_be_is_refused(size):
    with pytest.raises(ProbeError) as refused:
        Plan(fields=("time",)).sized(size, REGISTERS)
    assert refused.value.code == "bad-size"


def test_sizes_have_units():
    assert [size_of(s) for s in ("64M", "1k", "2 GiB", "17", 5)] == [64 << 20, 1024, 2 << 30, 17, 5]


def test_too_many_fields_that_may_fail_are_refused():
    fields = tuple(f"f{n}=u8(arg0 + {n})" for n in range(17))
    with pytest.raises(ProbeError) as refused:
        Plan(fields=fields).program(REGISTERS)
    assert refused.value.code == "too-large"


def test_a_plan_survives_being_written_down():
    plan = Plan(
        fields=("time", "str(arg0)"), measures=("sum(arg1)",), where="tid == 3", sample=2, limit=9,
        rings=2, capacity=8, overwrite=True, ns_per_tick=0.4, began=(1, 2, 3), wall_ns=4,
    )  # fmt: skip
    assert Plan.from_note(plan.as_note()) == plan


@pytest.mark.parametrize(
    "value",
    [
        None,
        -1,
        "x",
        [],
        {},
        [None],
        [5],
        2**70,
        "y" * 2000,
        float("nan"),
        float("inf"),
        [2**63] * 3,
    ],
)
@pytest.mark.parametrize("name", sorted(Plan().as_note()))
def test_a_forged_plan_is_refused_or_carried_out(name, value):
    note = {**Plan(fields=("tid",), rings=1, capacity=8).as_note(), name: value}
    try:
        plan = Plan.from_note(note)
        plan.program(REGISTERS)
        plan.layout(REGISTERS)
        Clock(plan.beginning).times(np.array([5, 2**63], np.uint64))
    except ProbeError as error:
        assert error.code  # noqa: PT017 - it may be taken as well


def test_fields_lie_where_the_programs_put_them():
    parsed = parse("tid,time,arg0")
    placed = {part.name: part.offset for part in record_fields(record_of(parsed))[0]}
    dtype = Plan(fields=("tid", "time", "arg0")).dtype(REGISTERS)
    assert {name: dtype.fields[name][1] for name in placed} == placed
