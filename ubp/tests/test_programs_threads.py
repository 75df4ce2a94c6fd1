"""Generated code among threads, signals and killed writers: everything is counted exactly."""

import ctypes
import signal
import struct
import threading
import time

import pytest
from running import (
    CALLS,
    CELLS,
    FLAG_BITS,
    FLAGS,
    RING,
    TABLE,
    TID_OFFSET,
    Arena,
    Calls,
    Machine,
    libc,
    loop,
    needs_x86_64,
)

import insn
from insn import Dead
from ubp.programs import (
    Argument,
    Binary,
    Constant,
    Count,
    Elapsed,
    Field,
    Linear,
    Log2,
    Maximum,
    Operator,
    Program,
    Record,
    RingLayout,
    RingMode,
    Sum,
    Tid,
    assemble,
    cells,
)
from ubp.programs.placement import NOTHING_DEAD
from ubp.programs.ring import HEAD, LOST, TAIL
from ubp.x86_assembler import Assembler, Near

pytestmark = needs_x86_64
FLAGS_DEAD = Dead(frozenset(), FLAGS)
SECRET = 0x5A5A_5A5A


@pytest.fixture
def arena():
    made = Arena()
    yield made
    made.close()


def results(arena, program):
    return cells.read(program, arena.map[CELLS : CELLS + cells.size(program)])


def run_threads(run, times, threads):
    """Run a loop in several threads; the first argument of each is its number."""
    workers = [
        threading.Thread(target=run, args=(times, (ctypes.c_uint64 * 6)(n))) for n in range(threads)
    ]
    for worker in workers:
        worker.start()
    return workers


@pytest.mark.parametrize("dead", [NOTHING_DEAD, FLAGS_DEAD], ids=["live", "dead"])
def test_eight_threads_are_counted_exactly(arena, dead):
    times, threads = 300_000, 8
    value = Argument(0)
    program = Program(
        sample=4,
        actions=(Count(), Sum(value), Maximum(value), Log2(value), Linear(value, 0, 2, 2)),
    )
    arena.prepare(program)
    for worker in run_threads(loop(arena, program, arena.placement(dead=dead)), times, threads):
        worker.join()
    found = results(arena, program)
    assert found.hits == times * threads
    assert found.passed == times * threads // 4
    assert sum(found.actions[3]) == sum(found.actions[4]) == found.passed
    assert found.actions[0] == found.passed


@pytest.mark.slow
def test_eighty_million_hits_of_eight_threads_are_counted_exactly(arena):
    program = Program()
    arena.prepare(program)
    run = loop(arena, program, arena.placement(dead=FLAGS_DEAD))
    for worker in run_threads(run, 10_000_000, 8):
        worker.join()
    assert results(arena, program).hits == 80_000_000


CHECKED = Record(
    (
        Field("tid", Tid()),
        Field("number", Argument(0)),
        Field("check", Binary(Operator.XOR, Argument(0), Constant(SECRET))),
    )
)


def checked(arena, layout, ring, index):
    """Read a record; returns its commit word and what thread it is of, which must fit."""
    at = RING + layout.data(ring) + index % layout.capacity * layout.record_size
    commit, _, number, check, tid, _ = struct.unpack_from("<QQQQII", arena.map, at)
    return commit, number, check, tid


def control(arena, layout, ring, what):
    return arena.words(RING + layout.control(ring) + what, 1)[0]


def set_control(arena, layout, ring, what, number):
    struct.pack_into("<Q", arena.map, RING + layout.control(ring) + what, number)


@pytest.mark.parametrize("rings", [1, 2])
def test_eight_threads_and_a_reader_lose_no_record_uncounted(arena, rings):
    times, threads = 200_000, 8
    program = Program(actions=(CHECKED,))
    layout = RingLayout(rings, 128, 40)
    arena.prepare(program, layout)
    place = arena.placement(layout, dead=FLAGS_DEAD, tid_offset=TID_OFFSET, cpu_offset=-0x60)
    workers = run_threads(loop(arena, program, place), times, threads)
    read = [0] * threads
    while True:
        at_work = any(worker.is_alive() for worker in workers)
        for ring in range(rings):
            tail = control(arena, layout, ring, TAIL)
            while tail < control(arena, layout, ring, HEAD):
                commit, number, check, tid = checked(arena, layout, ring, tail)
                if commit != tail + 1:
                    break
                assert number ^ check == SECRET
                assert tid
                read[number] += 1
                tail += 1
                set_control(arena, layout, ring, TAIL, tail)
        if not at_work:
            break
    heads = [control(arena, layout, ring, HEAD) for ring in range(rings)]
    lost = [control(arena, layout, ring, LOST) for ring in range(rings)]
    assert sum(read) == sum(heads)
    assert sum(heads) + sum(lost) == times * threads
    assert sum(read) >= layout.capacity
    assert all(n <= times for n in read)


