"""What x86-64 instructions are put together from: operands, their encoding, labels, symbols.

Operands are register names (always the 64-bit name; `size` in bytes says how much of it is meant),
`Mem(base, offset, index, scale)` or `Thread(offset)` memory, `Near(symbol, offset)` for what lies
within ±2 GiB at a place known later, label names in jumps and `lea_label`, and integers. Encodings
are those of the Intel SDM vol. 2.
"""

import struct
from dataclasses import dataclass

REGISTERS = (
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
)  # fmt: skip
NUMBERS = {name: number for number, name in enumerate(REGISTERS)}
SCALES = {1: 0, 2: 1, 4: 2, 8: 3}


@dataclass(frozen=True, slots=True)
class Mem:
    """The memory at a register, plus another times 1, 2, 4 or 8, plus an offset."""

    base: str
    offset: int = 0
    index: str | None = None
    scale: int = 1


@dataclass(frozen=True, slots=True)
class Thread:
    """The memory at a signed 32-bit offset from the thread pointer, `fs:[offset]`."""

    offset: int


@dataclass(frozen=True, slots=True)
class Near:
    """The memory `offset` bytes behind a symbol whose address is said later, within ±2 GiB."""

    symbol: str
    offset: int = 0


@dataclass(frozen=True, slots=True)
class External:
    """A field of the code that counts from the program counter to something outside.

    `at` is where its four bytes stand, `end` the end of its instruction, both from the code's
    first byte.
    """

    at: int
    end: int
    symbol: str
    offset: int


Operand = str | Mem | Thread | Near


class Encoder:
    """Collects instructions for one stretch of code at `origin`; `code` gives the bytes."""

    def __init__(self, origin: int = 0) -> None:
        self.origin = origin
        self._externals: list[External] = []
        self._parts = bytearray()
        self._labels: dict[str, int] = {}
        self._references: list[tuple[int, str]] = []
        self._hot: tuple[int, frozenset[str]] | None = None

    @property
    def here(self) -> int:
        """The address of the next byte."""
        return self.origin + len(self._parts)

    @property
    def position(self) -> int:
        """How many bytes were put in."""
        return len(self._parts)

    def label(self, name: str) -> None:
        """Name the next byte; raises ValueError when the name is taken."""
        if name in self._labels:
            raise ValueError(f"the label {name!r} stands twice")
        self._labels[name] = len(self._parts)

    def address(self, name: str) -> int:
        """Return the address of a label; raises KeyError. Right once all code is there."""
        return self.origin + self._place_of(name)

    def raw(self, code: bytes) -> None:
        """Put bytes in as they are."""
        self._parts += code

    def code(self) -> bytes:
        """Return the bytes, labels resolved; raises KeyError for a label that is nowhere.

        Fields that refer to a symbol are zero: `externals` lists them.
        """
        hot = len(self._parts) if self._hot is None else self._hot[0]
        code = self._parts[hot:] + self._parts[:hot]
        for at, name in self._references:
            at = self.place(at)
            struct.pack_into("<i", code, at, self._place_of(name) - (at + 4))
        return bytes(code)

    def begin_cold(self) -> None:
        """Let what follows stand in front of all that was there before.

        So code can fall through at its end and still have parts that are seldom run.
        """
        self._hot = (len(self._parts), frozenset(self._labels))

    def place(self, at: int) -> int:
        """Say where in `code` the byte is that was the `at`-th to be put in."""
        if self._hot is None:
            return at
        hot = self._hot[0]
        return at - hot if at >= hot else at + len(self._parts) - hot

    def _place_of(self, name: str) -> int:
        at = self._labels[name]
        if self._hot is not None and at == self._hot[0] and name in self._hot[1]:
            return len(self._parts)
        return self.place(at)

    def externals(self) -> list[External]:
        """Return the fields that refer to symbols, by their places in `code`."""
        ends = [(e, self.place(e.at)) for e in self._externals]
        return [External(at, at + e.end - e.at, e.symbol, e.offset) for e, at in ends]

    # -- encoding -------------------------------------------------------------------------------

    def _modrm(
        self,
        opcode: bytes,
        field: int,
        operand: Operand,
        size: int,
        immediate: bytes = b"",
        prefix: bytes = b"",
    ) -> None:
        parts = self._parts
        base = index = 0
        if isinstance(operand, str):
            base = NUMBERS[operand]
        elif isinstance(operand, Mem):
            base = NUMBERS[operand.base]
            index = NUMBERS[operand.index] if operand.index else 0
        elif isinstance(operand, Thread):
            parts.append(0x64)
        if size == 2:
            parts.append(0x66)
        parts += prefix
        rex = 0x40 | (8 if size == 8 else 0) | (field >> 3) << 2 | (index >> 3) << 1 | base >> 3
        if rex != 0x40 or size == 1:
            parts.append(rex)
        parts += opcode
        field = (field & 7) << 3
        if isinstance(operand, str):
            parts.append(0xC0 | field | base & 7)
        elif isinstance(operand, Mem):
            self._address(operand, field, base & 7)
        elif isinstance(operand, Thread):
            parts.append(4 | field)
            parts += b"\x25" + struct.pack("<i", operand.offset)
        else:
            parts.append(5 | field)
            at = len(parts)
            parts += bytes(4)
            end = len(parts) + len(immediate)
            self._externals.append(External(at, end, operand.symbol, operand.offset))
        parts += immediate

    def _address(self, operand: Mem, field: int, base: int) -> None:
        offset = operand.offset
        short = -128 <= offset < 128
        mode = 0 if offset == 0 and base != 5 else 0x40 if short else 0x80
        if operand.index is not None:
            if operand.index == "rsp":
                raise ValueError("rsp cannot be an index")
            index = NUMBERS[operand.index] & 7
            self._parts += bytes([mode | field | 4, SCALES[operand.scale] << 6 | index << 3 | base])
        else:
            self._parts.append(mode | field | base)
            if base == 4:
                self._parts.append(0x24)
        if mode == 0x40:
            self._parts += struct.pack("<b", offset)
        elif mode:
            self._parts += struct.pack("<i", offset)

    def _refer(self, name: str) -> None:
        self._references.append((len(self._parts), name))
        self._parts += bytes(4)
