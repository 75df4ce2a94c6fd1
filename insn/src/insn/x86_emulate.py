# ruff: noqa: ARG001, ARG005 - every emulator and builder has the same parameters, whatever it uses
"""Does the work of x86 branches, stack instructions, moves and no-operations on registers and
memory.

Everything is decided when the function is made: what is left for the moment of a hit is reading,
writing and at most one test. Memory is accessed before any register changes, so a failing access
changes nothing.
"""

from collections.abc import Callable

from insn.arch import Emulator
from insn.errors import NotEmulable
from insn.model import Flow, Instruction, Memory, Registers
from insn.x86_detail import Detail
from insn.x86_effects import general_name
from insn.x86_row import Space

_CF, _PF, _ZF, _SF, _OF = 0x1, 0x4, 0x40, 0x80, 0x800
# popf in user mode changes these only; RF always becomes 0.
_POPF_MASK = 0x244DD5
_RF = 0x10000
_PUSHF_MASK = 0xFCFFFF

_MASKS = {1: 0xFF, 2: 0xFFFF, 4: 0xFFFFFFFF, 8: 0xFFFFFFFFFFFFFFFF}
_USER_BITS = 47
"""Addresses of user code are smaller than 2 to this power; larger ones are left to the CPU."""

Address = Callable[[Registers], int]
Writer = Callable[[Registers, int], None]
Builder = Callable[[Instruction, Detail], Emulator]

# By the low four bits of the opcode without the lowest, which negates: the flags of which one
# must be set.
_ANY_OF = (_OF, _CF, _ZF, _CF | _ZF, _SF, _PF)


def _names(detail: Detail) -> tuple[str, str, str]:
    return ("rip", "rsp", "rflags") if detail.mode == 64 else ("eip", "esp", "eflags")


def _reader(detail: Detail, number: int, size: int) -> Address:
    name = general_name(detail, number, size)
    mask = _MASKS[size]
    return lambda registers: registers[name] & mask


def _writer(detail: Detail, number: int, size: int) -> Writer:
    """Make what writes a general register as the CPU does: 32 bits clear the rest, 16 bits keep
    it."""
    name = general_name(detail, number, size)
    mask = _MASKS[size]

    def whole(registers: Registers, value: int) -> None:
        registers[name] = value & mask

    def part(registers: Registers, value: int) -> None:
        registers[name] = (registers[name] & ~mask) | (value & mask)

    return whole if size >= 4 else part


def _effective(instruction: Instruction, detail: Detail, *, segment: bool = True) -> Address:
    """Make what computes the address of the memory operand; `segment` adds the base of fs or gs."""
    mask = _MASKS[detail.address_size]
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


def _to_end(instruction: Instruction, detail: Detail) -> Emulator:
    ip = _names(detail)[0]
    end = instruction.end & instruction.arch.address_mask

    def move_on(registers: Registers, memory: Memory) -> None:
        registers[ip] = end

    return move_on


def _jump(instruction: Instruction, detail: Detail) -> Emulator:
    ip = _names(detail)[0]
    target = instruction.target
    assert target is not None

    def jump(registers: Registers, memory: Memory) -> None:
        registers[ip] = target

    return jump


def _conditional(instruction: Instruction, detail: Detail) -> Emulator:
    ip, _, flags = _names(detail)
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


def _loop(instruction: Instruction, detail: Detail) -> Emulator:
    ip, _, flags = _names(detail)
    target = instruction.target
    assert target is not None
    end = instruction.end & instruction.arch.address_mask
    read = _reader(detail, 1, detail.address_size)
    write = _writer(detail, 1, detail.address_size)
    mask = _MASKS[detail.address_size]
    # loopne wants ZF clear, loope set, loop does not ask.
    wanted = (0, _ZF, None)[detail.opcode - 0xE0]

    def loop(registers: Registers, memory: Memory) -> None:
        count = (read(registers) - 1) & mask
        taken = count and (wanted is None or registers[flags] & _ZF == wanted)
        write(registers, count)
        registers[ip] = target if taken else end

    return loop


def _jump_if_zero(instruction: Instruction, detail: Detail) -> Emulator:
    ip = _names(detail)[0]
    target = instruction.target
    assert target is not None
    end = instruction.end & instruction.arch.address_mask
    read = _reader(detail, 1, detail.address_size)

    def jump(registers: Registers, memory: Memory) -> None:
        registers[ip] = end if read(registers) else target

    return jump