def test_a_reader_of_a_flight_recorder_sees_no_torn_record(arena):
    program = Program(actions=(CHECKED,))
    layout = RingLayout(1, 64, 40, RingMode.OVERWRITE)
    arena.prepare(program, layout)
    place = arena.placement(layout, dead=FLAGS_DEAD, tid_offset=TID_OFFSET)
    times, threads = 300_000, 4
    workers = run_threads(loop(arena, program, place), times, threads)
    whole = 0
    size = layout.capacity * layout.record_size
    while any(worker.is_alive() for worker in workers):
        before = control(arena, layout, 0, HEAD)
        at = RING + layout.data(0)
        copy = arena.map[at : at + size]
        after = control(arena, layout, 0, HEAD)
        for index in range(max(after - layout.capacity, 0), before):
            slot = index % layout.capacity * layout.record_size
            commit, _, number, check, _, _ = struct.unpack_from("<QQQQII", copy, slot)
            if commit == index + 1:
                assert number ^ check == SECRET
                whole += 1
    head = control(arena, layout, 0, HEAD)
    assert head == times * threads
    assert control(arena, layout, 0, LOST) == 0
    for index in range(head - layout.capacity, head):
        commit, number, check, _ = checked(arena, layout, 0, index)
        # A slot whose writer was overtaken by a whole lap is passed over, once.
        assert commit == index + 1 or commit < index + 1 - layout.capacity + 1
        assert commit != index + 1 or number ^ check == SECRET


@pytest.mark.parametrize("mode", RingMode)
def test_a_slot_whose_writer_died_is_passed_over_and_nothing_else_is_lost(arena, mode):
    program = Program(actions=(Record((Field("number", Argument(0)),)),))
    layout = RingLayout(1, 8, 24, mode)
    arena.prepare(program, layout)
    machine = Machine(arena, program, arena.placement(layout))
    for number in range(8):
        machine.run({"rdi": number})
    # Somebody reserves index 8 and is never seen again; the reader gives up waiting for it.
    set_control(arena, layout, 0, HEAD, 9)
    set_control(arena, layout, 0, TAIL, 9)
    for number in range(9, 25):
        set_control(arena, layout, 0, TAIL, number)
        machine.run({"rdi": number})
    assert control(arena, layout, 0, HEAD) == 25
    assert control(arena, layout, 0, LOST) == 0
    at = RING + layout.data(0)
    slots = [struct.unpack_from("<QQQ", arena.map, at + 24 * n) for n in range(8)]
    # Slot 0 still holds index 0; the records of 16 and 24 are the ones missing there.
    assert [(commit - 1, number) for commit, _, number in slots] == [(0, 0)] + [
        (n, n) for n in range(17, 24)
    ]


@pytest.mark.parametrize("mode", RingMode)
def test_a_full_ring_drops_or_overwrites(arena, mode):
    program = Program(actions=(Record((Field("number", Argument(0)),)),))
    layout = RingLayout(1, 4, 24, mode)
    arena.prepare(program, layout)
    machine = Machine(arena, program, arena.placement(layout))
    for number in range(10):
        machine.run({"rdi": number})
    at = RING + layout.data(0)
    numbers = [struct.unpack_from("<Q", arena.map, at + 24 * n + 16)[0] for n in range(4)]
    lost = control(arena, layout, 0, LOST)
    if mode is RingMode.DROP:
        assert (control(arena, layout, 0, HEAD), lost, numbers) == (4, 6, [0, 1, 2, 3])
    else:
        assert (control(arena, layout, 0, HEAD), lost, numbers) == (10, 0, [8, 9, 6, 7])


