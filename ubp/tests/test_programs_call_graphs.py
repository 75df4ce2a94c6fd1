"""Return programs in any order of calls, tail calls, returns and jumps out of it all.

Four probed functions read a script: each byte says what the running function does next. A model in
Python says how often each function was entered, returned, and was entered again in its own place.
"""

import ctypes
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from running import CALLS, FLAG_BITS, TABLE, TID_OFFSET, UNHURRIED, Arena, Calls, needs_x86_64

from insn import Dead
from ubp.programs import Elapsed, Log2, Program
from ubp.x86_assembler import Mem

pytestmark = needs_x86_64
FUNCTIONS = 4
RETURN, CALL, TAIL, AWAY = 0, 1, 1 + FUNCTIONS, 1 + 2 * FUNCTIONS
"""What a byte says; CALL and TAIL are followed by those for the other functions."""
LONGEST = 60
OTHER = TABLE + 0x8000
PROGRAM = Program(actions=(Log2(Elapsed()),))


class Graph:
    """The functions, and a root that calls the first of them and is where AWAY leads."""

    def __init__(self, tables: int) -> None:
        self.arena = Arena()
        self.arena.prepare(PROGRAM, returns=True)
        dead = Dead(frozenset(("rax", "rcx")), frozenset(FLAG_BITS))
        place = self.arena.placement(dead=dead, at_entry=True, tid_offset=TID_OFFSET)
        self.places = [place, replace(place, table=self.arena.base + OTHER)][:tables]
        entries = [0] * FUNCTIONS
        for _ in range(2):  # once more when all know where the others are
            calls = Calls(self.arena, place)
            self.functions = []
            for number in range(FUNCTIONS):
                calls.place = self.places[number % tables]
                body = self._body(list(entries))
                self.functions.append(calls.add(body, PROGRAM))
            entries = [function.entry for function in self.functions]
        root = calls.add(self._root(entries[0]))
        self.call = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_char_p)(root)

    @staticmethod
    def _body(entries):
        def body(a, _entry):
            a.label("next")
            a.load_byte("rax", Mem("r12"))
            a.arithmetic("add", "r12", 1)
            for number, entry in enumerate(entries):
                for op in (CALL, TAIL):
                    a.arithmetic("cmp", "rax", op + number, size=4)
                    a.jump_if("ne", f"not {op} {number}")
                    a.mov("rcx", entry)
                    if op == CALL:
                        a.call_to("rcx")
                        a.jump("next")
                    else:
                        a.jump_to("rcx")
                    a.label(f"not {op} {number}")
            a.arithmetic("cmp", "rax", AWAY, size=4)
            a.jump_if("e", "away")
            a.mov("rax", "r12")
            a.ret()
            a.label("away")
            a.mov("rsp", "r13")
            a.jump_to("r14")

        return body

    @staticmethod
    def _root(entry):
        def root(a):
            for register in ("r12", "r13", "r14"):
                a.push(register)
            a.mov("r12", "rdi")
            a.mov("r13", "rsp")
            a.lea_label("r14", "landing")
            a.mov("rcx", entry)
            a.call_to("rcx")
            a.label("landing")
            a.mov("rax", "r12")
            for register in ("r14", "r13", "r12"):
                a.pop(register)
            a.ret()

        return root

    def clear(self) -> None:
        """Forget all that was counted, and all calls."""
        for table in (TABLE, OTHER):
            self.arena.map[table : table + CALLS.size] = CALLS.header().ljust(CALLS.size, b"\0")
        for function in self.functions:
            self.arena.map[function.cells_at : function.cells_at + 0x700] = bytes(0x700)


@dataclass
class Model:
    """What should be counted, by function."""

    hits: list[int] = field(default_factory=lambda: [0] * FUNCTIONS)
    passed: list[int] = field(default_factory=lambda: [0] * FUNCTIONS)
    chained: list[int] = field(default_factory=lambda: [0] * FUNCTIONS)

    def run(self, script: bytes) -> int:
        """Follow a script; returns how many bytes of it were read."""
        at = 0
        frames = [set()]  # for each frame, the functions whose return is awaited there
        self._enter(frames, 0)
        while frames:
            op = script[at]
            at += 1
            if op == AWAY:
                break
            if op == RETURN:
                for number in frames.pop():
                    self.passed[number] += 1
            elif op < TAIL:
                frames.append(set())
                self._enter(frames, op - CALL)
            else:
                self._enter(frames, op - TAIL)
        return at

    def _enter(self, frames, number):
        self.hits[number] += 1
        self.chained[number] += number in frames[-1]
        frames[-1].add(number)


@pytest.fixture(scope="module", params=[1, 2], ids=["one table", "two tables"])
def graph(request):
    made = Graph(request.param)
    yield made
    made.arena.close()


scripts = st.lists(
    st.lists(st.integers(0, AWAY), max_size=LONGEST).map(bytes), min_size=1, max_size=5
)


@settings(UNHURRIED, max_examples=200)
@given(made=scripts)
def test_any_order_of_calls_returns_where_it_should_and_counts_what_happened(graph, made):
    graph.clear()
    model = Model()
    for script in made:
        script += bytes(LONGEST + 1)
        buffer = ctypes.create_string_buffer(script)
        start = ctypes.addressof(buffer)
        assert graph.call(buffer) - start == model.run(script)
    results = [function.results for function in graph.functions]
    assert [found.hits for found in results] == model.hits
    assert [found.unhooked for found in results] == [0] * FUNCTIONS
    passed, chained = [r.passed for r in results], [r.chained for r in results]
    if len(graph.places) == 1:
        assert (passed, chained) == (model.passed, model.chained)
    else:
        # What the other table still holds of a frame that was left can pass for a tail call's.
        assert all(found <= meant for found, meant in zip(passed, model.passed, strict=True))
        assert all(found >= meant for found, meant in zip(chained, model.chained, strict=True))
    assert [sum(found.actions[0]) for found in results] == passed
    if not any(AWAY in script for script in made):
        assert (passed, chained) == (model.passed, model.chained)
        for table in (TABLE, OTHER):
            assert not list(CALLS.pending(graph.arena.map[table : table + CALLS.size]))
