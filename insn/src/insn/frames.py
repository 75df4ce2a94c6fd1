"""Function ranges and exception tables of `.eh_frame`.

Layout and pointer encodings: Linux Standard Base, "Exception Frames" and "DWARF Exception Header
Encoding". The unwind rules themselves are not followed.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from insn.errors import MalformedFile

OMITTED = 0xFF
_PC_RELATIVE = 0x10
_INDIRECT = 0x80
_FORMATS = {0x02: "H", 0x03: "I", 0x04: "Q", 0x0A: "h", 0x0B: "i", 0x0C: "q"}
_ULEB, _SLEB = 0x01, 0x09
_MASK = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Frames:
    """The functions that have an unwind entry, sorted by start.

    `starts`, `ends` and `lsda` (the address of the exception table; 0: none) are parallel, and so
    is `entered`: whether the return address is on top of the stack at the start, as it is where
    functions are called, but not where the PLT or the cold part of a function begins. `places` are
    the offsets in the section at which the entries write their start.
    """

    starts: NDArray[np.uint64]
    ends: NDArray[np.uint64]
    lsda: NDArray[np.uint64]
    entered: NDArray[np.bool_]
    places: NDArray[np.uint64]

    def at(self, address: int) -> tuple[int, int] | None:
        """Find the range (start, end) that contains the address."""
        index = self.index(address)
        return None if index is None else (int(self.starts[index]), int(self.ends[index]))

    def index(self, address: int) -> int | None:
        """Find which of the ranges contains the address."""
        if not 0 <= address <= _MASK:
            return None
        index = int(np.searchsorted(self.starts, np.uint64(address), side="right")) - 1
        return None if index < 0 or int(self.ends[index]) <= address else index


class Cursor:
    """A place in the bytes of a section, for what can only be read one after the other."""

    def __init__(
        self,
        code: bytes,
        address: int,
        bits: int,
        byte_order: Literal["little", "big"],
        at: int = 0,
    ) -> None:
        self.code = code
        self.address = address
        self.at = at
        self._order = "<" if byte_order == "little" else ">"
        self._bits = bits

    def number(self, letter: str) -> int:
        """Read one fixed-size number, by its letter of the `struct` module."""
        try:
            (value,) = struct.unpack_from(self._order + letter, self.code, self.at)
        except (struct.error, OverflowError):
            raise MalformedFile(
                "a table ends in the middle of a number", address=self.address + self.at
            ) from None
        self.at += struct.calcsize(letter if letter not in "lL" else "=" + letter)
        return int(value)

    def uleb(self) -> int:
        """Read an unsigned number of seven-bit groups (64 bits at most)."""
        value = 0
        for shift in range(0, 70, 7):
            byte = self.number("B")
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & _MASK
        raise MalformedFile("a number is longer than 64 bits", address=self.address + self.at)

    def sleb(self) -> int:
        """Read a signed number of seven-bit groups (64 bits at most)."""
        start = self.at
        value = self.uleb()
        bits = 7 * (self.at - start)
        return value - (1 << bits) if bits < 64 and value >> (bits - 1) & 1 else value

    def pointer(self, encoding: int) -> int:
        """Read an encoded pointer: an absolute or pc-relative one; others need a process to mean
        something and come as the number that stands there.
        """
        place = self.address + self.at
        form = encoding & 0x0F
        if form == 0:
            value = self.number("Q" if self._bits == 64 else "I")
        elif form == _ULEB:
            value = self.uleb()
        elif form == _SLEB:
            value = self.sleb()
        elif form in _FORMATS:
            value = self.number(_FORMATS[form])
        else:
            raise MalformedFile(f"unknown pointer encoding {encoding:#x}", address=place)
        if value and encoding & 0x70 == _PC_RELATIVE:
            value += place
        return value & ((1 << self._bits) - 1)


@dataclass(frozen=True, slots=True)
class _Common:
    """What entries share (a CIE): how their start and their exception table are written."""

    pointer: int = 0
    lsda: int = OMITTED
    augmented: bool = False


def read_frames(
    section: bytes, address: int, bits: int, byte_order: Literal["little", "big"]
) -> Frames:
    """Read the function ranges of an `.eh_frame` section that is loaded at `address`.

    Entries that make no sense are left out. Raise nothing: a broken section ends where it breaks.
    """
    commons: dict[int, _Common] = {}
    groups: dict[_Common, list[int]] = {}
    for position, common_position in _entries(section, byte_order):
        common = commons.get(common_position)
        if common is None:
            common = commons[common_position] = _read_common(
                section, address, bits, byte_order, common_position
            )
        groups.setdefault(common, []).append(position)
    parts = []
    for common, positions in groups.items():
        fast = common.pointer == _PC_RELATIVE | 0x0B and common.lsda in (OMITTED, common.pointer)
        read = _read_many if fast else _read_each
        parts.append(read(section, address, bits, byte_order, common, positions))
    if not parts:
        none = np.empty(0, np.uint64)
        return Frames(none, none, none, np.empty(0, np.bool_), none)
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    starts, ends, lsda, rules, places = columns
    sensible = np.flatnonzero((ends > starts) & (starts > 0))
    order = sensible[np.argsort(starts[sensible], kind="stable")]
    return Frames(starts[order], ends[order], lsda[order], _ADVANCES[rules[order]], places[order])


def _entries(section: bytes, byte_order: Literal["little", "big"]) -> Iterator[tuple[int, int]]:
    """Give the offset of each entry's body (behind the CIE pointer) and that of its CIE."""
    order = "<" if byte_order == "little" else ">"
    head, wide = struct.Struct(order + "II").unpack_from, struct.Struct(order + "QI").unpack_from
    at, end = 0, len(section) - 8
    while at <= end:
        length, pointer = head(section, at)
        body = at + 4
        if (
            length == 0xFFFFFFFF
        ):  # a 64-bit length follows; the CIE pointer stays 32 bits wide in .eh_frame
            if at + 16 > len(section):
                return
            length, pointer = wide(section, at + 4)
            body = at + 12
        if length < 4:
            return  # the terminator
        if pointer and pointer <= body:
            yield body + 4, body - pointer
        at = body + length


