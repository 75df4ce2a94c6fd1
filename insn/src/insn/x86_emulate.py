# ruff: noqa: ARG001 - every emulator and builder has the same parameters, whatever it uses
"""Which x86 instructions are emulated, and by what.

Everything is decided when the function is made: what is left for the moment of a hit is reading,
writing and at most one test. Memory is accessed before any register changes, so a failing access
changes nothing.
"""

from collections.abc import Callable

from insn.arch import Emulator
from insn.errors import NotEmulable
from insn.model import Flow, Instruction
from insn.x86_branches import (
    abort_transaction,
    call,
    conditional,
    indirect,
    jump,
    jump_if_zero,
    loop,
    return_,
    to_end,
)
from insn.x86_detail import Detail
from insn.x86_moves import leave, load_address, move, pop, pop_flags, push, push_flags
from insn.x86_row import Space

Builder = Callable[[Instruction, Detail], Emulator]


def _always(detail: Detail) -> bool:
    return True


def _within_segment(detail: Detail) -> bool:
    # With 32 bits a branch of 16-bit code may lead out of its segment: a fault, at the branch.
    return detail.mode != 16 or detail.operand_size == 2


def _not_repeated(detail: Detail) -> bool:
    # AMD CPUs let F3 make loopne a loope, and F2 the reverse (tried on Zen 5); others may not.
    return not detail.repeat and _within_segment(detail)


def _flat_stack(detail: Detail) -> bool:
    # In 16-bit code the width of the stack pointer is a property of the stack segment, which is
    # not known here.
    return detail.mode != 16


def _simple_flow(detail: Detail) -> bool:
    return _flat_stack(detail) and _one_segment(detail)


def _one_segment(detail: Detail) -> bool:
    return detail.mode != 16 or not detail.has_memory


def _flat_jump(detail: Detail) -> bool:
    return _one_segment(detail) and _within_segment(detail)


def _register_move(detail: Detail) -> bool:
    """Only moves between general registers, or of an immediate, at 16 bits and more."""
    letters = [(o.letter, o.size) for o in detail.row.operands]
    return not detail.has_memory and letters in (
        [("E", "v"), ("G", "v")],
        [("G", "v"), ("E", "v")],
        [("E", "v"), ("I", "z")],
        [("Z", "v"), ("I", "v")],
    )


def _general_operand(detail: Detail) -> bool:
    """Only stack instructions on general registers, memory or immediates (not on segment
    registers)."""
    # Outside 64-bit mode the code segment can be read but not written: leave that fault to the CPU.
    through_code = detail.segment == "cs" and detail.mode != 64
    return (
        _simple_flow(detail)
        and not through_code
        and all(o.letter in "ZEI" for o in detail.row.operands)
    )


# Name of a row in the one- and two-byte maps -> (when it can be emulated, how).
_EMULATORS: dict[str, tuple[Callable[[Detail], bool], Builder]] = {
    "jmp": (_flat_jump, jump),
    "call": (_simple_flow, call),
    "ret": (_flat_stack, return_),
    "push": (_general_operand, push),
    "pop": (_general_operand, pop),
    "pushf": (_flat_stack, push_flags),
    "popf": (_flat_stack, pop_flags),
    "leave": (_flat_stack, leave),
    "lea": (_always, load_address),
    "mov": (_register_move, move),
    "xbegin": (_within_segment, abort_transaction),
    "loop": (_within_segment, loop),
    "loope": (_not_repeated, loop),
    "loopne": (_not_repeated, loop),
    "jcxz": (_within_segment, jump_if_zero),
}
_INDIRECT = (Flow.INDIRECT_CALL, Flow.INDIRECT_JUMP)


def _find(detail: Detail) -> Builder | None:
    row = detail.row
    if detail.apx or detail.unsettled or row.space > Space.TWO:
        return None
    if detail.is_nop:
        return to_end
    name = row.names[0]
    if row.flow is Flow.CONDITIONAL_JUMP and name not in _EMULATORS:
        return conditional if _within_segment(detail) else None
    found = _EMULATORS.get(name)
    if found is None or not found[0](detail):
        return None
    return indirect if row.flow in _INDIRECT else found[1]


def is_emulated(detail: Detail) -> bool:
    """Tell whether `emulator` can be made for an instruction with these parts."""
    return _find(detail) is not None


def only_moves_ip(instruction: Instruction) -> bool:
    """Tell whether all that the instruction changes is the program counter (and it can be
    emulated)."""
    detail = instruction.detail
    assert isinstance(detail, Detail)
    return _find(detail) in (to_end, jump, conditional, jump_if_zero)


def emulator(instruction: Instruction) -> Emulator:
    """Make the function that does the instruction's work; NotEmulable when there is none."""
    detail = instruction.detail
    assert isinstance(detail, Detail)
    build = _find(detail)
    if build is None:
        raise NotEmulable(
            f"the work of {instruction.name!r} is not done on the registers alone",
            address=instruction.address,
            hint="use boost or step",
        )
    return build(instruction, detail)
