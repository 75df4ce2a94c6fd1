"""Expressions: what can be written, what is refused and where, and that machine code agrees with
Python about what they mean."""

import ctypes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from running import CELLS, FLAGS, GENERAL, MASK, UNHURRIED, Arena, Machine, needs_x86_64

from insn import Dead
from ubp.programs import (
    And,
    Argument,
    BadExpression,
    Binary,
    Bytes,
    Cast,
    Compare,
    Constant,
    Not,
    Operator,
    Or,
    Program,
    ProgramError,
    Register,
    Relation,
    Scaled,
    StackPointer,
    String,
    Sum,
    Truth,
    Word,
    cells,
    format_condition,
    format_value,
    holds,
    is_signed,
    parse,
    parse_field,
    parse_value,
    value_of,
)
from ubp.programs.evaluate import NotComputableError, cut

ARGUMENTS = ("rdi", "rsi", "rdx", "rcx", "r8", "r9")
REFUSED = """
0   ret == -1                               never
0   -1 == ret                               never
0   arg0 >= 0                               never
7   arg0 < 0x10000000000000000              fit 64 bits
9   1 == 1 + f(arg0)                        cannot be called
8   arg0 == arg1.x                          cannot stand here
0   arg0 is arg1                            means nothing
0   arg0 in arg1                            means nothing
7   tid == foo                              not known
0   arg0 / 2                                means nothing
0   arg0 ** 2                               means nothing
0   arg0 << arg1                            constant number of bits
0   arg0 << 64                              constant number of bits
0   arg0 // 0                               division by zero
9   arg0 == (tid > 1)                       comparison cannot stand here
8   arg0 == "x"                             such a constant
8   arg0 == True                            such a constant
8   arg0 == 1.5                             such a constant
0   u32()                                   cannot be called
0   u24(arg0)                               cannot be called
0   str(arg0) == 1                          no number
0   __import__("os")                        cannot be called
0   tid if cpu else 1                       choice
0   lambda: 1                               cannot stand here
0   [1]                                     cannot stand here
""".strip().splitlines()


@pytest.mark.parametrize("line", REFUSED)
def test_what_is_no_condition_is_refused_where_it_goes_wrong(line):
    position, rest = int(line.split()[0]), line[4:]
    text, why = rest[:40].rstrip(), rest[40:].strip()
    with pytest.raises(BadExpression) as caught:
        parse(text, ("rdi",))
    assert why in str(caught.value)
    assert caught.value.code == "bad-expression"
    assert caught.value.position == position


@pytest.mark.parametrize(
    "text",
    [
        "",
        "arg0 >",
        "2 arg0",
        "  a b",
        "arg0 == (1",
        "\0",
        "(" * 500,
        "~" * 150 + "1",
        "1+" * 3000 + "1",
    ],
)
def test_what_is_not_even_python_is_refused(text):
    with pytest.raises(BadExpression, match="cannot be read") as caught:
        parse(text)
    assert 0 <= caught.value.position <= len(text)


def test_long_expressions_are_fine_as_long_as_they_are_not_deep():
    text = " or ".join(f"arg0 + arg1 == {n}" for n in range(300))
    condition = parse(text)
    assert len(condition.parts) == 300
    assert format_condition(condition) == text.replace("arg0 + arg1", "(arg0 + arg1)")
    assert parse("+".join(["arg0"] * 90))


MEANT = [
    ("arg0 > 4096", Compare(Relation.GREATER, Argument(0), Constant(4096))),
    ("retval", Truth(parse_value("ret"))),
    ("0 < arg0 < 9", And((parse("0 < arg0"), parse("arg0 < 9")))),
    ("tid in (1, 2)", Or((parse("tid == 1"), parse("tid == 2")))),
    ("tid not in [1]", Not(parse("tid == 1"))),
    ("u32(arg0 + 8) == 1", Compare(Relation.EQUAL, Word(Argument(0), 8, 4), Constant(1))),
    ("s64(sp) == 2 << 3", Compare(Relation.EQUAL, Word(StackPointer(), 0, 8, True), Constant(16))),
    ("int32(rdi) == -1", Compare(Relation.EQUAL, Cast(Register("rdi"), 4), Constant(-1))),
]


@pytest.mark.parametrize(("text", "meaning"), MEANT, ids=[text for text, _ in MEANT])
def test_what_a_text_means(text, meaning):
    assert parse(text, ("rdi",)) == meaning


def test_fields_may_be_strings_and_bytes():
    assert parse_field("str(arg0)") == String(Argument(0), 64)
    assert parse_field("str(arg0, 16)") == String(Argument(0), 16)
    assert parse_field("bytes(u64(arg0), 5)") == Bytes(Word(Argument(0)), 5)
    for text in ("bytes(arg0)", "str(arg0, arg1)", "str(arg0, 5000)", "bytes(arg0, 0)"):
        with pytest.raises(BadExpression):
            parse_field(text)


def test_further_names_stand_for_values():
    names = {"elapsed_ns": Scaled(Argument(0), 3, 1)}
    assert parse_value("elapsed_ns + 1", (), names).left == names["elapsed_ns"]
    assert format_value(parse_value("elapsed_ns", (), names), names) == "elapsed_ns"


