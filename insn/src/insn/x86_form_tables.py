"""Tables by which the forms of x86 instructions are found: which bits of the code make the key.

They are made from the rows: a bit counts only where some row of the opcode asks for it.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from insn.forms import NUMBER_BITS
from insn.x86_row import REG, RM, Property, Space
from insn.x86_table import candidates

Positions = NDArray[np.intp]
Words = NDArray[np.uint64]
Windows = NDArray[np.uint32]
Leads = NDArray[np.uint16]

PADDING = 32
"""Bytes that must follow the code in a buffer that windows are made from."""

# What stands at the low 16 bits of a window: which of its bits make the key, or one of the second
# line.
_OPCODE, _MODRM, _MODRM_SIB, _MOD, _MOD_RM, _MOD_RM_SIB = range(6)
PREFIX, ESCAPE, VEX2, VEX3, EVEX, ODD = range(8, 14)

_OPERAND_SIZE, _ADDRESS_SIZE, _LOCK, REPNE, REP, SEGMENT, CODE_SEGMENT = 1, 2, 4, 8, 16, 32, 64
FLAGS_AT = np.uint64(57)
REX_AT = np.uint64(48)
# Arrays without dimensions: numpy takes them more quickly than numbers.
LOW_PAIR = np.array(0xFFFF, np.uint32)
LONGEST = 15


def u64(value: int) -> Words:
    """Make a number of the type that arrays of keys have."""
    return np.array(value & (1 << 64) - 1, np.uint64)


EIGHT, BYTE, PAIR, NOP = u64(8), u64(0xFF), u64(0xFFFF), u64(0x90)


def key_masks(lead: int) -> Words:
    """Give the bits of a window that make the key, by what follows `lead` bytes and opcode."""
    modrm = 8 * (lead + 1)
    before = (1 << modrm) - 1
    masks = np.zeros(16, np.uint64)
    for kind, bits in (
        (_OPCODE, 0),
        (_MODRM, 0xFF),
        (_MODRM_SIB, 0x7FF),
        (_MOD, 0xC0),
        (_MOD_RM, 0xC7),
        (_MOD_RM_SIB, 0x7C7),
    ):
        masks[kind] = before | bits << modrm
    return masks


def _modrm_kinds() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Number the mask for each ModRM byte: where a row asks for reg or rm, and where none does.

    In the second case only the shape of the operand counts: register, memory, and how long its
    displacement is.
    """
    modrm = np.arange(256)
    mod, rm = modrm >> 6, modrm & 7
    full = np.where((mod < 3) & (rm == 4), _MODRM_SIB, _MODRM)
    shape = np.where((mod < 3) & (rm == 4), _MOD_RM, _MOD)
    shape[(mod == 0) & (rm >= 5)] = _MOD_RM  # rm 6: in 16-bit addresses
    shape[(mod == 0) & (rm == 4)] = _MOD_RM_SIB
    return full.astype(np.uint8), shape.astype(np.uint8)


_ASKS_FOR_REGISTERS = 255 << REG | 255 << RM
_ONE_BY_ONE = Property.UNIQUE | Property.VSIB | Property.MODREG


@cache
def space_table(space: Space) -> NDArray[np.uint8]:
    """Number the mask for each opcode and ModRM of an opcode map, at index ModRM * 256 + opcode."""
    full, shape = _modrm_kinds()
    table = np.full((256, 256), _OPCODE, np.uint8)
    for opcode in range(256):
        cell = candidates[space * 256 + opcode]
        if any(row.properties & _ONE_BY_ONE or row.by_immediate >= 0 for row in cell):
            table[:, opcode] = ODD
        elif any(row.has_modrm for row in cell):
            asks = any(row.forbidden & _ASKS_FOR_REGISTERS for row in cell)
            table[:, opcode] = full if asks else shape
    return table.reshape(-1)


@cache
def first_table(bits: int) -> NDArray[np.uint8]:
    """The table of the one-byte map, with what is no opcode of it marked."""
    table = space_table(Space.ONE).reshape(256, 256).copy()
    vex = np.arange(256) >= (0 if bits == 64 else 0xC0)
    table[:, 0x0F] = ESCAPE
    for opcode, kind in ((0xC5, VEX2), (0xC4, VEX3), (0x62, EVEX)):
        table[vex, opcode] = kind
    table[np.arange(256) & 31 >= 8, 0x8F] = VEX3
    for byte in (0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65, 0x66, 0x67, 0xF0, 0xF2, 0xF3):
        table[:, byte] = PREFIX
    if bits == 64:
        table[:, 0x40:0x50] = ODD  # a REX prefix that another one follows
        table[:, 0xD5] = ODD
    return table.reshape(-1)


