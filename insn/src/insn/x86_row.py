"""One row of the x86 tables: what it holds, and the notation it is written in.

A line of a table reads `WHERE NAME OPERAND… EFFECT… PROPERTY…`. WHERE is dot-separated: the
opcode byte (`88`), a range of them (`70-7f`) or eight with a register in the low bits (`50+r`),
then any conditions: the mandatory prefix (`np` `66` `f3` `f2`), the reg field of ModRM (`/2`,
`/0-3`), memory or register (`m`, `r`), the rm field (`rm1`, `rm4-7`), W (`w0`, `w1`), vector
length (`l0`, `l02`), 64-bit mode only or never (`o64`, `i64`), the value of the immediate
(`imm80`). No condition on something means that it may be anything; for VEX and XOP the vector
length is then 0 or 1, for EVEX 0, 1 or 2.

NAME may have alternatives for operand size 16|32|64 (two: 16 and all above).

OPERAND is an access, a letter and a size. Access: none = read, `=` written, `+` read and written,
`?` read and perhaps written, `@` named but not accessed. Letters, those of Intel's opcode maps
where it has one:

    general   E register or memory by rm   G by reg   R register by rm   B by vvvv   Z by opcode
    vector    W vector or memory by rm     V by reg   U vector by rm     H by vvvv   L by immediate
    MMX       Q MMX or memory by rm        P by reg   N MMX by rm
    masks     kE kG kH, tiles tE tG tH     as in general: by rm, reg, vvvv
    others    S segment by reg   C control by reg   D debug by reg
    memory    M by rm   X at rsi   Y at rdi   O absolute address
    branches  J displacement   A far address
    I an immediate   $ the register or flag named (`$axv`: al, ax, eax or rax)

Sizes: b w d q fixed; v 16/32/64 by operand size; z 16/32 (an immediate: at most 32); y 32/64 by
W; a address size; p far pointer; s x other; bs a byte that is sign-extended; n 32/64 by mode.

EFFECT: `>cz` flags written, `~cz` perhaps written, `<cz` read (o s z a p c d i t, n: NT, k: AC).
PROPERTY: `!code` names the refusal class (see `x86_judge`), the rest are members of `Property`.
"""

import enum
from typing import NamedTuple

from insn.model import Flow


class Space(enum.IntEnum):
    """One opcode map of one encoding: 256 opcodes."""

    ONE = 0
    TWO = 1
    THREE_38 = 2
    THREE_3A = 3
    NOW = 4
    VEX1 = 5
    VEX2 = 6
    VEX3 = 7
    VEX7 = 8
    XOP8 = 9
    XOP9 = 10
    XOPA = 11
    EVEX1 = 12
    EVEX2 = 13
    EVEX3 = 14
    EVEX4 = 15
    EVEX5 = 16
    EVEX6 = 17
    REX2 = 18


class Property(enum.Flag):
    """What else is to be known about a row."""

    NONE = 0
    D64 = enum.auto()
    """In 64-bit mode the operand size is 64 unless 66 makes it 16."""
    F64 = enum.auto()
    """In 64-bit mode the operand size is 64 whatever the prefixes say."""
    LOCK = enum.auto()
    """LOCK is legal when the destination is memory."""
    REP = enum.auto()
    """A string instruction: a repeat prefix makes it loop."""
    PUSH = enum.auto()
    POP = enum.auto()
    NOP = enum.auto()
    """Does nothing that a program can see but moving on."""
    PREFETCH = enum.auto()
    """Only hints at memory: never faults on it."""
    FAULT = enum.auto()
    """May fault for another reason than memory."""
    X87 = enum.auto()
    """Reads and writes x87 or MMX state."""
    MODREG = enum.auto()
    """The mod field is ignored: rm is always a register."""
    NO66 = enum.auto()
    """66 does not change the operand size."""
    UD66 = enum.auto()
    """66 before it makes it invalid."""
    BITOFFSET = enum.auto()
    """The register operand shifts the memory address."""
    MASKSTORE = enum.auto()
    """Writes memory at rdi."""
    XLAT = enum.auto()
    """Reads memory at rbx + al."""
    VSIB = enum.auto()
    SIBMEM = enum.auto()
    UNIQUE = enum.auto()
    """Certain registers must differ, or the instruction is invalid."""
    MASK = enum.auto()
    """EVEX: a mask register may be named."""
    MASKREQ = enum.auto()
    """EVEX: a mask register must be named; it is written, too."""
    Z = enum.auto()
    """EVEX: elements may be zeroed instead of merged."""
    BC = enum.auto()
    """EVEX: a memory element may be broadcast."""
    ER = enum.auto()
    """EVEX: a rounding mode may be embedded."""
    SAE = enum.auto()
    """EVEX: exceptions may be suppressed."""


class Access(enum.Enum):
    """What an instruction does to an operand."""

    READ = ""
    WRITE = "="
    READ_WRITE = "+"
    MAYBE_WRITE = "?"
    NONE = "@"


class Operand(NamedTuple):
    """One operand or implicit register of a row."""

    access: Access
    letter: str
    size: str


class Immediate(enum.IntEnum):
    """What stands behind opcode, ModRM and displacement."""

    NONE = 0
    BYTE = 1
    WORD = 2
    WORD_BYTE = 3
    BYTE_BYTE = 4
    Z = 5
    V = 6
    FAR = 7
    OFFSET = 8
    BRANCH_BYTE = 9
    BRANCH_Z = 10
    DWORD = 11


class Row(NamedTuple):
    """One row: everything the decoder, the judge, the relocator and the emulator know about an
    instruction.

    `forbidden` has a bit for every condition that does not fit (positions: `PREFIX` … `MODE`).
    `by_immediate` is the value the immediate must have, or -1. `refusal` names a class of
    `x86_judge`, "" for none.
    """

    number: int
    space: Space
    first: int
    last: int
    forbidden: int
    by_immediate: int
    names: tuple[str, ...]
    operands: tuple[Operand, ...]
    has_modrm: bool
    immediate: Immediate
    flags_read: frozenset[str]
    flags_written: frozenset[str]
    flow: Flow
    refusal: str
    properties: Property
    bits: int
    """`properties` as a number, for where every microsecond counts."""


# Bit positions of the one-hot conditions in `Row.forbidden`.
PREFIX, MOD, REG, RM, W, LENGTH, MODE = 0, 4, 6, 14, 22, 24, 28
MEMORY_FORM, REGISTER_FORM = 1 << MOD, 1 << MOD + 1
OTHER_MODE, MODE_64 = 1 << MODE, 1 << MODE + 1