def _read_common(
    section: bytes, address: int, bits: int, byte_order: Literal["little", "big"], position: int
) -> _Common:
    try:
        cursor = Cursor(section, address, bits, byte_order, position)
        if cursor.number("I") == 0xFFFFFFFF:
            cursor.number("Q")
        if cursor.number("I") != 0:
            return _Common()
        version = cursor.number("B")
        end = section.find(b"\0", cursor.at)
        augmentation = section[cursor.at : end]
        if end < 0 or len(augmentation) > 16 or b"eh" in augmentation:
            return _Common()
        cursor.at = end + 1
        cursor.uleb()  # code alignment
        cursor.sleb()  # data alignment
        _ = cursor.number("B") if version == 1 else cursor.uleb()  # return address register
        if not augmentation.startswith(b"z"):
            return _Common()
        cursor.uleb()
        pointer, lsda = 0, OMITTED
        for letter in augmentation[1:]:
            if letter == ord("R"):
                pointer = cursor.number("B")
            elif letter == ord("L"):
                lsda = cursor.number("B")
            elif letter == ord("P"):
                cursor.pointer(cursor.number("B"))
        return _Common(pointer, lsda, True)
    except MalformedFile:
        return _Common()


_Columns = tuple[
    NDArray[np.uint64],
    NDArray[np.uint64],
    NDArray[np.uint64],
    NDArray[np.uint64],
    NDArray[np.uint64],
]
"""Starts, ends, exception tables, the first byte of each entry's unwind rules, and its place."""

_ADVANCES = np.zeros(256, np.bool_)
_ADVANCES[[0, 2, 3, 4, *range(0x40, 0x80)]] = True
"""Rules that begin with one of these (DW_CFA_nop, DW_CFA_advance_loc…) hold only further on."""


def _read_many(
    section: bytes,
    address: int,
    bits: int,
    byte_order: Literal["little", "big"],
    common: _Common,
    positions: list[int],
) -> _Columns:
    """Read entries whose pointers are 32-bit distances, as compilers write them, all at once."""
    at = np.array(positions, np.int64)
    at = at[at + 16 <= len(section)]
    numbers = np.frombuffer(section, np.uint8)
    order = "<" if byte_order == "little" else ">"

    def distance(where: NDArray[np.int64]) -> NDArray[np.uint64]:
        quads: NDArray[np.uint8] = numbers[where[:, None] + np.arange(4)]
        return quads.copy().view(order + "i4").reshape(-1).astype(np.int64).astype(np.uint64)

    mask = np.uint64((1 << bits) - 1)
    places = at.astype(np.uint64) + np.uint64(address & _MASK)
    starts = (distance(at) + places) & mask
    ends = starts + (distance(at + 4) & np.uint64(0xFFFFFFFF))
    lsda = np.zeros(len(at), np.uint64)
    if common.lsda != OMITTED:
        away = distance(at + 9)  # behind the length of the augmentation, which is one byte here
        filled = (numbers[at + 8] == 4) & (away != 0)
        lsda[filled] = ((away + places + np.uint64(9)) & mask)[filled]
    behind = at + 8
    if common.augmented:
        behind = at + 9 + (numbers[at + 8] & 0x7F)
    rules = numbers[np.minimum(behind, len(section) - 1)].astype(np.uint64)
    return starts, ends, lsda, rules, at.astype(np.uint64)


def _read_each(
    section: bytes,
    address: int,
    bits: int,
    byte_order: Literal["little", "big"],
    common: _Common,
    positions: list[int],
) -> _Columns:
    rows = []
    for position in positions:
        cursor = Cursor(section, address, bits, byte_order, position)
        try:
            start = cursor.pointer(common.pointer)
            end = start + cursor.pointer(common.pointer & 0x0F)
            table = 0
            size = cursor.uleb() if common.augmented else 0
            behind = cursor.at + size
            if size and common.lsda != OMITTED and not common.lsda & _INDIRECT:
                table = cursor.pointer(common.lsda)
            rule = section[behind] if behind < len(section) else 0
        except MalformedFile:
            continue
        rows.append((start & _MASK, min(end, _MASK), table & _MASK, rule, position))
    columns = np.array(rows, np.uint64).reshape(-1, 5)
    return columns[:, 0], columns[:, 1], columns[:, 2], columns[:, 3], columns[:, 4]


def landing_pads(cursor: Cursor, function: int) -> list[int]:
    """List the landing pads of one exception table (LSDA), the cursor at its start.

    `function` is the start of the function it belongs to. A broken table ends where it breaks.
    """
    pads: list[int] = []
    try:
        encoding = cursor.number("B")
        base = function if encoding == OMITTED else cursor.pointer(encoding)
        if cursor.number("B") != OMITTED:
            cursor.uleb()
        encoding = cursor.number("B")
        length = cursor.uleb()
        end = min(cursor.at + length, len(cursor.code))
        while cursor.at < end:
            cursor.pointer(encoding)
            cursor.pointer(encoding)
            pad = cursor.pointer(encoding)
            cursor.uleb()
            if pad:
                pads.append(base + pad)
    except MalformedFile:
        pass
    return pads
