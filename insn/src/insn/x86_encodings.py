"""Reads the prefixes of x86 instructions that hold the opcode map: VEX, XOP, EVEX and REX2."""

from typing import NamedTuple

from insn.x86_check import Invalid
from insn.x86_detail import Encoding
from insn.x86_row import Space
from insn.x86_table import candidates

VEX_SPACES = {1: Space.VEX1, 2: Space.VEX2, 3: Space.VEX3, 7: Space.VEX7}
XOP_SPACES = {8: Space.XOP8, 9: Space.XOP9, 10: Space.XOPA}
EVEX_SPACES = {
    1: Space.EVEX1, 2: Space.EVEX2, 3: Space.EVEX3, 4: Space.EVEX4, 5: Space.EVEX5, 6: Space.EVEX6,
}  # fmt: skip
# Rows of 16 opcodes that cannot follow REX2.
_NOT_WITH_REX2 = {Space.ONE: (0x4, 0x7, 0xA, 0xE), Space.TWO: (0x3, 0x8)}


class Payload(NamedTuple):
    """What such a prefix says; `opcode_at` is where the opcode stands behind it.

    `prefix` is the mandatory prefix it stands for (-1: it leaves that to the legacy prefixes),
    `extension` and `high` the bits of `Detail`, `vvvv` not yet cut to what the mode has.
    """

    opcode_at: int
    space: Space
    extension: int
    high: int = 0
    prefix: int = -1
    vvvv: int = 0
    vector_length: int = 0
    mask: int = 0
    zeroing: bool = False
    broadcast: bool = False
    apx: bool = False


def encoding_at(code: bytes, position: int, mode: int) -> Encoding:
    """Tell which prefix begins here; outside of 64-bit mode some bytes are opcodes as well."""
    byte = code[position]
    if byte == 0xC5 or byte == 0xC4 or byte == 0x62:
        if mode == 64 or code[position + 1] >= 0xC0:
            return Encoding.EVEX if byte == 0x62 else Encoding.VEX
    elif byte == 0x8F:
        if code[position + 1] & 31 >= 8:
            return Encoding.XOP
    elif byte == 0xD5 and mode == 64:
        return Encoding.REX2
    return Encoding.LEGACY


def payload(code: bytes, position: int, encoding: Encoding, mode: int) -> Payload:
    """Read the prefix; Invalid for opcode maps that there are not, IndexError at the end."""
    if encoding is Encoding.REX2:
        return _rex2(code, position)
    if encoding is Encoding.EVEX:
        return _evex(code, position, mode)
    return _vex(code, position, encoding)


def _rex2(code: bytes, position: int) -> Payload:
    # M0 R4 X4 B4 W R3 X3 B3
    first, opcode = code[position + 1], code[position + 2]
    space = Space.TWO if first & 128 else Space.ONE
    if candidates[Space.REX2 << 8 | opcode] and space is Space.ONE:
        space = Space.REX2
    elif opcode >> 4 in _NOT_WITH_REX2[space]:
        raise Invalid("REX2 before an opcode that cannot have it")
    return Payload(position + 2, space, first & 15, first >> 4 & 7, apx=True)


def _evex(code: bytes, position: int, mode: int) -> Payload:
    first, second, third = code[position + 1], code[position + 2], code[position + 3]
    space = EVEX_SPACES.get(first & 7)
    extension = second >> 4 & 8 | ~first >> 5 & 7
    vvvv = (~second >> 3 & 15) | (~third & 8) << 1
    apx = bool(first & 8 or not second & 4) or space is Space.EVEX4
    if space is None or (mode != 64 and (apx or vvvv & 16)):
        raise Invalid("no such EVEX opcode map")
    return Payload(
        position + 4,
        space,
        extension,
        high=(~first >> 2 & 4) | (extension & 2) >> 1,
        prefix=second & 3,
        vvvv=vvvv,
        vector_length=third >> 5 & 3,
        mask=third & 7,
        zeroing=third >= 128,
        broadcast=bool(third & 16),
        apx=apx,
    )


def _vex(code: bytes, position: int, encoding: Encoding) -> Payload:
    first = code[position + 1]
    if code[position] == 0xC5:
        second, space, extension = first, Space.VEX1, ~first >> 5 & 4
        opcode_at = position + 2
    else:
        second = code[position + 2]
        found = (VEX_SPACES if encoding is Encoding.VEX else XOP_SPACES).get(first & 31)
        if found is None:
            raise Invalid(f"no such {encoding.value.upper()} opcode map")
        space, extension = found, second >> 4 & 8 | ~first >> 5 & 7
        opcode_at = position + 3
    return Payload(
        opcode_at,
        space,
        extension,
        prefix=second & 3,
        vvvv=~second >> 3 & 15,
        vector_length=second >> 2 & 1,
    )
