"""Programs of returns, run in this process: calls, tail calls, jumps out of calls, recursion."""

import ctypes
import mmap
import os
import random
import threading
from dataclasses import replace

import pytest
from running import (
    CALLS,
    CELLS,
    FLAG_BITS,
    GENERAL,
    MASK,
    RING,
    STACK_TOP,
    TABLE,
    TID_OFFSET,
    Arena,
    Calls,
    Machine,
    needs_x86_64,
)

from insn import Dead
from ubp.programs import (
    Argument,
    Count,
    Elapsed,
    Field,
    Log2,
    Maximum,
    Program,
    ProgramError,
    Record,
    Register,
    ReturnValue,
    RingLayout,
    StackPointer,
    Sum,
    TableLayout,
    Tid,
    Time,
    Word,
    assemble,
    cells,
    parse,
    record_fields,
    restore_all,
)
from ubp.x86_assembler import Assembler, Mem

pytestmark = needs_x86_64
LAYOUT = RingLayout(2, 64, 128)
ARGUMENTS = ("rdi", "rsi", "rdx", "rcx", "r8", "r9")


@pytest.fixture
def arena():
    made = Arena()
    yield made
    made.close()


def summing() -> bytes:
    """A function: adds two arguments, leaves chosen flags (lahf/sahf) and registers as they are."""
    a = Assembler()
    a.lea("rax", Mem("rdi", 0, index="rsi"))
    a.ret()
    return a.code()


def results(arena, program):
    length = cells.size(program, returns=True)
    return cells.read(program, arena.map[CELLS : CELLS + length], returns=True)


def pending(arena):
    return list(CALLS.pending(arena.map[TABLE : TABLE + CALLS.size]))