def _call(instruction: Instruction, detail: Detail) -> Emulator:
    ip, sp, _ = _names(detail)
    target = instruction.target
    assert target is not None
    width = detail.operand_size
    mask = instruction.arch.address_mask
    pushed = (instruction.end & _MASKS[width] & mask).to_bytes(width, "little")

    def call(registers: Registers, memory: Memory) -> None:
        stack = (registers[sp] - width) & mask
        memory.write(stack, pushed)
        registers[sp] = stack
        registers[ip] = target

    return call


def _operand(instruction: Instruction, detail: Detail) -> Callable[[Registers, Memory], int]:
    """Make what reads the r/m operand at the operand size."""
    size = detail.operand_size
    if detail.has_memory:
        address = _effective(instruction, detail)
        return lambda registers, memory: int.from_bytes(
            memory.read(address(registers), size), "little"
        )
    read = _reader(detail, detail.rm, size)
    return lambda registers, memory: read(registers)


def _unreachable(instruction: Instruction, target: int) -> NotEmulable:
    """Leave it to the CPU to branch where no program can be: makers differ in when it faults."""
    return NotEmulable(
        f"it branches to {target:#x}, where no program can be", address=instruction.address
    )


def _indirect(instruction: Instruction, detail: Detail) -> Emulator:
    ip, sp, _ = _names(detail)
    operand = _operand(instruction, detail)
    if detail.row.flow is Flow.INDIRECT_JUMP:

        def jump(registers: Registers, memory: Memory) -> None:
            target = operand(registers, memory)
            if target >> _USER_BITS:
                raise _unreachable(instruction, target)
            registers[ip] = target

        return jump

    width = detail.operand_size
    mask = instruction.arch.address_mask
    pushed = (instruction.end & _MASKS[width] & mask).to_bytes(width, "little")

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


def _return(instruction: Instruction, detail: Detail) -> Emulator:
    ip, sp, _ = _names(detail)
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


def _push_register(instruction: Instruction, detail: Detail) -> Emulator:
    ip, sp, _ = _names(detail)
    end = instruction.end & instruction.arch.address_mask
    width = detail.operand_size
    mask = instruction.arch.address_mask
    value_mask = _MASKS[width]
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
    ip, sp, _ = _names(detail)
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


def _push(instruction: Instruction, detail: Detail) -> Emulator:
    if detail.modrm_offset >= 0:
        return _push_value(instruction, detail, _operand(instruction, detail))
    if not detail.immediate_size:
        return _push_register(instruction, detail)
    immediate = detail.immediate & _MASKS[detail.operand_size]
    return _push_value(instruction, detail, lambda registers, memory: immediate)


def _push_flags(instruction: Instruction, detail: Detail) -> Emulator:
    flags = _names(detail)[2]
    mask = _PUSHF_MASK & _MASKS[detail.operand_size]
    return _push_value(instruction, detail, lambda registers, memory: registers[flags] & mask)


def _pop_flags(instruction: Instruction, detail: Detail) -> Emulator:
    ip, sp, flags = _names(detail)
    end = instruction.end & instruction.arch.address_mask
    width = detail.operand_size
    mask = instruction.arch.address_mask
    changed = _POPF_MASK & _MASKS[width]
    kept = ~(changed | _RF)

    def pop(registers: Registers, memory: Memory) -> None:
        stack = registers[sp]
        value = int.from_bytes(memory.read(stack, width), "little")
        registers[flags] = (registers[flags] & kept) | (value & changed)
        registers[sp] = (stack + width) & mask
        registers[ip] = end

    return pop


def _pop(instruction: Instruction, detail: Detail) -> Emulator:
    ip, sp, _ = _names(detail)
    end = instruction.end & instruction.arch.address_mask
    width = detail.operand_size
    mask = instruction.arch.address_mask
    if detail.modrm_offset >= 0 and detail.has_memory:
        address = _effective(instruction, detail)
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
    write = _writer(detail, number, width)

    def pop(registers: Registers, memory: Memory) -> None:
        stack = registers[sp]
        value = int.from_bytes(memory.read(stack, width), "little")
        registers[sp] = (stack + width) & mask
        write(registers, value)  # last: what is popped into the stack pointer wins
        registers[ip] = end

    return pop


