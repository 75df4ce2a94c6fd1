# ruff: noqa: ARG001 - every emulator and builder has the same parameters, whatever it uses
"""Emulation of x86 branches, calls and returns, and of what does nothing but move on."""

from insn.arch import Emulator
from insn.errors import NotEmulable
from insn.model import Flow, Instruction, Memory, Registers
from insn.x86_detail import Detail
from insn.x86_operands import MASKS, names, operand_reader, reader, writer

_CF, _PF, _ZF, _SF, _OF = 0x1, 0x4, 0x40, 0x80, 0x800
# By the low four bits of the opcode without the lowest, which negates: the flags of which one must
# be set.
_ANY_OF = (_OF, _CF, _ZF, _CF | _ZF, _SF, _PF)
_USER_BITS = 47
"""Addresses of user code are smaller than 2 to this power; larger ones are left to the CPU."""


def to_end(instruction: Instruction, detail: Detail) -> Emulator:
    """Make what goes on to the next instruction."""
    ip = names(detail)[0]
    end = instruction.end & instruction.arch.address_mask

    def move_on(registers: Registers, memory: Memory) -> None:
        registers[ip] = end

    return move_on


def jump(instruction: Instruction, detail: Detail) -> Emulator:
    """Make a direct jump."""
    ip = names(detail)[0]
    target = instruction.target
    assert target is not None

    def jump(registers: Registers, memory: Memory) -> None:
        registers[ip] = target

    return jump


def conditional(instruction: Instruction, detail: Detail) -> Emulator:
    """Make a conditional jump."""
    ip, _, flags = names(detail)
    target = instruction.target
    assert target is not None
    end = instruction.end & instruction.arch.address_mask
    condition = detail.opcode & 15
    yes, no = (end, target) if condition & 1 else (target, end)
    if condition < 12:
        mask = _ANY_OF[condition >> 1]

        def by_flag(registers: Registers, memory: Memory) -> None:
            registers[ip] = yes if registers[flags] & mask else no

        return by_flag
    zero = _ZF if condition >= 14 else 0

    def by_sign(registers: Registers, memory: Memory) -> None:
        # SF is bit 7, OF bit 11: they differ when the shifted value differs in bit 7.
        value = registers[flags]
        registers[ip] = yes if value & zero or (value >> 4 ^ value) & _SF else no

    return by_sign


def loop(instruction: Instruction, detail: Detail) -> Emulator:
    """Make loop, loope or loopne: the count is decremented before it is tested."""
    ip, _, flags = names(detail)
    target = instruction.target
    assert target is not None
    end = instruction.end & instruction.arch.address_mask
    read = reader(detail, 1, detail.address_size)
    write = writer(detail, 1, detail.address_size)
    mask = MASKS[detail.address_size]
    # loopne wants ZF clear, loope set, loop does not ask.
    wanted = (0, _ZF, None)[detail.opcode - 0xE0]

    def loop(registers: Registers, memory: Memory) -> None:
        count = (read(registers) - 1) & mask
        taken = count and (wanted is None or registers[flags] & _ZF == wanted)
        write(registers, count)
        registers[ip] = target if taken else end

    return loop


def jump_if_zero(instruction: Instruction, detail: Detail) -> Emulator:
    """Make jcxz, jecxz or jrcxz."""
    ip = names(detail)[0]
    target = instruction.target
    assert target is not None
    end = instruction.end & instruction.arch.address_mask
    read = reader(detail, 1, detail.address_size)

    def jump(registers: Registers, memory: Memory) -> None:
        registers[ip] = end if read(registers) else target

    return jump


def call(instruction: Instruction, detail: Detail) -> Emulator:
    """Make a direct call."""
    ip, sp, _ = names(detail)
    target = instruction.target
    assert target is not None
    width = detail.operand_size
    mask = instruction.arch.address_mask
    pushed = (instruction.end & MASKS[width] & mask).to_bytes(width, "little")

    def call(registers: Registers, memory: Memory) -> None:
        stack = (registers[sp] - width) & mask
        memory.write(stack, pushed)
        registers[sp] = stack
        registers[ip] = target

    return call


def _unreachable(instruction: Instruction, target: int) -> NotEmulable:
    """Leave it to the CPU to branch where no program can be: makers differ in when it faults."""
    return NotEmulable(
        f"it branches to {target:#x}, where no program can be", address=instruction.address
    )


def indirect(instruction: Instruction, detail: Detail) -> Emulator:
    """Make a jump or call through a register or memory."""
    ip, sp, _ = names(detail)
    operand = operand_reader(instruction, detail)
    if detail.row.flow is Flow.INDIRECT_JUMP:

        def jump(registers: Registers, memory: Memory) -> None:
            target = operand(registers, memory)
            if target >> _USER_BITS:
                raise _unreachable(instruction, target)
            registers[ip] = target

        return jump

    width = detail.operand_size
    mask = instruction.arch.address_mask
    pushed = (instruction.end & MASKS[width] & mask).to_bytes(width, "little")

    def call(registers: Registers, memory: Memory) -> None:
        # The target is read before the push: it may be the stack pointer, or lie on the stack.
        target = operand(registers, memory)
        if target >> _USER_BITS:
            raise _unreachable(instruction, target)
        stack = (registers[sp] - width) & mask
        memory.write(stack, pushed)
        registers[sp] = stack
        registers[ip] = target

    return call


def return_(instruction: Instruction, detail: Detail) -> Emulator:
    """Make a near return."""
    ip, sp, _ = names(detail)
    width = detail.operand_size
    mask = instruction.arch.address_mask
    released = width + (detail.immediate & 0xFFFF if detail.immediate_size else 0)

    def leave_function(registers: Registers, memory: Memory) -> None:
        stack = registers[sp]
        target = int.from_bytes(memory.read(stack, width), "little")
        if target >> _USER_BITS:
            raise _unreachable(instruction, target)
        registers[ip] = target
        registers[sp] = (stack + released) & mask

    return leave_function


def abort_transaction(instruction: Instruction, detail: Detail) -> Emulator:
    """A transaction may abort at any time: abort it at once, for no stated reason (status 0)."""
    ip = names(detail)[0]
    accumulator = detail.register_names[0]
    target = instruction.target
    assert target is not None

    def abort(registers: Registers, memory: Memory) -> None:
        registers[accumulator] = 0
        registers[ip] = target

    return abort
