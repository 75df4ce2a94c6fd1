"""Conditions, sampling, limits and the actions that change cells, as x86-64 instructions."""

from ubp.programs.cells import Cells
from ubp.programs.conditions import Condition
from ubp.programs.model import Action, Count, Linear, Log2, Maximum, Minimum, Program, Record, Sum
from ubp.programs.values import is_signed
from ubp.programs.walk import may_fail, values_of
from ubp.programs.x86_64_conditions import branch
from ubp.programs.x86_64_frame import ALL_BUT_CARRY
from ubp.programs.x86_64_record import Recorder
from ubp.programs.x86_64_values import Values
from ubp.x86_assembler import Mem, Near

NOT_BETTER = {
    (Minimum, False): "ae",
    (Minimum, True): "ge",
    (Maximum, False): "be",
    (Maximum, True): "le",
}
"""How a value stands to an extreme that it does not change; signed or not."""


def cell(at: int) -> Near:
    """Return the memory of a cell."""
    return Near("cells", at)


def increment(values: Values, at: int) -> None:
    """Add one to a cell."""
    values.frame.touch_flags(ALL_BUT_CARRY)
    values.a.lock_inc(cell(at))


def filter_(values: Values, condition: Condition, faults: int | None, skip: str) -> None:
    """Jump to `skip` unless the condition holds."""
    if not any(may_fail(value) for value in values_of(condition)):
        branch(values, condition, skip, when=False)
        return
    assert faults is not None
    at = faults
    values.fail = failed = values.new_label()
    branch(values, condition, skip, when=False)
    values.fail = ""

    def cold() -> None:
        values.a.label(failed)
        increment(values, at)
        values.a.jump(skip)

    values.frame.cold(cold)


def sample(values: Values, every: int, at: int, skip: str) -> None:
    """Jump to `skip` unless this is the first of `every` hits.

    Whether a number divides by one that is not a power of two is told by a multiplication: Hacker's
    Delight (Warren), 10-17.
    """
    a = values.a
    values.frame.touch("rax")
    values.frame.touch_flags()
    a.mov("rax", 1)
    a.lock_xadd(cell(at), "rax")
    if not every & (every - 1):
        a.test("rax", every - 1, size=4)
        a.jump_if("ne", skip)
        return
    twos = (every & -every).bit_length() - 1
    values.frame.touch("rcx")
    a.mov("rcx", pow(every >> twos, -1, 1 << 64))
    a.imul("rax", "rcx")
    if twos:
        a.shift("ror", "rax", twos)
    a.mov("rcx", ((1 << 64) - 1) // every)
    a.arithmetic("cmp", "rax", "rcx")
    a.jump_if("a", skip)


def limit(values: Values, most: int, at: int, skip: str) -> None:
    """Jump to `skip` unless fewer than `most` have passed."""
    a = values.a
    values.frame.touch("rax")
    values.frame.touch_flags()
    a.mov("rax", 1)
    a.lock_xadd(cell(at), "rax")
    a.arithmetic("cmp", "rax", most)
    a.jump_if("ae", skip)


def below_limit(values: Values, most: int, at: int, skip: str) -> None:
    """Jump to `skip` early, without writing, once the limit was reached."""
    values.frame.touch_flags()
    values.a.arithmetic("cmp", cell(at), most)
    values.a.jump_if("ae", skip)


def pass_(values: Values, program: Program, layout: Cells, over: str) -> None:
    """Count one that passes; jump to `over` when the limit was reached."""
    if program.limit is not None:
        limit(values, program.limit, layout.passed, over)
    elif layout.passed != layout.hits:
        increment(values, layout.passed)


def actions(values: Values, program: Program, layout: Cells) -> list[int]:
    """Do the actions; returns where the number of the probe stands in the code."""
    marks = []
    for action, at in zip(program.actions, layout.actions, strict=True):
        if isinstance(action, Count):
            continue
        done = values.new_label()
        faults = None if layout.faults is None else cell(layout.faults)
        if isinstance(action, Record):
            recorder = Recorder(values, action, done, faults)
            recorder.emit()
            marks.append(recorder.probe_at)
        else:
            _change_cells(values, action, at, layout.faults, done)
        values.a.label(done)
    return marks


def _change_cells(values: Values, action: Action, at: int, faults: int | None, done: str) -> None:
    a, frame = values.a, values.frame
    assert not isinstance(action, Count | Record)
    fails = may_fail(action.value)
    if fails:
        values.fail = values.new_label()
    register, _ = values.registers(action.value, frame.pool())
    frame.touch_flags()
    match action:
        case Sum():
            a.lock_arithmetic("add", cell(at), register)
        case Minimum() | Maximum():
            _extreme(values, action, at, register, done)
        case Log2():
            _log2(values, action, at, register)
        case Linear():
            _linear(values, action, at, register)
    if fails:
        failed, values.fail = values.fail, ""
        assert faults is not None
        fault_cell = faults

        def cold() -> None:
            a.label(failed)
            increment(values, fault_cell)
            a.jump(done)

        frame.cold(cold)


def _extreme(values: Values, action: Minimum | Maximum, at: int, register: str, done: str) -> None:
    """Exchange the cell while it is worse; seldom necessary."""
    a = values.a
    signed = is_signed(action.value)
    worse = NOT_BETTER[type(action), signed]
    values.frame.touch("rax")
    again = values.new_label()
    if register == "rax":
        values.frame.touch("rcx")
        a.mov("rcx", "rax")
        register = "rcx"
    a.mov("rax", cell(at))
    a.label(again)
    a.arithmetic("cmp", register, "rax")
    a.jump_if(worse, done)
    a.lock_cmpxchg(cell(at), register)
    a.jump_if("ne", again)


def _log2(values: Values, action: Log2, at: int, register: str) -> None:
    a = values.a
    values.frame.touch("rax", "rcx")
    a.mov("rax", register)
    if is_signed(action.value):
        # Negative numbers count as 0.
        a.arithmetic("xor", "rcx", "rcx", size=4)
        a.test("rax", "rax")
        a.cmov("s", "rax", "rcx")
    a.arithmetic("or", "rax", 1)
    a.bsr("rax", "rax")
    a.lea("rcx", cell(at))
    a.lock_inc(Mem("rcx", 0, index="rax", scale=8))


def _linear(values: Values, action: Linear, at: int, register: str) -> None:
    """Find the bin: its number is taken for below, above, by where the value is."""
    a = values.a
    signed = is_signed(action.value)
    values.frame.touch("rax", "rcx", "rdx")
    below, add = values.new_label(), values.new_label()
    a.mov("rcx", action.low)
    a.mov("rax", register)
    a.arithmetic("cmp", "rax", "rcx")
    a.jump_if("l" if signed else "b", below)
    a.arithmetic("sub", "rax", "rcx")
    a.mov("rcx", action.width)
    a.arithmetic("xor", "rdx", "rdx", size=4)
    a.unary("div", "rcx")
    a.mov("rcx", action.bins + 1)
    a.arithmetic("cmp", "rax", action.bins)
    a.cmov("ae", "rax", "rcx")
    a.label(add)
    a.lea("rcx", cell(at))
    a.lock_inc(Mem("rcx", 0, index="rax", scale=8))

    def cold() -> None:
        a.label(below)
        a.mov("rax", action.bins)
        a.jump(add)

    values.frame.cold(cold)