def _leave(instruction: Instruction, detail: Detail) -> Emulator:
    ip, sp, _ = _names(detail)
    end = instruction.end & instruction.arch.address_mask
    frame = detail.register_names[5]
    width = detail.operand_size
    mask = instruction.arch.address_mask
    write = _writer(detail, 5, width)

    def leave(registers: Registers, memory: Memory) -> None:
        stack = registers[frame]
        value = int.from_bytes(memory.read(stack, width), "little")
        registers[sp] = (stack + width) & mask
        write(registers, value)
        registers[ip] = end

    return leave


def _load_address(instruction: Instruction, detail: Detail) -> Emulator:
    ip = _names(detail)[0]
    end = instruction.end & instruction.arch.address_mask
    address = _effective(instruction, detail, segment=False)
    write = _writer(detail, detail.reg, detail.operand_size)

    def load(registers: Registers, memory: Memory) -> None:
        write(registers, address(registers))
        registers[ip] = end

    return load


def _move(instruction: Instruction, detail: Detail) -> Emulator:
    """Make a move into a general register from another or from an immediate, at 16, 32 or 64
    bits."""
    ip = _names(detail)[0]
    end = instruction.end & instruction.arch.address_mask
    size = detail.operand_size
    number = (
        detail.rm if detail.modrm_offset >= 0 else (detail.opcode & 7) | (detail.extension & 1) << 3
    )
    if detail.immediate_size:
        write = _writer(detail, number, size)
        immediate = detail.immediate & _MASKS[size]

        def set_register(registers: Registers, memory: Memory) -> None:
            write(registers, immediate)
            registers[ip] = end

        return set_register
    target, source = (number, detail.reg) if detail.opcode == 0x89 else (detail.reg, number)
    read = _reader(detail, source, size)
    write = _writer(detail, target, size)

    def move(registers: Registers, memory: Memory) -> None:
        write(registers, read(registers))
        registers[ip] = end

    return move


def _abort_transaction(instruction: Instruction, detail: Detail) -> Emulator:
    """A transaction may abort at any time: abort it at once, for no stated reason (status 0)."""
    ip = _names(detail)[0]
    accumulator = detail.register_names[0]
    target = instruction.target
    assert target is not None

    def abort(registers: Registers, memory: Memory) -> None:
        registers[accumulator] = 0
        registers[ip] = target

    return abort


def _always(detail: Detail) -> bool:
    return True


def _not_repeated(detail: Detail) -> bool:
    # AMD CPUs let F3 make loopne a loope, and F2 the reverse (tried on Zen 5); others may not.
    return not detail.repeat


def _flat_stack(detail: Detail) -> bool:
    # In 16-bit code the width of the stack pointer is a property of the stack segment, which is
    # not known here.
    return detail.mode != 16


def _simple_flow(detail: Detail) -> bool:
    return _flat_stack(detail) and _one_segment(detail)


def _one_segment(detail: Detail) -> bool:
    return detail.mode != 16 or not detail.has_memory


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
    "jmp": (_one_segment, _jump),
    "call": (_simple_flow, _call),
    "ret": (_flat_stack, _return),
    "push": (_general_operand, _push),
    "pop": (_general_operand, _pop),
    "pushf": (_flat_stack, _push_flags),
    "popf": (_flat_stack, _pop_flags),
    "leave": (_flat_stack, _leave),
    "lea": (_always, _load_address),
    "mov": (_register_move, _move),
    "xbegin": (_always, _abort_transaction),
    "loop": (_always, _loop),
    "loope": (_not_repeated, _loop),
    "loopne": (_not_repeated, _loop),
    "jcxz": (_always, _jump_if_zero),
}
_INDIRECT = (Flow.INDIRECT_CALL, Flow.INDIRECT_JUMP)


def _find(detail: Detail) -> Builder | None:
    row = detail.row
    if detail.apx or detail.unsettled or row.space > Space.TWO:
        return None
    if detail.is_nop:
        return _to_end
    name = row.names[0]
    if row.flow is Flow.CONDITIONAL_JUMP and name not in _EMULATORS:
        return _conditional
    found = _EMULATORS.get(name)
    if found is None or not found[0](detail):
        return None
    return _indirect if row.flow in _INDIRECT else found[1]


def is_emulated(detail: Detail) -> bool:
    """Tell whether `emulator` can be made for an instruction with these parts."""
    return _find(detail) is not None


def only_moves_ip(instruction: Instruction) -> bool:
    """Tell whether all that the instruction changes is the program counter (and it can be
    emulated)."""
    detail = instruction.detail
    assert isinstance(detail, Detail)
    return _find(detail) in (_to_end, _jump, _conditional, _jump_if_zero)


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
