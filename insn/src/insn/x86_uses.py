"""Which registers and flags many x86 instructions read and write, as bits in arrays.

The same as `decode` says (`reads`, `writes`, `flags_read`, `flags_written`), for the general
registers and the flags that arithmetic sets. What an opcode with its prefixes does to the
registers that its fields name is found out once, from the record of the first instruction of its
kind; for others of that kind only the fields are looked at. What is rare (vector prefixes, 3DNow!,
many prefixes, 32- and 16-bit code) is decoded one by one and remembered by its bytes.
"""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from insn.arch import Arch
from insn.errors import InsnError
from insn.x86_detail import NAMES_32, NAMES_64, Detail, Encoding
from insn.x86_effects import flags, registers
from insn.x86_row import REG, Space
from insn.x86_table import ROWS

FLAGS = ("cf", "pf", "af", "zf", "sf", "of")
WIDTH = 16
"""Bytes in a row of code."""
Bits = NDArray[np.uint32]
_Bytes = NDArray[np.uint8]

_FLAGS_AT = 16
_CODES_KEPT = 1 << 16
_MOST_PREFIXES = 4
_66, _F2, _F3, _67, _OTHER = 1, 2, 4, 8, 16
_PREFIX_BITS = {0x66: _66, 0xF2: _F2, 0xF3: _F3, 0x67: _67} | dict.fromkeys(
    (0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65, 0xF0), _OTHER
)
_NOP = 0x90
_VECTOR_PREFIXES = (0x62, 0xC4, 0xC5, 0x8F, 0xD5)
# Opcodes (second map: + 100) whose rows ask for the rm field of a register form.
_BY_RM = (*range(0xD8, 0xE0), 0xC6, 0xC7, 0x101, 0x1AE, 0x1C7, 0x11E, 0x100, 0x1A6, 0x1A7)
# Opcodes whose register the low bits of the opcode name.
_BY_OPCODE = (*range(0x50, 0x60), *range(0x90, 0x98), *range(0xB0, 0xC0), *range(0x1C8, 0x1D0))
_SHIFTS = (0xC0, 0xC1, 0x1A4, 0x1AC)
"""Opcodes that shift by a constant."""
_SPACES = (Space.ONE, Space.TWO, Space.THREE_38, Space.THREE_3A)
# What a field does: read, written, and whether it names ah … bh in place of spl … dil.
_READ, _WRITTEN, _BYTE = 1, 2, 4
_COLUMNS = 6
# Two sets of registers for the fields reg, rm (or base), index; none has an implicit use that the
# other has, too.
_FIRST, _SECOND = (8, 9, 10), (12, 13, 14)


def names(arch: Arch) -> tuple[str, ...]:
    """Name the registers that the low bits stand for."""
    return NAMES_64 if arch.bits == 64 else NAMES_32


def bits_of(arch: Arch, registers: Iterable[str], flags: Iterable[str]) -> int:
    """Make one number of registers and flags; others than ours are left out."""
    own = names(arch)
    found = sum(1 << own.index(name) for name in registers if name in own)
    return found | sum(1 << FLAGS.index(name) + _FLAGS_AT for name in flags if name in FLAGS)


