"""A small assembler for x86-64: just what code that we put into a process is made of.

Operands are register names (always the 64-bit name; `size` in bytes says how much of it is meant),
`Mem(base, offset, index, scale)` or `Thread(offset)` memory, `Near(symbol, offset)` for what lies
within ±2 GiB at a place known later, label names in jumps and `lea_label`, and integers. Each
method of `Assembler` is one instruction of the Intel SDM vol. 2.
"""

import struct

from ubp.x86_encoding import NUMBERS, REGISTERS, Encoder, External, Mem, Near, Operand, Thread

__all__ = [
    "ARITHMETIC",
    "CONDITIONS",
    "NUMBERS",
    "REGISTERS",
    "SHIFTS",
    "UNARY",
    "Assembler",
    "External",
    "Mem",
    "Near",
    "Operand",
    "Thread",
]

CONDITIONS = {
    "o": 0, "no": 1, "b": 2, "ae": 3, "e": 4, "ne": 5, "be": 6, "a": 7,
    "s": 8, "ns": 9, "p": 10, "np": 11, "l": 12, "ge": 13, "le": 14, "g": 15,
}  # fmt: skip
ARITHMETIC = {"add": 0, "or": 1, "and": 4, "sub": 5, "xor": 6, "cmp": 7}
UNARY = {"not": 2, "neg": 3, "mul": 4, "imul": 5, "div": 6, "idiv": 7}
SHIFTS = {"rol": 0, "ror": 1, "shl": 4, "shr": 5, "sar": 7}
LOCK = b"\xf0"