leaves = st.one_of(
    st.integers(0, 5).map(Argument),
    st.sampled_from(["rax", "rbx", "r11", "r15", "rcx"]).map(Register),
    st.tuples(st.integers(-8, 16), st.sampled_from([1, 2, 4, 8]), st.booleans()).map(
        lambda t: Word(Argument(4), *t)
    ),
    st.sampled_from(
        [0, 1, 2, 7, 8, 10, 4095, -1, -3, -8, 1 << 31, 1 << 32, 1 << 63, MASK, -(1 << 63), 1000]
    ).map(Constant),
)


operators = st.sampled_from([o for o in Operator if o not in ("<<", ">>")])
sizes = st.sampled_from([1, 2, 4, 8])


@st.composite
def values(draw, depth=3):
    """Draw a value, nested at most so deeply."""
    kind = draw(st.sampled_from(["leaf", "two", "two", "shift", "cast", "scale"]))
    if not depth or kind == "leaf":
        return draw(leaves)
    inner = draw(values(depth - 1))
    if kind == "shift":
        operator = draw(st.sampled_from([Operator.LEFT, Operator.RIGHT]))
        return Binary(operator, inner, Constant(draw(st.integers(0, 63))))
    if kind == "cast":
        return Cast(inner, draw(sizes), draw(st.booleans()))
    if kind == "scale":
        return Scaled(inner, draw(st.integers(1, MASK)), draw(st.integers(0, 63)))
    operator, other = draw(operators), draw(values(depth - 1))
    if other == Constant(0) and operator in ("//", "%"):
        other = Constant(3)
    return Binary(operator, inner, other)


@st.composite
def conditions(draw, depth=2):
    """Draw a condition, nested at most so deeply."""
    kind = draw(st.sampled_from(["truth", "compare", "compare", "not", "and", "or"]))
    if kind == "truth":
        return Truth(draw(values()))
    if kind == "compare" or not depth:
        left, right = draw(values()), draw(values())
        try:
            return Compare(draw(st.sampled_from(list(Relation))), left, right)
        except ProgramError:
            return Truth(left)
    if kind == "not":
        return Not(draw(conditions(depth - 1)))
    parts = draw(st.lists(conditions(depth - 1), min_size=2, max_size=3))
    return And(tuple(parts)) if kind == "and" else Or(tuple(parts))


numbers = st.one_of(
    st.integers(0, 20),
    st.integers(0, MASK),
    st.sampled_from([MASK, MASK - 2, 1 << 63, (1 << 63) - 1, 1 << 32, 1 << 31]),
)


class OneHit:
    """A hit: its registers, and where some memory can be read (0: nowhere near r8)."""

    def __init__(self, registers, memory=0):
        self.registers = registers
        self.memory = memory

    def leaf(self, value):
        match value:
            case Argument(n):
                return self.registers[ARGUMENTS[n]]
            case Register(name):
                return self.registers[name]
        raise AssertionError(value)

    def read(self, address, size):
        if self.memory and self.memory - 64 <= address <= self.memory + 64:
            return ctypes.string_at(address, size)
        return None


@pytest.fixture(scope="module")
def arena():
    made = Arena()
    at = CELLS + 0x4000
    made.map[at - 64 : at + 64] = bytes((n * 37 + 200) % 256 for n in range(128))
    yield made
    made.close()


@needs_x86_64
@settings(UNHURRIED, max_examples=150)
@given(
    st.lists(values(), min_size=1, max_size=2),
    conditions(),
    st.lists(st.tuples(*[numbers] * 15), min_size=1, max_size=3),
    st.frozensets(st.sampled_from(GENERAL)),
    st.booleans(),
)
def test_machine_code_computes_what_python_does(arena, made, condition, states, dead, flags_dead):
    plain = Program(actions=tuple(Sum(value) for value in made))
    chosen = Program(when=condition)
    place = arena.placement(dead=Dead(dead, FLAGS if flags_dead else frozenset()))
    for program in (plain, chosen):
        arena.prepare(program)
        try:
            machine = Machine(arena, program, place)
        except ProgramError as error:
            nested_too_deeply = error.code == "too-large"
            if not nested_too_deeply:
                raise
            continue
        expected, passed, faults = [0] * len(made), 0, 0
        for state in states:
            registers = dict(zip(GENERAL, state, strict=True))
            memory = arena.base + CELLS + 0x4000 if state[2] & 3 else 0
            registers["r8"] = memory or 24
            flags = state[0] & 0x8D5
            after, flags_after = machine.run(registers, flags)
            for register in GENERAL:
                assert register in dead or after[register] == registers[register]
            assert flags_dead or not (flags ^ flags_after) & 0x8D5
            hit = OneHit(registers, memory)
            passed += holds(condition, hit)
            for n, value in enumerate(made):
                try:
                    expected[n] += value_of(value, hit)
                except NotComputableError:
                    faults += 1
        found = cells.read(program, arena.map[CELLS : CELLS + cells.size(program)])
        if program is chosen:
            assert found.passed == passed
        else:
            assert found.faults == faults
            for n, value in enumerate(made):
                assert found.actions[n] == cut(expected[n], 8, is_signed(value))


@settings(UNHURRIED)
@given(conditions())
def test_a_condition_is_read_back_from_its_text(condition):
    text = format_condition(condition)
    try:
        read = parse(text, GENERAL)
    except BadExpression:
        return  # constants that are computed at once do not fit, or are compared with one another
    assert format_condition(parse(format_condition(read), GENERAL)) == format_condition(read)
