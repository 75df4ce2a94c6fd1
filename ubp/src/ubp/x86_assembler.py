"""A small assembler for x86-64: just what code that we put into a process is made of.

Operands are register names (`rax`, 64 bit; `eax` forms are asked for with `size=4`), `Mem(base,
offset)`, label names in jumps and `lea_label`, and integers. Encodings are those of the Intel SDM
vol. 2; each method is one instruction.
"""

import struct
from dataclasses import dataclass

REGISTERS = (
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
)  # fmt: skip
NUMBERS = {name: number for number, name in enumerate(REGISTERS)}
CONDITIONS = {
    "o": 0, "no": 1, "b": 2, "ae": 3, "e": 4, "ne": 5, "be": 6, "a": 7,
    "s": 8, "ns": 9, "p": 10, "np": 11, "l": 12, "ge": 13, "le": 14, "g": 15,
}  # fmt: skip
ARITHMETIC = {"add": 0, "or": 1, "and": 4, "sub": 5, "xor": 6, "cmp": 7}


@dataclass(frozen=True, slots=True)
class Mem:
    """The memory at a register plus an offset."""

    base: str
    offset: int = 0


class Assembler:
    """Collects instructions for one stretch of code at `origin`; `code` gives the bytes."""

    def __init__(self, origin: int = 0) -> None:
        self.origin = origin
        self._parts = bytearray()
        self._labels: dict[str, int] = {}
        self._references: list[tuple[int, str]] = []

    @property
    def here(self) -> int:
        """The address of the next byte."""
        return self.origin + len(self._parts)

    def label(self, name: str) -> None:
        """Name the next byte; raises ValueError when the name is taken."""
        if name in self._labels:
            raise ValueError(f"the label {name!r} stands twice")
        self._labels[name] = len(self._parts)

    def address(self, name: str) -> int:
        """Return the address of a label; raises KeyError."""
        return self.origin + self._labels[name]

    def raw(self, code: bytes) -> None:
        """Put bytes in as they are."""
        self._parts += code

    def code(self) -> bytes:
        """Return the bytes, labels resolved; raises KeyError for a label that is nowhere."""
        code = bytearray(self._parts)
        for at, name in self._references:
            struct.pack_into("<i", code, at, self._labels[name] - (at + 4))
        return bytes(code)

    # -- encoding -------------------------------------------------------------------------------

    def _modrm(self, opcode: bytes, field: int, operand: str | Mem, size: int) -> None:
        base = NUMBERS[operand if isinstance(operand, str) else operand.base]
        rex = 0x40 | (8 if size == 8 else 0) | (field >> 3) << 2 | base >> 3
        if rex != 0x40 or size == 1:
            self._parts.append(rex)
        self._parts += opcode
        if isinstance(operand, str):
            self._parts.append(0xC0 | (field & 7) << 3 | base & 7)
            return
        self._parts.append(0x80 | (field & 7) << 3 | base & 7)
        if base & 7 == 4:
            self._parts.append(0x24)
        self._parts += struct.pack("<i", operand.offset)

    def _refer(self, name: str) -> None:
        self._references.append((len(self._parts), name))
        self._parts += bytes(4)

    # -- instructions ---------------------------------------------------------------------------

    def mov(self, to: str | Mem, source: str | Mem | int, size: int = 8) -> None:
        """Move between registers and memory, or an integer into a register; sizes 1, 4 and 8."""
        if isinstance(source, int):
            assert isinstance(to, str)
            if 0 <= source < 1 << 32:
                number = NUMBERS[to]
                self._parts += bytes([0x41] if number > 7 else [])
                self._parts += bytes([0xB8 | number & 7]) + struct.pack("<I", source)
            else:
                number = NUMBERS[to]
                self._parts += bytes([0x48 | number >> 3, 0xB8 | number & 7])
                self._parts += struct.pack("<Q", source & (1 << 64) - 1)
        elif isinstance(source, Mem):
            assert isinstance(to, str)
            self._modrm(b"\x8a" if size == 1 else b"\x8b", NUMBERS[to], source, size)
        else:
            self._modrm(b"\x88" if size == 1 else b"\x89", NUMBERS[source], to, size)

    def load_byte(self, to: str, source: Mem) -> None:
        """Load a byte, zero-extended."""
        self._modrm(b"\x0f\xb6", NUMBERS[to], source, 8)

    def lea(self, to: str, source: Mem) -> None:
        """Put an address into a register; no flag changes."""
        self._modrm(b"\x8d", NUMBERS[to], source, 8)

    def lea_label(self, to: str, name: str) -> None:
        """Put the address of a label into a register."""
        number = NUMBERS[to]
        self._parts += bytes([0x48 | number >> 3 << 2, 0x8D, 5 | (number & 7) << 3])
        self._refer(name)

    def load_from(self, to: str, address: int) -> None:
        """Load a word from an address within ±2 GiB, counted from the program counter."""
        number = NUMBERS[to]
        self._parts += bytes([0x48 | number >> 3 << 2, 0x8B, 5 | (number & 7) << 3])
        self._parts += struct.pack("<i", address - self.here - 4)

    def jump_through(self, address: int) -> None:
        """Jump to the address that stands at an address within ±2 GiB."""
        self._parts += b"\xff\x25"
        self._parts += struct.pack("<i", address - self.here - 4)

    def arithmetic(self, what: str, to: str | Mem, source: str | Mem | int, size: int = 8) -> None:
        """Do one of `ARITHMETIC` between registers, memory and a signed 32-bit integer."""
        number = ARITHMETIC[what]
        if isinstance(source, int):
            self._modrm(b"\x81", number, to, size)
            self._parts += struct.pack("<i", source)
        elif isinstance(source, Mem):
            assert isinstance(to, str)
            self._modrm(bytes([number << 3 | 3]), NUMBERS[to], source, size)
        else:
            self._modrm(bytes([number << 3 | 1]), NUMBERS[source], to, size)

    def shift_right(self, register: str, count: int) -> None:
        """Shift a register right, zeros coming in."""
        self._modrm(b"\xc1", 5, register, 8)
        self._parts.append(count)

    def shift_left(self, register: str, count: int) -> None:
        """Shift a register left, zeros coming in."""
        self._modrm(b"\xc1", 4, register, 8)
        self._parts.append(count)

    def jump(self, name: str) -> None:
        """Jump to a label."""
        self._parts.append(0xE9)
        self._refer(name)

    def jump_if(self, condition: str, name: str) -> None:
        """Jump to a label on one of `CONDITIONS`."""
        self._parts += bytes([0x0F, 0x80 | CONDITIONS[condition]])
        self._refer(name)

    def call(self, name: str) -> None:
        """Call a label."""
        self._parts.append(0xE8)
        self._refer(name)

    def jump_to(self, register: str) -> None:
        """Jump to the address in a register."""
        self._modrm(b"\xff", 4, register, 4)

    def push(self, register: str) -> None:
        """Push a register."""
        number = NUMBERS[register]
        self._parts += bytes([0x41] if number > 7 else []) + bytes([0x50 | number & 7])

    def pop(self, register: str) -> None:
        """Pop a register."""
        number = NUMBERS[register]
        self._parts += bytes([0x41] if number > 7 else []) + bytes([0x58 | number & 7])

    def ret(self) -> None:
        """Return."""
        self._parts.append(0xC3)

    def syscall(self) -> None:
        """Call the kernel."""
        self._parts += b"\x0f\x05"

    def int3(self) -> None:
        """Trap."""
        self._parts.append(0xCC)
