"""Memory that generated code reads: whatever a pointer holds, nothing faults, and records tell."""

import ctypes
import mmap
import os
import struct
import threading

import pytest
from running import CELLS, FLAGS, RING, TID_OFFSET, Arena, Machine, libc, needs_x86_64

from insn import Dead
from ubp.programs import (
    Argument,
    Bytes,
    Count,
    Field,
    Pid,
    Program,
    ProgramError,
    Record,
    RingLayout,
    StackPointer,
    String,
    Sum,
    Tid,
    Word,
    assemble,
    cells,
    parse,
    record_fields,
)

pytestmark = needs_x86_64
PAGE = 4096
LAYOUT = RingLayout(1, 16, 256)


@pytest.fixture
def arena():
    made = Arena()
    yield made
    made.close()


@pytest.fixture
def pages():
    """Two readable pages, an unreadable one, a readable one; gives the first one's address."""
    area = mmap.mmap(-1, 4 * PAGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    base = ctypes.addressof(ctypes.c_char.from_buffer(area))
    assert libc.mprotect(base + 2 * PAGE, PAGE, 0) == 0
    yield base
    assert libc.mprotect(base + 2 * PAGE, PAGE, mmap.PROT_READ | mmap.PROT_WRITE) == 0


def put(address: int, content: bytes) -> int:
    ctypes.memmove(address, content, len(content))
    return address


def record_of(arena, record, **registers):
    """Write one record; returns its fields as bytes, and which could not be read."""
    program = Program(actions=(record,))
    arena.prepare(program, LAYOUT)
    at = RING + LAYOUT.data(0)
    arena.map[at + 8 : at + 256] = b"\xaa" * 248  # what an earlier record may have left
    machine = Machine(arena, program, arena.placement(LAYOUT, tid_offset=TID_OFFSET))
    machine.run(registers)
    fields, _ = record_fields(record)
    (faults,) = struct.unpack_from("<H", arena.map, at + 14)
    content = {
        field.name: arena.map[at + field.offset : at + field.offset + field.size]
        for field in fields
    }
    unreadable = {
        field.name
        for field in fields
        if field.fault_bit is not None and faults >> field.fault_bit & 1
    }
    found = cells.read(program, arena.map[CELLS : CELLS + cells.size(program)])
    assert found.faults == len(unreadable)
    assert found.hits == 1
    return content, unreadable


WILD = [0, 1, 0xDEAD_BEEF, 1 << 47, (1 << 47) - 2, 1 << 63, (1 << 64) - 1, (1 << 64) - 4096]


@pytest.mark.parametrize("pointer", WILD, ids=hex)
def test_a_wild_pointer_leaves_an_empty_marked_field(arena, pointer):
    record = Record(
        (
            Field("word", Word(Argument(0), 0, 4)),
            Field("string", String(Argument(0), 20)),
            Field("bytes", Bytes(Argument(0), 9)),
            Field("behind", Bytes(Word(Argument(0)), 5)),
            Field("text behind", String(Word(Argument(0)), 5)),
            Field("arg0", Argument(0)),
        )
    )
    content, unreadable = record_of(arena, record, rdi=pointer)
    assert unreadable == {"word", "string", "bytes", "behind", "text behind"}
    assert b"".join(content[name] for name in unreadable) == bytes(43)
    assert content["arg0"] == struct.pack("<Q", pointer)


@pytest.mark.parametrize("text", [b"", b"a", b"seven..", b"exactly twenty bytes", b"longer" * 9])
@pytest.mark.parametrize("before_page_end", [0, 1, 5, 20, 21])
def test_strings_end_at_their_zero_or_their_size(arena, pages, text, before_page_end):
    at = put(pages + PAGE - before_page_end, text + b"\0rubbish behind it")
    record = Record((Field("text", String(Argument(3), 20)), Field("tid", Tid())))
    content, unreadable = record_of(arena, record, rcx=at)
    assert not unreadable
    assert content["text"] == text[:20].ljust(20, b"\0")
    assert content["tid"] == struct.pack("<I", threading.get_native_id())


@pytest.mark.parametrize("left", [1, 4, 19, 20])
def test_what_reaches_into_unreadable_memory_is_kept_as_far_as_it_goes(arena, pages, left):
    at = put(pages + 2 * PAGE - left, b"abcdefghijklmnopqrst"[:left])
    record = Record((Field("text", String(Argument(0), 20)), Field("raw", Bytes(Argument(0), 20))))
    content, unreadable = record_of(arena, record, rdi=at)
    assert unreadable == ({"text", "raw"} if left < 20 else set())
    assert content["text"] == content["raw"] == b"abcdefghijklmnopqrst"[:left].ljust(20, b"\0")


def test_a_string_that_ends_before_unreadable_memory_is_whole(arena, pages):
    at = put(pages + 2 * PAGE - 4, b"end\0")
    content, unreadable = record_of(arena, Record((Field("t", String(Argument(0), 20)),)), rdi=at)
    assert (content["t"], unreadable) == (b"end".ljust(20, b"\0"), set())


@pytest.mark.parametrize("offset", [0, PAGE - 4, PAGE - 1])
def test_words_of_every_size_also_across_pages(arena, pages, offset):
    number = 0xF1E2_D3C4_B5A6_9788
    at = put(pages + offset, struct.pack("<Q", number))
    record = Record(
        tuple(
            Field(f"{sign}{size}", Word(Argument(1), -16, size, sign == "s"))
            for size in (1, 2, 4, 8)
            for sign in "us"
        )
    )
    content, unreadable = record_of(arena, record, rsi=at + 16)
    assert not unreadable
    for name, found in content.items():
        assert found == struct.pack("<Q", number)[: int(name[1])]


def test_pointers_are_followed_in_conditions_and_sums(arena, pages):
    put(pages, struct.pack("<Q", pages + 64))
    put(pages + 72, struct.pack("<i", -5))
    inner = Word(Word(Argument(0)), 8, 4, True)
    program = Program(when=parse("s32(u64(arg0) + 8) == -5"), actions=(Count(), Sum(inner)))
    arena.prepare(program)
    machine = Machine(arena, program, arena.placement(dead=Dead(frozenset({"rdi"}), FLAGS)))
    registers = {"rdi": pages, "rbx": 7, "r11": 8, "r10": 9, "rcx": 10}
    after, _ = machine.run(registers)
    assert {name: after[name] for name in registers if name != "rdi"} == {
        name: value for name, value in registers.items() if name != "rdi"
    }
    machine.run({"rdi": 8})
    machine.run({"rdi": pages + 2 * PAGE})
    machine.run({"rdi": pages + 8})
    found = cells.read(program, arena.map[CELLS : CELLS + cells.size(program)])
    assert (found.hits, found.passed, found.faults) == (4, 1, 3)
    assert found.actions == (1, -5)


def test_what_cannot_be_read_makes_the_whole_condition_false(arena):
    for text, holds in [
        ("not u8(arg0)", False),
        ("u8(arg0) or 1", False),
        ("1 or u8(arg0)", True),
        ("arg1 == 2 or u8(arg0)", True),
        ("arg1 // arg2 == 0 or 1", False),
    ]:
        program = Program(when=parse(text))
        arena.prepare(program)
        Machine(arena, program, arena.placement()).run({"rdi": 8, "rsi": 2, "rdx": 0})
        found = cells.read(program, arena.map[CELLS : CELLS + cells.size(program)])
        assert (found.passed, found.faults) == (int(holds), int(not holds)), text


def test_arguments_on_the_stack_are_read_where_there_is_a_stack(arena, pages):
    record = Record(tuple(Field(f"arg{n}", Argument(n)) for n in (5, 6, 7, 9)))
    program = Program(actions=(record,))
    fields, _ = record_fields(record)
    place = arena.placement(LAYOUT, at_entry=True)
    machine = None
    for room in (0x400, 40, 32, 24, 16, 8):
        arena.prepare(program, LAYOUT)
        machine = machine or Machine(arena, program, place)
        # The stack ends `room` bytes above the return address, in front of an unreadable page.
        sp = pages + 2 * PAGE - room
        words = struct.pack("<5Q", 0xEE, *range(600, 604))
        machine.run({"r9": 500, "rsp": sp}, stack=words[:room])
        at = RING + LAYOUT.data(0)
        (faults,) = struct.unpack_from("<H", arena.map, at + 14)
        found = [struct.unpack_from("<Q", arena.map, at + field.offset)[0] for field in fields]
        there = [True, *(room >= 8 * n + 8 for n in (1, 2, 4))]
        assert found == [
            value if known else 0 for value, known in zip((500, 600, 601, 603), there, strict=True)
        ]
        marked = [
            field.fault_bit is not None and bool(faults >> field.fault_bit & 1) for field in fields
        ]
        assert marked == [not known for known in there]


@pytest.mark.parametrize("may_call", [True, False])
@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_words_on_the_stack_are_read_directly_as_far_as_it_is_surely_there(
    arena, pages, size, may_call
):
    words = {f"{offset}{sign}": Word(StackPointer(), offset, size, sign == "s")
             for offset in (0, 3, 8, 24) for sign in "us"}  # fmt: skip
    record = Record(tuple(Field(name, word) for name, word in words.items()))
    program = Program(actions=(record,))
    fields, _ = record_fields(record)
    machine = Machine(
        arena, program, arena.placement(LAYOUT, at_entry=True, may_call=may_call, tid_offset=0x2D0)
    )
    for room in (0x900, 32, 31, 25, 12, 9, 8):
        arena.prepare(program, LAYOUT)
        sp = pages + 2 * PAGE - room
        content = bytes(range(200, 256))[:room]
        machine.run({"rsp": sp}, stack=content)
        at = RING + LAYOUT.data(0)
        (faults,) = struct.unpack_from("<H", arena.map, at + 14)
        for field, word in zip(fields, words.values(), strict=True):
            found = arena.map[at + field.offset : at + field.offset + size]
            there = word.offset + size <= room
            assert found == (content[word.offset :][:size] if there else bytes(size))
            assert (faults >> field.fault_bit & 1) == (not there)


def test_where_no_system_call_may_be_made_it_is_refused(arena):
    place = arena.placement(LAYOUT, may_call=False)
    for value in (Word(Argument(0)), String(Argument(0), 8), Tid(), Pid()):
        with pytest.raises(ProgramError) as caught:
            assemble(Program(actions=(Record((Field("x", value),)),)), arena.base, place)
        assert caught.value.code == "needs-system-call"
    at_entry = arena.placement(LAYOUT, may_call=False, at_entry=True)
    assemble(Program(actions=(Sum(Argument(8)),)), arena.base, at_entry)


def test_forked_children_write_into_the_same_ring_and_read_their_own_memory(arena, pages):
    put(pages, b"parent\0")
    record = Record(
        (Field("pid", Pid()), Field("tid", Tid()), Field("text", String(Argument(0), 8)))
    )
    program = Program(actions=(record,))
    arena.prepare(program, LAYOUT)
    machine = Machine(arena, program, arena.placement(LAYOUT))
    machine.run({"rdi": pages})
    child = os.fork()
    if not child:
        try:
            put(pages, b"child\0\0")
            machine.run({"rdi": pages})
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    machine.run({"rdi": pages})
    found = []
    for index in range(arena.words(RING + LAYOUT.control(0), 1)[0]):
        at = RING + LAYOUT.data(0) + index * LAYOUT.record_size
        found.append(struct.unpack_from("<II8s", arena.map, at + 16))
    me = os.getpid()
    assert found == [
        (me, threading.get_native_id(), b"parent\0\0"),
        (child, child, b"child\0\0\0"),
        (me, threading.get_native_id(), b"parent\0\0"),
    ]