@cache
def prefix_flags(bits: int) -> NDArray[np.uint8]:
    """Tell which prefix a byte is; 0: none. Of the segments only the code segment makes a form."""
    flags = np.zeros(256, np.uint8)
    flags[[0x66, 0x67, 0xF0, 0xF2, 0xF3]] = _OPERAND_SIZE, _ADDRESS_SIZE, _LOCK, REPNE, REP
    flags[[0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65]] = SEGMENT
    if bits != 64:
        flags[0x2E] |= CODE_SEGMENT  # there it can be read, but not written
    return flags


FLAGS, PAIR_COUNT_AT = np.array(127, np.uint16), np.array(8, np.uint16)


@cache
def both_flags() -> Leads:
    """Join the flags of prefixes, at those of the first ones << 7 | those of the later ones."""
    first, later = np.meshgrid(np.arange(128), np.arange(128), indexing="ij")
    first = np.where(later & (REP | REPNE), first & ~(REP | REPNE), first)  # the last one counts
    first = np.where(later & SEGMENT, first & ~CODE_SEGMENT, first)
    return (first | later).astype(np.uint16).reshape(-1)


def prefix_pairs(bits: int) -> Leads:
    """Tell by two bytes (the first one lowest) how many prefixes lead (times 256), and their flags.

    That is 0, 1 or 2: the second byte counts behind a prefix only.
    """
    flags = prefix_flags(bits).astype(np.uint16)
    second, first = np.meshgrid(flags, flags, indexing="ij")
    both = np.where(second > 0, 2 << 8 | both_flags().take(first << 7 | second), 1 << 8 | first)
    return np.where(first > 0, both, 0).astype(np.uint16).reshape(-1)


# Bytes that often begin an instruction (some of them hardly do anything else), and what then often
# is the second one.
_OPENINGS = {16: b"\x8b\x89", 32: b"\x8b\x89\xe8", 64: b"\x48\x4c"}
_SECONDS = {16: bytes(range(256)), 32: bytes(range(256))}
_SECONDS[64] = bytes.fromhex("01 29 39 83 85 89 8b 8d")
_OTHER_OPENINGS = bytes.fromhex("0f 31 41 44 45 62 66 83 85 c4 c5 e8 f2 f3")
LANE_PLACES = 16
"""At how many places the start of a lane is looked for: fits below a score."""


def start_scores(bits: int) -> NDArray[np.uint8]:
    """Tell how likely two bytes (the first one lowest) begin an instruction.

    Scores are multiples of `LANE_PLACES`.
    """
    table = np.zeros((256, 256), np.uint8)  # [second, first]
    table[:, list(_OTHER_OPENINGS)] = 1
    table[:, list(_OPENINGS[bits])] = 2
    table[np.ix_(list(_SECONDS[bits]), list(_OPENINGS[bits]))] = 4
    return table.reshape(-1) * np.uint8(LANE_PLACES)


ALL_MASKS = np.concatenate([key_masks(lead) for lead in range(3)])


def _escapes() -> NDArray[np.int64]:
    """Tell by the byte behind 0F where the opcode is and in which map.

    That is the number of bytes before the opcode, plus eight times the number of the map.
    """
    cases = np.full(256, 1 | Space.TWO << 3)
    cases[0x0F] = 1 | Space.NOW << 3
    cases[0x38] = 2 | Space.THREE_38 << 3
    cases[0x3A] = 2 | Space.THREE_3A << 3
    return cases


ESCAPES = _escapes()


@cache
def legacy_spaces() -> NDArray[np.uint8]:
    """The tables of the maps without a vector prefix, behind one another; 3DNow! has no keys."""
    tables = [space_table(space) for space in Space if space <= Space.NOW]
    tables[Space.NOW] = np.full(1 << 16, ODD, np.uint8)
    return np.concatenate(tables)


@cache
def escaped_table() -> NDArray[np.uint8]:
    """The tables of the maps behind 0F, 0F 38 and 0F 3A; the bytes that lead on are no opcodes."""
    two = space_table(Space.TWO).copy()
    two.reshape(256, 256)[:, [0x0F, 0x38, 0x3A]] = ODD
    return np.concatenate([two, space_table(Space.THREE_38), space_table(Space.THREE_3A)])


