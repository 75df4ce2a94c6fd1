"""Which registers and flags an x86 instruction reads and writes, from its row and its fields.

Registers are named at full width. A write that leaves part of the register as it was (8 and 16
bits; legacy vector instructions, which keep the upper lanes) or that may not happen counts as
read, too: what was there may survive.
"""

from insn.model import Effects, Flow, Instruction
from insn.x86_detail import Detail, Encoding
from insn.x86_row import Access, Operand, Property

# Properties as numbers: & of two flags takes a microsecond.
_VSIB, _PREFETCH, _MASKREQ, _X87 = (
    p.value for p in (Property.VSIB, Property.PREFETCH, Property.MASKREQ, Property.X87)
)
_STACK = (Property.PUSH | Property.POP).value
_SIZES = {"b": 1, "bs": 1, "w": 2, "d": 4, "q": 8}
_ACCUMULATORS = {"ax": 0, "cx": 1, "dx": 2, "bx": 3, "sp": 4, "bp": 5, "si": 6, "di": 7}
_READS = (Access.READ, Access.READ_WRITE, Access.MAYBE_WRITE)
_WRITES = (Access.WRITE, Access.READ_WRITE, Access.MAYBE_WRITE)
_SOURCES = {
    # letter: (kind of register, field)
    "E": ("general", "rm"),
    "R": ("general", "rm"),
    "G": ("general", "reg"),
    "B": ("general", "vvvv"),
    "Z": ("general", "opcode"),
    "S": ("segment", "reg"),
    "C": ("cr", "reg"),
    "D": ("dr", "reg"),
    "V": ("zmm", "reg"),
    "W": ("zmm", "rm"),
    "U": ("zmm", "rm"),
    "H": ("zmm", "vvvv"),
    "L": ("zmm", "immediate"),
    "P": ("mm", "reg"),
    "Q": ("mm", "rm"),
    "N": ("mm", "rm"),
    "kG": ("k", "reg"),
    "kP": ("pair", "reg"),
    "kE": ("k", "rm"),
    "kH": ("k", "vvvv"),
    "tG": ("tmm", "reg"),
    "tE": ("tmm", "rm"),
    "tH": ("tmm", "vvvv"),
}
_SETS = {
    "vec": tuple(f"zmm{number}" for number in range(16)),
    "tiles": tuple(f"tmm{number}" for number in range(8)),
}
_MEMORY_LETTERS = frozenset({"E", "W", "Q", "kE"})
# Shifts and rotations that leave all flags alone when they shift by 0.
_SHIFTS = frozenset({"rol", "ror", "shl", "shr", "sal", "sar", "shld", "shrd"})
_SEGMENTS = ("es", "cs", "ss", "ds", "fs", "gs", "", "")


def _size(detail: Detail, size: str) -> int:
    fixed = _SIZES.get(size)
    if fixed is not None:
        return fixed
    if size == "v":
        return detail.operand_size
    if size == "z":
        return min(detail.operand_size, 4)
    if size == "y":
        return 8 if detail.wide else 4
    if size == "a":
        return detail.address_size
    return 8 if detail.mode == 64 else 4


def _number(detail: Detail, field: str) -> int:
    if field == "reg":
        return detail.reg
    if field == "rm":
        return detail.rm
    if field == "vvvv":
        return detail.vvvv
    if field == "opcode":
        return (detail.opcode & 7) | (detail.extension & 1) << 3
    return detail.immediate >> 4 & (15 if detail.mode == 64 else 7)


def general_name(detail: Detail, number: int, size: int) -> str:
    """Name the full-width general register that holds the operand; ah, ch, dh, bh are parts of
    rax … rbx."""
    has_rex = detail.encoding is not Encoding.LEGACY or detail.encoding_offset >= 0
    if size == 1 and 4 <= number < 8 and not has_rex:
        number -= 4
    return detail.register_names[number & (15 if detail.mode == 64 else 7)]


def _named(detail: Detail, name: str) -> tuple[str, int]:
    """Resolve a `$` operand to (full-width register, size of the access)."""
    number = _ACCUMULATORS.get(name[:2])
    if number is not None and len(name) == 3:
        return detail.register_names[number], _size(detail, name[2])
    if number is not None:
        return detail.register_names[number], 8
    if name.startswith("xmm"):
        return "z" + name[1:], 16
    return name, 8


