"""Reading memory that may not be there: by process_vm_readv on the process itself, which tells.

Routines in the cold part copy up to 4096 bytes; they take the address in rax, the size in rdx and
where to in rcx. `COPY` gives in rax how many bytes came; `BYTES` puts zeros where none came, and
`STRING` behind the first zero: both give 0 in rax, or 1 when not all that was wanted could be read.
At most two pages are read, each as a part of its own: parts are copied or not
(process_vm_readv(2)). Every process may read itself.
"""

from typing import TYPE_CHECKING

from ubp.programs.errors import ProgramError
from ubp.programs.values import Value
from ubp.x86_assembler import Assembler, Mem

if TYPE_CHECKING:
    from ubp.programs.x86_64_values import Values

BUFFER = "read"
"""The word on the stack that words are read into."""
COPY, BYTES, STRING = "copy", "copy bytes", "copy string"
UNREADABLE = -4096
"""An address at which nothing can be read."""
TOUCHED = ("rax", "rcx", "rdx")
_KEPT = ("rdi", "rsi", "r8", "r9", "r10", "r11")
_PARTS = 48
_ASIDE = 144
"""The red zone, and two words beyond it."""
_LOCAL, _FIRST, _SECOND = 0, 16, 32
PAGE = 4096
SYS_GETPID, SYS_READV = 39, 310


def load_word(
    values: "Values", base: Value, offset: int, size: int, signed: bool, to: str, pool: list[str]
) -> None:
    """Load a word of memory into a register, or go to the label `fail`."""
    values.load(base, to, pool)
    load_at(values, to, offset, size, signed)


def load_at(values: "Values", to: str, offset: int, size: int, signed: bool) -> None:
    """Load a word into the register that holds its address, or go to the label `fail`."""
    a, frame = values.a, values.frame
    buffer = frame.word(BUFFER)
    frame.touch_flags()
    frame.touch(*TOUCHED)
    a.lea("rax", Mem(to, offset))
    a.mov("rdx", size)
    a.lea("rcx", buffer)
    call(values)
    a.arithmetic("cmp", "rax", size, size=4)
    a.jump_if("ne", values.fail)
    a.extend(to, buffer, size, signed)


def is_near(values: "Values", offset: int, size: int) -> bool:
    """Tell whether a word at the stack pointer may lie in the page of the return address.

    That page is there: the call wrote to it, or the return read it.
    """
    known = values.returning or values.shape.at_entry
    return known and 0 <= offset + _above(values) <= PAGE - size


def _above(values: "Values") -> int:
    """How far the stack pointer is above the return address."""
    return 8 if values.returning else 0


def load_from_stack(values: "Values", offset: int, size: int, signed: bool, to: str) -> None:
    """Load a word that `is_near`: as it stands if it does lie in that page, else like any other."""
    a, frame, above = values.a, values.frame, _above(values)
    far, done, fail = values.new_label(), values.new_label(), values.fail
    frame.touch_flags()
    a.lea(to, Mem("rsp", frame.depth - above))
    a.arithmetic("and", to, PAGE - 1, size=4)
    a.arithmetic("cmp", to, PAGE - size - offset - above, size=4)
    a.jump_if("a", far)
    a.extend(to, Mem("rsp", frame.depth + offset), size, signed)
    a.label(done)

    def cold() -> None:
        a.label(far)
        if not values.shape.may_call:
            a.jump(fail)
            return
        values.fail, before = fail, values.fail
        a.lea(to, Mem("rsp", frame.depth))
        load_at(values, to, offset, size, signed)
        values.fail = before
        a.jump(done)

    frame.cold(cold)


def call(values: "Values", routine: str = COPY) -> None:
    """Call a routine, in a stretch that has a stack frame.

    Raises ProgramError where no system call may be made.
    """
    if not values.shape.may_call:
        raise ProgramError(
            "memory would have to be read by a system call, and none may be made there",
            code="needs-system-call",
            hint="use registers and arguments only, or a method with a handler",
        )
    values.frame.word(BUFFER)
    _call(values, routine)


