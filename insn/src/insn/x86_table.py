"""The x86 rows, indexed by opcode map and opcode.

One table serves decoding, judging, copying, emulation and the forms of `x86_forms`. The rows of one
cell of `candidates` are to be tried in its order; one fits when none of its forbidden conditions
holds (see `x86_row`).
"""

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