# The slot of a form in a direct table: three bits for the base of SIB, three for prefixes, one for
# REX.W, the shape (opcode and what counts of ModRM) above.
_PREFIX_SLOTS = {
    0: 0,
    _OPERAND_SIZE: 1,
    REP: 2,
    REPNE: 3,
    _LOCK: 4,
    _ADDRESS_SIZE: 5,
    _OPERAND_SIZE | REPNE: 6,
}
SIB_AT, ALL_BUT_BASE = np.array(16, np.uint32), np.array((1 << 32) - 8, np.uint32)
SHAPE_SLOTS = 1 << 7
NEVER = 7 << 3
"""All three bits for prefixes: a slot that is never filled."""

# What leads an instruction, in 16 bits: how many bytes to skip (in the upper four bits, as in the
# number of a form), what they add to the slot (times 32, `lead_slots` takes it out), and flags: one
# byte is to be skipped (8, which is how far to shift), a legacy prefix was skipped and a REX prefix
# may follow, there are more legacy prefixes.
ONE_SKIPPED = np.array(8, np.uint16)
SKIPPED = np.array(15 << NUMBER_BITS, np.uint16)
COUNT_AT = np.array(NUMBER_BITS, np.uint16)
_REX_MAY_FOLLOW, MORE = 1, 2
COUNTED = np.array(1 << NUMBER_BITS, np.uint16)
"""What is not below has prefixes."""
UNSETTLED = np.array(_REX_MAY_FOLLOW | MORE, np.uint16)
_SLOT_SHIFT, _LEAD_SLOTS = np.array(5, np.uint16), np.array(15 << 3, np.uint16)
_WIDE = 1 << 6


def lead_slots(leads: Leads) -> Leads:
    """Give what the prefixes that lead add to the slot."""
    return leads >> _SLOT_SHIFT & _LEAD_SLOTS


def _lead(count: int, slot: int) -> int:
    return count << NUMBER_BITS | slot << 5


NEVER_LED = np.array(_lead(0, NEVER), np.uint16)


def leads(bits: int) -> Leads:
    """Tell by the first two bytes (the first one lowest) whether they are prefixes, and of what."""
    flags = prefix_flags(bits)
    table = np.zeros((256, 256), np.uint16)  # [second, first]
    for first in flags.nonzero()[0].tolist():
        slot = _PREFIX_SLOTS.get(int(flags[first]) & 255 - SEGMENT)
        lead = MORE if slot is None else _lead(1, slot << 3) | 8 | _REX_MAY_FOLLOW
        table[:, first] = np.where(flags == 0, lead, MORE)
    if bits == 64:
        table[:, 0x40:0x48] = _lead(1, 0) | 8
        table[:, 0x48:0x50] = _lead(1, _WIDE) | 8
        table[0x90, 0x40:0x50] = _lead(1, NEVER) | 8  # no NOP if REX.B names r8
    return table.reshape(-1)


def flag_leads() -> Leads:
    """Say what prefixes add to `leads`, by their flags; how many they are is left out."""
    table = np.full(128, _lead(0, NEVER), np.uint16)
    for flags, slot in _PREFIX_SLOTS.items():
        table[[flags, flags | SEGMENT]] = _lead(0, slot << 3)
    return table


def shape_bits(kinds: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Give what counts of opcode and ModRM in an opcode map, and 7 where the base of SIB does."""
    kept = np.zeros(16, np.int64)
    kept[[_MODRM, _MODRM_SIB]] = 0xFF
    kept[_MOD], kept[[_MOD_RM, _MOD_RM_SIB]] = 0xC0, 0xC7
    shape = np.arange(1 << 16) & (0xFF | kept.take(kinds) << 8)
    return shape, 7 * np.isin(kinds, (_MODRM_SIB, _MOD_RM_SIB))


def shapes(kinds: NDArray[np.uint8]) -> tuple[Windows, int]:
    """Number the shapes of opcode maps, whose masks are numbered by `kinds`; and count them.

    An entry is the shape times `SHAPE_SLOTS`, plus 7 where the base of SIB counts; 0 stands for
    what is no instruction of this map.
    """
    maps = [shape_bits(some) for some in kinds.reshape(-1, 1 << 16)]
    shape = np.concatenate([bits | number << 16 for number, (bits, _) in enumerate(maps)])
    base = np.concatenate([base for _, base in maps])
    present = np.zeros(len(shape), np.bool_)
    present[shape] = True
    numbers = np.cumsum(present)  # from 1 on
    entries = numbers.take(shape) * SHAPE_SLOTS + base
    entries[kinds >= PREFIX] = 0
    return entries.astype(np.uint32), int(numbers[-1]) + 1
