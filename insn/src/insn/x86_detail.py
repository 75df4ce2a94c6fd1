"""What the x86 decoder found in the bytes of one instruction, whatever its address."""

import enum
from dataclasses import dataclass

from insn.x86_row import Access, Property, Row

GENERAL = ("ax", "cx", "dx", "bx", "sp", "bp", "si", "di")
NAMES_64 = (*(f"r{n}" for n in GENERAL), *(f"r{n}" for n in range(8, 16)))
NAMES_32 = tuple(f"e{n}" for n in GENERAL)
SEGMENTS = ("es", "cs", "ss", "ds", "fs", "gs")

# Properties as numbers: & of two flags takes a microsecond.
_MODREG, _REP = Property.MODREG.value, Property.REP.value
_OTHER_MEMORY = Property.PUSH | Property.POP | Property.XLAT | Property.MASKSTORE
_ACCESSING = _OTHER_MEMORY.value
_IDLE = (Property.NOP | Property.PREFETCH).value
_FAULTING = (Property.FAULT | Property.X87 | _OTHER_MEMORY).value
_VECTOR_LETTERS = frozenset("VWUHL")


class Encoding(enum.Enum):
    """How opcode map, register extensions and vector length are written."""

    LEGACY = "legacy"
    REX2 = "rex2"
    VEX = "vex"
    EVEX = "evex"
    XOP = "xop"


@dataclass(frozen=True, slots=True)
class Detail:
    """The parts of one x86 instruction. Offsets and sizes are bytes; an offset of a part that is
    absent is -1.

    `operand_size` and `address_size` are 2, 4 or 8. `extension` holds the bits W R X B (8 4 2 1)
    of whatever prefix carries them, `encoding_offset` is where that prefix begins. `base` and
    `index` are register numbers, -1 when absent. `segment` is the overriding segment register, ""
    when there is none (or none that counts). `unsettled` tells that CPU makers disagree about
    these bytes, `apx` that only a CPU with APX runs them.
    """

    row: Row
    mode: int
    length: int
    operand_size: int
    address_size: int
    segment: str
    lock: bool
    repeat: int
    encoding: Encoding
    encoding_offset: int
    extension: int
    extension_high: int
    opcode_offset: int
    opcode: int
    modrm_offset: int
    modrm: int
    base: int
    index: int
    scale: int
    displacement: int
    displacement_offset: int
    displacement_size: int
    pc_relative: bool
    immediate_offset: int
    immediate_size: int
    immediate: int
    vvvv: int
    mask: int
    zeroing: bool
    wide: bool
    unsettled: bool
    apx: bool

    @property
    def has_memory(self) -> bool:
        """Whether ModRM names memory (or an address, as in lea and long no-operations)."""
        return self.modrm_offset >= 0 and self.modrm < 0xC0 and not self.row.bits & _MODREG

    @property
    def reg(self) -> int:
        """The register number in the reg field, extended."""
        return (self.modrm >> 3 & 7) | (self.extension & 4) << 1 | (self.extension_high & 4) << 2

    @property
    def rm(self) -> int:
        """The register number in the rm field of a register form, extended."""
        return (self.modrm & 7) | (self.extension & 1) << 3 | (self.extension_high & 1) << 4

    @property
    def register_names(self) -> tuple[str, ...]:
        """The general registers of the mode by number, full width."""
        return NAMES_64 if self.mode == 64 else NAMES_32

    @property
    def accesses_memory(self) -> bool:
        """Whether memory is read or written, the stack included."""
        row = self.row
        if row.bits & _ACCESSING:
            return True
        return any(
            operand.access is not Access.NONE
            and (
                operand.letter in "XYO"
                or (operand.letter in ("E", "M", "W", "Q", "kE") and self.has_memory)
            )
            for operand in row.operands
        )

    @property
    def may_fault(self) -> bool:
        """Whether a fault is possible: by memory, stack, division, x87 or vector arithmetic, or a
        refusal."""
        row = self.row
        return (
            bool(row.bits & _FAULTING)
            or bool(row.refusal)
            or self.accesses_memory
            or any(operand.letter in _VECTOR_LETTERS for operand in row.operands)
        )

    @property
    def repeats(self) -> bool:
        """Whether it is a string instruction with a repeat prefix."""
        return bool(self.repeat and self.row.bits & _REP)

    @property
    def is_nop(self) -> bool:
        """Whether all it does is to move on (no-operations, endbr, pause, hints and prefetches)."""
        if self.row.bits & _IDLE:
            return not self.apx
        # 90 exchanges the accumulator with itself, unless a REX.B names r8.
        return (
            self.encoding is Encoding.LEGACY
            and self.row.names[0] == "xchg"
            and self.opcode == 0x90
            and not self.extension & 1
        )
