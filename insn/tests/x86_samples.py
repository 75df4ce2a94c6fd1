"""Makes instructions for the rows of the x86 table: random bytes that fit a given row."""

from insn import X86_16, X86_32, X86_64, InsnError
from insn.x86_row import LENGTH, MOD, PREFIX, REG, RM, Property, Space, W
from insn.x86_table import ROWS

ARCHES = {64: X86_64, 32: X86_32, 16: X86_16}
_ESCAPES = {
    Space.ONE: b"",
    Space.TWO: b"\x0f",
    Space.NOW: b"\x0f",
    Space.THREE_38: b"\x0f\x38",
    Space.THREE_3A: b"\x0f\x3a",
}
_VEX_MAPS = {Space.VEX1: 1, Space.VEX2: 2, Space.VEX3: 3, Space.VEX7: 7}
_INTERESTING = (0, 1, 5, 0x10, 0x24, 0x7F, 0x80, 0xFF)


def sample(row, random, mode):
    """Make up to 15 bytes that probably are an instruction of the row."""

    def pick(position, width):
        return random.choice([n for n in range(width) if not row.forbidden >> position + n & 1])

    opcode = random.randrange(row.first, row.last + 1)
    prefix, wide, length = pick(PREFIX, 4), pick(W, 2), pick(LENGTH, 4)
    register = pick(MOD, 2)
    rm = pick(RM, 8)
    letters = {operand.letter for operand in row.operands}
    if not register and row.properties & (Property.VSIB | Property.SIBMEM):
        rm = 4
    modrm = (3 if register else random.randrange(3)) << 6 | pick(REG, 8) << 3 | rm
    rest = bytes(random.choice((*_INTERESTING, random.randrange(256))) for _ in range(12))
    if row.by_immediate >= 0:
        modrm |= 0xC0
        rest = bytes([row.by_immediate]) + rest
    tail = bytes([opcode]) + bytes([modrm]) * row.has_modrm + rest
    mandatory = (b"", b"\x66", b"\xf3", b"\xf2")[prefix]

    if row.space in _ESCAPES:
        rex = b""
        if mode == 64 and (wide or random.random() < 0.3):
            rex = bytes([0x40 | wide << 3 | random.randrange(8)])
        extra = b""
        if random.random() < 0.3:
            extra = bytes([random.choice((0x66, 0x67, 0x2E, 0x64, 0x65, 0x3E))])
        escape = _ESCAPES[row.space]
        if row.space is Space.NOW:
            return (extra + escape + b"\x0f" + tail[1:])[:15]
        return (extra + mandatory + rex + escape + tail)[:15]
    if row.space is Space.REX2:
        return (bytes([0xD5, random.randrange(128)]) + tail)[:15]

    names_vvvv = letters & {"H", "B", "kH", "tH"}
    vvvv = random.randrange(16) if names_vvvv else 15
    if names_vvvv & {"kH", "tH"} or mode != 64:
        vvvv |= 8
    high = random.choice((0xE0, 0xE0, 0x60, 0xC0, 0xA0, 0)) if mode == 64 else 0xE0
    if letters & {"kG", "kP", "tG"}:
        high |= 0x80
    if "tE" in letters:
        high |= 0x20
    second = wide << 7 | vvvv << 3 | length << 2 | prefix
    if row.space in _VEX_MAPS:
        if row.space is Space.VEX1 and not wide and high & 0x60 == 0x60 and random.random() < 0.5:
            return (bytes([0xC5, high & 0x80 | second & 0x7F]) + tail)[:15]
        return (bytes([0xC4, high | _VEX_MAPS[row.space], second]) + tail)[:15]
    if row.space < Space.EVEX1:
        return (bytes([0x8F, high | row.space - Space.XOP8 + 8, second]) + tail)[:15]

    properties = row.properties
    mask = zeroing = broadcast = 0
    if properties & Property.MASKREQ:
        mask = random.randrange(1, 8)
    elif properties & Property.MASK:
        mask = random.randrange(8)
        zeroing = int(bool(properties & Property.Z) and mask > 0 and random.random() < 0.3)
    if properties & ((Property.ER | Property.SAE) if register else Property.BC):
        broadcast = int(random.random() < 0.3)
    fifth = 0x10 if mode != 64 or letters & {"kG", "kP"} else random.choice((0, 0x10))
    vvvv_fifth = 8 if mode != 64 or not names_vvvv or "kH" in letters else random.choice((0, 8))
    return (
        bytes(
            (
                0x62,
                high | fifth | row.space - Space.EVEX1 + 1,
                wide << 7 | vvvv << 3 | 4 | prefix,
                zeroing << 7 | length << 5 | broadcast << 4 | vvvv_fifth | mask,
            )
        )
        + tail
    )[:15]


def samples(random, per_row, modes=(64, 32, 16)):
    """Yield decoded instructions: about `per_row` of every row in each mode that has it."""
    for mode in modes:
        arch = ARCHES[mode]
        for row in ROWS:
            for _ in range(per_row):
                try:
                    yield arch.decode(sample(row, random, mode), 0x40_0000 if mode > 16 else 0x1000)
                except InsnError:
                    continue
