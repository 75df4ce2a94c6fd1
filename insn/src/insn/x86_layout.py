"""What stands before the opcode of an x86 instruction, and how much stands behind it."""

from insn.x86_row import Immediate

# What a byte is when it stands before the opcode.
OPERAND_SIZE, ADDRESS_SIZE, LOCK, REPNE, REP, SEGMENT, REX = 1, 2, 3, 4, 5, 6, 16
REPEATS = (REPNE, REP)


def _prefix_kinds(mode: int) -> bytes:
    kinds = bytearray(256)
    kinds[0x66], kinds[0x67] = OPERAND_SIZE, ADDRESS_SIZE
    kinds[0xF0], kinds[0xF2], kinds[0xF3] = LOCK, REPNE, REP
    for number, byte in enumerate((0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65)):
        # 64-bit mode knows fs and gs only: the others are bytes that do nothing.
        kinds[byte] = SEGMENT + number if mode != 64 or byte > 0x40 else 15
    if mode == 64:
        kinds[0x40:0x50] = bytes([REX] * 16)
    return bytes(kinds)


PREFIX_KINDS = {mode: _prefix_kinds(mode) for mode in (16, 32, 64)}

_FIXED_IMMEDIATES = {
    Immediate.NONE: 0,
    Immediate.BYTE: 1,
    Immediate.WORD: 2,
    Immediate.WORD_BYTE: 3,
    Immediate.BYTE_BYTE: 2,
    Immediate.BRANCH_BYTE: 1,
    Immediate.DWORD: 4,
}


def _immediate_size(kind: Immediate, size: int) -> int:
    by_size = {
        Immediate.Z: min(size, 4),
        Immediate.BRANCH_Z: min(size, 4),
        Immediate.V: size,
        Immediate.FAR: min(size, 4) + 2,
    }
    return by_size.get(kind, _FIXED_IMMEDIATES.get(kind, 0))


# Bytes of the immediate by [kind][operand size]; OFFSET goes by the address size instead.
IMMEDIATE_SIZES = tuple(
    tuple(_immediate_size(kind, size) for size in range(9)) for kind in Immediate
)