class _Effects:
    """Collects the registers of one instruction."""

    def __init__(self, detail: Detail) -> None:
        self.detail = detail
        self.full = 4  # narrower writes keep the rest of the register
        self.reads: set[str] = set()
        self.writes: set[str] = set()

    def register(self, name: str, access: Access, *, partial: bool) -> None:
        if access in _WRITES:
            self.writes.add(name)
        if access in _READS or (partial and access is Access.WRITE):
            self.reads.add(name)

    def address(self) -> None:
        """Count the registers that the address of the memory operand is made of."""
        detail = self.detail
        names = detail.register_names
        if detail.base >= 0:
            self.reads.add(names[detail.base])
        if detail.index >= 0:
            vector = detail.row.bits & _VSIB
            self.reads.add(f"zmm{detail.index}" if vector else names[detail.index])

    def operand(self, operand: Operand) -> None:
        detail = self.detail
        letter = operand.letter
        if letter == "$":
            self.named(operand)
            return
        if letter in "XY":
            self.register(
                detail.register_names[6 if letter == "X" else 7], Access.READ_WRITE, partial=False
            )
            return
        source = _SOURCES.get(letter)
        if (
            source is None
            or operand.access is Access.NONE
            or (letter in _MEMORY_LETTERS and detail.has_memory)
        ):
            return
        kind, field = source
        number = _number(detail, field)
        if kind == "general":
            size = _size(detail, operand.size)
            if operand.size in ("s", "p"):
                return
            self.register(
                general_name(detail, number, size), operand.access, partial=size < self.full
            )
        elif kind == "segment":
            self.register(_SEGMENTS[number & 7], operand.access, partial=False)
        elif kind == "mm":
            self.register(f"mm{number & 7}", operand.access, partial=False)
        elif kind == "zmm":
            merges = detail.encoding is Encoding.LEGACY or (detail.mask > 0 and not detail.zeroing)
            self.register(f"zmm{number}", operand.access, partial=merges)
        elif kind == "k":
            self.register(f"k{number & 7}", operand.access, partial=False)
        elif kind == "pair":
            self.register(f"k{number & 6}", operand.access, partial=False)
            self.register(f"k{number & 6 | 1}", operand.access, partial=False)
        else:
            self.register(f"{kind}{number}", operand.access, partial=False)

    def named(self, operand: Operand) -> None:
        if operand.size in _SETS:
            for name in _SETS[operand.size][: 16 if self.detail.mode == 64 else 8]:
                self.register(name, operand.access, partial=False)
            return
        name, size = _named(self.detail, operand.size)
        partial = size < self.full or (
            name.startswith("zmm") and self.detail.encoding is Encoding.LEGACY
        )
        self.register(name, operand.access, partial=partial)


def registers(detail: Detail) -> tuple[frozenset[str], frozenset[str]]:
    """Tell which registers are read and which are written."""
    row = detail.row
    bits = row.bits
    if detail.is_nop and not bits & _PREFETCH:
        return frozenset(), frozenset()
    effects = _Effects(detail)
    names = detail.register_names
    for operand in row.operands:
        effects.operand(operand)
    if detail.has_memory:
        effects.address()
    if detail.mask > 0:
        effects.reads.add(f"k{detail.mask}")
        if bits & _MASKREQ:
            effects.writes.add(f"k{detail.mask}")
    if bits & _STACK:
        effects.register(names[4], Access.READ_WRITE, partial=False)
    if detail.repeats:
        effects.register(names[1], Access.READ_WRITE, partial=False)
        effects.reads |= effects.writes & {names[0]}
    if bits & _X87:
        effects.register("x87", Access.READ_WRITE, partial=False)
    if detail.segment in ("fs", "gs") and detail.accesses_memory:
        effects.reads.add(f"{detail.segment}_base")
    return frozenset(effects.reads), frozenset(effects.writes)


def flags(detail: Detail) -> tuple[frozenset[str], frozenset[str]]:
    """Tell which flags are read (or may survive) and which are written."""
    row = detail.row
    if detail.repeats:
        # With a count of 0 a repeated comparison leaves the flags alone.
        return row.flags_read | row.flags_written, row.flags_written
    count = detail.immediate & (63 if detail.operand_size == 8 else 31)
    if detail.immediate_size and count and row.names[0] in _SHIFTS:
        # By a constant that is not 0: nothing survives.
        return row.flags_read - row.flags_written, row.flags_written
    return row.flags_read, row.flags_written


# The slots that an instruction pushes or pops, where it is not one.
_SLOTS = {"pusha": 8, "popa": 8}
# Names of instructions that move the stack pointer by an operand: the sign of the immediate.
_ADJUSTS = {"add": 1, "sub": -1}
_PRIVILEGED = frozenset({"privileged", "port-io"})
_UNKNOWN_STACK = frozenset({Flow.FAR, Flow.SYSTEM_CALL})


def _stack(detail: Detail, writes: frozenset[str]) -> int | None:
    """Tell by how many bytes the stack pointer moves; None when the operands do not say."""
    row = detail.row
    name = row.names[0]
    pointer = detail.register_names[4]
    whole = 8 if detail.mode == 64 else 4
    if row.flow in _UNKNOWN_STACK:
        return None
    if row.properties & (Property.PUSH | Property.POP):
        names_pointer = any(o.access in _WRITES and _is_pointer(detail, o) for o in row.operands)
        if names_pointer or name in ("enter", "leave"):
            return None
        size = detail.operand_size * _SLOTS.get(name, 1)
        if row.properties & Property.PUSH:
            return -size
        return size + (detail.immediate & 0xFFFF if row.flow is Flow.RETURN else 0)
    if pointer not in writes:
        return 0
    if name in _ADJUSTS and detail.immediate_size and detail.operand_size == whole:
        return _ADJUSTS[name] * detail.immediate
    from_itself = detail.base == 4 and detail.index < 0 and detail.operand_size == whole
    if name == "lea" and from_itself and detail.address_size == whole:
        return detail.displacement
    return None


def _is_pointer(detail: Detail, operand: Operand) -> bool:
    """Tell whether an operand is the stack pointer itself."""
    source = _SOURCES.get(operand.letter)
    if source is None or (operand.letter in _MEMORY_LETTERS and detail.has_memory):
        return False
    return source[0] == "general" and _number(detail, source[1]) == 4


def effects(instruction: Instruction) -> Effects:
    """Collect what an x86 instruction may do beside its registers and flags."""
    detail = instruction.detail
    assert isinstance(detail, Detail)
    return Effects(
        stack=_stack(detail, instruction.writes),
        memory=detail.accesses_memory,
        may_fault=detail.may_fault,
        privileged=detail.row.refusal in _PRIVILEGED,
        nothing=detail.is_nop,
    )
