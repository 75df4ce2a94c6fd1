"""Finds the form of many x86 instructions with VEX, XOP or EVEX prefixes at once.

The key of such a form is a number for what the prefix says (its payload, without what no row asks
for), one for opcode and ModRM, and the base of SIB where it counts.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from insn.forms import FormIndex, Forms, Found
from insn.x86_encodings import EVEX_SPACES, VEX_SPACES, XOP_SPACES
from insn.x86_form_tables import (
    ALL_BUT_BASE,
    EVEX,
    LONGEST,
    LOW_PAIR,
    ODD,
    SIB_AT,
    VEX2,
    VEX3,
    Positions,
    Windows,
    Words,
    shape_bits,
    space_table,
    u64,
)
from insn.x86_row import Space

_SPACES = {VEX3: VEX_SPACES | XOP_SPACES, EVEX: EVEX_SPACES}
_MAP_BITS = {VEX3: 31, EVEX: 7}
_NO_SPACE = Space.NOW
"""Stands for opcode maps that do not exist: nothing of it has a key."""
_SPACE_BITS = np.array(31, np.uint32)

# Bytes from the prefix to the opcode, by what leads.
_SKIPS = np.zeros(16, np.int64)
_SKIPS[[VEX2, VEX3, EVEX]] = 2, 3, 4


def _same_registers(payload: NDArray[np.int64], bits: int) -> NDArray[np.int64]:
    """Keep of vvvv whether it names a register, and in which half."""
    mask = 15 if bits == 64 else 7
    none = (payload >> 3 & mask) == mask
    same: NDArray[np.int64] = payload & ~(7 << 3) | none * (15 << 3)
    return same


@cache
def _payloads(bits: int) -> NDArray[np.uint32]:
    """Give what the first two bytes behind VEX2, VEX3, EVEX say, times 32, plus the opcode map.

    At (what leads - VEX2) << 16 | second byte << 8 | first byte. What they say has 18 bits.
    """
    pair = np.arange(1 << 16)
    first, second = pair & 0xFF, pair >> 8
    found = np.empty((3, 1 << 16), np.int64)
    spaces = np.full((3, 1 << 16), int(_NO_SPACE))
    found[0] = _same_registers(first, bits)
    spaces[0] = Space.VEX1
    for row, lead in ((1, VEX3), (2, EVEX)):
        # Register extensions that no row asks for are X and B.
        found[row] = row << 16 | _same_registers(second, bits) << 8 | first & ~0x60
        for number, space in _SPACES[lead].items():
            spaces[row, first & _MAP_BITS[lead] == number] = space
    payloads: Windows = (found.reshape(-1) << 5 | spaces.reshape(-1)).astype(np.uint32)
    return payloads


@cache
def _third_payloads() -> NDArray[np.uint32]:
    """Give what the third byte behind a prefix says: at what leads << 8 | byte, 0 unless EVEX.

    Of the mask register that is whether there is one.
    """
    byte = np.arange(256)
    found = np.zeros((16, 256), np.uint32)
    found[EVEX] = (byte & ~7 | (byte & 7 != 0)) << 18
    return found.reshape(-1)


@cache
def _shapes() -> NDArray[np.uint32]:
    """Give what counts of opcode and ModRM, map by map, and whether the base of SIB does.

    In the layout of a direct table: 7 where the base counts, the shape above; 0 without a key.
    """
    found = np.zeros((32, 1 << 16), np.uint32)
    marked = 1 << 16
    for space in {Space.VEX1, *_SPACES[VEX3].values(), *_SPACES[EVEX].values()}:
        kinds = space_table(space)
        shape, base = shape_bits(kinds)
        found[space] = np.where(kinds == ODD, 0, (shape | marked) << 3 | base)
    return found.reshape(-1)


class VectorForms:
    """Looks up instructions that begin with a VEX, XOP or EVEX prefix."""

    def __init__(self, forms: Forms) -> None:
        self._forms = forms
        self._index = FormIndex()
        self._payloads = _payloads(forms.arch.bits)
        self._thirds = _third_payloads()
        self._shapes = _shapes()

    def look_up(
        self,
        buffer: NDArray[np.uint8],
        windows: Windows,
        at: Positions,
        words: Windows,
        leads: NDArray[np.uint8],
    ) -> Found:
        """Find the forms by positions, the windows there, and which kind of prefix leads."""
        kinds = leads.astype(np.uint32)
        payload = self._payloads.take(words >> 8 & LOW_PAIR | (kinds - VEX2) << 16)
        thirds = self._thirds.take(kinds << 8 | words >> 24)
        body = windows.take(at + _SKIPS.take(kinds))
        shape = self._shapes.take((payload & _SPACE_BITS) << 16 | body & LOW_PAIR)
        keys = (payload >> 5 | thirds).astype(np.uint64) << u64(32) | (
            (body >> SIB_AT | ALL_BUT_BASE) & shape
        )
        numbers, missed = self._index.find(keys)
        if len(missed):
            self._learn(buffer, at, keys, shape, numbers, missed)
        found: Found = numbers.astype(np.uint16)
        return found

    def _learn(
        self,
        buffer: NDArray[np.uint8],
        at: Positions,
        keys: Words,
        shape: Windows,
        numbers: NDArray[np.int64],
        missed: Positions,
    ) -> None:
        """Fill in the numbers that were missed; what has a key is remembered."""
        learned: dict[int, int] = {}
        for where in missed.tolist():
            start, key = int(at[where]), int(keys[where])
            number = learned.get(key)
            if number is None or not shape[where]:
                number = self._forms.exactly(buffer[start : start + LONGEST].tobytes())
                if shape[where]:
                    learned[key] = number
                    self._index.add(key, number)
            numbers[where] = number
