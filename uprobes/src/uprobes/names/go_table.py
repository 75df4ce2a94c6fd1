"""The functions that Go's own table names: stripped programs keep it, for tracebacks.

Source: debug/gosym/pclntab.go and runtime/symtab.go. A file is not trusted: what lies outside of
the table, or makes no sense, ends the list.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from insn.elf import Image
from insn.errors import InsnError

SECTIONS = (".gopclntab", ".data.rel.ro.gopclntab")
MOST_NAME = 4096
WORD = 8


@dataclass(frozen=True, slots=True)
class Layout:
    """Where one version of the table has what: numbers of the words behind its first 8 bytes.

    `relative` tables count entries from the start of the text, in 4 bytes; others have addresses.
    """

    names: int | None
    functions: int | None
    relative: bool


LAYOUTS = {
    0xFFFF_FFFB: Layout(None, None, relative=False),  # Go 1.2
    0xFFFF_FFFA: Layout(2, 6, relative=False),  # Go 1.16
    0xFFFF_FFF0: Layout(3, 7, relative=True),  # Go 1.18
    0xFFFF_FFF1: Layout(3, 7, relative=True),  # Go 1.20
}
"""By the magic number, which comes first."""

Function = tuple[str, int, int]
"""Name, file address of the first byte, size up to the next one."""


def go_functions(image: Image) -> list[Function]:
    """List the functions that the table of a 64-bit little-endian file names, by address."""
    section = next((s for name in SECTIONS if (s := image.section(name)) is not None), None)
    text = image.section(".text")
    if section is None or text is None:
        return []
    try:
        table = image.contents(section)
    except InsnError:
        return []
    layout = LAYOUTS.get(int.from_bytes(table[:4], "little"))
    if layout is None or table[7:8] != bytes([WORD]):
        return []
    return _read(table, layout, text.address)


def _read(table: bytes, layout: Layout, text: int) -> list[Function]:
    count = _word(table, 0)
    names = 0 if layout.names is None else _word(table, layout.names)
    at = 2 * WORD if layout.functions is None else _word(table, layout.functions)
    base = 0 if layout.functions is None else at
    width = 4 if layout.relative else WORD
    if not 0 < count <= len(table) // (2 * width) or at + (2 * count + 1) * width > len(table):
        return []
    rows = np.frombuffer(table, f"<u{width}", 2 * count + 1, at).astype(np.uint64)
    starts = rows[0::2] + np.uint64(text if layout.relative else 0)
    if not (starts[1:] >= starts[:-1]).all():
        return []
    sizes: NDArray[np.uint64] = starts[1:] - starts[:-1]
    found = []
    for start, size, record in zip(
        starts.tolist(), sizes.tolist(), rows[1::2].tolist(), strict=False
    ):
        field = base + record + width
        begin = names + int.from_bytes(table[field : field + 4], "little")
        name = table[begin : begin + MOST_NAME].partition(b"\0")[0]
        if size and name:
            found.append((name.decode(errors="replace"), start, size))
    return found


def _word(table: bytes, number: int) -> int:
    at = WORD * (number + 1)
    return int.from_bytes(table[at : at + WORD], "little")
