"""Finds the form of many x86 instructions at once: prefixes, opcode and ModRM as one number each.

The key of a form is the bytes from the opcode (or VEX, EVEX, XOP prefix) to ModRM and the base of
SIB, with the bits cleared that no row asks for, and in its top byte the prefixes that were
stripped. What has no key (prefixes in odd orders, 3DNow!, registers that must differ, APX) is
decoded one by one and remembered by its bytes.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from insn.arch import Arch
from insn.forms import NOTHING, FormIndex, Forms
from insn.x86_row import REG, RM, Property, Space
from insn.x86_table import candidates

Positions = NDArray[np.intp]
Words = NDArray[np.uint64]
Windows = NDArray[np.uint32]

PADDING = 32
"""Bytes that must follow the code in a buffer that windows are made from."""

# What stands at the low 16 bits of a window: which of its bits make the key, or one of the second
# line.
_OPCODE, _MODRM, _MODRM_SIB, _MOD, _MOD_RM, _MOD_RM_SIB = range(6)
_PREFIX, _ESCAPE, _VEX2, _VEX3, _EVEX, _ODD = range(8, 14)

_OPERAND_SIZE, _ADDRESS_SIZE, _LOCK, _REPNE, _REP, _SEGMENT, _CODE_SEGMENT = 1, 2, 4, 8, 16, 32, 64
_FLAGS_AT = np.uint64(57)
_REX_AT = np.uint64(48)
_LOW_BYTE, _LOW_PAIR, _ESCAPE_BYTE = np.uint32(0xFF), np.uint32(0xFFFF), np.uint32(0x0F)
_EIGHT_BITS, _THREE = np.uint32(8), np.uint32(3)
_LONGEST = 15

_VEX_SPACES = {1: Space.VEX1, 2: Space.VEX2, 3: Space.VEX3, 7: Space.VEX7}
_XOP_SPACES = {8: Space.XOP8, 9: Space.XOP9, 10: Space.XOPA}
_EVEX_SPACES = dict(
    enumerate((Space.EVEX1, Space.EVEX2, Space.EVEX3, Space.EVEX4, Space.EVEX5, Space.EVEX6), 1)
)


def _u64(value: int) -> np.uint64:
    return np.uint64(value & (1 << 64) - 1)


_EIGHT, _BYTE, _PAIR, _NOP = _u64(8), _u64(0xFF), _u64(0xFFFF), _u64(0x90)


def _masks(lead: int) -> Words:
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
def _space_table(space: Space) -> NDArray[np.uint8]:
    """Number the mask for each opcode and ModRM of an opcode map, at index ModRM * 256 + opcode."""
    full, shape = _modrm_kinds()
    table = np.full((256, 256), _OPCODE, np.uint8)
    for opcode in range(256):
        cell = candidates[space * 256 + opcode]
        if any(row.properties & _ONE_BY_ONE or row.by_immediate >= 0 for row in cell):
            table[:, opcode] = _ODD
        elif any(row.has_modrm for row in cell):
            asks = any(row.forbidden & _ASKS_FOR_REGISTERS for row in cell)
            table[:, opcode] = full if asks else shape
    return table.reshape(-1)


@cache
def _first_table(bits: int) -> NDArray[np.uint8]:
    """The table of the one-byte map, with what is no opcode of it marked."""
    table = _space_table(Space.ONE).reshape(256, 256).copy()
    vex = np.arange(256) >= (0 if bits == 64 else 0xC0)
    table[:, 0x0F] = _ESCAPE
    for opcode, kind in ((0xC5, _VEX2), (0xC4, _VEX3), (0x62, _EVEX)):
        table[vex, opcode] = kind
    table[np.arange(256) & 31 >= 8, 0x8F] = _VEX3
    for byte in (0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65, 0x66, 0x67, 0xF0, 0xF2, 0xF3):
        table[:, byte] = _PREFIX
    if bits == 64:
        table[:, 0x40:0x50] = _ODD  # a REX prefix that another one follows
        table[:, 0xD5] = _ODD
    return table.reshape(-1)


@cache
def _prefix_flags(bits: int) -> NDArray[np.uint8]:
    """Tell which prefix a byte is; 0: none. Of the segments only the code segment makes a form."""
    flags = np.zeros(256, np.uint8)
    flags[[0x66, 0x67, 0xF0, 0xF2, 0xF3]] = _OPERAND_SIZE, _ADDRESS_SIZE, _LOCK, _REPNE, _REP
    flags[[0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65]] = _SEGMENT
    if bits != 64:
        flags[0x2E] |= _CODE_SEGMENT  # there it can be read, but not written
    return flags


# Bytes that often begin an instruction (some of them hardly do anything else), and what then often
# is the second one.
_OPENINGS = {16: b"\x8b\x89", 32: b"\x8b\x89\xe8", 64: b"\x48\x4c"}
_OTHER_OPENINGS = bytes.fromhex("0f 31 41 44 45 62 66 83 85 c4 c5 e8 f2 f3")
_SECONDS = {64: bytes.fromhex("01 29 39 83 85 89 8b 8d")}


def _score(bytes_: bytes, score: int) -> NDArray[np.uint8]:
    table = np.zeros(256, np.uint8)
    table[list(bytes_)] = score
    return table


_ALL_MASKS = np.concatenate([_masks(lead) for lead in range(5)])


def _cases() -> NDArray[np.int64]:
    """Tell by what leads, and the byte behind it, where the opcode is and in which map.

    A case is the number of bytes before the opcode, plus eight times the number of the map.
    """
    cases = np.zeros((16, 256), np.int64)
    cases[_ESCAPE] = 1 | Space.TWO << 3
    cases[_ESCAPE, 0x0F] = 1 | Space.NOW << 3
    cases[_ESCAPE, 0x38] = 2 | Space.THREE_38 << 3
    cases[_ESCAPE, 0x3A] = 2 | Space.THREE_3A << 3
    cases[_VEX2] = 2 | Space.VEX1 << 3
    for kind, lead, bits, spaces in (
        (_VEX3, 3, 31, _VEX_SPACES | _XOP_SPACES),
        (_EVEX, 4, 7, _EVEX_SPACES),
    ):
        for byte in range(256):
            cases[kind, byte] = lead | spaces.get(byte & bits, Space.NOW) << 3
    return cases.reshape(-1)


_CASES = _cases()
# Register extensions that no row asks for (X and B), by what leads.
_UNASKED = np.zeros(16, np.uint64)
_UNASKED[[_VEX3, _EVEX]] = 0x60 << 8
_EVEX_MASK = _u64(7 << 24)


@cache
def _all_spaces() -> NDArray[np.uint8]:
    """The tables of all maps behind one another; 3DNow! and unknown maps have no keys."""
    tables = [_space_table(space) for space in Space]
    tables[Space.NOW] = np.full(1 << 16, _ODD, np.uint8)
    return np.concatenate(tables)


def _wide_windows(windows: Windows, at: Positions) -> Words:
    """Give the eight bytes from each position on as a number."""
    high = windows.take(at + 4, mode="clip").astype(np.uint64)
    return windows.take(at) | high << np.uint64(32)


# The slot of a form in a direct table: 19 bits for opcode, ModRM and the base of SIB, one for
# REX.W, three for prefixes.
_SLOTS = np.uint32(0xFFF80000)
_WIDE_SLOT = 1 << 19
_PREFIX_SLOTS = {
    0: 0,
    _OPERAND_SIZE: 1,
    _REP: 2,
    _REPNE: 3,
    _LOCK: 4,
    _ADDRESS_SIZE: 5,
    _OPERAND_SIZE | _REPNE: 6,
}
_SLOT_COUNT = 1 << 23
_NO_SLOT = 1 << 31
# Below the slot, `leads` tells how far the opcode is: 8 (bits) behind a REX prefix; or that a
# legacy prefix leads.
_LEGACY = np.uint32(1)


def _leads(bits: int) -> Windows:
    """Tell by the first two bytes (the first one lowest) whether they are prefixes, and of what."""
    leads = np.zeros((256, 256), np.uint32)  # [second, first]
    leads[:, np.flatnonzero(_prefix_flags(bits))] = _LEGACY
    if bits == 64:
        leads[:, 0x40:0x48] = 8
        leads[:, 0x48:0x50] = 8 | _WIDE_SLOT
        leads[0x90, 0x40:0x50] = 8 | _NO_SLOT  # no NOP if REX.B names r8
    return leads.reshape(-1)


def _flag_slots() -> Windows:
    slots = np.full(128, _NO_SLOT, np.uint32)
    for flags, number in _PREFIX_SLOTS.items():
        slots[[flags, flags | _SEGMENT]] = number << 20
    return slots


class _Direct:
    """The forms of one opcode map, directly by opcode, ModRM, SIB, REX.W, frequent prefixes."""

    def __init__(self, kinds: NDArray[np.uint8]) -> None:
        masks = _masks(0).astype(np.uint32)
        masks[_PREFIX:] = _NO_SLOT
        self._masks: Windows = masks.take(kinds)
        self._numbers = np.zeros(_SLOT_COUNT + 1, np.int32)  # the last one is never filled

    def look_up(self, words: Windows, bases: Windows) -> tuple[NDArray[np.int32], NDArray[np.intp]]:
        """Find the numbers (0: not known) by words that begin with the opcode, and their places."""
        masks = self._masks.take(words & _LOW_PAIR)
        places = (words & masks | masks & _NO_SLOT | bases).astype(np.intp)
        return self._numbers.take(places, mode="clip"), places

    def remember(self, places: NDArray[np.intp], numbers: NDArray[np.int64]) -> None:
        """Keep numbers that were found in another way, at the places that `look_up` gave."""
        self._numbers[np.minimum(places, _SLOT_COUNT)] = numbers
        self._numbers[_SLOT_COUNT] = NOTHING


class X86Forms:
    """Looks up the forms of x86 instructions in a buffer of code."""

    def __init__(self, arch: Arch) -> None:
        self.forms = Forms(arch)
        self._index = FormIndex()
        self._first = _first_table(arch.bits)
        self._flags = _prefix_flags(arch.bits)
        self._leads = _leads(arch.bits)
        self._flag_slots = _flag_slots()
        self._one = _Direct(self._first)
        two = _space_table(Space.TWO).copy()
        two.reshape(256, 256)[:, [0x0F, 0x38, 0x3A]] = _ODD  # these lead to other maps
        self._two = _Direct(two)
        self._opens = np.maximum(_score(_OPENINGS[arch.bits], 2), _score(_OTHER_OPENINGS, 1))
        self._follows = _score(_SECONDS.get(arch.bits, bytes(range(256))), 2)
        self._rex = arch.bits == 64
        self._vvvv = _u64(15 if arch.bits == 64 else 7)

    def windows(self, buffer: NDArray[np.uint8]) -> Windows:
        """Give the four bytes from each position on, but the last `PADDING`, as a number."""
        words = np.ndarray((len(buffer) - PADDING,), "<u4", buffer, 0, (1,))
        return np.ascontiguousarray(words)

    def lane_starts(self, buffer: NDArray[np.uint8], distance: int) -> Positions:
        """Choose positions about `distance` apart where an instruction probably starts.

        In 64-bit code that is what compilers write most: moves, additions and the like, which begin
        with 48 and one of a few opcodes; hardly anything else has such a pair of bytes inside.
        """
        lanes = len(buffer) // distance
        rows = buffer[: lanes * distance].reshape(lanes, distance)[:, :24]
        likely = self._opens[rows]
        likely[:, :-1] += self._follows[rows[:, 1:]] * (likely[:, :-1] == 2)
        starts: Positions = np.arange(lanes) * distance + likely.argmax(axis=1)
        return np.concatenate([np.zeros(1, np.intp), starts[starts > 0]])

    def look_up(
        self, buffer: NDArray[np.uint8], windows: Windows, at: Positions
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Find the form of the instruction at each position, and its number of stripped prefixes.

        New forms are learned. Nothing is known of what follows the last position: see `bulk` for
        the end of code.
        """
        words = windows.take(at)
        leads = self._leads.take(words & _LOW_PAIR)
        stripped = np.zeros(len(at), np.int32)
        flags = np.zeros(len(at), np.uint8)
        prefixed = np.flatnonzero(leads == _LEGACY)
        if len(prefixed):
            count, found = self._strip(windows, at[prefixed], words[prefixed])
            stripped[prefixed] = count
            flags[prefixed] = found
            behind = windows.take(at[prefixed] + count)
            words[prefixed] = behind
            leads[prefixed] = self._leads.take(behind & _LOW_PAIR) | self._flag_slots.take(found)
        shifts = leads & _EIGHT_BITS
        words >>= shifts
        stripped += (shifts >> _THREE).view(np.int32)
        bases = leads & _SLOTS
        numbers, places = self._one.look_up(words, bases)
        rest = np.flatnonzero(numbers == 0)
        if len(rest):
            escaped = rest[(words[rest] & _LOW_BYTE) == _ESCAPE_BYTE]
            if len(escaped):
                behind = windows.take(at[escaped] + stripped[escaped] + 1)
                numbers[escaped], two_places = self._two.look_up(behind, bases[escaped])
                rest = rest[numbers[rest] == 0]
            if len(rest):
                lead = stripped[rest] - (shifts[rest] >> _THREE).view(np.int32)
                slow, stripped[rest] = self._look_up_rest(
                    buffer, windows, at[rest], lead, flags[rest]
                )
                numbers[rest] = slow
                self._one.remember(places[rest], slow)
            if len(escaped):
                self._two.remember(two_places, numbers[escaped])
        return numbers, stripped

    def _look_up_rest(
        self,
        buffer: NDArray[np.uint8],
        windows: Windows,
        at: Positions,
        count: NDArray[np.int32],
        flags: NDArray[np.uint8],
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Look up what is not in direct tables; `count` legacy prefixes, those of `flags`, lead."""
        keys, has_rex, odd = self._keys(_wide_windows(windows, at + count))
        # VEX, EVEX and XOP tolerate no prefix but segments and 67, which the form does not hide.
        keys |= (flags & 255 - _SEGMENT).astype(np.uint64) << _FLAGS_AT
        stripped = count.astype(np.int64) + has_rex
        numbers, missed = self._index.find(keys)
        if len(odd):
            view = memoryview(buffer)  # type: ignore[arg-type]  # an array is a buffer
            for where in odd.tolist():
                start = int(at[where])
                numbers[where] = self.forms.exactly(bytes(view[start : start + _LONGEST]))
            stripped[odd] = 0
        if len(missed):
            missed = np.setdiff1d(missed, odd, assume_unique=True)
            self._learn(buffer, keys, at, stripped, numbers, missed)
        stripped[numbers == NOTHING] = 0
        return numbers, stripped

    def _learn(
        self,
        buffer: NDArray[np.uint8],
        keys: Words,
        at: Positions,
        stripped: NDArray[np.int64],
        numbers: NDArray[np.int64],
        missed: Positions,
    ) -> None:
        wanted, first, back = np.unique(keys[missed], return_index=True, return_inverse=True)
        learned = np.zeros(len(wanted), np.int64)
        for n, key in enumerate(wanted.tolist()):
            where = int(missed[first[n]])
            start, count = int(at[where]), int(stripped[where])
            # Only as many prefixes as the key speaks of: a form must not depend on the 15-byte
            # limit.
            code = self._canonical(buffer, start, count)
            learned[n] = self.forms.learn(*code)
            self._index.add(key, int(learned[n]))
        numbers[missed] = learned[back]

    def _canonical(self, buffer: NDArray[np.uint8], start: int, count: int) -> tuple[bytes, int]:
        """Give the instruction without prefixes that repeat, and how many it still has."""
        prefixes: dict[int, None] = {}
        for byte in buffer[start : start + count].tolist():
            kind = int(self._flags[byte])
            if kind & (_REP | _REPNE):  # the last of the two counts
                prefixes.pop(0xF2, None)
                prefixes.pop(0xF3, None)
            if kind & _SEGMENT:
                prefixes.pop(0x2E, None)
            if kind != _SEGMENT:
                prefixes[byte] = None
        rest = buffer[start + count : start + count + _LONGEST].tobytes()
        return bytes(prefixes) + rest, len(prefixes)

    def _strip(
        self, windows: Windows, at: Positions, words: Windows
    ) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
        """Count the legacy prefixes where one leads, and tell which (of F2, F3: the last)."""
        flags = self._flags.take(words & _LOW_BYTE)
        count = np.ones(len(at), np.int32)
        more = self._flags.take(words >> _EIGHT_BITS & _LOW_BYTE)
        active = np.flatnonzero(more)
        more = more[active]
        while len(active):
            old = flags[active]
            old[more & (_REP | _REPNE) != 0] &= 255 - _REP - _REPNE
            old[more & _SEGMENT != 0] &= 255 - _CODE_SEGMENT
            flags[active] = old | more
            count[active] += 1
            active = active[count[active] < _LONGEST]
            more = self._flags.take(windows.take(at[active] + count[active]) & _LOW_BYTE)
            active, more = active[more != 0], more[more != 0]
        return count, flags

    def _keys(self, words: Words) -> tuple[Words, NDArray[np.bool_], Positions]:
        """Make the keys of what has no legacy prefixes: keys, which have REX, which have no key."""
        has_rex = (
            (words & _u64(0xF0)) == _u64(0x40) if self._rex else np.zeros(len(words), np.bool_)
        )
        rex = words * has_rex & _u64(8)
        words = words >> (has_rex * _EIGHT)
        kinds = self._first.take((words & _PAIR).view(np.int64))
        # Where the opcode is, and in which map: by what leads, and by the byte behind that.
        behind = words >> _EIGHT & _BYTE
        cases = _CASES.take(kinds.astype(np.int64) << 8 | behind.view(np.int64))
        skips = cases & 7
        places = (cases >> 3) << 16 | (words >> (skips * 8).view(np.uint64) & _PAIR).view(np.int64)
        shapes = _all_spaces().take(places)
        keys = words & _ALL_MASKS.take(skips << 4 | shapes)
        odd = (kinds == _PREFIX) | (kinds == _ODD) | (shapes == _ODD)
        # Before VEX a REX prefix is illegal; with one, 90 is no NOP.
        odd |= has_rex & ((kinds > _ESCAPE) | (words & _BYTE == _NOP))
        vector = np.flatnonzero(kinds > _ESCAPE)
        if len(vector):
            keys[vector] = self._same_registers(keys[vector], kinds[vector])
        return keys | rex << _REX_AT, has_rex, np.flatnonzero(odd)

    def _same_registers(self, keys: Words, kinds: NDArray[np.uint8]) -> Words:
        """Clear what does not matter in the prefixes VEX, XOP and EVEX.

        Of vvvv that is whether, and in which half, it names a register; of the mask register
        whether there is one.
        """
        shift = np.where(kinds == _VEX2, _u64(11), _u64(19))
        vvvv = keys >> shift
        names_none = (vvvv & self._vvvv) == self._vvvv
        keys = keys & ~(_u64(7) << shift) | (names_none * _u64(15)) << shift
        keys &= ~_UNASKED.take(kinds)
        masked = (kinds == _EVEX) & (keys & _EVEX_MASK != 0)
        keys = np.where(kinds == _EVEX, keys & ~_EVEX_MASK, keys)
        same: Words = keys | masked.astype(np.uint64) << _u64(24)
        return same
