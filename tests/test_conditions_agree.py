"""A condition means the same before a Python handler and in generated code, in 64 bits."""

from types import SimpleNamespace

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from ubp.programs import (
    And,
    Argument,
    Binary,
    Compare,
    Constant,
    Not,
    Operator,
    Or,
    ProgramError,
    Register,
    Relation,
    Tid,
    Truth,
    format_condition,
    holds,
)
from uprobes.predicate import compile_condition

REGISTERS = frozenset({"rdi", "rsi", "rax"})
OPERATORS = [o for o in Operator if o not in (Operator.LEFT, Operator.RIGHT)]

leaves = st.one_of(
    st.integers(0, 2).map(Argument),
    st.sampled_from(sorted(REGISTERS)).map(Register),
    st.just(Tid()),
    st.integers(-100, 1 << 20).map(Constant),
)


def combined(values):
    shifted = st.tuples(st.just(Operator.RIGHT), values, st.integers(0, 63).map(Constant))
    made = st.one_of(st.tuples(st.sampled_from(OPERATORS), values, values), shifted)
    return made.filter(lambda t: t[2] != Constant(0) or t[0] not in ("//", "%")).map(
        lambda t: Binary(*t)
    )


values = st.recursive(leaves, combined, max_leaves=3)
conditions = st.recursive(
    st.one_of(
        values.map(Truth),
        st.tuples(st.sampled_from(list(Relation)), values, values),
    ),
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: ("and", parts)),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: ("or", parts)),
        inner.map(lambda part: ("not", [part])),
    ),
    max_leaves=3,
)


def condition_of(drawn):
    """Make the condition; what can only be true or only false is refused, and left out here."""
    match drawn:
        case ("and", parts):
            return And(tuple(condition_of(part) for part in parts))
        case ("or", parts):
            return Or(tuple(condition_of(part) for part in parts))
        case ("not", [part]):
            return Not(condition_of(part))
        case (relation, left, right):
            return Compare(relation, left, right)
    return drawn


class Source:
    def __init__(self, arguments, registers, tid):
        self.arguments, self.registers, self.tid = arguments, registers, tid

    def leaf(self, value):
        match value:
            case Argument(number):
                return self.arguments[number]
            case Register(name):
                return self.registers[name]
        return self.tid

    def read(self, address, size):
        raise AssertionError("no condition here reads memory")


numbers = st.one_of(st.integers(0, 30), st.integers(0, 1 << 20))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(conditions, st.tuples(*[numbers] * 3), st.tuples(*[numbers] * 3), st.integers(1, 1 << 22))
def test_the_same_text_means_the_same(drawn, arguments, registers, tid):
    try:
        condition = condition_of(drawn)
    except ProgramError:
        assume(False)
    source = Source(arguments, dict(zip(sorted(REGISTERS), registers, strict=True)), tid)
    hit = SimpleNamespace(arg=arguments.__getitem__, registers=source.registers, tid=tid)
    text = format_condition(condition)
    try:
        expected = bool(compile_condition(text, REGISTERS)(hit))
    except ZeroDivisionError:
        expected = False
    assert holds(condition, source) == expected, text