class Assembler(Encoder):
    """Collects instructions for one stretch of code at `origin`; `code` gives the bytes."""

    # -- moves ----------------------------------------------------------------------------------

    def mov(self, to: Operand, source: Operand | int, size: int = 8) -> None:
        """Move between registers and memory, or an integer into either.

        A 4-byte move into a register clears its upper half; one of 1 or 2 bytes leaves the rest.
        """
        if isinstance(source, int):
            self._mov_integer(to, source, size)
        elif isinstance(source, str):
            self._modrm(b"\x88" if size == 1 else b"\x89", NUMBERS[source], to, size)
        else:
            assert isinstance(to, str)
            self._modrm(b"\x8a" if size == 1 else b"\x8b", NUMBERS[to], source, size)

    def _mov_integer(self, to: Operand, value: int, size: int) -> None:
        if not isinstance(to, str):
            width = min(size, 4)
            field = (value & (1 << 8 * width) - 1).to_bytes(width, "little")
            if size == 8 and not -(1 << 31) <= value < 1 << 31:
                raise ValueError(f"{value:#x} does not fit a signed 32-bit field")
            self._modrm(b"\xc6" if size == 1 else b"\xc7", 0, to, size, field)
            return
        number = NUMBERS[to]
        if 0 <= value < 1 << 32:
            self._parts += bytes([0x41] if number > 7 else [])
            self._parts += bytes([0xB8 | number & 7]) + struct.pack("<I", value)
        elif -(1 << 31) <= value < 0 or value >= (1 << 64) - (1 << 31):
            self._modrm(b"\xc7", 0, to, 8, (value & (1 << 32) - 1).to_bytes(4, "little"))
        else:
            self._parts += bytes([0x48 | number >> 3, 0xB8 | number & 7])
            self._parts += struct.pack("<Q", value & (1 << 64) - 1)

    def load_byte(self, to: str, source: Operand) -> None:
        """Load a byte, zero-extended."""
        self._modrm(b"\x0f\xb6", NUMBERS[to], source, 8)

    def extend(self, to: str, source: Operand, size: int, signed: bool) -> None:
        """Load 1, 2, 4 or 8 bytes into a whole register, with zeros or the sign in front."""
        if size == 8 or (size == 4 and not signed):
            self.mov(to, source, size)
        elif size == 4:
            self._modrm(b"\x63", NUMBERS[to], source, 8)
        else:
            opcode = {(1, False): 0xB6, (2, False): 0xB7, (1, True): 0xBE, (2, True): 0xBF}
            # The 64-bit form also names sil, dil, … where the source is one byte of a register.
            self._modrm(bytes([0x0F, opcode[size, signed]]), NUMBERS[to], source, 8)

    def lea(self, to: str, source: Mem | Near) -> None:
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

    def cmov(self, condition: str, to: str, source: Operand, size: int = 8) -> None:
        """Move into a register on one of `CONDITIONS`; memory is read in any case."""
        self._modrm(bytes([0x0F, 0x40 | CONDITIONS[condition]]), NUMBERS[to], source, size)

    def set_if(self, condition: str, to: Operand) -> None:
        """Set a byte to 1 or 0 on one of `CONDITIONS`."""
        self._modrm(bytes([0x0F, 0x90 | CONDITIONS[condition]]), 0, to, 1)

    def push(self, register: str) -> None:
        """Push a register."""
        number = NUMBERS[register]
        self._parts += bytes([0x41] if number > 7 else []) + bytes([0x50 | number & 7])

    def pop(self, register: str) -> None:
        """Pop a register."""
        number = NUMBERS[register]
        self._parts += bytes([0x41] if number > 7 else []) + bytes([0x58 | number & 7])

    # -- arithmetic -----------------------------------------------------------------------------

    def arithmetic(self, what: str, to: Operand, source: Operand | int, size: int = 8) -> None:
        """Do one of `ARITHMETIC` between registers, memory and a signed 32-bit integer."""
        self._arithmetic(what, to, source, size, b"")

    def _arithmetic(
        self, what: str, to: Operand, source: Operand | int, size: int, prefix: bytes
    ) -> None:
        number = ARITHMETIC[what]
        wide = 0 if size == 1 else 1
        if isinstance(source, int):
            short = size > 1 and -128 <= source < 128
            width = 1 if short else min(size, 4)
            field = source.to_bytes(width, "little", signed=source < 0 or short or size == 8)
            opcode = b"\x83" if short else b"\x81" if wide else b"\x80"
            self._modrm(opcode, number, to, size, field, prefix)
        elif isinstance(source, str):
            self._modrm(bytes([number << 3 | wide]), NUMBERS[source], to, size, b"", prefix)
        else:
            assert isinstance(to, str)
            self._modrm(bytes([number << 3 | 2 | wide]), NUMBERS[to], source, size, b"", prefix)

    def test(self, left: Operand, right: str | int, size: int = 8) -> None:
        """Compare the bits that both have with zero."""
        if isinstance(right, int):
            width = min(size, 4)
            field = right.to_bytes(width, "little", signed=right < 0 or size == 8)
            self._modrm(b"\xf6" if size == 1 else b"\xf7", 0, left, size, field)
        else:
            self._modrm(b"\x84" if size == 1 else b"\x85", NUMBERS[right], left, size)

    def unary(self, what: str, operand: Operand, size: int = 8) -> None:
        """Do one of `UNARY`; multiplications and divisions are of rdx:rax by the operand."""
        self._modrm(b"\xf6" if size == 1 else b"\xf7", UNARY[what], operand, size)

    def imul(self, to: str, source: Operand, by: int | None = None, size: int = 8) -> None:
        """Multiply into a register: by the source, or the source by a signed 32-bit integer."""
        if by is None:
            self._modrm(b"\x0f\xaf", NUMBERS[to], source, size)
        elif -128 <= by < 128:
            self._modrm(b"\x6b", NUMBERS[to], source, size, struct.pack("<b", by))
        else:
            width = min(size, 4)
            field = by.to_bytes(width, "little", signed=True)
            self._modrm(b"\x69", NUMBERS[to], source, size, field)

    def shift(self, what: str, operand: Operand, count: int, size: int = 8) -> None:
        """Do one of `SHIFTS` by a constant number of bits."""
        opcode = b"\xc0" if size == 1 else b"\xc1"
        self._modrm(opcode, SHIFTS[what], operand, size, bytes([count]))

    def shift_right(self, register: str, count: int) -> None:
        """Shift a register right, zeros coming in."""
        self.shift("shr", register, count)

    def shift_left(self, register: str, count: int) -> None:
        """Shift a register left, zeros coming in."""
        self.shift("shl", register, count)

    def shift_pair_right(self, to: str, upper: str, count: int) -> None:
        """Shift a register right, the bits of another coming in from above (shrd)."""
        self._modrm(b"\x0f\xac", NUMBERS[upper], to, 8, bytes([count]))

    def extend_sign(self) -> None:
        """Fill rdx with the sign of rax (cqo)."""
        self._parts += b"\x48\x99"

    def bsr(self, to: str, source: Operand, size: int = 8) -> None:
        """Find the highest bit set; the result is undefined, and zf set, without one."""
        self._modrm(b"\x0f\xbd", NUMBERS[to], source, size)

    def lzcnt(self, to: str, source: Operand, size: int = 8) -> None:
        """Count the zero bits in front (CPUs without it do bsr instead)."""
        self._modrm(b"\x0f\xbd", NUMBERS[to], source, size, b"", b"\xf3")

    # -- what other threads see at once ---------------------------------------------------------

    def lock_inc(self, to: Operand, size: int = 8) -> None:
        """Add one to memory, atomically; cf stays."""
        self._modrm(b"\xfe" if size == 1 else b"\xff", 0, to, size, b"", LOCK)

    def lock_dec(self, to: Operand, size: int = 8) -> None:
        """Take one from memory, atomically; cf stays."""
        self._modrm(b"\xfe" if size == 1 else b"\xff", 1, to, size, b"", LOCK)

    def lock_arithmetic(self, what: str, to: Operand, source: str | int, size: int = 8) -> None:
        """Do one of `ARITHMETIC` on memory, atomically."""
        self._arithmetic(what, to, source, size, LOCK)

    def lock_xadd(self, to: Operand, register: str, size: int = 8) -> None:
        """Add a register to memory, atomically; the register gets what stood there."""
        opcode = b"\x0f\xc0" if size == 1 else b"\x0f\xc1"
        self._modrm(opcode, NUMBERS[register], to, size, b"", LOCK)

    def lock_cmpxchg(self, to: Operand, register: str, size: int = 8) -> None:
        """Store a register where rax's value stands, else load it into rax; zf tells."""
        opcode = b"\x0f\xb0" if size == 1 else b"\x0f\xb1"
        self._modrm(opcode, NUMBERS[register], to, size, b"", LOCK)

    def xchg(self, to: Operand, register: str, size: int = 8) -> None:
        """Exchange a register with memory or another; with memory atomically."""
        self._modrm(b"\x86" if size == 1 else b"\x87", NUMBERS[register], to, size)

    # -- control --------------------------------------------------------------------------------

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

    def jump_to(self, target: str | Mem) -> None:
        """Jump to the address in a register or in memory."""
        self._modrm(b"\xff", 4, target, 4)

    def call_to(self, target: str | Mem) -> None:
        """Call the address in a register or in memory."""
        self._modrm(b"\xff", 2, target, 4)

    def ret(self) -> None:
        """Return."""
        self._parts.append(0xC3)

    def syscall(self) -> None:
        """Call the kernel."""
        self._parts += b"\x0f\x05"

    def int3(self) -> None:
        """Trap."""
        self._parts.append(0xCC)

    def pause(self) -> None:
        """Tell the CPU that we wait in a loop."""
        self._parts += b"\xf3\x90"

    # -- flags, clocks, CPUs --------------------------------------------------------------------

    def push_flags(self) -> None:
        """Push the flags."""
        self._parts.append(0x9C)

    def pop_flags(self) -> None:
        """Pop the flags; slow, and it may set the trap flag."""
        self._parts.append(0x9D)

    def lahf(self) -> None:
        """Put sf, zf, af, pf and cf into ah."""
        self._parts.append(0x9F)

    def sahf(self) -> None:
        """Load sf, zf, af, pf and cf from ah."""
        self._parts.append(0x9E)

    def rdtsc(self) -> None:
        """Read the time stamp counter into edx:eax."""
        self._parts += b"\x0f\x31"

    def rdtscp(self) -> None:
        """Read the time stamp counter into edx:eax, and the number of the CPU into ecx."""
        self._parts += b"\x0f\x01\xf9"

    def rdpid(self, to: str) -> None:
        """Read the number of the CPU (bits 0-11; above them that of its node)."""
        number = NUMBERS[to]
        self._parts += b"\xf3" + bytes([0x41] if number > 7 else [])
        self._parts += bytes([0x0F, 0xC7, 0xF8 | number & 7])

    def lsl(self, to: str, selector: str) -> None:
        """Read the limit of a segment (Linux keeps the number of the CPU in that of 0x7b)."""
        self._modrm(b"\x0f\x03", NUMBERS[to], selector, 4)
