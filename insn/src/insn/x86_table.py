"""The x86 rows, indexed by opcode map and opcode.

One table serves single decoding (`candidates`), and, as flat arrays of small integers, decoders
that work on many instructions at once: `START[space * 256 + opcode]` and `COUNT[…]` give the row
numbers that can stand there in `ORDER`, in the order in which they are to be tried; a row fits
when `FORBIDDEN[row] & conditions` is 0, where `conditions` has one bit set for each field named
in `x86_row` (prefix, mod, reg, rm, W, length, mode).
"""

from array import array
from collections.abc import Iterator

from insn import x86_map_0f, x86_map_0f38, x86_map_evex, x86_map_one, x86_map_vex, x86_map_xop
from insn.x86_parse import parse
from insn.x86_row import Row, Space

_TEXTS = {
    Space.ONE: x86_map_one.ONE,
    Space.TWO: x86_map_0f.TWO,
    Space.NOW: x86_map_0f.NOW,
    Space.THREE_38: x86_map_0f38.THREE_38,
    Space.THREE_3A: x86_map_0f38.THREE_3A,
    Space.VEX1: x86_map_vex.VEX1,
    Space.VEX2: x86_map_vex.VEX2,
    Space.VEX3: x86_map_vex.VEX3,
    Space.VEX7: x86_map_vex.VEX7,
    Space.XOP8: x86_map_xop.XOP8,
    Space.XOP9: x86_map_xop.XOP9,
    Space.XOPA: x86_map_xop.XOPA,
    Space.EVEX1: x86_map_evex.EVEX1,
    Space.EVEX2: x86_map_evex.EVEX2,
    Space.EVEX3: x86_map_evex.EVEX3,
    Space.EVEX4: x86_map_evex.EVEX4,
    Space.EVEX5: x86_map_evex.EVEX5,
    Space.EVEX6: x86_map_evex.EVEX6,
    Space.REX2: x86_map_one.REX2,
}


def _rows() -> Iterator[Row]:
    number = 0
    for space, text in _TEXTS.items():
        for line in text.split("\n"):
            if line:
                yield parse(line, space, number)
                number += 1


ROWS: tuple[Row, ...] = tuple(_rows())


def _index() -> list[list[Row]]:
    cells: list[list[Row]] = [[] for _ in range(256 * len(Space))]
    for row in ROWS:
        for opcode in range(row.first, row.last + 1):
            cells[row.space * 256 + opcode].append(row)
    for cell in cells:
        # A row that wants a certain immediate goes before the one that takes any.
        cell.sort(key=lambda row: row.by_immediate < 0)
    return cells


candidates: list[tuple[Row, ...]] = [tuple(cell) for cell in _index()]

FORBIDDEN = array("L", [row.forbidden for row in ROWS])
HAS_MODRM = array("B", [row.has_modrm for row in ROWS])
IMMEDIATE = array("B", [row.immediate for row in ROWS])
BY_IMMEDIATE = array("h", [row.by_immediate for row in ROWS])
ORDER = array("H", [row.number for cell in candidates for row in cell])
COUNT = array("B", [len(cell) for cell in candidates])
START = array("H", bytes(2 * len(COUNT)))
for _cell in range(1, len(COUNT)):
    START[_cell] = START[_cell - 1] + COUNT[_cell - 1]
