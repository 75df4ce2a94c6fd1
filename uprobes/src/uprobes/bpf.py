"""What a chain of seccomp filters says of a system call: classic BPF, evaluated as the kernel does.

Sources: kernel/seccomp.c (`seccomp_check_filter`: what a filter may consist of;
`seccomp_run_filters`: which answer wins), include/uapi/linux/filter.h and bpf_common.h (the
encoding), net/core/filter.c (`bpf_convert_filter`: a division by zero ends a filter with the answer
0; shifts count by 5 bits).
"""

import enum
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

WORD = 0xFFFF_FFFF
ACTION = 0xFFFF_0000
"""The part of an answer that says what is done; the rest is an error number, or a word for whoever
is told.
"""
CELLS = 16
INSTRUCTION = struct.Struct("<HBBI")
"""struct sock_filter: code, jump if true, jump if false, constant."""
_CALL = struct.Struct("<iIQ6Q")

Instruction = tuple[int, int, int, int]
Program = Sequence[Instruction]


class Action(enum.IntEnum):
    """What a filter can answer, as a signed number: the lowest of several wins."""

    KILL_PROCESS = -0x8000_0000
    KILL_THREAD = 0
    TRAP = 0x0003_0000
    ERRNO = 0x0005_0000
    USER_NOTIF = 0x7FC0_0000
    TRACE = 0x7FF0_0000
    LOG = 0x7FFC_0000
    ALLOW = 0x7FFF_0000

    @property
    def passes(self) -> bool:
        """Whether the call is made as if there were no filter."""
        return self in (Action.ALLOW, Action.LOG)


@dataclass(frozen=True, slots=True)
class SystemCall:
    """What a filter sees (struct seccomp_data): `architecture` as the audit system counts them.

    `instruction_pointer` is the address behind the call instruction; there are six arguments.
    """

    number: int
    architecture: int
    instruction_pointer: int
    arguments: tuple[int, ...]

    def packed(self) -> bytes:
        """Return it as the kernel lays it out."""
        ip = self.instruction_pointer
        return _CALL.pack(self.number, self.architecture, ip, *self.arguments)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a filter, or a chain of them, says: what is done, and the 16 bits that come with it."""

    action: Action
    value: int

    @classmethod
    def of(cls, word: int) -> "Answer":
        """Read what a filter returned; what no kernel knows ends the process (since Linux 4.14)."""
        action = _signed(word)
        known = action in set(Action)
        return cls(Action(action) if known else Action.KILL_PROCESS, word & ~ACTION & WORD)


def _signed(word: int) -> int:
    """Return what an answer is compared by."""
    action = word & ACTION
    return action - (1 << 32) if action >> 31 else action


class BadFilter(ValueError):
    """No kernel would have taken this program as a seccomp filter."""


class _State:
    """The registers and cells of one run."""

    def __init__(self, call: bytes) -> None:
        self.words = struct.unpack(f"<{len(call) // 4}I", call)
        self.a = 0
        self.x = 0
        self.cells = [0] * CELLS
        self.size = len(call)


def _load(state: _State, k: int) -> int:
    if k % 4 or k >= state.size:
        raise BadFilter(f"it loads 4 bytes at {k} of {state.size}")
    return int(state.words[k // 4])


def _cell(state: _State, k: int) -> int:
    if k >= CELLS:
        raise BadFilter(f"it reads cell {k} of {CELLS}")
    return state.cells[k]


_TO_A: Mapping[int, Callable[[_State, int], int]] = {
    0x00: lambda _, k: k,  # ld imm
    0x20: _load,  # ld abs
    0x60: _cell,  # ld mem
    0x80: lambda state, _: state.size,  # ld len
    0x87: lambda state, _: state.x,  # txa
    0x84: lambda state, _: -state.a,  # neg
}
_TO_X: Mapping[int, Callable[[_State, int], int]] = {
    0x01: lambda _, k: k,  # ldx imm
    0x61: _cell,  # ldx mem
    0x81: lambda state, _: state.size,  # ldx len
    0x07: lambda state, _: state.a,  # tax
}
_TO_CELL: Mapping[int, Callable[[_State], int]] = {
    0x02: lambda state: state.a,  # st
    0x03: lambda state: state.x,  # stx
}
_RETURNS: Mapping[int, Callable[[_State, int], int]] = {
    0x06: lambda _, k: k,  # ret k
    0x16: lambda state, _: state.a,  # ret a
}
_DIVIDE = 0x34
_ARITHMETIC: Mapping[int, Callable[[int, int], int]] = {
    0x04: lambda a, b: a + b,
    0x14: lambda a, b: a - b,
    0x24: lambda a, b: a * b,
    _DIVIDE: lambda a, b: a // b,
    0x44: lambda a, b: a | b,
    0x54: lambda a, b: a & b,
    0x64: lambda a, b: a << (b & 31),
    0x74: lambda a, b: a >> (b & 31),
    0xA4: lambda a, b: a ^ b,
}
_ALWAYS = 0x05
_JUMPS: Mapping[int, Callable[[int, int], bool]] = {
    0x15: lambda a, b: a == b,
    0x25: lambda a, b: a > b,
    0x35: lambda a, b: a >= b,
    0x45: lambda a, b: bool(a & b),
}
_BY_X = 0x08
"""The bit of an opcode that says: the other operand is X, not the constant."""


def run(program: Program, call: bytes) -> int:
    """Return the answer of one filter to a packed system call: 32 bits; raises BadFilter."""
    state = _State(call)
    at = 0
    while at < len(program):
        code, if_true, if_false, k = program[at]
        at += 1
        operand = state.x if code & _BY_X else k
        if code in _TO_A:
            state.a = _TO_A[code](state, k) & WORD
        elif code in _TO_X:
            state.x = _TO_X[code](state, k) & WORD
        elif code in _TO_CELL:
            _cell(state, k)
            state.cells[k] = _TO_CELL[code](state)
        elif code in _RETURNS:
            return _RETURNS[code](state, k)
        elif code == _ALWAYS:
            at += k
        elif code & ~_BY_X in _JUMPS:
            at += if_true if _JUMPS[code & ~_BY_X](state.a, operand) else if_false
        elif code & ~_BY_X in _ARITHMETIC:
            if code & ~_BY_X == _DIVIDE and not operand:
                return 0
            state.a = _ARITHMETIC[code & ~_BY_X](state.a, operand) & WORD
        else:
            raise BadFilter(f"it has an instruction with the code {code:#x}")
    raise BadFilter("it runs past its end")


def ask(filters: Sequence[Program], call: SystemCall) -> Answer:
    """Return what a chain of filters says to a system call: the strictest of all answers.

    `filters` go from the oldest to the newest; of equal answers that of the newest holds. Raises
    BadFilter.
    """
    packed = call.packed()
    words = [run(program, packed) for program in reversed(filters)]
    return Answer.of(min(words, key=_signed, default=int(Action.ALLOW)))


def unpack(code: bytes) -> list[Instruction]:
    """Read a filter as the kernel gives it out (an array of struct sock_filter)."""
    return [tuple(each) for each in INSTRUCTION.iter_unpack(code)]
