"""The dynamic symbols of files without section headers, found the way the loader finds them."""

import numpy as np

from insn.frames import Cursor
from insn.headers import PT_DYNAMIC, ByteOrder, Segment
from insn.ports import ReadAt
from insn.symbols import symbol_dtype

_HASH, _STRINGS, _SYMBOLS, _STRINGS_SIZE, _GNU_HASH = 4, 5, 6, 10, 0x6FFFFEF5


def dynamic_symbols(
    segments: tuple[Segment, ...], read: ReadAt, bits: int, byte_order: ByteOrder
) -> tuple[bytes, bytes] | None:
    """Find the symbol table and its strings by the dynamic segment; None when there is none.

    `read(address, size)` gives at most `size` bytes. MalformedFile passes through from it.
    """
    entries: dict[int, int] = {}
    letter = "Q" if bits == 64 else "I"
    for segment in segments:
        if segment.type != PT_DYNAMIC or not segment.file_size:
            continue
        content = read(segment.address, min(segment.file_size, 1 << 16))
        cursor = Cursor(content, segment.address, bits, byte_order)
        while cursor.at + bits // 4 <= len(content):
            tag, value = cursor.number(letter), cursor.number(letter)
            if not tag:
                break
            entries[tag] = value
    if not {_SYMBOLS, _STRINGS, _STRINGS_SIZE} <= entries.keys():
        return None
    if _HASH in entries:
        count = Cursor(read(entries[_HASH], 8), entries[_HASH], 32, byte_order, 4).number("I")
    elif _GNU_HASH in entries:
        count = _count_by_gnu_hash(entries[_GNU_HASH], read, bits, byte_order)
    else:
        return None
    size = count * symbol_dtype(bits, byte_order).itemsize
    return read(entries[_SYMBOLS], size), read(entries[_STRINGS], entries[_STRINGS_SIZE])


def _count_by_gnu_hash(start: int, read: ReadAt, bits: int, byte_order: ByteOrder) -> int:
    """Count the symbols: the chain of the highest bucket ends, by an odd hash, at the last one."""
    cursor = Cursor(read(start, 16), start, 32, byte_order)
    buckets, first, blooms = cursor.number("I"), cursor.number("I"), cursor.number("I")
    word = np.dtype(("<" if byte_order == "little" else ">") + "u4")
    bucket_start = start + 16 + blooms * bits // 8
    content = read(bucket_start, 4 * buckets)
    heads = np.frombuffer(content, word, len(content) // 4)
    last = int(heads.max()) if len(heads) else 0
    if last < first:
        return first
    content = read(bucket_start + 4 * buckets + 4 * (last - first), 1 << 20)
    ends = np.flatnonzero(np.frombuffer(content, word, len(content) // 4) & 1)
    return last + 1 + (int(ends[0]) if len(ends) else 0)