def load_far(values: "Values", address: str, missing: str) -> None:
    """Load 8 bytes at an address into rax where there may be no stack frame; rcx, rdx are lost.

    Where they cannot be read (or, without system calls, reach into another page): to `missing`.
    """
    a, frame = values.a, values.frame
    if not values.shape.may_call:
        a.mov("rax", address, size=4)
        a.arithmetic("and", "rax", PAGE - 1, size=4)
        a.arithmetic("cmp", "rax", PAGE - 8, size=4)
        a.jump_if("a", missing)
        a.mov("rax", Mem(address))
        return
    frame.move(-_ASIDE)
    a.mov("rax", address)
    a.mov("rdx", 8)
    a.lea("rcx", Mem("rsp"))
    _call(values, COPY)
    a.arithmetic("cmp", "rax", 8, size=4)
    a.mov("rax", Mem("rsp"))
    frame.move(_ASIDE)
    a.jump_if("ne", missing)


def _call(values: "Values", routine: str) -> None:
    values.routines |= {COPY, routine}
    values.a.call(routine)


def emit(a: Assembler, routines: set[str]) -> None:
    """Put the routines here that are called."""
    if COPY in routines:
        _copy(a)
    for name in (BYTES, STRING):
        if name in routines:
            _fill(a, name)


def _fill(a: Assembler, name: str) -> None:
    """Copy, and clear what is left; rdi counts the bytes that stay."""
    clear, partly, ended = f"{name}: clear", f"{name}: partly", f"{name}: ended"
    a.label(name)
    a.push("rdi")
    a.push("rcx")
    a.push("rdx")
    a.call(COPY)
    a.pop("rdx")
    a.pop("rcx")
    byte = Mem("rcx", 0, index="rdi")
    if name == STRING:
        look, over = f"{name}: look", f"{name}: over"
        a.arithmetic("xor", "rdi", "rdi", size=4)
        a.label(look)
        a.arithmetic("cmp", "rdi", "rax", size=4)
        a.jump_if("ae", over)
        a.arithmetic("cmp", byte, 0, size=1)
        a.jump_if("e", ended)
        a.arithmetic("add", "rdi", 1, size=4)
        a.jump(look)
        a.label(over)
    else:
        a.mov("rdi", "rax", size=4)
    a.arithmetic("cmp", "rdi", "rdx", size=4)
    a.jump_if("ne", partly)
    a.label(ended)
    a.mov("rax", 0)
    a.jump(clear)
    a.label(partly)
    a.mov("rax", 1)
    a.label(clear)
    done = f"{name}: done"
    a.arithmetic("cmp", "rdi", "rdx", size=4)
    a.jump_if("e", done)
    a.mov(byte, 0, size=1)
    a.arithmetic("add", "rdi", 1, size=4)
    a.jump(clear)
    a.label(done)
    a.pop("rdi")
    a.ret()


def _copy(a: Assembler) -> None:
    a.label(COPY)
    for register in _KEPT:
        a.push(register)
    a.lea("rsp", Mem("rsp", -_PARTS))
    a.mov(Mem("rsp", _LOCAL), "rcx")
    a.mov(Mem("rsp", _LOCAL + 8), "rdx")
    a.mov(Mem("rsp", _FIRST), "rax")
    a.mov("rcx", "rax", size=4)
    a.arithmetic("and", "rcx", PAGE - 1, size=4)
    a.mov("rsi", PAGE)
    a.arithmetic("sub", "rsi", "rcx")
    a.arithmetic("cmp", "rsi", "rdx")
    a.cmov("a", "rsi", "rdx")
    a.mov(Mem("rsp", _FIRST + 8), "rsi")
    a.arithmetic("add", "rax", "rsi")
    a.mov(Mem("rsp", _SECOND), "rax")
    a.arithmetic("sub", "rdx", "rsi")
    a.mov(Mem("rsp", _SECOND + 8), "rdx")
    a.mov("rax", SYS_GETPID)
    a.syscall()
    a.mov("rdi", "rax")
    a.mov("rsi", "rsp")
    a.mov("rdx", 1)
    a.lea("r10", Mem("rsp", _FIRST))
    a.mov("r8", 2)
    a.arithmetic("xor", "r9", "r9", size=4)
    a.mov("rax", SYS_READV)
    a.syscall()
    a.arithmetic("xor", "rcx", "rcx", size=4)
    a.test("rax", "rax")
    a.cmov("s", "rax", "rcx")
    a.lea("rsp", Mem("rsp", _PARTS))
    for register in reversed(_KEPT):
        a.pop(register)
    a.ret()
