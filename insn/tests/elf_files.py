"""Small ELF files, made from records: what the tests of ELF reading work on."""

import struct
from dataclasses import dataclass, field

EXECUTABLE, SHARED, OBJECT_FILE, CORE = 2, 3, 1, 4
X86_64, I386, AARCH64 = 62, 3, 183
FUNCTION, OBJECT, INDIRECT = 2, 1, 10
LOCAL, GLOBAL, WEAK = 0, 1, 2


@dataclass
class Symbol:
    """One entry of `.symtab`."""

    name: str
    address: int
    size: int
    kind: int = FUNCTION
    binding: int = GLOBAL
    defined: bool = True


@dataclass
class Elf:
    """One file: code at `base`, data behind it, symbols."""

    code: bytes = b"\xc3"
    base: int = 0x401000
    data: bytes = b""
    data_address: int = 0x500000
    symbols: list[Symbol] = field(default_factory=list)
    dynamic_symbols: list[Symbol] = field(default_factory=list)
    eh_frame: bytes = b""
    eh_frame_address: int = 0x600000
    kind: int = SHARED
    machine: int = X86_64
    bits: int = 64
    entry: int = 0
    sections: bool = True
    build_id: bytes = b""

    def build(self) -> bytes:
        """Lay the file out."""
        word = "Q" if self.bits == 64 else "I"
        header_size, segment_size, section_size = (64, 56, 64) if self.bits == 64 else (52, 32, 40)
        note = b""
        if self.build_id:
            note = struct.pack("<III4s", 4, len(self.build_id), 3, b"GNU\0") + self.build_id
        parts = [  # name, type, flags, address, content, link, entry size
            (".text", 1, 6, self.base, self.code, 0, 0),
            (".data", 1, 3, self.data_address, self.data, 0, 0),
            (".eh_frame", 1, 2, self.eh_frame_address, self.eh_frame, 0, 0),
            (".note.gnu.build-id", 7, 2, 0x700000, note, 0, 0),
        ]
        for symbols, kind, table, strings in (
            (self.symbols, 2, ".symtab", ".strtab"),
            (self.dynamic_symbols, 11, ".dynsym", ".dynstr"),
        ):
            if symbols:
                content, names = self._symbols(symbols)
                parts.append(
                    (table, kind, 0, 0, content, len(parts) + 2, 24 if self.bits == 64 else 16)
                )
                parts.append((strings, 3, 0, 0, names, 0, 0))
        names = b"\0" + b"".join(p[0].encode() + b"\0" for p in parts) + b".shstrtab\0"
        parts.append((".shstrtab", 3, 0, 0, names, 0, 0))
        loaded = [p for p in parts[:4] if p[4]]
        offset = header_size + segment_size * len(loaded)
        body, segments, sections = b"", b"", bytes(section_size)
        for name, kind, flags, address, content, link, entry_size in parts:
            place = offset + len(body)
            body += content
            if content and flags:
                permissions = 4 | (1 if flags & 4 else 0) | (2 if flags & 1 else 0)
                segments += self._segment(
                    4 if kind == 7 else 1, permissions, place, address, len(content)
                )
            fields = (
                names.index(name.encode() + b"\0"),
                kind,
                flags,
                address,
                place,
                len(content),
                link,
                0,
                1,
                entry_size,
            )
            layout = "<IIQQQQIIQQ" if self.bits == 64 else "<IIIIIIIIII"
            sections += struct.pack(layout, *fields)
        ident = b"\x7fELF" + bytes([self.bits // 32, 1, 1]) + bytes(9)
        header = ident + struct.pack(
            f"<HHI{word}{word}{word}IHHHHHH",
            self.kind, self.machine, 1, self.entry, header_size,
            offset + len(body) if self.sections else 0,
            0, header_size, segment_size, len(loaded), section_size,
            len(parts) + 1 if self.sections else 0, len(parts) if self.sections else 0,
        )  # fmt: skip
        return header + segments + body + (sections if self.sections else b"")

    def _segment(self, kind: int, flags: int, offset: int, address: int, size: int) -> bytes:
        if self.bits == 64:
            return struct.pack("<IIQQQQQQ", kind, flags, offset, address, address, size, size, 1)
        return struct.pack("<IIIIIIII", kind, offset, address, address, size, size, flags, 1)

    def _symbols(self, symbols: list[Symbol]) -> tuple[bytes, bytes]:
        names = b"\0"
        table = bytes(24 if self.bits == 64 else 16)
        for symbol in symbols:
            at = len(names)
            names += symbol.name.encode() + b"\0"
            info, section = symbol.binding << 4 | symbol.kind, 1 if symbol.defined else 0
            if self.bits == 64:
                table += struct.pack("<IBBHQQ", at, info, 0, section, symbol.address, symbol.size)
            else:
                table += struct.pack("<IIIBBH", at, symbol.address, symbol.size, info, 0, section)
        return table, names


def frame_table(address: int, functions: list[tuple[int, int, int]]) -> bytes:
    """Make an `.eh_frame` at `address`: for each function its start, size and LSDA (0: none)."""
    common = struct.pack("<I", 0) + b"\x01zLR\0" + bytes([1, 0x78, 16, 2, 0x1B, 0x1B])
    common += bytes(-(len(common) + 4) % 8)
    table = struct.pack("<I", len(common)) + common
    for start, size, lsda in functions:
        body_at = len(table) + 4
        here = address + body_at + 4
        body = struct.pack("<Ii", body_at, start - here) + struct.pack("<IB", size, 4)
        body += struct.pack("<i", lsda - (here + 9) if lsda else 0) + bytes(3)
        table += struct.pack("<I", len(body)) + body
    return table + bytes(4)


def lsda(pads: list[int]) -> bytes:
    """Make an exception table with one call site for each landing pad, by its offset."""
    sites = b"".join(bytes([1, 1, pad, 0]) for pad in pads)
    return bytes([0xFF, 0xFF, 0x01, len(sites)]) + sites
