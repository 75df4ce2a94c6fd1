"""Putting real return addresses back on a thread's stack, in front of what unwinds it.

Exceptions, forced unwinding (`pthread_exit`, cancellation) and backtraces walk return addresses; a
hook among them has no unwind entry, and the walk would end there. So this code stands at the entry
of `_Unwind_RaiseException`, `_Unwind_Resume`, `_Unwind_ForcedUnwind`, `_Unwind_Backtrace` and their
like: every hook above the stack pointer that this thread's calls put there becomes the original
again, and its entry is released and counted as unwound. The calls that go on are then not measured.

Calls belong to the thread that made them. A coroutine that another thread continues keeps its
hooks; and a shadow stack that the CPU keeps does not learn of the change: where one is in use, this
must not be.
"""

from functools import lru_cache

from ubp.programs import x86_64_guard as guard
from ubp.programs.errors import ProgramError
from ubp.programs.model import Program
from ubp.programs.placement import Generated, Placement
from ubp.programs.returns import (
    BUCKETS_AT,
    HOOK,
    ORIGINAL,
    PLACES_SIZE,
    THREAD,
    UNWOUND,
    WAYS,
)
from ubp.programs.shape import Shape, shape_of
from ubp.programs.x86_64_frame import Frame, Used
from ubp.programs.x86_64_template import Template, put, settle
from ubp.programs.x86_64_values import Values
from ubp.x86_assembler import Assembler, Mem, Near

LARGEST_STACK = 8 << 20
"""How far above the stack pointer a stack is taken to reach where the kernel can't be asked."""


def restore_all(origin: int, place: Placement) -> Generated:
    """Make the code for the address `origin`; raises ProgramError: `no-table`, `out-of-reach`."""
    if place.table_layout is None or place.table is None:
        raise ProgramError("there is no table of calls to restore from", code="no-table")
    return put(_template(shape_of(Program(), place, place.dead, returns=False)), origin, place)


@lru_cache(maxsize=64)
def _template(shape: Shape) -> Template:
    return settle(lambda expected: _attempt(shape, expected[0]), 1)


def _attempt(shape: Shape, expected: Used) -> tuple[tuple[Used, ...], Template]:
    table = shape.table_layout
    assert table is not None
    a = Assembler()
    frame = Frame(a, shape.dead, (), expected)
    values = Values(a, frame, shape, "u")
    thread, bucket, left, entry, way, at = frame.pool()[:6]
    frame.begin()
    frame.touch("rax", "rcx", "rdx", thread, bucket, left, entry, way, at)
    frame.touch_flags()
    if shape.tid_offset is not None:
        values.tid(thread)
    else:
        a.mov(thread, 0)
    a.lea(bucket, Near("table", BUCKETS_AT))
    a.mov(left, table.buckets)
    a.label("bucket")
    a.mov("rax", Mem(bucket))
    for number in range(1, WAYS):
        a.arithmetic("or", "rax", Mem(bucket, 8 * number))
    a.jump_if("ne", "look")
    a.label("next bucket")
    a.arithmetic("add", bucket, table.bucket_size)
    a.arithmetic("sub", left, 1)
    a.jump_if("ne", "bucket")

    def look() -> None:
        a.label("look")
        a.arithmetic("xor", way, way, size=4)
        a.lea(entry, Mem(bucket, PLACES_SIZE))
        a.label("way")
        a.mov(at, Mem(bucket, 0, index=way, scale=8))
        a.lea("rax", Mem("rsp", frame.depth))
        a.arithmetic("cmp", at, "rax")
        a.jump_if("b", "next way")
        a.arithmetic("cmp", Mem(entry, THREAD), thread, size=4)
        a.jump_if("ne", "next way")
        _load(values, at, "next way")
        a.arithmetic("cmp", "rax", Mem(entry, HOOK))
        a.jump_if("ne", "next way")
        a.mov("rax", Mem(entry, ORIGINAL))
        a.mov(Mem(at), "rax")
        a.mov(Mem(bucket, 0, index=way, scale=8), 0)
        a.lock_inc(Near("table", UNWOUND))
        a.jump("look")  # the original may be the hook of another entry at the same place
        a.label("next way")
        a.arithmetic("add", entry, table.entry_size)
        a.arithmetic("add", way, 1)
        a.arithmetic("cmp", way, WAYS)
        a.jump_if("ne", "way")
        a.jump("next bucket")

    frame.cold(look)
    frame.end()
    a.begin_cold()
    frame.emit_cold()
    guard.emit(a, values.routines)
    template = Template(a.code(), a.place(0), tuple(a.externals()), (), tuple(frame.saved()))
    return (frame.used,), template


def _load(values: Values, at: str, missing: str) -> None:
    """Load the word at an address into rax: entries of stacks that are gone are still there."""
    a, frame = values.a, values.frame
    if values.shape.may_call:
        buffer = frame.word(guard.BUFFER)
        a.mov("rax", at)
        a.mov("rdx", 8)
        a.lea("rcx", buffer)
        guard.call(values)
        a.arithmetic("cmp", "rax", 8, size=4)
        a.jump_if("ne", missing)
        a.mov("rax", buffer)
    else:
        a.lea("rax", Mem("rsp", frame.depth + LARGEST_STACK))
        a.arithmetic("cmp", at, "rax")
        a.jump_if("ae", missing)
        a.mov("rax", Mem(at))