RECORD = Record(
    (
        Field("time", Time()),
        Field("elapsed", Elapsed()),
        Field("ret", ReturnValue()),
        Field("tid", Tid()),
        Field("sp", StackPointer()),
        Field("arg0", Argument(0)),
        Field("arg5", Argument(5)),
        Field("r8", Register("r8")),
    )
)
PROGRAMS = {
    "count": Program(),
    "latency": Program(actions=(Log2(Elapsed()), Sum(Elapsed()), Maximum(Elapsed()))),
    "record": Program(actions=(RECORD,)),
    "entry": Program(when=parse("arg0 > 1000"), sample=2, actions=(Count(), Sum(ReturnValue()))),
    "return": Program(when=parse("arg0 > 1000 and ret & 1"), sample=2, limit=3),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_return_changes_no_register_no_flag_and_no_stack(arena, name):
    program = PROGRAMS[name]
    source = random.Random(name)
    for _ in range(30):
        dead = (
            Dead(
                frozenset(r for r in GENERAL if source.random() < 0.2),
                frozenset(f for f in FLAG_BITS if source.random() < source.choice((0, 1))),
            )
            if source.random() < 0.7
            else Dead(frozenset(("rax", "r10", "r11")), frozenset(FLAG_BITS))
        )
        place = arena.placement(
            LAYOUT, dead=dead, at_entry=True, tid_offset=source.choice((None, TID_OFFSET))
        )
        arena.prepare(program, LAYOUT, returns=True)
        machine = Machine(arena, program, place, summing())
        for _ in range(4):
            before = {r: source.getrandbits(source.choice((3, 41, 64))) for r in GENERAL}
            flags = sum(1 << bit for bit in FLAG_BITS.values() if source.random() < 0.5)
            after, flags_after = machine.run(before, flags)
            kept = dead.registers | {"rax"}
            assert {r for r in GENERAL if before[r] != after[r]} <= kept
            if not dead.registers & {"rdi", "rsi"}:
                assert after["rax"] == before["rdi"] + before["rsi"] & MASK
            if not dead.flags:
                assert not (flags ^ flags_after) & 0x8D5
        assert not pending(arena)
        assert results(arena, program).hits == 4


def function(address: int):
    """Make a C function of three numbers."""
    return ctypes.CFUNCTYPE(ctypes.c_uint64, *[ctypes.c_uint64] * 3)(address)


@pytest.fixture
def calls(arena):
    arena.prepare(Program(), LAYOUT, returns=True)
    dead = Dead(frozenset(("rax", "r10", "r11")), frozenset(FLAG_BITS))
    return Calls(arena, arena.placement(LAYOUT, dead=dead, at_entry=True, tid_offset=TID_OFFSET))


def call_to(a, address):
    a.mov("rax", address)
    a.call_to("rax")


def jump_to(a, address):
    a.mov("rax", address)
    a.jump_to("rax")


def returning(number):
    def body(a, _entry):
        a.mov("rax", number)
        a.ret()

    return body


def test_a_record_of_a_return_holds_the_entry_s_arguments_and_the_value(arena):
    program = Program(actions=(RECORD,))
    arena.prepare(program, LAYOUT, returns=True)
    place = arena.placement(LAYOUT, at_entry=True, probe=3)
    machine = Machine(arena, program, place, summing())
    machine.run({"rdi": 40, "rsi": 2, "r9": 9, "r8": 8})
    heads = [arena.words(RING + LAYOUT.control(n), 1)[0] for n in range(2)]
    at = RING + LAYOUT.data(heads.index(1))
    found = {}
    for field in record_fields(RECORD)[0]:
        raw = arena.map[at + field.offset : at + field.offset + field.size]
        found[field.name] = int.from_bytes(raw, "little")
    assert found.pop("time") > found.pop("elapsed") > 0
    assert found == {
        "ret": 42,
        "tid": threading.get_native_id(),
        "sp": arena.base + STACK_TOP,
        "arg0": 40,
        "arg5": 9,
        "r8": 8,
    }


def test_at_a_return_the_stack_is_that_behind_the_return(arena):
    program = Program(actions=tuple(Sum(Word(StackPointer(), offset)) for offset in (-8, 0, 8)))
    arena.prepare(program, returns=True)
    machine = Machine(arena, program, arena.placement(at_entry=True, may_call=False), summing())
    sp = arena.base + STACK_TOP - 64
    machine.run({"rsp": sp}, stack=b"".join(n.to_bytes(8, "little") for n in (1234, 5678)))
    assert results(arena, program).actions == (machine.generated.hook, 1234, 5678)


def test_what_the_entry_rules_out_is_never_hooked(calls):
    program = Program(when=parse("arg0 > 5 and ret == 7"), actions=(Count(), Sum(Argument(1))))

    def body(a, _entry):
        a.mov("rax", "rdx")
        a.ret()

    probed = calls.add(body, program)
    call = function(probed.entry)
    arguments = [(5, 1, 7), (6, 10, 7), (7, 100, 8), (8, 1000, 7)]
    assert [call(*three) for three in arguments] == [7, 7, 8, 7]
    assert (probed.results.hits, probed.results.passed) == (4, 2)
    assert probed.results.actions == (2, 1010)


def test_sampling_and_limits_are_of_what_the_whole_condition_lets_through(calls):
    def body(a, _entry):
        a.mov("rax", "rsi")
        a.ret()

    for text in ("arg0 > 5", "arg0 > 5 and ret > 5", "ret > 5"):
        program = Program(when=parse(text), sample=3, limit=4, actions=(Sum(ReturnValue()),))
        probed = calls.add(body, program)
        call = function(probed.entry)
        for number in range(30):
            assert call(number, number, 0) == number
        taken = list(range(6, 30, 3))[:4]
        found = probed.results
        assert (found.hits, found.passed) == (30, 4), text
        assert found.actions == (sum(taken),)
        assert not pending(calls.arena)


def test_what_cannot_be_kept_or_is_missing_is_refused(arena):
    place = arena.placement(LAYOUT, at_entry=True)
    many = Program(actions=tuple(Sum(Argument(n)) for n in range(5)))
    for program, where, code in [
        (many, place, "too-large"),
        (Program(), replace(place, table_layout=None), "no-table"),
        (Program(), replace(place, table=None), "no-table"),
        (Program(), replace(place, at_entry=False), "no-such-value"),
        (Program(), replace(place, table=place.table + (3 << 30)), "out-of-reach"),
    ]:
        with pytest.raises(ProgramError) as caught:
            assemble(program, arena.base, where, returns=True)
        assert caught.value.code == code
    wide = replace(place, table_layout=TableLayout(16, 128))
    assert assemble(many, arena.base, wide, returns=True).hook
    for value in (ReturnValue(), Elapsed()):
        with pytest.raises(ProgramError) as caught:
            assemble(Program(actions=(Sum(value),)), arena.base, place)
        assert caught.value.code == "no-such-value"
    with pytest.raises(ProgramError):
        restore_all(arena.base, replace(place, table=None))


def test_a_tail_call_returns_for_both(calls):
    inner = calls.add(returning(5), Program(actions=(Sum(ReturnValue()),)))
    outer = calls.add(
        lambda a, _: jump_to(a, inner.entry),
        Program(actions=(Sum(ReturnValue()), Sum(Argument(0)))),
    )
    assert function(outer.entry)(77, 0, 0) == 5
    assert (inner.results.hits, inner.results.passed, inner.results.actions) == (1, 1, (5,))
    assert (outer.results.hits, outer.results.passed, outer.results.actions) == (1, 1, (5, 77))
    assert not pending(calls.arena)


@pytest.mark.parametrize("may_call", [True, False])
def test_tail_calls_between_functions_of_two_tables(calls, may_call):
    """f → g → f, where g's calls are in another table: what f's table knows is not all."""
    arena = calls.arena
    other = TABLE + 0x8000
    arena.map[other : other + CALLS.size] = CALLS.header().ljust(CALLS.size, b"\0")
    here = replace(calls.place, may_call=may_call)
    there = replace(here, table=arena.base + other)
    calls.place = here
    f_at, f_cells = calls.at, calls.cells_at
    calls.at += 0x800
    calls.cells_at += 0x800

    def put_f(to):
        def body(a, _entry):
            a.arithmetic("sub", "rdi", 1)
            a.jump_if("b", "end")
            jump_to(a, to)
            a.label("end")
            a.mov("rax", 8)
            a.ret()

        return body

    calls.at, calls.cells_at, calls.place = f_at, f_cells, here
    f = calls.add(put_f(0), Program())
    calls.place = there
    g = calls.add(lambda a, _: jump_to(a, f.entry), Program())
    calls.at, calls.cells_at, calls.place = f_at, f_cells, here
    f = calls.add(put_f(g.entry), Program())
    for times in (0, 1, 2, 5):
        before = f.results
        assert function(f.entry)(times, 0, 0) == 8
        assert f.results.hits - before.hits == times + 1
        assert f.results.passed - before.passed == 1
        assert f.results.chained - before.chained == times
    assert (g.results.hits, g.results.passed, g.results.chained) == (8, 3, 5)
    for table in (TABLE, other):
        assert not list(CALLS.pending(arena.map[table : table + CALLS.size]))


def test_functions_that_tail_call_one_another_in_turn_come_to_an_end(calls):
    """a → b → a → b …: each is awaited once, as there is one return."""
    first_at = calls.at

    def body(other):
        def put(a, entry):
            a.test("rdi", "rdi")
            a.jump_if("e", "end")
            a.arithmetic("sub", "rdi", 1)
            jump_to(a, other(entry))
            a.label("end")
            a.mov("rax", 9)
            a.ret()

        return put

    place = {}
    two = calls.add(body(lambda entry: place.get("one", entry)), Program())
    place["one"] = 0
    one = calls.add(body(lambda _: two.entry), Program())
    # The first one put in must know the second: put it in again.
    calls.at, calls.cells_at = first_at, two.cells_at
    two = calls.add(body(lambda _: one.entry), Program())
    assert function(two.entry)(10, 0, 0) == 9
    for probed, hits in ((one, 5), (two, 6)):
        found = probed.results
        assert (found.hits, found.passed, found.chained) == (hits, 1, hits - 1)
    assert not pending(calls.arena)


def test_a_function_that_tail_calls_itself_returns_once(calls):
    def body(a, entry):
        a.arithmetic("sub", "rdi", 1)
        a.jump_if("e", "end")
        jump_to(a, entry)
        a.label("end")
        a.mov("rax", 3)
        a.ret()

    probed = calls.add(body, Program())
    assert function(probed.entry)(4, 0, 0) == 3
    found = probed.results
    assert (found.hits, found.passed, found.chained) == (4, 1, 3)


def test_a_frame_left_by_a_jump_is_given_up_when_its_place_is_used_again(calls):
    def body(a, _entry):
        a.test("rdi", "rdi")
        a.jump_if("ne", "away")
        a.mov("rax", 1)
        a.ret()
        a.label("away")
        a.mov("rsp", "rbp")
        a.jump_to("rsi")

    probed = calls.add(body, Program())

    def outer(a):
        a.push("rbp")
        a.mov("rbp", "rsp")
        a.lea_label("rsi", "landing")
        call_to(a, probed.entry)
        a.label("landing")
        a.pop("rbp")
        a.ret()

    call = function(calls.add(outer))
    for _ in range(3):
        call(1, 0, 0)
    assert len(pending(calls.arena)) == 1
    assert call(0, 0, 0) == 1
    assert not pending(calls.arena)
    found = probed.results
    assert (found.hits, found.passed) == (4, 1)
    assert CALLS.unwound(calls.arena.map[TABLE : TABLE + CALLS.size]) == 3


def recursive(a, entry):
    """f(n): 0 for 0, else f(n - 1) + 1."""
    a.test("rdi", "rdi")
    a.mov("rax", 0)
    a.jump_if("e", "end")
    a.push("rbx")
    a.arithmetic("sub", "rdi", 1)
    call_to(a, entry)
    a.pop("rbx")
    a.arithmetic("add", "rax", 1)
    a.label("end")
    a.ret()


@pytest.mark.parametrize("deep", [1, 10, 60, 127, 128, 500])
def test_calls_that_find_no_place_in_the_table_are_counted_and_go_on(calls, deep):
    probed = calls.add(recursive, Program(actions=(Maximum(ReturnValue()),)))
    assert function(probed.entry)(deep, 0, 0) == deep
    found = probed.results
    assert found.hits == deep + 1 == found.passed + found.unhooked
    assert (found.unhooked > 0) == (deep > 128) or 60 < deep <= 128
    assert not pending(calls.arena)


def test_eight_threads_recurse_exactly(calls):
    probed = calls.add(recursive, Program(actions=(Log2(Elapsed()), Sum(ReturnValue()))))

    def outer(a):
        a.push("rbx")
        a.mov("rbx", "rsi")
        a.push("r12")
        a.mov("r12", "rdi")
        a.push("r12")
        a.label("again")
        a.mov("rdi", "r12")
        call_to(a, probed.entry)
        a.arithmetic("sub", "rbx", 1)
        a.jump_if("ne", "again")
        a.pop("r12")
        a.pop("r12")
        a.pop("rbx")
        a.ret()

    call = function(calls.add(outer))
    workers = [threading.Thread(target=call, args=(n, 3000, 0)) for n in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    found = probed.results
    assert found.hits == 3000 * sum(n + 1 for n in range(8)) == found.passed + found.unhooked
    assert sum(found.actions[0]) == found.passed
    if not found.unhooked:
        assert found.actions[1] == 3000 * sum(n * (n + 1) // 2 for n in range(8))
    assert not pending(calls.arena)


def test_parent_and_child_of_a_fork_both_return():
    arena = Arena(flags=mmap.MAP_PRIVATE)
    try:
        program = Program(actions=(Sum(Argument(0)),))
        arena.prepare(program, LAYOUT, returns=True)
        place = arena.placement(LAYOUT, at_entry=True, tid_offset=TID_OFFSET)
        probed = Calls(arena, place)

        def body(a, _entry):
            a.mov("rax", 57)
            a.syscall()
            a.ret()

        made = probed.add(body, program)
        child = function(made.entry)(1, 0, 0)
        if not child:
            os._exit(made.results.passed)  # 1, in memory of its own
        assert os.waitpid(child, 0) == (child, 1 << 8)
        assert made.results.passed == 1
        assert not pending(arena)
    finally:
        arena.close()


@pytest.mark.parametrize("may_call", [True, False])
def test_real_return_addresses_are_put_back_in_front_of_an_unwinder(calls, may_call):
    calls.place = replace(calls.place, may_call=may_call)

    def unwinder(a, _entry):
        # Give back the return address of the caller's caller, which the caller passed the place of.
        a.mov("rax", Mem("rdx"))
        a.ret()

    unwind = calls.add(unwinder, Program(), returns=False, make=restore_all)

    def inner_body(a, _entry):
        a.mov("rdx", "rsp")
        a.arithmetic("cmp", "rdi", 0)
        a.jump_if("e", "quietly")
        a.push("rbx")
        call_to(a, unwind.entry)
        a.pop("rbx")
        a.label("quietly")
        a.ret()

    inner = calls.add(inner_body, Program())
    outer = calls.add(lambda a, _: jump_to(a, inner.entry), Program())

    def root(a):
        a.push("rbx")
        call_to(a, outer.entry)
        a.label("behind")
        a.pop("rbx")
        a.ret()

    address = calls.add(root)
    behind = Assembler(address)
    root(behind)
    assert function(address)(1, 0, 0) == behind.address("behind")
    assert not pending(calls.arena)
    assert (inner.results.hits, inner.results.passed) == (1, 0)
    assert (outer.results.hits, outer.results.passed) == (1, 0)
    assert CALLS.unwound(calls.arena.map[TABLE : TABLE + CALLS.size]) == 2
    function(address)(0, 0, 0)
    assert (inner.results.passed, outer.results.passed) == (1, 1)
