# ruff: noqa: ARG001, ARG005 - every emulator and builder has the same parameters, whatever it uses
"""Emulation of x86 instructions that push, pop, move and compute addresses."""

from collections.abc import Callable

from insn.arch import Emulator
from insn.model import Instruction, Memory, Registers
from insn.x86_detail import Detail
from insn.x86_effects import general_name
from insn.x86_operands import MASKS, effective, names, operand_reader, reader, writer

# popf in user mode changes these only; RF always becomes 0.
_POPF_MASK = 0x244DD5
_RF = 0x10000
_PUSHF_MASK = 0xFCFFFF


def _push_register(instruction: Instruction, detail: Detail) -> Emulator:
    ip, sp, _ = names(detail)
    end = instruction.end & instruction.arch.address_mask
    width = detail.operand_size
    mask = instruction.arch.address_mask
    value_mask = MASKS[width]
    name = general_name(detail, (detail.opcode & 7) | (detail.extension & 1) << 3, width)

    def push(registers: Registers, memory: Memory) -> None:
        stack = (registers[sp] - width) & mask
        memory.write(stack, (registers[name] & value_mask).to_bytes(width, "little"))
        registers[sp] = stack
        registers[ip] = end

    return push


def _push_value(
    instruction: Instruction, detail: Detail, value: Callable[[Registers, Memory], int]
) -> Emulator:
    ip, sp, _ = names(detail)
    end = instruction.end & instruction.arch.address_mask
    width = detail.operand_size
    mask = instruction.arch.address_mask

    def push(registers: Registers, memory: Memory) -> None:
        pushed = value(registers, memory).to_bytes(width, "little")
        stack = (registers[sp] - width) & mask
        memory.write(stack, pushed)
        registers[sp] = stack
        registers[ip] = end

    return push


def push(instruction: Instruction, detail: Detail) -> Emulator:
    """Make a push of a register, an immediate or memory."""
    if detail.modrm_offset >= 0:
        return _push_value(instruction, detail, operand_reader(instruction, detail))
    if not detail.immediate_size:
        return _push_register(instruction, detail)
    immediate = detail.immediate & MASKS[detail.operand_size]
    return _push_value(instruction, detail, lambda registers, memory: immediate)


def push_flags(instruction: Instruction, detail: Detail) -> Emulator:
    """Make pushf."""
    flags = names(detail)[2]
    mask = _PUSHF_MASK & MASKS[detail.operand_size]
    return _push_value(instruction, detail, lambda registers, memory: registers[flags] & mask)


def pop_flags(instruction: Instruction, detail: Detail) -> Emulator:
    """Make popf, as user mode has it."""
    ip, sp, flags = names(detail)
    end = instruction.end & instruction.arch.address_mask
    width = detail.operand_size
    mask = instruction.arch.address_mask
    changed = _POPF_MASK & MASKS[width]
    kept = ~(changed | _RF)

    def pop(registers: Registers, memory: Memory) -> None:
        stack = registers[sp]
        value = int.from_bytes(memory.read(stack, width), "little")
        registers[flags] = (registers[flags] & kept) | (value & changed)
        registers[sp] = (stack + width) & mask
        registers[ip] = end

    return pop


def pop(instruction: Instruction, detail: Detail) -> Emulator:
    """Make a pop to a register or to memory."""
    ip, sp, _ = names(detail)
    end = instruction.end & instruction.arch.address_mask
    width = detail.operand_size
    mask = instruction.arch.address_mask
    if detail.modrm_offset >= 0 and detail.has_memory:
        address = effective(instruction, detail)
        # An address made from the stack pointer sees it already moved.
        moved = width if detail.base == 4 else 0

        def to_memory(registers: Registers, memory: Memory) -> None:
            stack = registers[sp]
            value = memory.read(stack, width)
            if moved:
                where = (address(registers) + moved) & mask
            else:
                where = address(registers)
            memory.write(where, value)
            registers[sp] = (stack + width) & mask
            registers[ip] = end

        return to_memory
    number = (
        detail.rm if detail.modrm_offset >= 0 else (detail.opcode & 7) | (detail.extension & 1) << 3
    )
    write = writer(detail, number, width)

    def pop(registers: Registers, memory: Memory) -> None:
        stack = registers[sp]
        value = int.from_bytes(memory.read(stack, width), "little")
        registers[sp] = (stack + width) & mask
        write(registers, value)  # last: what is popped into the stack pointer wins
        registers[ip] = end

    return pop


def leave(instruction: Instruction, detail: Detail) -> Emulator:
    """Make leave."""
    ip, sp, _ = names(detail)
    end = instruction.end & instruction.arch.address_mask
    frame = detail.register_names[5]
    width = detail.operand_size
    mask = instruction.arch.address_mask
    write = writer(detail, 5, width)

    def leave(registers: Registers, memory: Memory) -> None:
        stack = registers[frame]
        value = int.from_bytes(memory.read(stack, width), "little")
        registers[sp] = (stack + width) & mask
        write(registers, value)
        registers[ip] = end

    return leave


def load_address(instruction: Instruction, detail: Detail) -> Emulator:
    """Make lea."""
    ip = names(detail)[0]
    end = instruction.end & instruction.arch.address_mask
    address = effective(instruction, detail, segment=False)
    write = writer(detail, detail.reg, detail.operand_size)

    def load(registers: Registers, memory: Memory) -> None:
        write(registers, address(registers))
        registers[ip] = end

    return load


def move(instruction: Instruction, detail: Detail) -> Emulator:
    """Make a move into a general register from another or from an immediate, at 16, 32 or 64
    bits."""
    ip = names(detail)[0]
    end = instruction.end & instruction.arch.address_mask
    size = detail.operand_size
    number = (
        detail.rm if detail.modrm_offset >= 0 else (detail.opcode & 7) | (detail.extension & 1) << 3
    )
    if detail.immediate_size:
        write = writer(detail, number, size)
        immediate = detail.immediate & MASKS[size]

        def set_register(registers: Registers, memory: Memory) -> None:
            write(registers, immediate)
            registers[ip] = end

        return set_register
    target, source = (number, detail.reg) if detail.opcode == 0x89 else (detail.reg, number)
    read = reader(detail, source, size)
    write = writer(detail, target, size)

    def move(registers: Registers, memory: Memory) -> None:
        write(registers, read(registers))
        registers[ip] = end

    return move
