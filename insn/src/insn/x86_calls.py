"""Writes x86 calls as pushes and a jump, so that they return to the original code.

A direct call, or one through a register, pushes the original return address, then jumps. One
through memory (or through the stack pointer) must read its operand before it pushes: the operand
may lie where the return address will, count from the stack pointer, or fault. So the operand
itself is pushed first, which faults as the call would, with every register and all memory as
before; then the return address is put in its place, and a jump goes through another copy of the
operand below the stack pointer (the red zone of 64-bit code) or a return pops it (32-bit code has
no red zone).

No flag and no register changes. What differs from a call:

- the CPU's return predictor knows of no call: the return from the called function is mispredicted,
  and those of its callers. A balanced call begins with one to the instruction behind it (not right
  behind: CPUs take that for a way to read the program counter), whose return address is then
  replaced by the original one: one return is mispredicted;
- a shadow stack holds no such return address: in a process that runs with one, the return faults;
- some bytes below the return address are overwritten, which belong to the called function
  (`Relocated.overwrites`); only a call that leads to no address at all, or a stack that ends right
  there, shows that: the fault is raised by a later instruction, with the stack pointer lower by
  what `Relocated.pushed` says;
- 16-bit code pushes first: an operand that faults does so with the address pushed, and one that
  lies where the address goes is not read right.
"""

from typing import NamedTuple

from insn.errors import NotRelocatable
from insn.model import Calls, Instruction
from insn.x86_detail import Detail

_JUMP, _PUSH = 4, 6  # the reg field of FF
_STACK_POINTER = 4
_CALL_NEXT = b"\xe8\x01\0\0\0\xcc"
"""A call to what stands behind the int3 behind it, where nobody returns to."""


class Piece(NamedTuple):
    """One instruction of the copy; when it runs, the stack pointer is `pushed` bytes too low.

    The last four bytes are the distance to `constant`, when there is one. `operand` tells that
    the call's own operand is in it. Up to `overwrites` bytes below the return address are
    overwritten when the call fails here, or goes on.
    """

    code: bytes
    pushed: int
    constant: bytes = b""
    operand: bool = False
    overwrites: int = 0


def pushes(instruction: Instruction, calls: Calls) -> list[Piece]:
    """List the instructions that push the original return address."""
    bits = instruction.arch.bits
    size = bits // 8
    back = (instruction.end & instruction.arch.address_mask).to_bytes(size, "little")
    if calls is not Calls.BALANCE or bits == 16:
        if bits == 64:
            return [Piece(b"\xff\x35\0\0\0\0", 0, back)]
        return [Piece(b"\x68" + back, 0)]
    if bits == 64:
        return [
            Piece(_CALL_NEXT, 0),
            Piece(b"\xff\x35\0\0\0\0", size, back, overwrites=size),
            Piece(b"\x8f\x04\x24", 2 * size),  # pop [rsp], which is the place behind the pop
        ]
    return [Piece(_CALL_NEXT, 0), Piece(b"\xc7\x04\x24" + back, size)]


def indirect(instruction: Instruction, detail: Detail, calls: Calls) -> list[Piece]:
    """List the instructions that stand for an indirect call; NotRelocatable when none do."""
    bits = instruction.arch.bits
    if detail.operand_size * 8 != bits:
        raise NotRelocatable(
            "it pushes an address of another width than the code has",
            address=instruction.address,
            hint="use step",
        )
    size = bits // 8
    plain = not detail.has_memory and detail.rm != _STACK_POINTER
    # No operand of 16-bit code counts from the stack pointer: nothing can be put below the top.
    if plain or (bits == 16 and detail.has_memory and detail.base != _STACK_POINTER):
        jump = Piece(_as(instruction, detail, _JUMP), size, operand=True, overwrites=size)
        pushed = pushes(instruction, calls)
        return [*pushed, jump._replace(overwrites=max(size, 2 * size * (len(pushed) > 2)))]
    push_operand = Piece(_as(instruction, detail, _PUSH), 0, operand=True)
    push_again = Piece(b"\xff\x34\x24", size)
    if bits == 64 and calls is Calls.BALANCE:
        return [
            push_operand,
            push_again,
            push_again._replace(pushed=16),
            Piece(b"\x48\x8d\x64\x24\x18", 24),  # lea rsp, [rsp+24]
            *pushes(instruction, calls),
            Piece(b"\xff\x64\x24\xf0", 8, overwrites=24),  # jmp [rsp-16]
        ]
    if bits == 64:
        return [
            push_operand,
            push_again,
            *(piece._replace(pushed=16) for piece in pushes(instruction, calls)),
            Piece(b"\x8f\x44\x24\x08", 24),  # pop [rsp+8], which counts from behind the pop
            Piece(b"\x48\x8d\x64\x24\x08", 16),  # lea rsp, [rsp+8]
            Piece(b"\xff\x64\x24\xf8", 8, overwrites=24),  # jmp [rsp-8]
        ]
    if bits == 32:
        back = (instruction.end & instruction.arch.address_mask).to_bytes(size, "little")
        return [
            push_operand,
            push_again,
            Piece(b"\xc7\x44\x24\x04" + back, 8),  # mov dword [esp+4], return address
            Piece(b"\xc3", 8, overwrites=8),
        ]
    raise NotRelocatable(
        "it calls through the stack pointer, which a copy in 16-bit code cannot",
        address=instruction.address,
        hint="use step",
    )


def _as(instruction: Instruction, detail: Detail, operation: int) -> bytes:
    """Make another instruction of the same opcode with the same operand."""
    at = detail.modrm_offset
    modrm = detail.modrm & ~0x38 | operation << 3
    return instruction.code[:at] + bytes((modrm,)) + instruction.code[at + 1 :]
