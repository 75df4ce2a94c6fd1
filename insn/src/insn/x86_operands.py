# ruff: noqa: ARG005 - what is made takes registers and memory, whatever it uses
"""The operands of emulated x86 instructions: reads and writes registers and finds addresses."""

from collections.abc import Callable

from insn.model import Instruction, Memory, Registers
from insn.x86_detail import Detail
from insn.x86_effects import general_name

MASKS = {1: 0xFF, 2: 0xFFFF, 4: 0xFFFFFFFF, 8: 0xFFFFFFFFFFFFFFFF}

Address = Callable[[Registers], int]
Writer = Callable[[Registers, int], None]


def names(detail: Detail) -> tuple[str, str, str]:
    """Name program counter, stack pointer and flags."""
    return ("rip", "rsp", "rflags") if detail.mode == 64 else ("eip", "esp", "eflags")


def reader(detail: Detail, number: int, size: int) -> Address:
    """Make what reads the low `size` bytes of a general register."""
    name = general_name(detail, number, size)
    mask = MASKS[size]
    return lambda registers: registers[name] & mask


def writer(detail: Detail, number: int, size: int) -> Writer:
    """Make what writes a general register as the CPU does: 32 bits clear the rest, 16 bits keep
    it."""
    name = general_name(detail, number, size)
    mask = MASKS[size]

    def whole(registers: Registers, value: int) -> None:
        registers[name] = value & mask

    def part(registers: Registers, value: int) -> None:
        registers[name] = (registers[name] & ~mask) | (value & mask)

    return whole if size >= 4 else part


def effective(instruction: Instruction, detail: Detail, *, segment: bool = True) -> Address:
    """Make what computes the address of the memory operand; `segment` adds the base of fs or gs."""
    mask = MASKS[detail.address_size]
    full = instruction.arch.address_mask
    names = detail.register_names
    base = names[detail.base] if detail.base >= 0 else ""
    index = names[detail.index] if detail.index >= 0 else ""
    scale = detail.scale
    constant = detail.displacement
    if detail.pc_relative:
        constant += instruction.end
    segment_base = f"{detail.segment}_base" if segment and detail.segment in ("fs", "gs") else ""

    if base and not index and not segment_base:
        return lambda registers: (registers[base] + constant) & mask
    if not base and not index and not segment_base:
        fixed = constant & mask
        return lambda registers: fixed

    def general(registers: Registers) -> int:
        address = constant
        if base:
            address += registers[base]
        if index:
            address += registers[index] * scale
        address &= mask
        return (address + registers[segment_base]) & full if segment_base else address

    return general


def operand_reader(instruction: Instruction, detail: Detail) -> Callable[[Registers, Memory], int]:
    """Make what reads the r/m operand at the operand size."""
    size = detail.operand_size
    if detail.has_memory:
        address = effective(instruction, detail)
        return lambda registers, memory: int.from_bytes(
            memory.read(address(registers), size), "little"
        )
    read = reader(detail, detail.rm, size)
    return lambda registers, memory: read(registers)
