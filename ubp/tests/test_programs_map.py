"""Where registers are at every instruction of generated code: single-stepped, and looked up."""

import ctypes
import os
import signal
import struct

import pytest
from running import CELLS, FLAGS, GENERAL, STACK_TOP, TID_OFFSET, Arena, Machine, needs_x86_64
from test_programs_run import ACTIONS, LAYOUT

from insn import Dead
from ubp.programs.placement import NOTHING_DEAD

pytestmark = [needs_x86_64, pytest.mark.live]
USER_REGS = (
    "r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi",
    "rdi", "orig_rax", "rip", "cs", "eflags", "rsp", "ss", "fs_base", "gs_base", "ds", "es", "fs",
    "gs",
)  # fmt: skip
TRACEME, STEP, GETREGS = 0, 9, 12
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


def stopped_child(machine, registers):
    """Fork a child, traced by us, that runs the program once; it stops at its breakpoint."""
    child = os.fork()
    if not child:
        try:
            libc.ptrace(TRACEME, 0, None, None)
            machine.run(registers)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSTOPPED(status)
    assert os.WSTOPSIG(status) == signal.SIGTRAP
    return child


def registers_of(child):
    raw = (ctypes.c_uint64 * len(USER_REGS))()
    assert libc.ptrace(GETREGS, child, None, ctypes.addressof(raw)) == 0
    return dict(zip(USER_REGS, raw, strict=True))


def word_of(child, address):
    with open(f"/proc/{child}/mem", "rb", 0) as memory:
        return struct.unpack("<Q", os.pread(memory.fileno(), 8, address))[0]


@pytest.mark.parametrize("name", ["count", "extremes", "chosen", "record", "everything"])
@pytest.mark.parametrize(
    "dead",
    [NOTHING_DEAD, Dead(frozenset(("rax", "r11", "rdx")), FLAGS), Dead(frozenset(("r9",)), FLAGS)],
    ids=["live", "three", "one"],
)
def test_at_every_step_the_map_finds_the_program_s_own_registers(name, dead):
    arena = Arena()
    program = ACTIONS[name]
    arena.prepare(program, LAYOUT)
    place = arena.placement(LAYOUT, dead=dead, tid_offset=TID_OFFSET, cpu_offset=-0x60)
    machine = Machine(arena, program, place, trap=True)
    given = {r: 0x1111 * (n + 1) for n, r in enumerate(GENERAL)} | {"rcx": 1 << 50}
    origin, end = arena.base + 0x1000, arena.base + 0x1000 + len(machine.generated.code)
    child = stopped_child(machine, given)
    try:
        while not origin <= registers_of(child)["rip"] < end:
            step(child)
        while origin <= (now := registers_of(child))["rip"] < end:
            found = own_registers(child, now, machine.generated.map, now["rip"] - origin)
            assert found["rsp"] == arena.base + STACK_TOP
            wrong = {r for r in GENERAL if found[r] != given[r]} - dead.registers
            assert not wrong, hex(now["rip"] - origin)
            step(child)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        arena.close()
    assert arena.words(CELLS, 1) == (1,)


def step(child):
    assert libc.ptrace(STEP, child, None, None) == 0
    _, status = os.waitpid(child, 0)
    assert os.WIFSTOPPED(status)


def own_registers(child, now, ranges, at):
    """The registers as the probed instruction would see them."""
    [saved] = [saved for saved in ranges if saved.start <= at < saved.end]
    found = dict(now)
    for register, where in saved.registers:
        found[register] = (
            now[where] if isinstance(where, str) else word_of(child, now["rsp"] + where)
        )
    return found | {"rsp": now["rsp"] + saved.depth}