class X86Uses:
    """Looks up what instructions of one architecture use."""

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        self.names = names(arch)
        self.flags = FLAGS
        self.registers_mask = np.uint32((1 << len(self.names)) - 1)
        self.flags_mask = np.uint32((1 << len(FLAGS)) - 1 << _FLAGS_AT)
        self._by_code: dict[bytes, tuple[int, int]] = {}
        self._by_kind: dict[tuple[int, ...], tuple[int, ...]] = {}
        self._prefixes = np.zeros(256, np.uint8)
        for byte, bit in _PREFIX_BITS.items():
            self._prefixes[byte] = bit
        self._asks_reg = _asking_reg()
        # key -> line of the table: fixed reads, fixed writes, and what the three fields do
        self._lines = np.zeros(1 << 23, np.uint16)
        self._table = np.zeros((1, _COLUMNS), np.uint32)

    def find(self, rows: _Bytes, lengths: NDArray[np.uint8]) -> tuple[Bits, Bits]:
        """Tell what is read and what is written by each instruction.

        `rows` holds `WIDTH` bytes of code for each; where the length is 0 there is none, and
        nothing is used.
        """
        reads, writes = np.zeros(len(rows), np.uint32), np.zeros(len(rows), np.uint32)
        slow = lengths > 0
        if self.arch.bits == 64:
            slow = self._by_fields(rows, lengths, reads, writes)
        for at in np.flatnonzero(slow).tolist():
            code = rows[at, : lengths[at]].tobytes()
            found = self._by_code.get(code)
            if found is None:
                if len(self._by_code) >= _CODES_KEPT:
                    self._by_code.clear()
                found = self._by_code[code] = self._decoded(code)
            reads[at], writes[at] = found
        return reads, writes

    def _decoded(self, code: bytes) -> tuple[int, int]:
        try:
            found = self.arch.decode(code, 0)
        except InsnError:
            return 0, 0
        return (
            bits_of(self.arch, found.reads, found.flags_read),
            bits_of(self.arch, found.writes, found.flags_written),
        )

    def _by_fields(
        self, rows: _Bytes, lengths: NDArray[np.uint8], reads: Bits, writes: Bits
    ) -> NDArray[np.bool_]:
        """Fill in what can be told by fields; give where it cannot."""
        every = np.arange(len(rows))
        at = np.zeros(len(rows), np.intp)
        prefixes = np.zeros(len(rows), np.uint8)
        for _ in range(_MOST_PREFIXES):
            kind = self._prefixes[rows[every, at]]
            if not kind.any():
                break
            prefixes |= kind
            at += kind != 0
        rex = rows[every, at]
        has_rex = rex & 0xF0 == 0x40
        rex = np.where(has_rex, rex, 0).astype(np.uint32)
        at += has_rex
        first = rows[every, at]
        second, third = rows[every, at + 1], rows[every, at + 2]
        escaped = first == 0x0F
        three = escaped & np.isin(second, (0x38, 0x3A))
        space = escaped.astype(np.uint32) + three + (three & (second == 0x3A))
        opcode = np.where(three, third, np.where(escaped, second, first)).astype(np.uint32)
        at += 1 + escaped + three
        # Many prefixes, two repeat prefixes, maps of other encodings; 90 has a meaning by prefix,
        # and moves of control registers ignore that ModRM seems to name memory.
        odd = (self._prefixes[first] != 0) | (first & 0xF0 == 0x40)
        odd |= prefixes & (_F2 | _F3) == _F2 | _F3
        odd |= ~escaped & np.isin(first, (*_VECTOR_PREFIXES, _NOP))
        odd |= escaped & ((second == 0x0F) | (second & 0xF8 == 0x20))
        # A shift by 0 leaves the flags alone.
        last = rows[every, np.maximum(lengths, 1) - 1]
        odd |= np.isin(opcode | space << 8, _SHIFTS) & (last & 31 == 0)
        modrm = rows[every, at].astype(np.uint32)
        sib = rows[every, at + 1].astype(np.uint32)
        registers = modrm >= 0xC0
        by_rm = np.isin(opcode | space << 8, _BY_RM) & registers
        which = np.where(self._asks_reg[opcode | space << 8], modrm >> 3 & 7, 0)
        key = opcode | space << 8 | which << 10 | registers.astype(np.uint32) << 13
        key |= (prefixes & 15).astype(np.uint32) << 14 | (rex >> 3 & 1) << 18
        key |= has_rex.astype(np.uint32) << 19 | np.where(by_rm, modrm & 7, 0) << 20
        wanted = lengths > 0
        fast = wanted & ~odd
        lines = self._lines[key]
        unknown = np.flatnonzero(fast & (lines == 0))
        if len(unknown):
            new, places = np.unique(key[unknown], return_index=True)
            self._learn(new, rows[unknown[places]])
            lines = self._lines[key]
        found = self._table[lines]
        one = np.uint32(1)
        read, written = found[:, 0].copy(), found[:, 1].copy()
        reg = (modrm >> 3 & 7) | (rex & 4) << 1
        by_opcode = np.isin(opcode | space << 8, _BY_OPCODE)
        rm = np.where(by_opcode, opcode, modrm) & 7 | (rex & 1) << 3
        has_sib = ~registers & (modrm & 7 == 4)
        base = np.where(has_sib, sib & 7, modrm & 7)
        no_base = ~registers & (modrm < 0x40) & (base == 5)
        rm = np.where(registers | by_opcode, rm, base | (rex & 1) << 3)
        index = (sib >> 3 & 7) | (rex & 2) << 2
        no_index = ~has_sib | (index == 4)
        for column, number, absent in ((2, reg, None), (3, rm, no_base), (4, index, no_index)):
            use = found[:, column]
            if absent is not None:
                use = np.where(absent & (found[:, 5] > 0), 0, use)
            high = (use & _BYTE > 0) & (number >= 4) & (number < 8) & ~has_rex
            bit = one << np.where(high, number - 4, number)
            read |= np.where(use & _READ, bit, 0)
            written |= np.where(use & _WRITTEN, bit, 0)
        reads[fast], writes[fast] = read[fast], written[fast]
        rest: NDArray[np.bool_] = wanted & ~fast
        return rest

    def _learn(self, keys: NDArray[np.uint32], rows: _Bytes) -> None:
        lines = [self._line(row.tobytes()) for row in rows]
        self._lines[keys] = np.arange(len(keys)) + len(self._table)
        table = np.array(lines, np.uint32).reshape(-1, _COLUMNS)
        self._table = np.concatenate([self._table, table])

    def _line(self, code: bytes) -> tuple[int, ...]:
        """Find the line of the table for instructions like this one."""
        try:
            detail = self.arch.decode(code, 0).detail
        except InsnError:
            return (0,) * _COLUMNS
        assert isinstance(detail, Detail)
        names_register = _opcode_names(detail)
        kind = (
            detail.row.number,
            0 if names_register else detail.opcode,
            detail.operand_size,
            detail.address_size,
            detail.repeat,
            detail.wide,
            detail.has_memory,
            detail.encoding_offset >= 0,
        )
        line = self._by_kind.get(kind)
        if line is None:
            line = self._by_kind[kind] = self._line_of(detail)
        return line

    def _line_of(self, detail: Detail) -> tuple[int, ...]:
        read, written = self._used(detail, *_FIRST)
        read_again, written_again = self._used(detail, *_SECOND)
        uses = []
        for place in range(3):
            first, second = 1 << _FIRST[place], 1 << _SECOND[place]
            use = _READ * bool(read & first and read_again & second)
            use |= _WRITTEN * bool(written & first and written_again & second)
            if use and self._names_high_bytes(detail, place):
                use |= _BYTE
            uses.append(use)
        flags_read, flags_written = flags(detail)
        return (
            read & read_again | bits_of(self.arch, (), flags_read),
            written & written_again | bits_of(self.arch, (), flags_written),
            *uses,
            int(detail.has_memory),
        )

    def _used(self, detail: Detail, reg: int, rm: int, index: int) -> tuple[int, int]:
        """Tell what an instruction with these registers in its fields uses."""
        extension = detail.extension & 8 | (reg >> 3) << 2 | (index >> 3) << 1 | rm >> 3
        mod = detail.modrm & 0xC0
        changed = replace(
            detail,
            extension=extension,
            opcode=detail.opcode & ~7 | rm & 7 if _opcode_names(detail) else detail.opcode,
            modrm=mod | (reg & 7) << 3 | rm & 7,
            base=rm if detail.has_memory else -1,
            index=index if detail.has_memory else -1,
        )
        read, written = registers(changed)
        return bits_of(self.arch, read, ()), bits_of(self.arch, written, ())

    def _names_high_bytes(self, detail: Detail, place: int) -> bool:
        if place == 2 or (place == 1 and detail.has_memory):
            return False
        if detail.encoding is not Encoding.LEGACY or detail.encoding_offset >= 0:
            return False
        for number in (5, 6, 7):
            fields = list(_FIRST)
            fields[place] = number
            read, written = self._used(detail, *fields)
            if not (read | written) >> number & 1:
                return True
        return False


def _asking_reg() -> NDArray[np.bool_]:
    """Tell which opcodes have rows that ask for the reg field of ModRM."""
    found = np.zeros(4 << 8, np.bool_)
    for row in ROWS:
        if row.space in _SPACES and row.forbidden >> REG & 0xFF:
            at = _SPACES.index(row.space) << 8
            found[at + row.first : at + row.last + 1] = True
    return found


def _opcode_names(detail: Detail) -> bool:
    return any(operand.letter == "Z" for operand in detail.row.operands)
