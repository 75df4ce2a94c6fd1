"""Finds the form of many x86 instructions at once: prefixes, opcode and ModRM as one number each.

The key of a form is the bytes from the opcode (or VEX, EVEX, XOP prefix) to ModRM and the base of SIB, with the bits
cleared that no row asks for, and in its top byte the prefixes that were stripped. What has no key (prefixes in odd
orders, 3DNow!, registers that must differ, APX) is decoded one by one and remembered by its bytes.
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

PADDING = 32
"""Bytes that must follow the code in a buffer from which windows are made."""

# What stands at the low 16 bits of a window: which of its bits make the key, or one of the second line.
_OPCODE, _MODRM, _MODRM_SIB, _MOD, _MOD_RM, _MOD_RM_SIB = range(6)
_PREFIX, _ESCAPE, _VEX2, _VEX3, _EVEX, _ODD = range(8, 14)

_OPERAND_SIZE, _ADDRESS_SIZE, _LOCK, _REPNE, _REP, _OTHER = 1, 2, 4, 8, 16, 32
_FLAGS_AT = np.uint64(57)
_REX_AT = np.uint64(48)
_REX_W = np.uint64(8)
_LONGEST = 15

_VEX_SPACES = {1: Space.VEX1, 2: Space.VEX2, 3: Space.VEX3, 7: Space.VEX7}
_XOP_SPACES = {8: Space.XOP8, 9: Space.XOP9, 10: Space.XOPA}
_EVEX_SPACES = dict(enumerate((Space.EVEX1, Space.EVEX2, Space.EVEX3, Space.EVEX4, Space.EVEX5, Space.EVEX6), 1))


def _u64(value: int) -> np.uint64:
    return np.uint64(value & (1 << 64) - 1)


_EIGHT, _BYTE, _PAIR, _NOP = _u64(8), _u64(0xFF), _u64(0xFFFF), _u64(0x90)


def _masks(lead: int) -> Words:
    """Give the bits of a window that belong to the key, by what stands behind `lead` bytes and the opcode."""
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

    In the second case only the shape of the operand counts: register, memory, and how long its displacement is.
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
def _prefix_flags() -> NDArray[np.uint8]:
    flags = np.zeros(256, np.uint8)
    flags[[0x66, 0x67, 0xF0, 0xF2, 0xF3]] = _OPERAND_SIZE, _ADDRESS_SIZE, _LOCK, _REPNE, _REP
    flags[[0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65]] = _OTHER
    return flags


_X_AND_B = _u64(0x60 << 8)  # register extensions that no row asks for
_AFTER_REX = np.zeros(256, np.bool_)
_AFTER_REX[[0x01, 0x29, 0x39, 0x83, 0x85, 0x89, 0x8B, 0x8D, 0xC7]] = True
_ONE_MASKS, _TWO_MASKS, _THREE_MASKS = _masks(0), _masks(1), _masks(2)
_VEX3_MASKS, _EVEX_MASKS = _masks(3), _masks(4)


def _same_mask(keys: Words) -> Words:
    """Make the mask register of EVEX keys tell only whether there is one."""
    masked = (keys & _u64(7 << 24)) != _u64(0)
    return keys & ~_u64(7 << 24) | masked * _u64(1 << 24)


class X86Forms:
    """Looks up the forms of x86 instructions in a buffer of code."""

    def __init__(self, arch: Arch) -> None:
        self.forms = Forms(arch)
        self._index = FormIndex()
        self._first = _first_table(arch.bits)
        self._flags = _prefix_flags()
        self._rex = arch.bits == 64
        self._vvvv = _u64(15 if arch.bits == 64 else 7)

    def windows(self, buffer: NDArray[np.uint8]) -> Words:
        """Give the eight bytes from each position on as a number; the last `PADDING` positions are left out."""
        words = np.ndarray((len(buffer) - PADDING,), "<u8", buffer, 0, (1,))
        return np.ascontiguousarray(words)

    def likely_starts(self, buffer: NDArray[np.uint8]) -> Positions:
        """Guess where instructions start: behind padding at 16 bytes, and what compilers write most.

        64-bit moves, additions and the like begin with 48 and one of a few opcodes; hardly anything else has such
        a pair of bytes inside. Other modes have no pair so frequent: calls, and what stands behind padding.
        """
        aligned = np.arange(16, len(buffer), 16)
        behind = aligned[np.isin(buffer[aligned - 1], (0x00, 0x90, 0xC3, 0xCC))]
        first = np.flatnonzero(buffer[:-1] == (0x48 if self._rex else 0x8B))
        if self._rex:
            first = first[_AFTER_REX.take(buffer[first + 1])]
        else:
            first = first[buffer[first + 1] >= 0x40]
        likely: Positions = np.union1d(behind, first)
        return likely

    def look_up(
        self, buffer: NDArray[np.uint8], windows: Words, at: Positions
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Find the form number of the instruction at each position, and how many prefixes were stripped there.

        New forms are learned. Nothing is known of what follows the last position: see `scan` for the end of code.
        """
        keys, stripped, odd = self._keys(windows, at)
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
        for n, (key, where) in enumerate(zip(wanted.tolist(), missed[first].tolist(), strict=True)):
            start, count = int(at[where]), int(stripped[where])
            # Only as many prefixes as the key speaks of: a form must not depend on the 15-byte limit.
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
            if kind != _OTHER:
                prefixes[byte] = None
        rest = buffer[start + count : start + count + _LONGEST].tobytes()
        return bytes(prefixes) + rest, len(prefixes)

    def _keys(self, windows: Words, at: Positions) -> tuple[Words, NDArray[np.int64], Positions]:
        """Make the keys; with the number of stripped prefixes, and the positions that have no key."""
        words = windows.take(at)
        pairs = (words & _PAIR).view(np.int64)
        kinds = self._first.take(pairs)
        stripped = np.zeros(len(at), np.int64)
        prefixed = np.flatnonzero(kinds == _PREFIX)
        flags = None
        if len(prefixed):
            found = self._strip(windows, at[prefixed])
            stripped[prefixed], flags, words[prefixed] = found
        keys, odd, has_rex = self._keys_behind_prefixes(words)
        if has_rex is not None:
            stripped += has_rex
        if flags is not None:
            keys[prefixed] |= flags << _FLAGS_AT
            # VEX, EVEX and XOP tolerate no prefix but segments and 67, which the form does not hide.
        return keys, stripped, odd

    def _strip(self, windows: Words, at: Positions) -> tuple[NDArray[np.int64], Words, Words]:
        """Count the prefixes at positions that begin with one: their number, what they are, the window behind them."""
        count = np.zeros(len(at), np.int64)
        flags = np.zeros(len(at), np.uint64)
        words = windows.take(at)
        active = np.arange(len(at))
        repeats = _u64(_REP | _REPNE)
        for _ in range(_LONGEST):
            kinds = self._flags.take((words[active] & _BYTE).view(np.int64))
            active = active[kinds != 0]
            if not len(active):
                break
            kinds = kinds[kinds != 0].astype(np.uint64)
            old = flags[active]
            old[kinds & repeats != 0] &= ~repeats
            flags[active] = old | kinds
            count[active] += 1
            words[active] = windows.take(at[active] + count[active], mode="clip")
        return count, flags & _u64(~_OTHER), words

    def _keys_behind_prefixes(
        self, words: Words
    ) -> tuple[Words, Positions, NDArray[np.bool_] | None]:
        has_rex = None
        if self._rex:
            has_rex = (words & _u64(0xF0)) == _u64(0x40)
            rex = words * has_rex & _REX_W
            words = words >> (has_rex * _EIGHT)
        kinds = self._first.take((words & _PAIR).view(np.int64))
        keys = words & _ONE_MASKS.take(kinds, mode="clip")
        odd = (kinds == _PREFIX) | (kinds == _ODD)
        other = np.flatnonzero(kinds >= _PREFIX)
        if len(other):
            self._escaped(words, kinds, keys, odd, other)
        if has_rex is not None:
            # Before VEX a REX prefix is illegal; with one, 90 is no NOP.
            odd |= has_rex & ((kinds > _ESCAPE) | (words & _BYTE == _NOP))
            keys |= rex << _REX_AT
        return keys, np.flatnonzero(odd), has_rex

    def _escaped(
        self, words: Words, kinds: NDArray[np.uint8], keys: Words, odd: NDArray[np.bool_], other: Positions
    ) -> None:
        """Make the keys of everything that is not in the one-byte map."""
        which = kinds[other]
        two = other[which == _ESCAPE]
        if len(two):
            second = words[two] >> _EIGHT
            self._mask(Space.TWO, two, words, second, _TWO_MASKS, keys, odd)
            opcodes = second & _BYTE
            for opcode, space in ((0x38, Space.THREE_38), (0x3A, Space.THREE_3A)):
                three = two[opcodes == opcode]
                if len(three):
                    self._mask(space, three, words, words[three] >> _u64(16), _THREE_MASKS, keys, odd)
            odd[two[opcodes == 0x0F]] = True
        if (which > _ESCAPE).any():
            self._vector(words, which, keys, odd, other)

    def _mask(
        self,
        space: Space,
        where: Positions,
        words: Words,
        from_opcode: Words,
        masks: Words,
        keys: Words,
        odd: NDArray[np.bool_],
    ) -> None:
        kinds = _space_table(space).take((from_opcode & _PAIR).view(np.int64))
        keys[where] = words[where] & masks.take(kinds)
        odd[where[kinds == _ODD]] = True

    def _same_vvvv(self, keys: Words, byte_at: int) -> Words:
        """Make vvvv, in the byte that starts at this bit, tell only whether and on which half it names a register."""
        shift = _u64(byte_at + 3)
        vvvv = keys >> shift
        names_none = (vvvv & self._vvvv) == self._vvvv
        return keys & ~(_u64(7) << shift) | (names_none * _u64(15)) << shift

    def _vector(
        self, words: Words, which: NDArray[np.uint8], keys: Words, odd: NDArray[np.bool_], other: Positions
    ) -> None:
        """Make the keys of VEX, XOP and EVEX."""
        short = other[which == _VEX2]
        if len(short):
            self._mask(Space.VEX1, short, words, words[short] >> _u64(16), _THREE_MASKS, keys, odd)
            keys[short] = self._same_vvvv(keys[short], 8)
        for kind, spaces, lead, masks in (
            (_VEX3, _VEX_SPACES | _XOP_SPACES, 24, _VEX3_MASKS),
            (_EVEX, _EVEX_SPACES, 32, _EVEX_MASKS),
        ):
            long = other[which == kind]
            if not len(long):
                continue
            maps = words[long] >> _EIGHT & _u64(31 if kind == _VEX3 else 7)
            odd[long] = True  # unless its map is known
            for number, space in spaces.items():
                part = long[maps == number]
                if len(part):
                    odd[part] = False
                    self._mask(space, part, words, words[part] >> _u64(lead), masks, keys, odd)
                    same = self._same_vvvv(keys[part], 16) & ~_X_AND_B
                    keys[part] = same if kind == _VEX3 else _same_mask(same)