class Alarms:
    """Calls a C function from a signal handler, many times a second, and counts how often."""

    def __init__(self, arena, function_address, at=0x1F000, counter=CELLS + 0x7000):
        a = Assembler(arena.base + at)
        a.push("rbx")
        a.lock_inc(Near("counter"))
        a.mov("rdi", 1)
        a.mov("rax", function_address)
        a.call_to("rax")
        a.pop("rbx")
        a.ret()
        code = bytearray(a.code())
        for e in a.externals():
            struct.pack_into("<i", code, e.at, counter - at - e.end)
        arena.map[counter : counter + 8] = bytes(8)
        self.handler = arena.write_code(bytes(code), at)
        self.arena, self.counter = arena, counter

    @property
    def count(self):
        return self.arena.words(self.counter, 1)[0]

    def __enter__(self):
        self.before = signal.signal(signal.SIGALRM, signal.SIG_IGN)
        libc.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
        libc.signal(signal.SIGALRM, self.handler)
        signal.setitimer(signal.ITIMER_REAL, 3e-5, 3e-5)
        return self

    def __exit__(self, *_):
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self.before)


def repeatedly(arena, at, function_address):
    """Make a C function that calls another so many times."""

    a = Assembler(arena.base + at)
    for register in ("rbx", "rbp", "r12"):
        a.push(register)
    a.mov("rbx", "rdi")
    a.mov("rbp", function_address)
    a.label("again")
    a.mov("rdi", 1)
    a.call_to("rbp")
    a.arithmetic("sub", "rbx", 1)
    a.jump_if("ne", "again")
    for register in ("r12", "rbp", "rbx"):
        a.pop(register)
    a.ret()
    address = arena.write_code(a.code(), at)
    return ctypes.CFUNCTYPE(None, ctypes.c_uint64)(address)


INTERRUPTED = {
    "record": (Program(actions=(Count(), Sum(Argument(0)), CHECKED)), False, RingMode.DROP),
    "overwrite": (Program(actions=(CHECKED,)), False, RingMode.OVERWRITE),
    "extremes": (Program(actions=(Sum(Argument(0)), Maximum(Argument(0)))), False, RingMode.DROP),
    "return": (Program(actions=(Log2(Elapsed()), Sum(Argument(0)))), True, RingMode.DROP),
}


@pytest.mark.parametrize("name", INTERRUPTED)
def test_signals_whose_handler_runs_the_same_program_change_no_count(arena, name):
    program, returns, mode = INTERRUPTED[name]
    layout = RingLayout(1, 256, 40, mode)
    arena.prepare(program, layout, returns=returns)
    dead = Dead(frozenset(("rax",)), frozenset(FLAG_BITS))
    place = arena.placement(layout, dead=dead, at_entry=True, tid_offset=TID_OFFSET)

    def body(a, _entry):
        a.mov("rax", "rdi")
        a.ret()

    probed = Calls(arena, place).add(body, program, returns)
    run = repeatedly(arena, 0x1E000, probed.entry)
    with Alarms(arena, probed.entry) as alarms:
        times, until = 0, time.monotonic() + 10
        while alarms.count < 3000 and time.monotonic() < until:
            run(20_000)
            times += 20_000
            set_control(arena, layout, 0, TAIL, control(arena, layout, 0, HEAD))
    hits = times + alarms.count
    assert alarms.count
    found = probed.results
    assert found.hits == found.passed == hits
    for action, result in zip(program.actions, found.actions, strict=True):
        if isinstance(action, Sum):
            assert result == hits
        if isinstance(action, Log2):
            assert sum(result) == hits
    if CHECKED in program.actions:
        head = control(arena, layout, 0, HEAD)
        assert head + control(arena, layout, 0, LOST) == hits
        for index in range(head - layout.capacity, head):
            commit, number, check, _ = checked(arena, layout, 0, index)
            assert (commit, number ^ check) == (index + 1, SECRET)
    assert not list(CALLS.pending(arena.map[TABLE : TABLE + CALLS.size]))


def test_what_is_touched_is_only_memory_and_general_registers(arena):
    """No vector, mask, x87 or segment register, no direction flag: decoded and looked at."""
    layout = RingLayout(2, 64, 128)
    place = arena.placement(layout, at_entry=True)
    for program, returns, _ in INTERRUPTED.values():
        generated = assemble(program, arena.base, place, returns=returns)
        at = 0
        while at < len(generated.code):
            found = insn.decode(generated.code[at : at + 15], arena.base + at, insn.X86_64)
            forbidden = ("mm", "st(", "std", "cld", "popf", " k", "push fs", "mov fs")
            assert not any(word in found.text for word in forbidden), found.text
            at += found.length
